//! The Cargo tools that this verification runs, at the versions that it knows.

use crate::cache::Cache;
use crate::debian::{TRIES, find};
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::program::Program;
use std::path::PathBuf;

/// A tool from crates.io.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tool {
    /// The crate, which is also the program's name.
    pub name: &'static str,
    /// The version that is installed; one on the search path may be later.
    pub version: &'static str,
}

/// The test runner.
pub const NEXTEST: Tool = Tool {
    name: "cargo-nextest",
    version: "0.9.143",
};
/// The checker of dependencies.
pub const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
};

impl Tool {
    /// Makes sure that the tool is there, and returns its program. Compiling one takes minutes.
    ///
    /// # Errors
    /// What `cargo install` says, after three tries.
    pub async fn ensure(self, cache: &Cache, interrupt: &Interrupt) -> Result<PathBuf, Error> {
        let tools = cache.path("tools");
        let ours = tools.join("bin").join(self.name);
        for program in [find(self.name), Some(ours.clone())].into_iter().flatten() {
            if self.is_good(&program, interrupt).await? {
                return Ok(program);
            }
        }
        crate::report::note(&format!("compiling {} once; this takes minutes", self.name));
        let folder = cache.path(format!("build-{}", self.name));
        let mut attempt = 1;
        loop {
            let install = Program::new("cargo", 40)
                .args(["install", "--quiet", "--locked", "--force", self.name])
                .args(["--version", self.version, "--root"])
                .args([&tools])
                .env("CARGO_TARGET_DIR", &folder)
                .folder(&std::env::temp_dir());
            match install.show(interrupt).await {
                Ok(()) => break,
                Err(error @ Error::Command { .. }) if attempt < TRIES => {
                    crate::report::note(&format!("{error}; trying again ({attempt} of {TRIES})"));
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
        // Only the program is needed from now on; a folder that stays costs disk and nothing else.
        let _ = std::fs::remove_dir_all(&folder);
        Ok(ours)
    }

    async fn is_good(
        self,
        program: &std::path::Path,
        interrupt: &Interrupt,
    ) -> Result<bool, Error> {
        if !program.is_file() {
            return Ok(false);
        }
        let words: &[&str] = if self == NEXTEST {
            &["nextest", "--version"]
        } else {
            &["--version"]
        };
        match Program::new(program, 1).args(words).read(interrupt).await {
            Ok(answer) => Ok(is_at_least(&answer, self.version)),
            Err(error @ Error::Interrupted { .. }) => Err(error),
            Err(_) => Ok(false),
        }
    }
}

/// Tells whether an answer to `--version` names at least the wanted version.
fn is_at_least(answer: &str, wanted: &str) -> bool {
    let found = answer.split_whitespace().find_map(numbers);
    found.is_some_and(|found| Some(found) >= numbers(wanted))
}

fn numbers(version: &str) -> Option<[u64; 3]> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_tool_is_not_used_and_a_later_one_is() {
        let answer = "cargo-nextest 0.9.143 (60fa45f63 2026-08-04)\nrelease: 0.9.143";
        assert!(is_at_least(answer, "0.9.143"));
        assert!(is_at_least(answer, "0.9.99"));
        assert!(!is_at_least(answer, "0.10.0"));
    }

    #[test]
    fn an_answer_without_a_version_is_no_tool() {
        assert!(!is_at_least("error: no such command", "0.1.0"));
    }
}
