//! Notebooks that a run has left in its project, whose record was removed.

use super::forged::{flat, left, run_of};
use super::told::told_of;
use super::*;

const MISSED: &str = "this project keeps no record of the run that left these notebooks";

fn of(path: impl Into<PathBuf>) -> VerifyArgs {
    VerifyArgs {
        paths: vec![path.into()],
        ..VerifyArgs::default()
    }
}

#[test]
fn notebooks_whose_record_was_removed_are_told_in_the_project_and_by_the_name_of_the_run() {
    let stage = Stage::new(1);
    let run = run_of(&stage);
    let (project, left) = left(&stage);
    let all = [
        VerifyArgs::default(),
        of(run.as_str()),
        of(&project.folder),
        of(project.folder.join("deployments")),
    ];
    let judged = |words: &[&str]| {
        for arguments in &all {
            let (code, said) = told_of(Some(&project), arguments);
            assert_eq!(code, 13, "{said}");
            for words in words {
                assert!(flat(&said).contains(words), "{words}: {said}");
            }
        }
    };
    // The journal alone, then all of it.
    std::fs::remove_file(stage.record.journal_path()).unwrap();
    judged(&[MISSED, run.as_str()]);
    std::fs::remove_dir_all(stage.record.path()).unwrap();
    judged(&[MISSED, "files are, byte for byte, what code-deploy-"]);
    std::fs::write(project.folder.join("deploy.yaml"), "").unwrap();
    std::fs::remove_dir_all(project.folder.join(".code-deploy")).unwrap();
    judged(&[MISSED]);
    // Who names the notebooks asks for what was signed over them.
    let (code, said) = told_of(Some(&project), &of(&left));
    assert!(
        code == 0 && said.contains("Their record is not here"),
        "{said}"
    );
    // What they say of themselves need not be there.
    std::fs::remove_dir_all(left.join("seal")).unwrap();
    for entry in std::fs::read_dir(&left).unwrap().map(Result::unwrap) {
        if paths::is_notebook(&entry.path()) {
            std::fs::write(entry.path(), "{}").unwrap();
        }
    }
    judged(&[MISSED]);
}

#[test]
fn a_removed_record_is_told_beside_a_later_run_that_is_whole() {
    let stage = Stage::new(1);
    let (project, _) = left(&stage);
    let later = run_after(&stage, None);
    let id = later.started().unwrap().run;
    std::fs::remove_dir_all(stage.record.path()).unwrap();
    let pages = project.notebooks_of(&id);
    publish::write(Some(&project), &later, Some(&stage.key), &pages).unwrap();
    let (code, said) = told_of(Some(&project), &of(id.as_str()));
    assert_eq!(code, 0, "{said}");
    let (code, said) = told_of(Some(&project), &VerifyArgs::default());
    assert!(code == 13 && flat(&said).contains(MISSED), "{said}");
    assert!(said.contains(" events, "), "{said}");
}

#[test]
fn other_folders_among_the_notebooks_of_runs_miss_no_record() {
    let stage = Stage::new(1);
    let (project, left) = left(&stage);
    let folder = project.folder.join("deployments");
    std::fs::create_dir(folder.join("20991231T235959999Z-dev-local-0000")).unwrap();
    std::fs::create_dir(folder.join("drafts")).unwrap();
    let ready =
        serde_json::json!({ "cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5 });
    std::fs::write(folder.join("drafts/plan.ipynb"), ready.to_string()).unwrap();
    assert_eq!(told_of(Some(&project), &VerifyArgs::default()).0, 0);
    // An export that was unpacked there has its record beside it.
    std::fs::rename(stage.record.path(), left.join("record")).unwrap();
    let (code, said) = told_of(Some(&project), &of(&project.folder));
    assert_eq!(code, 0, "{said}");
}
