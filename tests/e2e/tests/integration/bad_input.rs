//! Bad input: each is refused with a stable code, says where and what to do, and changes nothing.

use std::os::unix::fs::PermissionsExt as _;

use crate::kit::Place;

const COMPOSE: &str = "services:\n  web:\n    image: web:1\n    ports: [\"8080:8080\"]\n";

fn project(deploy: impl AsRef<[u8]>) -> Place {
    let place = Place::new();
    place.write("compose.yaml", COMPOSE);
    place.write("deploy.yaml", deploy);
    place
}

#[track_caller]
fn refused(deploy: impl AsRef<[u8]>, words: &[&str]) {
    let place = project(deploy);
    let said = place.run(&["dev", "local"]);
    said.refused(1, "CD01", words);
    assert!(
        !place.path().join(".code-deploy").exists(),
        "something was changed"
    );
}

const BEGIN: &str = "application: x\nrelease: \"1\"\nenvironments:\n  dev: {}\n";

#[test]
fn a_misspelt_key_is_named_with_its_place_and_the_nearest() {
    let text = format!("{BEGIN}objektives: []\n");
    refused(text, &["deploy.yaml:5", "objektives", "objectives"]);
}

#[test]
fn a_service_that_the_compose_file_lacks_is_named() {
    refused(format!("{BEGIN}services:\n  wep: {{}}\n"), &["wep", "web"]);
}

#[test]
fn an_environment_that_is_not_there_is_named() {
    let place = project(BEGIN);
    place
        .run(&["staging", "local"])
        .refused(1, "CD01", &["staging", "dev"]);
}

#[test]
fn a_file_that_is_empty_not_text_or_too_large_is_refused() {
    refused("", &["empty"]);
    refused([0xff, 0xfe, 0x00, 0x41], &["UTF-8"]);
    refused(vec![b'#'; 50 * 1024 * 1024], &["more than the"]);
}

#[test]
fn a_secret_in_plain_text_is_refused_and_not_repeated() {
    let place = project(BEGIN);
    place.write(
        "compose.yaml",
        "services:\n  web:\n    image: web:1\n    ports: [\"8080:8080\"]\n    environment:\n      \
         DB_PASSWORD: hunter2hunter2\n",
    );
    let said = place.run(&["dev", "local"]);
    said.refused(1, "CD01", &["DB_PASSWORD"]);
    assert!(!format!("{}{}", said.out, said.err).contains("hunter2hunter2"));
}

#[test]
fn a_project_without_a_deployment_file_says_how_to_get_one() {
    let place = Place::new();
    place
        .run(&["dev", "local"])
        .refused(1, "CD01", &["deploy.yaml", "init"]);
}

/// A chart, with what stands for the program that makes manifests of it; nothing where there is no such program.
fn chart(helm: Option<&str>) -> Place {
    let text =
        "kubernetes: { namespace: mine, manifests: [web], chart_values: { web: [own.yaml] } }";
    let mut place = project(BEGIN.replace("dev: {}", &format!("dev: {{ {text} }}")));
    place.write("web/Chart.yaml", "name: web\n");
    place.write("own.yaml", "size: 2\n");
    place.write("bin/README.md", "programs\n");
    if let Some(words) = helm {
        place.write("bin/helm", format!("#!/bin/sh\n{words}\n"));
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(place.path().join("bin/helm"), mode).unwrap();
    }
    place.set("PATH", place.path().join("bin").display().to_string());
    place
}

#[test]
fn a_chart_is_refused_where_helm_is_not_there_fails_or_makes_what_is_no_manifest() {
    let fails = "echo \"Error: no $3 in $5\" >&2; exit 1";
    let by_hand =
        "`helm template x ./web --namespace mine --skip-tests --values ./own.yaml > FILE`";
    let cases: [(Option<&str>, &[&str]); 3] = [
        (None, &["deploy.yaml:4", "Install `helm`", by_hand]),
        (Some(fails), &["deploy.yaml:4", "Error: no ./web in mine"]),
        (
            Some("echo 'kind: Job'"),
            &[
                "web/Chart.yaml: line 1 of what",
                "makes (Job)",
                "`apiVersion`",
            ],
        ),
    ];
    for (helm, words) in cases {
        let place = chart(helm);
        let plan = ["plan", "-e", "dev", "-t", "k8s"];
        for command in [plan.as_slice(), &["dev", "k8s"]] {
            place.run(command).refused(1, "CD0123", words);
        }
        let changed = place.path().join(".code-deploy");
        assert!(!changed.exists(), "something was changed");
    }
}

/// Asserts that a run on Docker is refused so, with nothing in the project that was not there before.
#[track_caller]
fn refused_on_docker(place: &Place, code: &str, words: &[&str]) {
    let said = place.run(&["dev", "docker-desktop"]);
    said.refused(1, code, words);
    said.refused(1, "Nothing was changed", &[]);
    let changed = place.path().join(".code-deploy");
    assert!(!changed.exists(), "something was changed: {said:?}");
}

#[test]
fn a_condition_that_nothing_waits_for_and_a_port_of_two_services_are_refused_with_their_lines() {
    let place = project(BEGIN);
    let job = "  job:\n    image: job:1\n    ports: [\"8081:8080\"]\n";
    let waits = "    depends_on:\n      job: {condition: service_completed_successfully}\n";
    place.write("compose.yaml", format!("{COMPOSE}{waits}{job}"));
    let words = ["compose.yaml:6", "`job` has completed", "profiles"];
    refused_on_docker(&place, "CD0121", &words);
    place.write(
        "compose.yaml",
        format!("{COMPOSE}{}", job.replace("8081", "8080")),
    );
    let words = ["compose.yaml:7", "port 8080", "`web` has in line 4"];
    refused_on_docker(&place, "CD0121", &words);
}

#[test]
fn what_an_engine_cannot_honour_is_refused_before_it_is_asked() {
    let mut place = project(BEGIN);
    place.set("DOCKER_HOST", "unix:///nonexistent/docker.sock".to_owned());
    place.write("compose.yaml", format!("{COMPOSE}    network_mode: host\n"));
    let words = ["compose.yaml:5", "network_mode", "on Docker", "Take"];
    refused_on_docker(&place, "CD0402", &words);
}

#[test]
fn an_engine_that_does_not_answer_is_refused_with_where_it_is_to_be() {
    let mut place = project(BEGIN);
    let left = place.path().join("left.sock");
    drop(std::os::unix::net::UnixListener::bind(&left).unwrap());
    let left = format!("unix://{}", left.display());
    for address in ["unix:///nonexistent/docker.sock", &left] {
        place.set("DOCKER_HOST", address.to_owned());
        let words = [address, "DOCKER_HOST", "`docker version`"];
        refused_on_docker(&place, "CD0523", &words);
        for words in [
            &["plan", "-e", "dev", "-t", "docker-desktop"][..],
            &["inventory", "-e", "dev", "-t", "docker-desktop"],
            &["dev", "docker-desktop", "--demo"],
        ] {
            let said = place.run(words);
            said.refused(1, "CD0523", &[address, "Nothing was changed"]);
        }
        assert!(!place.path().join(".code-deploy").exists());
        assert!(!place.demo().exists(), "a demonstration was laid out");
    }
}

#[test]
fn a_context_of_the_engines_client_that_is_not_there_is_refused_with_its_name() {
    let mut place = project(BEGIN);
    let folder = place.path().join("docker").display().to_string();
    place.set("DOCKER_HOST", String::new());
    place.set("DOCKER_CONFIG", folder);
    place.set("DOCKER_CONTEXT", "gone".to_owned());
    let words = ["context gone", "DOCKER_CONTEXT", "`docker context ls`"];
    refused_on_docker(&place, "CD0524", &words);
    place.set("DOCKER_CONTEXT", String::new());
    place.write("docker/config.json", r#"{"currentContext": "lost"}"#);
    refused_on_docker(&place, "CD0524", &["context lost", "config.json"]);
}

#[test]
fn unknown_commands_targets_and_options_are_usage_errors() {
    let place = project(BEGIN);
    place
        .run(&["statsu"])
        .refused(2, "CD0001", &["statsu", "status"]);
    place
        .run(&["plna", "dev"])
        .refused(2, "CD0001", &["no command `plna`", "`plan`"]);
    place
        .run(&["dev", "locl"])
        .refused(1, "CD0503", &["locl", "local"]);
    place
        .run(&["dev", "cloud-aws"])
        .refused(1, "CD0502", &["cloud-aws"]);
    assert_eq!(place.run(&["status", "--wach"]).code, Some(2));
    assert_eq!(
        place
            .run(&["dev", "local", "--demo", "--demo-fault", "fire"])
            .code,
        Some(2)
    );
}

#[test]
fn a_run_that_is_not_there_and_a_record_that_is_damaged_are_told() {
    let place = project(BEGIN);
    place.run(&["status"]).refused(1, "CD0302", &["no run"]);
    place.write("rec/journal.jsonl", "{\"seq\":0}\n");
    place
        .run(&["verify", "rec"])
        .refused(10, "CD0301", &["journal.jsonl, event 0"]);
    place.write("none/file", "");
    place
        .run(&["verify", "none"])
        .refused(1, "CD0303", &["journal.jsonl"]);
}

#[test]
fn a_connection_file_that_is_missing_or_no_json_is_told() {
    let place = Place::new();
    place
        .run(&["kernel", "launch", "gone.json"])
        .refused(1, "CD0801", &["gone.json"]);
    place.write("bad.json", "no json");
    place
        .run(&["kernel", "launch", "bad.json"])
        .refused(1, "CD0801", &["bad.json"]);
}

#[test]
fn init_writes_a_file_that_loads_and_never_overwrites_one() {
    let place = Place::new();
    place.write("compose.yaml", COMPOSE);
    let said = place.run(&["init"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let written = std::fs::read_to_string(place.path().join("deploy.yaml")).unwrap();
    assert!(written.contains("web"));
    let again = place.run(&["init"]);
    assert_eq!(again.code, Some(1), "{again:?}");
    assert_eq!(
        std::fs::read_to_string(place.path().join("deploy.yaml")).unwrap(),
        written
    );
}
