//! What the writing of notebooks removes from a folder in which others keep files, too.

use std::path::{Path, PathBuf};

use code_deploy_notebook_gen::{remove_left, write_files};

/// No process ever has that number.
const DEAD: u32 = u32::MAX - 1;

fn put(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "left").unwrap();
    path
}

fn files() -> Vec<(PathBuf, Vec<u8>)> {
    let names = ["01_Deployment_Plan.ipynb", "charts/health.svg"];
    names
        .map(|name| (PathBuf::from(name), b"new".to_vec()))
        .to_vec()
}

#[test]
fn what_was_left_of_the_files_that_are_written_goes_and_all_else_stays() {
    let folder = super::folder();
    let folder = folder.path();
    let left = [
        format!("01_Deployment_Plan.{DEAD}.part"),
        format!("charts/health.{DEAD}.part"),
    ];
    let left = left.map(|name| put(folder, &name));
    let living = std::process::id();
    let own = [
        "film.100001.part".to_owned(),
        format!("film.{DEAD}.part"),
        format!("health.{DEAD}.part"),
        format!("charts/01_Deployment_Plan.{DEAD}.part"),
        format!("02_Environment.{DEAD}.part"),
        format!("01_Deployment_Plan.{DEAD}.part.txt"),
        format!("charts/.{DEAD}.part"),
        format!("01_Deployment_Plan.ipynb.{living}.part"),
    ];
    let own = own.map(|name| put(folder, &name));
    write_files(&files(), folder).unwrap();
    assert!(left.iter().all(|path| !path.exists()));
    for path in own {
        assert!(path.exists(), "{}", path.display());
    }
}

#[test]
fn links_and_folders_are_neither_followed_nor_removed_and_keep_nothing_from_being_written() {
    let (folder, elsewhere) = (super::folder(), super::folder());
    let (folder, elsewhere) = (folder.path(), elsewhere.path());
    let kept = put(elsewhere, &format!("health.{DEAD}.part"));
    std::os::unix::fs::symlink(elsewhere, folder.join("charts")).unwrap();
    let link = folder.join(format!("01_Deployment_Plan.{DEAD}.part"));
    std::os::unix::fs::symlink(&kept, &link).unwrap();
    let written = write_files(&files(), folder).unwrap();
    assert!(written.iter().all(|path| path.is_file()));
    assert!(kept.is_file() && std::fs::symlink_metadata(&link).is_ok());
    std::fs::remove_file(&link).unwrap();
    std::fs::create_dir(&link).unwrap();
    write_files(&files(), folder).unwrap();
    assert!(link.is_dir());
}

#[test]
fn only_what_was_left_of_named_files_is_removed_and_a_folder_that_is_not_there_is_none() {
    let folder = super::folder();
    let seal = folder.path().join("seal");
    remove_left(&seal, &["SHA256SUMS"]);
    let gone = put(&seal, &format!("SHA256SUMS.{DEAD}.part"));
    let stays = put(&seal, &format!("000000000004.checkpoint.{DEAD}.part"));
    remove_left(&seal, &["SHA256SUMS"]);
    assert!(!gone.exists() && stays.exists());
}
