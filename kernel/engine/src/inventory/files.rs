//! The files of a project that an inventory reads.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// How deep folders are looked into.
const MAX_DEPTH: usize = 8;
/// How many files and folders are looked at.
const MAX_ENTRIES: usize = 50_000;
/// The size above which a lock file or document is not read.
const MAX_BYTES: u64 = 32 * 1024 * 1024;
/// Folders whose content belongs to others or was made by programs.
const SKIPPED: &[&str] = &[
    "target",
    "node_modules",
    "vendor",
    "dist",
    "build",
    "venv",
    "__pycache__",
    "deployments",
    "site-packages",
];
/// Lock files, by name.
const LOCKS: &[&str] = &[
    "Cargo.lock",
    "package-lock.json",
    "npm-shrinkwrap.json",
    "yarn.lock",
    "requirements.txt",
    "poetry.lock",
    "uv.lock",
    "go.sum",
    "go.mod",
];

/// What a project's folder holds. Paths are relative to it.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) locks: Vec<PathBuf>,
    pub(super) documents: Vec<PathBuf>,
    pub(super) certificates: Vec<PathBuf>,
    pub(super) left_out: Vec<String>,
}

/// Looks through a project's folder, in order of names. Links are not followed.
pub(super) fn walk(project: &Path) -> Result<Found> {
    let mut found = Found::default();
    let mut waiting = vec![(PathBuf::new(), 0)];
    let mut seen = 0;
    while let Some((folder, depth)) = waiting.pop() {
        let entries = match fs::read_dir(project.join(&folder)) {
            Ok(entries) => entries,
            Err(error) if depth == 0 => return Err(unlistable(project, &error)),
            Err(error) => {
                let text = format!("{}: cannot be listed: {error}", folder.display());
                found.left_out.push(text);
                continue;
            }
        };
        let mut entries: Vec<fs::DirEntry> = entries.flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        let mut folders = Vec::new();
        for entry in entries {
            seen += 1;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = folder.join(entry.file_name());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && !is_skipped(&name) => folders.push((path, depth + 1)),
                Ok(kind) if kind.is_file() => found.add(&name, path),
                _ => {}
            }
        }
        if seen > MAX_ENTRIES {
            let text = format!(
                "more than {MAX_ENTRIES} files: those after {} are left out",
                folder.display()
            );
            found.left_out.push(text);
            break;
        }
        if depth < MAX_DEPTH {
            waiting.extend(folders.into_iter().rev());
        }
    }
    found.of_workspace(project);
    Ok(found)
}

fn is_skipped(folder: &str) -> bool {
    folder.starts_with('.') || SKIPPED.contains(&folder)
}

impl Found {
    fn add(&mut self, name: &str, path: PathBuf) {
        let lower = name.to_lowercase();
        let ends = |ends: &[&str]| ends.iter().any(|end| lower.ends_with(end));
        if LOCKS.contains(&name) {
            self.locks.push(path);
        } else if (lower.starts_with("openapi") || lower.starts_with("swagger"))
            && ends(&[".json", ".yaml", ".yml"])
        {
            self.documents.push(path);
        } else if ends(&[".pem", ".crt", ".cer"]) {
            self.certificates.push(path);
        }
    }

    /// A project inside a workspace has its lock file above, up to the repository's root.
    fn of_workspace(&mut self, project: &Path) {
        if !self.locks.is_empty() || project.join(".git").exists() {
            return;
        }
        let Ok(full) = project.canonicalize() else {
            return;
        };
        let Some(root) = full.ancestors().find(|folder| folder.join(".git").exists()) else {
            return;
        };
        let mut up = PathBuf::new();
        for folder in full.ancestors().skip(1) {
            up.push("..");
            let here = LOCKS.iter().filter(|name| folder.join(name).is_file());
            self.locks.extend(here.map(|name| up.join(name)));
            if folder == root || !self.locks.is_empty() {
                return;
            }
        }
    }
}

fn unlistable(project: &Path, error: &std::io::Error) -> Error {
    Error::refused(
        "CD0130",
        format!(
            "the project's folder {} cannot be listed: {error}",
            project.display()
        ),
        "Check the path and the permissions.",
    )
}

/// Reads a file within its limit; in words why not.
pub(super) fn read(project: &Path, path: &Path) -> Result<Vec<u8>, String> {
    let mut content = Vec::new();
    fs::File::open(project.join(path))
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut content))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    if content.len() as u64 > MAX_BYTES {
        return Err(format!("{}: larger than {MAX_BYTES} bytes", path.display()));
    }
    Ok(content)
}
