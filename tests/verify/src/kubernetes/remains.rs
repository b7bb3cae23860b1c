//! What a node leaves that does not go with its namespaces: its folder and its control groups.

use super::components::CONTROL_GROUP;
use crate::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where control groups are: one tree, or a folder with a tree for each kind.
const CONTROL_GROUPS: &str = "/sys/fs/cgroup";
/// How long processes that were killed may be seen in their groups.
const LIMIT: Duration = Duration::from_secs(20);
/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Removes a node's folder and the control groups of its containers.
///
/// # Errors
/// [`Error::File`] for what cannot be removed.
pub(super) async fn remove(folder: &Path) -> Result<(), Error> {
    for group in groups(Path::new(CONTROL_GROUPS)) {
        let end = tokio::time::Instant::now() + LIMIT;
        while let Err(source) = remove_group(&group) {
            if tokio::time::Instant::now() >= end {
                return Err(failed(&group, source));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    match std::fs::remove_dir_all(folder) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(failed(folder, source)),
        _ => Ok(()),
    }
}

fn failed(path: &Path, source: std::io::Error) -> Error {
    Error::File {
        action: "remove",
        path: path.to_owned(),
        source,
    }
}

/// Returns the node's groups that are there.
fn groups(tree: &Path) -> Vec<PathBuf> {
    let kinds = std::fs::read_dir(tree).into_iter().flatten().flatten();
    let kinds = kinds.map(|entry| entry.path().join(CONTROL_GROUP));
    let all = kinds.chain([tree.join(CONTROL_GROUP)]);
    let mut all: Vec<PathBuf> = all.filter(|group| group.is_dir()).collect();
    // Some kinds have two names for one tree.
    all.sort();
    all.dedup_by_key(|group| group.canonicalize().ok());
    all
}

/// Removes a group with those in it. The files in a group cannot be removed and go with it.
fn remove_group(group: &Path) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(group) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_group(&entry.path())?;
        }
    }
    std::fs::remove_dir(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_each_kind_go_with_those_in_them_and_others_stay() {
        let tree = tempfile::tempdir().unwrap();
        let ours = tree.path().join("memory").join(CONTROL_GROUP);
        std::fs::create_dir_all(ours.join("a/b")).unwrap();
        std::fs::create_dir_all(tree.path().join("memory/docker")).unwrap();
        assert_eq!(groups(tree.path()), std::slice::from_ref(&ours));
        remove_group(&ours).unwrap();
        assert_eq!(groups(tree.path()), Vec::<PathBuf>::new());
        assert!(tree.path().join("memory/docker").is_dir());
    }
}
