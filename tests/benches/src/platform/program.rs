//! Programs that are run to their end.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Error;

/// Runs a program with that on its standard input; returns what it says.
///
/// # Errors
/// When it cannot be run, or does not end well.
pub fn run_with(command: &mut Command, input: &str) -> Result<String, Error> {
    let name = Path::new(command.get_program()).to_owned();
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = piped
        .stderr(Stdio::piped())
        .spawn()
        .map_err(Error::io("run", &name))?;
    if let Some(mut words) = child.stdin.take() {
        let written = words.write_all(input.as_bytes());
        written.map_err(Error::io("write to", &name))?;
    }
    let ended = child
        .wait_with_output()
        .map_err(Error::io("wait for", &name))?;
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    if ended.status.success() {
        return Ok(said);
    }
    let errors = String::from_utf8_lossy(&ended.stderr);
    Err(Error::Answer(format!(
        "{}: {}\n{said}{errors}",
        name.display(),
        ended.status
    )))
}

/// Runs a program that needs no input.
///
/// # Errors
/// As [`run_with`].
pub fn run(command: &mut Command) -> Result<String, Error> {
    run_with(command, "")
}
