//! Notebooks that a run has left in its project: unsigned ones, links, and those whose record is gone.

use super::forged::{left, run_of};
use super::told::told_of;
use super::*;

fn of(path: PathBuf) -> VerifyArgs {
    VerifyArgs {
        paths: vec![path],
        ..VerifyArgs::default()
    }
}

/// Makes a notebook say that another build made it.
fn made_by_another(path: &Path) {
    let content = std::fs::read(path).unwrap();
    let mut notebook: serde_json::Value = serde_json::from_slice(&content).unwrap();
    notebook["metadata"]["code-deploy"]["made_by"]["templates"] = "0".repeat(64).into();
    std::fs::write(path, serde_json::to_vec(&notebook).unwrap()).unwrap();
}

pub(super) fn notebooks_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| paths::is_notebook(path)).collect()
}

#[test]
fn unsigned_notebooks_are_compared_as_far_as_this_version_made_them() {
    let stage = Stage::unsigned();
    let (project, left) = left(&stage);
    let all = [VerifyArgs::default(), of(run_of(&stage).as_str().into())];
    let judged = |expected: u8, words: &str| {
        for arguments in &all {
            let (code, said) = told_of(Some(&project), arguments);
            assert_eq!(code, expected, "{words}: {said}");
            assert!(said.contains(words), "{words}: {said}");
        }
    };
    judged(0, "29 notebooks and charts that the record gives");
    made_by_another(&left.join(PAGE));
    judged(0, "were not compared");
    notebooks_in(&left)
        .iter()
        .for_each(|path| made_by_another(path));
    judged(0, "are not signed and were not checked");
    // Who names them asks for it.
    let (code, said) = told_of(Some(&project), &of(left.clone()));
    assert!(code == 14 && said.contains("CD0312"), "{said}");
    publish::write(Some(&project), &stage.record, None, &left).unwrap();
    let page = left.join(PAGE);
    let text = std::fs::read_to_string(&page).unwrap();
    std::fs::write(&page, text.replacen("canary", "Canary", 1)).unwrap();
    judged(10, PAGE);
}

#[test]
fn a_folder_of_a_run_without_a_journal_is_no_record() {
    let stage = Stage::new(1);
    let (project, left) = left(&stage);
    std::fs::remove_file(stage.record.journal_path()).unwrap();
    for path in [left.clone(), left.join(PAGE)] {
        let (code, said) = told_of(Some(&project), &of(path));
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("Their record is not here"), "{said}");
    }
}

#[test]
fn a_notebook_that_is_a_link_is_not_read_and_no_damage() {
    let stage = Stage::new(1);
    let (project, left) = left(&stage);
    let page = left.join(PAGE);
    let elsewhere = stage.folder.path().join("elsewhere.ipynb");
    std::fs::rename(&page, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &page).unwrap();
    let judged = |project: Option<&Project>, arguments: &VerifyArgs| {
        let (code, said) = told_of(project, arguments);
        assert_eq!(code, 13, "{said}");
        assert!(said.contains("is a link, which is not followed"), "{said}");
    };
    judged(Some(&project), &VerifyArgs::default());
    judged(Some(&project), &of(page));
    // Without their record, too.
    let moved = stage.folder.path().join("moved");
    std::fs::rename(&left, &moved).unwrap();
    judged(None, &of(moved));
}
