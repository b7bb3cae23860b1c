//! `verify` on the record that the repository shows, and on the notebooks made from it.

use std::fs;
use std::path::Path;
use std::process::Command;

use code_deploy_record::RunFolder;

use crate::kit::Place;

/// A place with a copy of the record, and notebooks that the program made from it.
fn verified() -> Place {
    let place = Place::new();
    let shown = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../notebooks/record");
    copy(&shown, &place.path().join("record"));
    let made = place.run(&["notebooks", "--run", "record", "--out", "pages"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let checked = verify(&place);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    place
}

fn verify(place: &Place) -> crate::kit::Said {
    place.run(&["verify", "record", "--notebooks", "pages"])
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Replaces text in all notebooks.
fn edit(place: &Place, from: &str, to: &str) {
    let mut edited = 0;
    for entry in fs::read_dir(place.path().join("pages")).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "ipynb")
        {
            let text = fs::read_to_string(&path).unwrap();
            edited += usize::from(text.contains(from));
            fs::write(&path, text.replace(from, to)).unwrap();
        }
    }
    assert_eq!(edited, 18);
}

#[test]
fn an_edited_chart_and_files_that_are_not_of_the_run_are_named() {
    let place = verified();
    let chart = place.path().join("pages/charts/latency.svg");
    let drawn = fs::read_to_string(&chart).unwrap();
    fs::write(&chart, drawn.replace("p99", "p50")).unwrap();
    let page = fs::read(place.path().join("pages/03_Build_Process.ipynb")).unwrap();
    place.write("pages/10_More.ipynb", page);
    place.write("pages/charts/more.png", "");
    let all = [
        "3 places do not verify",
        "\npages\n",
        "  charts/latency.svg",
        "changed: not what the record gives",
        "  10_More.ipynb",
        "nothing of this name",
        "not of this run",
        "  charts/more.png",
    ];
    verify(&place).refused(10, "CD0301", &all);
    fs::write(&chart, drawn).unwrap();
    fs::remove_file(place.path().join("pages/10_More.ipynb")).unwrap();
    fs::remove_file(place.path().join("pages/charts/more.png")).unwrap();
    assert_eq!(verify(&place).code, Some(0));
}

#[test]
fn an_extra_file_of_evidence_is_named() {
    let place = verified();
    let name = "0".repeat(64);
    place.write(&format!("record/evidence/{name}"), "added later");
    let words = [name.as_str(), "the journal does not name it"];
    place
        .run(&["verify", "record"])
        .refused(10, "CD0301", &words);
}

#[test]
fn evidence_that_is_not_here_is_told_as_that_and_not_as_a_change() {
    let place = verified();
    fs::remove_dir_all(place.path().join("record/evidence")).unwrap();
    let said = place.run(&["verify", "record"]);
    let words = [
        "files are not here",
        "what is here is as it was written",
        "0 of ",
    ];
    said.refused(13, "CD0308", &words);
    assert!(!format!("{said:?}").contains("changed:"), "{said:?}");
}

#[test]
fn notebooks_of_another_version_are_not_told_to_be_changed() {
    let place = verified();
    // Another version cannot sign what it makes anew.
    let seal = place.path().join("pages/seal");
    if seal.is_dir() {
        fs::remove_dir_all(seal).unwrap();
    }
    let version = env!("CARGO_PKG_VERSION");
    let (own, other) = (
        format!("\"version\": \"{version}\""),
        "\"version\": \"0.0.1\"",
    );
    edit(&place, &own, other);
    let chart = place.path().join("pages/charts/latency.svg");
    let drawn = fs::read_to_string(&chart).unwrap();
    fs::write(&chart, drawn.replace("Latency", "Latencies")).unwrap();
    let said = verify(&place);
    let why = format!("made by version 0.0.1; this is version {version}");
    said.refused(
        14,
        "CD0312",
        &[&why, "beside notebooks made by version 0.0.1"],
    );
    assert!(!format!("{said:?}").contains("changed:"), "{said:?}");
}

#[test]
fn in_the_folder_that_was_signed_other_bytes_are_a_change_whatever_made_them() {
    // Those that the repository shows are signed, whichever build made them.
    let place = Place::new();
    let shown = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../notebooks");
    copy(&shown, &place.path().join("pages"));
    let version = env!("CARGO_PKG_VERSION");
    let own = format!("\"version\": \"{version}\"");
    edit(&place, &own, "\"version\": \"0.0.1\"");
    let words = ["18 places do not verify", "not the bytes that were signed"];
    place
        .run(&["verify", "pages"])
        .refused(10, "CD0301", &words);
}

#[test]
fn notebooks_that_only_say_that_another_build_made_them_are_held_against_this_one() {
    let place = verified();
    let seal = place.path().join("pages/seal");
    if seal.is_dir() {
        fs::remove_dir_all(seal).unwrap();
    }
    let page = fs::read(place.path().join("pages/03_Build_Process.ipynb")).unwrap();
    let page: serde_json::Value = serde_json::from_slice(&page).unwrap();
    let source = &page["metadata"]["code-deploy"]["made_by"]["source"];
    edit(&place, source.as_str().unwrap(), &"0".repeat(64));
    let said = verify(&place);
    assert_eq!(said.code, Some(0), "{said:?}");
    edit(&place, "# ", "## ");
    let words = [
        "its text was changed",
        "18 notebooks say that another build",
    ];
    verify(&place).refused(10, "CD0301", &words);
}

/// Puts a pipe to which nobody writes in the place of a file.
fn pipe(path: &Path) {
    if path.exists() {
        fs::remove_file(path).unwrap();
    }
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
}

#[test]
fn a_pipe_a_link_and_a_folder_in_place_of_a_file_are_told_at_once() {
    let place = verified();
    let record = place.path().join("record");
    let evidence = fs::read_dir(record.join("evidence")).unwrap();
    let evidence = evidence
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .min()
        .unwrap();
    let checkpoints = fs::read_dir(record.join("seal")).unwrap();
    let last = checkpoints
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".checkpoint"))
        .max()
        .unwrap();
    let names = [
        "journal.jsonl".to_owned(),
        "samples/router.jsonl".to_owned(),
        "samples/client-1.status.json".to_owned(),
        "seal/statement.json".to_owned(),
        format!("evidence/{evidence}"),
        format!("seal/{last}"),
        format!("seal/{last}.sig"),
    ];
    let elsewhere = place.path().join("elsewhere");
    for name in names {
        let path = record.join(&name);
        let whole = fs::read(&path).ok();
        fs::write(&elsewhere, whole.as_deref().unwrap_or(b"{}")).unwrap();
        let words = [name.as_str(), "it is a link, a folder"];
        let refused = || {
            place
                .run(&["verify", "record"])
                .refused(10, "CD0301", &words);
        };
        pipe(&path);
        refused();
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        refused();
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        refused();
        fs::remove_dir(&path).unwrap();
        if let Some(whole) = whole {
            fs::write(&path, whole).unwrap();
        }
    }
    assert_eq!(verify(&place).code, Some(0));
    pipe(&elsewhere);
    for option in ["--key", "--checkpoint"] {
        let said = place.run(&["verify", "record", option, "elsewhere"]);
        said.refused(2, "CD0001", &["a pipe or a device, and no file"]);
    }
    fs::rename(record.join("samples"), place.path().join("samples")).unwrap();
    std::os::unix::fs::symlink("../samples", record.join("samples")).unwrap();
    let words = ["samples/", "and no folder"];
    verify(&place).refused(10, "CD0301", &words);
}

#[test]
fn a_key_that_somebody_added_to_a_cell_is_named() {
    let place = verified();
    let path = place.path().join("pages/03_Build_Process.ipynb");
    let mut page: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    page["cells"][1]["approved_by"] = "Anna".into();
    fs::write(&path, page.to_string()).unwrap();
    let said = verify(&place);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("the key \"approved_by\""), "{said:?}");
    assert!(!said.out.contains("how the cell is shown"), "{said:?}");
}

#[test]
fn notebooks_in_a_project_whose_record_was_removed_are_told_as_that() {
    let place = Place::new();
    let shown = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../notebooks");
    let run = RunFolder::at(&shown.join("record")).unwrap();
    let run = run.started().unwrap().run.to_string();
    let kept = place.path().join(".code-deploy/runs").join(&run);
    let left = place.path().join("deployments").join(&run);
    place.write("deploy.yaml", "");
    copy(&shown.join("record"), &kept);
    copy(&shown, &left);
    fs::remove_dir_all(left.join("record")).unwrap();
    let ways: [&[&str]; 3] = [&["verify"], &["verify", run.as_str()], &["verify", "."]];
    for words in ways {
        let said = place.run(words);
        assert_eq!(said.code, Some(0), "{said:?}");
    }
    fs::remove_dir_all(&kept).unwrap();
    for words in ways {
        let told = [run.as_str(), "not here: this project keeps no"];
        place.run(words).refused(13, "CD0308", &told);
    }
}

#[test]
fn of_a_cut_record_it_is_said_which_events_something_signed_covers() {
    let place = verified();
    let record = place.path().join("record");
    let journal = record.join("journal.jsonl");
    let text = fs::read_to_string(&journal).unwrap();
    let (cut, _) = text.trim_end().rsplit_once('\n').unwrap();
    fs::write(&journal, format!("{cut}\n")).unwrap();
    let files = fs::read_dir(record.join("seal")).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    let is_checkpoint =
        |path: &std::path::PathBuf| path.extension().is_some_and(|end| end == "checkpoint");
    let last = files.iter().rposition(is_checkpoint);
    for (index, path) in files.iter().enumerate() {
        if Some(index) == last || !is_checkpoint(path) {
            fs::remove_file(path).unwrap();
        }
    }
    let words = [
        "not sealed: their end is missing",
        "what was signed covers its journal up to event ",
        "are not signed: each follows from the one before",
    ];
    place
        .run(&["verify", "record"])
        .refused(12, "CD0307", &words);
}

#[test]
fn a_notebook_of_another_run_is_told_as_that() {
    let place = verified();
    let path = place.path().join("pages/03_Build_Process.ipynb");
    let text = fs::read_to_string(&path).unwrap();
    let from = text.find("\"run\": \"").unwrap() + 8;
    let to = from + text[from..].find('"').unwrap();
    fs::write(&path, format!("{}another{}", &text[..from], &text[to..])).unwrap();
    let words = ["it says that it is of another"];
    verify(&place).refused(10, "CD0301", &words);
}

#[test]
fn a_damaged_record_beside_notebooks_is_told_as_it_is_alone() {
    let place = Place::new();
    let shown = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../notebooks");
    copy(&shown, &place.path().join("shown"));
    assert_eq!(place.run(&["verify", "shown"]).code, Some(0));
    let journal = place.path().join("shown/record/journal.jsonl");
    let text = fs::read_to_string(&journal).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let left = [&lines[..299], &lines[300..]].concat().join("\n") + "\n";
    fs::write(&journal, left).unwrap();
    for path in ["shown", "shown/record"] {
        let said = place.run(&["verify", path]);
        let words = ["1 place does not verify", "journal.jsonl, event 299"];
        said.refused(10, "CD0301", &words);
        assert!(
            said.out.contains("not followed from event 299 on, head "),
            "{said:?}"
        );
        assert!(!said.err.contains("code-deploy verify"), "{said:?}");
    }
}

#[test]
fn a_notebook_alone_is_told_as_checked_in_part_to_people_and_to_machines() {
    let place = verified();
    let name = "Post_Deployment_Report.ipynb";
    let page = fs::read_to_string(place.path().join("pages").join(name)).unwrap();
    let bent = page.replacen("# Post-Deployment Report", "# All went well", 1);
    assert_ne!(bent, page);
    place.write(&format!("alone/{name}"), bent);
    let words = ["1 notebook was not checked in whole", "not its text"];
    place
        .run(&["verify", "alone"])
        .refused(13, "CD0308", &words);
    let said = place.run(&["--json", "verify", "alone"]);
    assert_eq!(said.code, Some(13), "{said:?}");
    let all = format!("{}{}", said.out, said.err);
    assert!(
        all.contains("CD0308") && all.contains("not its text"),
        "{all}"
    );
    assert!(!all.contains("is as it was written"), "{all}");
}

#[test]
fn machines_are_told_of_which_run_a_record_is() {
    let place = verified();
    let said = place.run(&["--json", "verify", "record"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let lines = said.out.lines();
    let mut values = lines.filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let verified = values.find_map(|line| line.get("verified").cloned());
    let of = &verified.unwrap()["of"];
    let journal = fs::read_to_string(place.path().join("record/journal.jsonl")).unwrap();
    let first: serde_json::Value = serde_json::from_str(journal.lines().next().unwrap()).unwrap();
    let named = of["run"].as_str().unwrap();
    assert!(first.to_string().contains(&format!("\"{named}\"")), "{of}");
    let expected = ["shop", "dev", "local", "1.0.0", "1.1.0"];
    let found = ["application", "environment", "target", "from", "to"].map(|key| of[key].clone());
    assert_eq!(found, expected, "{of}");
}

#[test]
fn a_folder_without_record_and_notebooks_is_told_with_what_to_name() {
    let place = Place::new();
    place.write("none/file", "");
    let words = [
        "neither a record (`journal.jsonl`) nor notebooks",
        "state: Nothing was looked at",
        "Name the folder of a record or of notebooks",
    ];
    place.run(&["verify", "none"]).refused(1, "CD0303", &words);
}

#[test]
fn a_record_is_held_against_a_checkpoint_that_was_kept_of_it() {
    let place = verified();
    let listed = place.run(&["--json", "record", "checkpoints", "--run", "record"]);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    let values: Vec<serde_json::Value> = listed
        .out
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|line| line.get("checkpoint").cloned())
        .collect();
    let [first, .., last] = values.as_slice() else {
        panic!("{listed:?}");
    };
    assert!(first["consistency"].is_null(), "{first}");
    assert_eq!(last["consistency"]["holds"], true, "{last}");
    let told = place.run(&["record", "checkpoints", "--run", "record"]);
    for words in [
        "the end of phase 01",
        "the end of the record",
        "proved, from",
    ] {
        assert!(told.out.contains(words), "{words}: {told:?}");
    }
    let file = first["file"].as_str().unwrap();
    fs::copy(
        place.path().join("record").join(file),
        place.path().join("kept"),
    )
    .unwrap();
    let held = ["verify", "record", "--checkpoint", "kept"];
    let said = place.run(&held);
    assert_eq!(said.code, Some(0), "{said:?}");
    let size = &first["size"];
    let words = format!("is an extension of the checkpoint of size {size} in kept");
    assert!(said.out.contains(&words), "{said:?}");
    let kept = fs::read_to_string(place.path().join("kept")).unwrap();
    place.write(
        "kept",
        kept.replacen("code-deploy/", "code-deploy/other-", 1),
    );
    let words = ["kept is a checkpoint of code-deploy/other-"];
    place.run(&held).refused(2, "CD0001", &words);
}

#[test]
fn evidence_and_samples_are_checked_with_tools_of_other_people() {
    let place = Place::new();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let record = place.path().join("record");
    copy(&sources.join("notebooks/record"), &record);
    let guide = fs::read_to_string(sources.join("templates/VERIFY.md")).unwrap();
    let mut recipes = guide.split("```sh\n").skip(1);
    let recipe = recipes.find(|rest| rest.starts_with("for file in record/evidence/*"));
    let recipe = recipe.and_then(|rest| rest.split("```").next()).unwrap();
    let told = || {
        let mut shell = Command::new("sh");
        shell.args(["-e", "-c", recipe]).current_dir(place.path());
        let done = shell.output().unwrap();
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap()
    };
    assert_eq!(told(), "");
    let samples = record.join("samples/client-1.jsonl");
    let whole = fs::read(&samples).unwrap();
    fs::write(&samples, &whole[1..]).unwrap();
    let other = "record/samples/client-1.jsonl: the journal has another digest\n";
    assert_eq!(told(), other);
    fs::remove_file(&samples).unwrap();
    assert_eq!(told(), other);
    fs::write(&samples, whole).unwrap();
    let more = record.join("samples/more.jsonl");
    fs::write(&more, "").unwrap();
    assert_eq!(
        told(),
        "record/samples/more.jsonl: the journal does not name it\n"
    );
    fs::remove_file(more).unwrap();
    let name = "0".repeat(64);
    fs::write(record.join("evidence").join(&name), "added later").unwrap();
    let both = told();
    assert!(both.contains(&format!("{name}: its name is not its digest")));
    assert!(both.contains(&format!("{name}: the journal does not name it")));
}
