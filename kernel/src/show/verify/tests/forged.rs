//! What somebody who forges a finished record does beside changing a byte of it.

use code_deploy_record::{Checkpoint, Digest, RunId};

use super::told::{told, told_of, unfinished};
use super::*;

/// Returns what was said with its words one space apart: a table wraps them.
pub(super) fn flat(said: &str) -> String {
    let words: Vec<_> = said.split_whitespace().collect();
    words.join(" ")
}

/// The stage's run in a project that has its notebooks where a run leaves them.
pub(super) fn left(stage: &Stage) -> (Project, PathBuf) {
    let project = Project {
        file: stage.folder.path().join("deploy.yaml"),
        folder: stage.folder.path().to_owned(),
    };
    let left = project.notebooks_of(&run_of(stage));
    std::fs::create_dir(stage.folder.path().join("deployments")).unwrap();
    std::fs::rename(stage.pages(), &left).unwrap();
    (project, left)
}

pub(super) fn run_of(stage: &Stage) -> RunId {
    stage.record.started().unwrap().run
}

#[test]
fn a_file_that_was_put_into_a_folder_of_a_record_is_named() {
    let stage = Stage::new(1);
    let record = stage.record.path().to_owned();
    for name in [
        "approval.txt",
        "samples/approval.txt",
        "evidence/approval.txt",
        "seal/approval.txt",
    ] {
        std::fs::write(record.join(name), "go").unwrap();
        let (code, said) = told(std::slice::from_ref(&record));
        assert!(code == 10 && said.contains(name), "{name}: {said}");
        assert!(said.contains("CD0301"), "{said}");
        std::fs::remove_file(record.join(name)).unwrap();
    }
    assert_eq!(told(&[record]).0, 0);
}

#[test]
fn what_a_client_last_said_of_itself_is_told_to_be_no_part_of_the_record() {
    let stage = Stage::new(1);
    let status = stage.record.samples_path().join("client-1.status.json");
    assert!(status.is_file());
    std::fs::write(&status, "{\"sent\":1,\"failed\":0}").unwrap();
    let (code, said) = told(&[stage.record.path().to_owned()]);
    assert_eq!(code, 0, "{said}");
    let listed = said
        .lines()
        .find(|line| line.contains("not part of the record"));
    let listed = listed.unwrap();
    assert!(listed.contains("samples/client-1.status.json"), "{listed}");
}

#[test]
fn a_file_that_was_put_beside_signed_notebooks_is_named() {
    let stage = Stage::new(1);
    let (project, left) = left(&stage);
    let all = VerifyArgs::default();
    for name in ["approval.pdf", "charts/more.txt", "seal/approval.sig"] {
        std::fs::write(left.join(name), "go").unwrap();
        let (code, said) = told_of(Some(&project), &all);
        assert!(code == 10 && said.contains(name), "{name}: {said}");
        // Without their record, too.
        let moved = stage.folder.path().join("moved");
        std::fs::rename(&left, &moved).unwrap();
        let (code, said) = told(std::slice::from_ref(&moved));
        assert!(code == 10 && said.contains(name), "{name}: {said}");
        std::fs::rename(&moved, &left).unwrap();
        std::fs::remove_file(left.join(name)).unwrap();
    }
    std::fs::write(left.join(".approval"), "go").unwrap();
    let (code, said) = told_of(Some(&project), &all);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("not of the run, and not checked: .approval"),
        "{said}"
    );
}

#[test]
fn seals_that_were_taken_away_are_not_here() {
    let stage = Stage::new(1);
    let record = stage.record.path().to_owned();
    let seal = stage.record.seal();
    let first = seal.checkpoints().unwrap().remove(0);
    let files = ["statement.json", "outputs.note", "p256.pem"].map(|name| seal.path().join(name));
    for path in std::iter::once(first).chain(files) {
        let content = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let (code, said) = told(std::slice::from_ref(&record));
        let name = path.file_name().unwrap().to_string_lossy();
        assert!(code == 13 && said.contains(&*name), "{name}: {said}");
        std::fs::write(&path, content).unwrap();
    }
    let all = seal.checkpoints().unwrap();
    // Nothing of the statement is left: an ended run whose key is named signed one.
    for name in SignedStatement::FILES.into_iter().chain(["outputs.note"]) {
        std::fs::remove_file(seal.path().join(name)).unwrap();
    }
    let (code, said) = told(std::slice::from_ref(&record));
    let words = "no statement over its notebooks is kept with it";
    assert!(code == 13 && flat(&said).contains(words), "{said}");
    std::fs::remove_dir_all(seal.path()).unwrap();
    let (code, said) = told(&[record]);
    assert!(code == 13 && said.contains("CD0308"), "{said}");
    for path in all {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(said.contains(&name), "{name}: {said}");
    }
}

#[test]
fn the_seal_of_a_runs_own_notebooks_that_was_taken_away_is_not_here() {
    let stage = Stage::new(1);
    let (project, left) = left(&stage);
    let run = VerifyArgs {
        paths: vec![run_of(&stage).as_str().into()],
        ..VerifyArgs::default()
    };
    std::fs::remove_dir_all(left.join("seal")).unwrap();
    for arguments in [&VerifyArgs::default(), &run] {
        let (code, said) = told_of(Some(&project), arguments);
        assert_eq!(code, 13, "{said}");
        assert!(
            said.contains("what was signed over these notebooks"),
            "{said}"
        );
    }
    let page = left.join(PAGE);
    let text = std::fs::read_to_string(&page).unwrap();
    std::fs::write(&page, text.replacen("canary", "Canary", 1)).unwrap();
    assert_eq!(told_of(Some(&project), &run).0, 10);
}

#[test]
fn events_that_have_changed_places_are_told_with_their_numbers() {
    let stage = Stage::new(1);
    let journal = stage.record.journal_path();
    let text = std::fs::read_to_string(&journal).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.swap(299, 300);
    std::fs::write(&journal, lines.join("\n") + "\n").unwrap();
    let (code, said) = told(&[stage.record.path().to_owned()]);
    assert_eq!(code, 10, "{said}");
    assert!(said.contains("journal.jsonl, event 299"), "{said}");
    assert!(
        said.contains("events 299 and 300 have changed places"),
        "{said}"
    );
}

/// Writes a checkpoint to a file that was kept elsewhere, and verifies a record against it.
pub(super) fn held(stage: &Stage, record: &RunFolder, checkpoint: &Checkpoint) -> (u8, String) {
    let file = stage.folder.path().join("kept.checkpoint");
    std::fs::write(&file, checkpoint.to_string()).unwrap();
    let arguments = VerifyArgs {
        paths: vec![record.path().to_owned()],
        checkpoint: vec![file],
        ..VerifyArgs::default()
    };
    told_of(None, &arguments)
}

/// The checkpoints of the stage's record.
pub(super) fn checkpoints_of(stage: &Stage) -> Vec<Checkpoint> {
    let files = stage.record.seal().checkpoints().unwrap().into_iter();
    let notes = files.map(|path| {
        std::fs::read_to_string(path)
            .unwrap()
            .parse::<Checkpoint>()
            .unwrap()
    });
    notes.collect()
}

#[test]
fn a_record_is_an_extension_of_every_checkpoint_that_was_kept_of_it() {
    let stage = Stage::new(1);
    for checkpoint in checkpoints_of(&stage) {
        let (code, said) = held(&stage, &stage.record, &checkpoint);
        let size = checkpoint.head.size;
        let words = format!("is an extension of the checkpoint of size {size} in ");
        assert!(code == 0 && said.contains(&words), "{size}: {said}");
    }
}

#[test]
fn a_record_that_was_written_anew_with_its_own_key_is_none_of_the_checkpoint_that_was_kept() {
    let stage = Stage::new(1);
    let kept = checkpoints_of(&stage).remove(2);
    let runs = RunsFolder::of_project(&stage.folder.path().join("anew"));
    let anew = runs.create_run(&run_of(&stage)).unwrap();
    replay(&stage.record, &anew, &stage.key, |body| match body {
        EventBody::RunStarted(mut started) => {
            started.user = "otto".to_owned();
            EventBody::RunStarted(started)
        }
        body => body,
    });
    publish::publish(None, &anew, Some(&stage.key)).unwrap();
    assert_eq!(told(&[anew.path().to_owned()]).0, 0);
    let (code, said) = held(&stage, &anew, &kept);
    assert_eq!(code, 10, "{said}");
    assert!(said.contains("changed, or written anew"), "{said}");
    assert!(!said.contains("is an extension of"), "{said}");

    let (begun, _writer) = unfinished(&stage, 200);
    let last = checkpoints_of(&stage).pop().unwrap();
    let (code, said) = held(&stage, &begun, &last);
    assert!(code == 10 && said.contains("cut at its end"), "{said}");
}

#[test]
fn a_checkpoint_of_another_run_or_key_is_not_taken_for_one_of_this() {
    let stage = Stage::new(1);
    let own = checkpoints_of(&stage).remove(1);
    let origin = "code-deploy/shop/dev/another";
    let other = Checkpoint::sign(origin, own.head, &stage.key);
    let (code, said) = held(&stage, &stage.record, &other);
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains(&format!("is a checkpoint of {origin}")),
        "{said}"
    );
    let forger = SealKey::from_seed(&[9; 32]).unwrap();
    let signed = Checkpoint::sign(&own.origin, own.head, &forger);
    let (code, said) = held(&stage, &stage.record, &signed);
    assert!(
        code == 11 && said.contains(&forger.public().ed25519().name()),
        "{said}"
    );
    let file = stage.folder.path().join("none");
    std::fs::write(&file, "no note").unwrap();
    let arguments = VerifyArgs {
        paths: vec![stage.record.path().to_owned()],
        checkpoint: vec![file],
        ..VerifyArgs::default()
    };
    let (code, said) = told_of(None, &arguments);
    assert!(
        code == 2 && said.contains("this is not a checkpoint"),
        "{said}"
    );
}

#[test]
fn a_record_that_was_planted_beside_a_runs_own_notebooks_is_not_the_one_that_counts() {
    let (stage, forged) = (Stage::new(1), Stage::new(2));
    let (project, left) = left(&stage);
    let named = |paths: &[PathBuf]| VerifyArgs {
        paths: paths.to_vec(),
        ..VerifyArgs::default()
    };
    let all = [
        VerifyArgs::default(),
        named(&[run_of(&stage).as_str().into()]),
        named(std::slice::from_ref(&project.folder)),
        named(std::slice::from_ref(&left)),
        named(&[left.join("..").join(left.file_name().unwrap())]),
    ];
    for arguments in &all {
        assert_eq!(told_of(Some(&project), arguments).0, 0);
    }
    // Beside honest notebooks it is a folder that nobody made.
    let planted = left.join("record");
    std::fs::rename(forged.record.path(), &planted).unwrap();
    for arguments in &all {
        let (code, said) = told_of(Some(&project), arguments);
        assert_eq!(code, 10, "{said}");
        assert!(
            said.contains("nothing of this name is made of the run"),
            "{said}"
        );
    }
    // With the notebooks that follow from it, those are found.
    for entry in std::fs::read_dir(&left).unwrap().map(Result::unwrap) {
        if entry.path() != planted && entry.path().is_dir() {
            std::fs::remove_dir_all(entry.path()).unwrap();
        } else if entry.path() != planted {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    for entry in std::fs::read_dir(forged.pages())
        .unwrap()
        .map(Result::unwrap)
    {
        std::fs::rename(entry.path(), left.join(entry.file_name())).unwrap();
    }
    for arguments in all.iter().chain([&named(&[left.join(PAGE)])]) {
        let (code, said) = told_of(Some(&project), arguments);
        assert_eq!(code, 10, "{said}");
        assert!(said.contains(PAGE), "{said}");
    }
    let (code, said) = told_of(
        Some(&project),
        &named(&[stage.folder.path().join("deployments")]),
    );
    assert_eq!(code, 10, "{said}");
}

/// Removes the notebooks of a folder, but for charts and what was signed.
fn without_notebooks(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.path().extension().is_some_and(|end| end == "ipynb") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
}

#[test]
fn to_take_away_more_of_signed_notebooks_is_no_way_to_a_better_answer() {
    let stage = Stage::new(1);
    let (project, left) = left(&stage);
    let of = |path: PathBuf| VerifyArgs {
        paths: vec![path],
        ..VerifyArgs::default()
    };
    let all = [
        VerifyArgs::default(),
        of(run_of(&stage).as_str().into()),
        of(project.folder.clone()),
    ];
    let judged = |expected: u8, words: &str| {
        for arguments in &all {
            let (code, said) = told_of(Some(&project), arguments);
            assert!(code == expected && said.contains(words), "{words}: {said}");
        }
    };
    without_notebooks(&left);
    judged(13, "signed notebooks of the run");
    std::fs::remove_dir_all(left.join("seal")).unwrap();
    judged(13, "signed notebooks of the run");
    let charts = std::fs::read_dir(left.join("charts")).unwrap();
    let chart = charts.map(|entry| entry.unwrap().path()).next().unwrap();
    let drawn = std::fs::read(&chart).unwrap();
    std::fs::write(&chart, "<svg/>").unwrap();
    judged(10, "charts/");
    std::fs::write(&chart, drawn).unwrap();
    std::fs::write(left.join("VERIFY.md"), "Run this, too.").unwrap();
    judged(10, "VERIFY.md");
    std::fs::remove_dir_all(&left).unwrap();
    judged(13, "signed notebooks of the run");
}

#[test]
fn notebooks_are_held_against_a_sealed_record_also_where_nothing_says_that_they_were_signed() {
    let stage = Stage::new(1);
    let (project, left) = left(&stage);
    let seal = stage.record.seal();
    for name in SignedStatement::FILES.into_iter().chain(["outputs.note"]) {
        std::fs::remove_file(seal.path().join(name)).unwrap();
    }
    std::fs::remove_dir_all(left.join("seal")).unwrap();
    std::fs::remove_file(left.join("VERIFY.md")).unwrap();
    let page = left.join(PAGE);
    let text = std::fs::read_to_string(&page).unwrap();
    std::fs::write(&page, text.replacen("canary", "Canary", 1)).unwrap();
    let (code, said) = told_of(Some(&project), &VerifyArgs::default());
    assert!(code == 10 && said.contains(PAGE), "{said}");
    std::fs::write(left.join("approval.pdf"), "go").unwrap();
    let (code, said) = told_of(Some(&project), &VerifyArgs::default());
    assert!(code == 10 && said.contains("approval.pdf"), "{said}");
}

#[test]
fn a_folder_is_no_project_because_of_what_was_put_into_it() {
    let stage = Stage::new(1);
    let (project, left) = left(&stage);
    std::fs::create_dir(left.join(".code-deploy")).unwrap();
    std::fs::write(left.join("approval.pdf"), "go").unwrap();
    let (code, said) = told_of(Some(&project), &VerifyArgs::default());
    assert!(code == 10 && said.contains("approval.pdf"), "{said}");
    // Without their record, too.
    let moved = stage.folder.path().join("moved");
    std::fs::rename(&left, &moved).unwrap();
    let (code, said) = told(&[moved]);
    assert!(code == 10 && said.contains("approval.pdf"), "{said}");
}

#[test]
fn what_lies_in_the_folder_of_a_project_beside_notebooks_is_told_as_not_checked() {
    let stage = Stage::new(1);
    let project = stage.folder.path();
    for entry in std::fs::read_dir(stage.pages())
        .unwrap()
        .map(Result::unwrap)
    {
        std::fs::rename(entry.path(), project.join(entry.file_name())).unwrap();
    }
    std::fs::remove_dir(stage.pages()).unwrap();
    std::fs::write(project.join("deploy.yaml"), "").unwrap();
    let arguments = VerifyArgs {
        paths: vec![stage.record.path().to_owned()],
        notebooks: Some(project.to_owned()),
        ..VerifyArgs::default()
    };
    let (code, said) = told_of(None, &arguments);
    assert_eq!(code, 0, "{said}");
    let words = "not of the run, and not checked: .code-deploy, deploy.yaml";
    assert!(said.contains(words), "{said}");
}

#[test]
fn a_record_whose_forger_names_the_genuine_p256_key_beside_his_own_is_not_trusted() {
    let (honest, forged) = (Stage::new(1), Stage::new(9));
    let (first, p256) = (honest.public(), honest.key.public().p256());
    let seal = forged.record.seal();
    for name in SignedStatement::FILES.into_iter().chain(["outputs.note"]) {
        std::fs::remove_file(seal.path().join(name)).unwrap();
    }
    let half = |stage: &Stage| {
        let written = serde_json::to_value(stage.key.public()).unwrap();
        written["p256"].as_str().unwrap().to_owned()
    };
    let (own, genuine) = (half(&forged), half(&honest));
    let text = std::fs::read_to_string(forged.record.journal_path()).unwrap();
    let (mut head, mut journal) = (Digest::ZERO, String::new());
    for line in text.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        let line = line
            .replace(event["prev"].as_str().unwrap(), &head.to_string())
            .replace(&own, &genuine);
        head = Digest::of(line.as_bytes());
        journal.push_str(&line);
        journal.push('\n');
    }
    std::fs::write(forged.record.journal_path(), journal).unwrap();
    let mut events = forged.record.events().unwrap();
    while events.next_event().unwrap().is_some() {
        let tree = events.tree();
        let path = seal.path().join(format!("{:012}.checkpoint", tree.size));
        if path.is_file() {
            let origin = code_deploy_record::origin(&forged.record.started().unwrap());
            let anew = Checkpoint::sign(&origin, tree, &forged.key);
            std::fs::write(path, anew.to_string()).unwrap();
        }
    }
    let paths = [forged.record.path().to_owned()];
    for keys in [vec![p256.clone()], vec![first, p256]] {
        assert_eq!(exit(forged.verify(&keys, &paths)), 11);
    }
}

#[test]
fn each_key_that_is_given_has_to_have_signed_something() {
    let stage = Stage::new(1);
    let (own, p256) = (stage.public(), stage.key.public().p256());
    let another = SealKey::from_seed(&[9; 32]).unwrap().public().ed25519();
    let (record, pages) = ([stage.record.path().to_owned()], [stage.pages()]);
    for paths in [&record, &pages] {
        assert_eq!(exit(stage.verify(std::slice::from_ref(&own), paths)), 0);
        assert_eq!(exit(stage.verify(&[own.clone(), p256.clone()], paths)), 0);
        assert_eq!(exit(stage.verify(std::slice::from_ref(&p256), paths)), 11);
        let more = [own.clone(), another.clone()];
        assert_eq!(exit(stage.verify(&more, paths)), 11);
    }
    // The record alone is enough for both.
    std::fs::remove_dir_all(stage.pages()).unwrap();
    let both = [own, p256];
    assert_eq!(exit(stage.verify(&both, &record)), 0);
    let file = stage.folder.path().join("key.pem");
    std::fs::write(&file, another.to_pem()).unwrap();
    let arguments = VerifyArgs {
        paths: record.to_vec(),
        key: vec![stage.folder.path().join("0.pem"), file],
        ..VerifyArgs::default()
    };
    let (code, said) = told_of(None, &arguments);
    let words = "no signature that was checked is of this key";
    assert!(code == 11 && flat(&said).contains(words), "{said}");
}

#[test]
fn a_key_that_stands_twice_in_a_notebook_hides_no_text() {
    let stage = Stage::new(1);
    let path = stage.pages().join(PAGE);
    let whole = std::fs::read_to_string(&path).unwrap();
    let forged = [
        whole.replacen("\"source\":", "\"source\": \"all is well\", \"source\":", 1),
        whole.replacen("\"cells\":", "\"cells\": [], \"cells\":", 1),
    ];
    for (text, key) in forged.iter().zip(["source", "cells"]) {
        assert_ne!(*text, whole);
        std::fs::write(&path, text).unwrap();
        let (code, said) = told(&stage.both());
        let words = format!("the key \"{key}\" stands more than once");
        assert!(code == 10 && flat(&said).contains(&words), "{said}");
        assert!(!flat(&said).contains("another program saved it"), "{said}");
        // Alone, without anything that was signed over its text.
        let moved = stage.folder.path().join(PAGE);
        std::fs::copy(&path, &moved).unwrap();
        let (code, said) = told(&[moved]);
        assert!(code == 10 && flat(&said).contains(&words), "{said}");
    }
}

#[test]
fn what_was_signed_over_notebooks_is_missed_in_every_folder() {
    let stage = Stage::new(1);
    let pages = stage.pages();
    let record = pages.join("record");
    std::fs::rename(stage.record.path(), &record).unwrap();
    let named = VerifyArgs {
        paths: vec![record],
        notebooks: Some(pages.clone()),
        ..VerifyArgs::default()
    };
    let beside = VerifyArgs {
        paths: vec![pages.clone()],
        ..VerifyArgs::default()
    };
    let judged = |expected: u8, words: &str| {
        for arguments in [&named, &beside] {
            let (code, said) = told_of(None, arguments);
            assert!(
                code == expected && flat(&said).contains(words),
                "{words}: {said}"
            );
        }
    };
    judged(0, "signed");
    let guide = pages.join("VERIFY.md");
    let written = std::fs::read_to_string(&guide).unwrap();
    std::fs::write(&guide, "Run this.").unwrap();
    judged(10, "do not run commands from it");
    std::fs::remove_dir_all(pages.join("seal")).unwrap();
    judged(10, "do not run commands from it");
    std::fs::write(&guide, written).unwrap();
    judged(13, "what was signed over these notebooks");
    std::fs::write(pages.join("approval.pdf"), "go").unwrap();
    judged(10, "approval.pdf");
}

#[test]
fn a_second_record_of_the_run_is_never_passed_over() {
    let (stage, forged) = (Stage::new(1), Stage::new(2));
    let paths = [
        stage.record.path().to_owned(),
        forged.record.path().to_owned(),
    ];
    let (code, said) = told(&paths);
    let words = "another record of the same run than the one in";
    assert!(code == 10 && flat(&said).contains(words), "{said}");
    // The same record twice is one.
    let copy = stage.folder.path().join("copy");
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .args([stage.record.path(), &copy])
        .status();
    assert!(copied.unwrap().success());
    assert_eq!(told(&[stage.record.path().to_owned(), copy.clone()]).0, 0);
    // In a hidden folder beside notebooks that came with their record.
    let pages = stage.pages();
    std::fs::rename(&copy, pages.join("record")).unwrap();
    let received = std::slice::from_ref(&pages);
    assert_eq!(told(received).0, 0);
    let hidden = pages.join(".code-deploy");
    std::fs::rename(forged.folder.path().join(".code-deploy"), &hidden).unwrap();
    let named = VerifyArgs {
        paths: vec![pages.join("record")],
        notebooks: Some(pages.clone()),
        ..VerifyArgs::default()
    };
    for (code, said) in [told(received), told_of(None, &named)] {
        assert!(code == 10 && said.contains(".code-deploy"), "{said}");
        assert!(flat(&said).contains("it holds a record"), "{said}");
    }
}
