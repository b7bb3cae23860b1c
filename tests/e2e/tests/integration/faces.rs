//! What commands say and refuse in a terminal, without anything being deployed.

use serde_json::Value;

use crate::kit::{Place, Said};

const COMPOSE: &str = "services:\n  web:\n    image: web:1\n    ports: [\"8080:8080\"]\n";
const DEPLOY: &str = "application: x\nrelease: \"1\"\nenvironments:\n  dev: {}\nservices:\n  web:\n    \
                      process:\n      command: [sleep, \"1000\"]\n";

fn project() -> Place {
    let place = Place::new();
    place.write("compose.yaml", COMPOSE);
    place.write("deploy.yaml", DEPLOY);
    place
}

#[track_caller]
fn untouched(place: &Place) {
    let names = std::fs::read_dir(place.path()).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    names.retain(|name| name != "code-deploy");
    names.sort();
    assert_eq!(names, ["compose.yaml", "deploy.yaml"]);
}

/// Asserts that every line is an object with one key, which says what it is; returns the keys.
#[track_caller]
fn kinds(said: &Said) -> Vec<String> {
    let lines = said.out.lines().map(|line| {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let keys: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys.len(), 1, "{line}");
        keys[0].clone()
    });
    lines.collect()
}

#[test]
fn a_misspelt_section_is_refused_before_a_run_is_opened() {
    let place = project();
    for verb in ["plan", "preflight"] {
        let section = if verb == "plan" { "scpoe" } else { "resuorces" };
        let near = if verb == "plan" {
            "`scope`"
        } else {
            "`resources`"
        };
        let said = place.run(&[verb, section, "-e", "dev", "-t", "local"]);
        said.refused(1, "CD0421", &[section, near, "Nothing was changed"]);
        assert!(!place.path().join(".code-deploy/runs").exists(), "{said:?}");
    }
}

#[test]
fn a_plan_writes_nothing_and_refuses_what_the_run_refuses() {
    let place = project();
    let planned = place.run(&["plan", "--environment", "dev", "--target", "local"]);
    assert_eq!(planned.code, Some(0), "{planned:?}");
    untouched(&place);

    // What of the Compose file nobody acts on is said.
    let updates = "    deploy: { update_config: { parallelism: 1 } }\n";
    place.write("compose.yaml", format!("{COMPOSE}{updates}"));
    let planned = place.run(&["plan", "-e", "dev", "-t", "local"]);
    assert!(planned.out.contains("update_config"), "{planned:?}");
    let json = place.run(&["--json", "plan", "-e", "dev", "-t", "local"]);
    let value: Value = serde_json::from_str(json.out.trim()).unwrap();
    let note = value["plan"]["notes"][0].as_str().unwrap();
    let word = "compose.yaml:5: `deploy.update_config` of `web` is not honoured";
    assert!(note.starts_with(word), "{note}");
    place.write("compose.yaml", COMPOSE);

    let without_program = DEPLOY.split("services:").next().unwrap();
    place.write("deploy.yaml", without_program);
    let planned = place.run(&["plan", "-e", "dev", "-t", "local"]);
    planned.refused(1, "CD0402", &["no program", "process.command"]);
    untouched(&place);
    let run = place.run(&["dev", "local"]);
    run.refused(1, "CD0402", &["no program"]);
    assert_eq!(planned.err, run.err);
}

#[test]
fn a_run_that_would_stop_for_sure_is_refused_with_everything_that_stops_it() {
    let place = project();
    let planned = place.run(&["plan", "-e", "dev", "-t", "local"]);
    assert_eq!(planned.code, Some(0), "{planned:?}");
    let told = planned.out.find("What would stop this run").unwrap();
    assert!(
        told < planned.out.find("Steps in order").unwrap(),
        "{planned:?}"
    );
    let words = [
        "no owner: web",
        "`owner:` for web (deploy.yaml:6)",
        "replicas: {web: 2}",
        "startup: /PATH",
        "readiness: /PATH",
        "liveness: /PATH",
        "metrics: /PATH",
        "log_marker: /PATH",
        "Nothing was changed",
    ];
    place.run(&["dev", "local"]).refused(1, "CD0437", &words);
    assert!(!place.path().join(".code-deploy/runs").exists());

    let json = place.run(&["--json", "plan", "-e", "dev", "-t", "local"]);
    let value: Value = serde_json::from_str(json.out.trim()).unwrap();
    let foreseen = value["plan"]["foreseen"].as_array().unwrap();
    assert!(foreseen.iter().any(|one| one["stops"] == true), "{json:?}");
    assert!(foreseen.iter().any(|one| one["stops"] == false), "{json:?}");
}

#[test]
fn a_release_that_the_file_does_not_list_is_refused_with_those_it_lists() {
    let place = project();
    place.write("deploy.yaml", format!("{DEPLOY}releases: [\"1\", \"2\"]\n"));
    let plan = ["plan", "-e", "dev", "-t", "local", "--to", "9.9.9"];
    for words in [&["dev", "local", "--to", "9.9.9"][..], &plan] {
        let said = place.run(words);
        said.refused(1, "CD0438", &["no release 9.9.9", "lists 1, 2"]);
    }
}

#[test]
fn what_init_suggests_can_be_done_as_it_stands() {
    let place = Place::new();
    place.write("sub/compose.yaml", COMPOSE);
    let said = place.run(&["init", "./sub"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(!said.out.contains("/./"), "{said:?}");
    let suggested = said
        .out
        .split('`')
        .find(|part| part.starts_with("code-deploy plan"));
    let words: Vec<_> = suggested.unwrap().split(' ').skip(1).collect();
    let file = place.path().join("sub/deploy.yaml");
    let written = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        written.replace("# process:", "process:").replace(
            "#   command: [path/to/program, --port, \"{port}\"]",
            "  command: [sleep]",
        ),
    )
    .unwrap();
    let planned = place.run(&words);
    assert_eq!(planned.code, Some(0), "{planned:?}");
}

#[test]
fn errors_have_one_shape_in_a_terminal_and_in_json_lines() {
    let place = project();
    let wrong: [&[&str]; 5] = [
        &["status", "--wach"],
        &["statsu"],
        &["approve"],
        &["status"],
        &["rollback", "--run", "20260101T000000000Z-dev-local-abcd"],
    ];
    for words in wrong {
        let said = place.run(words);
        let lines: Vec<_> = said.err.lines().collect();
        assert!(lines[0].starts_with("error[CD"), "{words:?}: {said:?}");
        assert!(lines[1].starts_with("  state: "), "{words:?}: {said:?}");
        assert!(lines[2].starts_with("  next: "), "{words:?}: {said:?}");

        let json = place.run(&[&["--json"], words].concat());
        assert_eq!(kinds(&json), ["error"], "{words:?}: {json:?}");
        let value: Value = serde_json::from_str(&json.out).unwrap();
        for part in ["code", "what", "state", "next"] {
            let text = value["error"][part].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{words:?}: {part}: {json:?}");
            assert!(said.err.contains(text), "{words:?}: {text}: {said:?}");
        }
        assert_eq!(said.code, json.code);
    }
}

#[test]
fn an_error_in_a_file_shows_its_line_between_the_same_parts() {
    let place = project();
    place.write("deploy.yaml", format!("{DEPLOY}objektives: []\n"));
    let said = place.run(&["dev", "local"]);
    let lines: Vec<_> = said.err.lines().map(str::trim).collect();
    assert!(lines[0].starts_with("error[CD0107]: "), "{said:?}");
    assert!(lines.contains(&"9 | objektives: []"), "{said:?}");
    assert_eq!(lines[lines.len() - 2], "state: Nothing was changed.");
    assert_eq!(lines[lines.len() - 1], "next: Did you mean `objectives`?");
}

#[test]
fn options_of_every_command_may_stand_before_its_word() {
    let place = project();
    place.write("elsewhere/none", "");
    let elsewhere = place.path().join("elsewhere");
    let file = place.path().join("deploy.yaml");
    let file = file.to_str().unwrap();
    for words in [["-f", file, "status"], ["status", "-f", file]] {
        let said = place.run_in(&elsewhere, &words);
        said.refused(1, "CD0302", &["no run"]);
    }
}

#[test]
fn notebooks_are_read_in_a_terminal() {
    let place = Place::new();
    let shown = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../notebooks");
    let whole = shown.join("09_Operational_Handover.ipynb");
    let said = place.run(&["show", whole.to_str().unwrap()]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let first = format!(
        "{}: shown as the file has it, and not checked.",
        whole.display()
    );
    assert!(said.out.starts_with(&first), "{said:?}");
    for part in [
        "\n\n09 Operational Handover\n======",
        "\n  Outcome",
        "\n[1] %code-deploy dev local",
        "\nEscalation\n-----",
    ] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
    // The steps of the escalation stand in a table whose columns are aligned.
    let steps = said
        .out
        .lines()
        .filter(|line| line.contains("+49 30 5550 100"));
    assert!(steps.count() >= 2, "{}", said.out);

    place.write("deploy.yaml", DEPLOY);
    let none = place.run(&["show", "deploy.yaml"]);
    none.refused(1, "CD0317", &["deploy.yaml is no notebook"]);
}

#[test]
fn notebooks_that_are_ready_name_the_release_that_is_wanted() {
    let place = project();
    let words = [
        "notebooks",
        "--ready",
        "-e",
        "dev",
        "-t",
        "local",
        "--out",
        "ready",
    ];
    let said = place.run(&[&words[..], &["--to", "9"]].concat());
    assert_eq!(said.code, Some(0), "{said:?}");
    let first = place.path().join("ready/01_Deployment_Plan.ipynb");
    let text = std::fs::read_to_string(first).unwrap();
    assert!(text.contains("%code-deploy dev local --to 9"), "{text}");
    let alone = place.run(&["notebooks", "--to", "9"]);
    assert_eq!(alone.code, Some(2), "{alone:?}");
}
