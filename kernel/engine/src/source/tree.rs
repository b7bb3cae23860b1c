//! The files that are deployed: those git tracks, or all of a folder that is in no repository.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::Repository;

/// Files that are looked at at most.
const MOST: usize = 20_000;

/// The size above which a file's content is not looked at.
const LARGEST: u64 = 1024 * 1024;

/// Folders that a folder outside any repository has without being source.
const SKIPPED: [&str; 6] = [
    ".git",
    ".code-deploy",
    "deployments",
    "target",
    "node_modules",
    "venv",
];

/// The files of a source tree, in order of their paths.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// The files.
    pub files: Vec<File>,
    /// Whether there were more than are looked at.
    pub cut: bool,
}

/// A file.
#[derive(Debug, Clone)]
pub struct File {
    /// The path, relative to the source folder.
    pub path: PathBuf,
    /// The content, when it is text of at most one MiB.
    pub text: Option<String>,
    /// Whether it could not be read.
    pub unreadable: bool,
}

impl Tree {
    /// Reads the files.
    pub(super) fn read(folder: &Path, repository: Option<&Repository>) -> Result<Self, String> {
        let mut paths = match repository {
            Some(repository) => repository.tracked.clone(),
            None => walk(folder)?,
        };
        paths.sort();
        let cut = paths.len() > MOST;
        paths.truncate(MOST);
        let files = paths
            .into_iter()
            .filter_map(|path| file(folder, path))
            .collect();
        Ok(Self { files, cut })
    }
}

/// Reads a file; nothing when it is tracked but was deleted, or is a link.
fn file(folder: &Path, path: PathBuf) -> Option<File> {
    let full = folder.join(&path);
    let metadata = std::fs::symlink_metadata(&full).ok()?;
    if !metadata.is_file() {
        return None;
    }
    if metadata.len() > LARGEST {
        return Some(File {
            path,
            text: None,
            unreadable: false,
        });
    }
    let mut content = Vec::new();
    let read =
        std::fs::File::open(&full).and_then(|file| file.take(LARGEST).read_to_end(&mut content));
    let text = String::from_utf8(content)
        .ok()
        .filter(|text| !text.contains('\0'));
    Some(File {
        path,
        text: text.filter(|_| read.is_ok()),
        unreadable: read.is_err(),
    })
}

fn walk(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(below) = waiting.pop() {
        let path = folder.join(&below);
        let entries =
            std::fs::read_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let skipped = SKIPPED.iter().any(|skipped| name == *skipped);
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && !skipped => waiting.push(below.join(name)),
                Ok(kind) if kind.is_file() => found.push(below.join(name)),
                _ => {}
            }
        }
        if found.len() > MOST {
            break;
        }
    }
    Ok(found)
}
