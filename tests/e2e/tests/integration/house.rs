//! The house itself: which crate may know which, what lies where, what may never be in the tree.

mod arrows;
mod codes;
mod layout;
mod manifests;
mod sources;

use cargo_metadata::{Metadata, MetadataCommand};
use std::path::PathBuf;
use std::process::Command;

/// Returns the folder of the workspace.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// Returns what Cargo knows about the workspace and all its dependencies.
fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(["--locked".to_owned()])
        .exec()
        .unwrap()
}

/// Returns the files of the tree, relative to its root: tracked, or new and not ignored.
fn files() -> Vec<String> {
    let words = [
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "-z",
    ];
    let git = Command::new("git")
        .args(words)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        git.status.success(),
        "git ls-files: {}",
        String::from_utf8_lossy(&git.stderr)
    );
    let mut files: Vec<String> = git
        .stdout
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| String::from_utf8(name.to_vec()).expect("file names are UTF-8"))
        .filter(|name| root().join(name).is_file())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}
