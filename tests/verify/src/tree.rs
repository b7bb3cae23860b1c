//! The tree that is verified.

use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::program::Program;
use std::path::{Path, PathBuf};

/// Where the sources are and where compiled code goes.
#[derive(Debug, Clone)]
pub struct Tree {
    /// The folder of the workspace.
    pub root: PathBuf,
    /// Cargo's target folder.
    pub target: PathBuf,
}

impl Tree {
    /// Asks Cargo about the workspace around `folder`.
    ///
    /// # Errors
    /// What Cargo says, or [`Error::Answer`] if it is not understood.
    pub async fn around(folder: &Path, interrupt: &Interrupt) -> Result<Self, Error> {
        let cargo = Program::new("cargo", 5)
            .args(["metadata", "--no-deps", "--locked", "--format-version", "1"])
            .folder(folder);
        let command = cargo.text().to_owned();
        let answer = cargo.read(interrupt).await?;
        Self::from_metadata(&answer).map_err(|problem| Error::Answer { command, problem })
    }

    fn from_metadata(answer: &str) -> Result<Self, String> {
        let answer: serde_json::Value = serde_json::from_str(answer).map_err(|e| e.to_string())?;
        let path = |key: &str| {
            answer[key]
                .as_str()
                .map(PathBuf::from)
                .ok_or_else(|| format!("`{key}` is missing"))
        };
        Ok(Self {
            root: path("workspace_root")?,
            target: path("target_directory")?,
        })
    }

    /// Returns the built program that the tests drive.
    pub fn program(&self) -> PathBuf {
        self.target.join("release/code-deploy")
    }

    /// Returns the source files that have examples which Cargo would run.
    ///
    /// # Errors
    /// [`Error::File`] if a folder or file cannot be read.
    pub fn files_with_doctests(&self) -> Result<Vec<PathBuf>, Error> {
        let mut found = Vec::new();
        let mut folders: Vec<PathBuf> = ["kernel", "notebook-gen", "tests"]
            .map(|name| self.root.join(name))
            .into();
        while let Some(folder) = folders.pop() {
            let failed = |source| Error::File {
                action: "read",
                path: folder.clone(),
                source,
            };
            for entry in std::fs::read_dir(&folder).map_err(failed)? {
                let path = entry.map_err(failed)?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                if path.is_dir() && !name.starts_with('.') && name != "target" {
                    folders.push(path);
                } else if name.ends_with(".rs") {
                    let text = std::fs::read_to_string(&path).map_err(|source| Error::File {
                        action: "read",
                        path: path.clone(),
                        source,
                    })?;
                    if has_doctest(&text) {
                        found.push(path);
                    }
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

/// Tells whether documentation in a source file opens a fence that holds Rust.
fn has_doctest(source: &str) -> bool {
    let mut open = false;
    for line in source.lines() {
        let line = line.trim_start();
        let Some(doc) = line
            .strip_prefix("///")
            .or_else(|| line.strip_prefix("//!"))
        else {
            open = false;
            continue;
        };
        let Some(language) = doc.trim().strip_prefix("```") else {
            continue;
        };
        if !open && is_rust(language) {
            return true;
        }
        open = !open;
    }
    false
}

fn is_rust(fence: &str) -> bool {
    const WORDS: [&str; 5] = [
        "rust",
        "no_run",
        "should_panic",
        "compile_fail",
        "edition2024",
    ];
    fence
        .split(',')
        .map(str::trim)
        .all(|word| word.is_empty() || WORDS.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_in_documentation_is_found() {
        assert!(has_doctest(
            "/// Says.\n///\n/// ```\n/// let a = 1;\n/// ```\nfn a() {}"
        ));
        assert!(has_doctest("//! ```no_run\n//! x();\n//! ```"));
    }

    #[test]
    fn other_languages_closing_fences_and_plain_comments_are_no_examples() {
        assert!(!has_doctest("/// ```text\n/// a -> b\n/// ```\nfn a() {}"));
        assert!(!has_doctest("// ```\n// let a = 1;\n// ```"));
        assert!(!has_doctest("let text = \"```\";"));
    }

    #[test]
    fn an_answer_without_a_target_folder_is_refused() {
        let problem = Tree::from_metadata(r#"{"workspace_root": "/a"}"#).unwrap_err();
        assert_eq!(problem, "`target_directory` is missing");
    }
}
