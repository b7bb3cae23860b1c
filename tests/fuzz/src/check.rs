//! Whether a kernel is still what it was.

use std::fmt;
use std::time::Duration;

use code_deploy_wire::{Client, Kernel, Kind, Socket};
use serde_json::json;

/// A kernel in good health answers a hundred times faster, also while it works off what was sent to it.
const BEAT_LIMIT: Duration = Duration::from_secs(20);
/// Lines of the kernel's log that are shown.
const LINES: usize = 12;

/// What a kernel did wrong, and how to see it again.
#[derive(Debug)]
pub struct Fault {
    /// The seed of the run.
    pub seed: u64,
    /// The first case that may have done it.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// What is wrong.
    pub reason: String,
    /// The end of what the kernel has logged.
    pub said: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            first,
            last,
            reason,
            said,
        } = self;
        writeln!(out, "after case {last}: {reason}")?;
        writeln!(
            out,
            "again: --seed {seed} --from {first} --cases {}",
            last - first + 1
        )?;
        writeln!(
            out,
            "or from the beginning: --seed {seed} --cases {}",
            last + 1
        )?;
        write!(out, "the kernel's log ends with:\n{said}")
    }
}

/// Looks whether the kernel answers everywhere, within its memory, without a panic.
pub fn look(kernel: &mut Kernel, memory: u64) -> Result<(), String> {
    if !kernel.is_alive() {
        return Err("the process has ended".to_owned());
    }
    let answered = answers(kernel);
    if !kernel.is_alive() {
        return Err("the process has ended".to_owned());
    }
    answered.map_err(|error| format!("it does not answer any more: {error}"))?;
    let found = kernel.memory();
    if found > memory {
        return Err(format!(
            "it has {found} bytes of memory, the limit is {memory}"
        ));
    }
    match kernel.said().contains("panicked at") {
        true => Err("something in it panicked".to_owned()),
        false => Ok(()),
    }
}

fn answers(kernel: &mut Kernel) -> Result<(), code_deploy_wire::Error> {
    let mut beat = Socket::connect(kernel.ports.heartbeat, Kind::Requester, b"")?;
    beat.send(&[Vec::new(), b"beat".to_vec()])?;
    beat.receive(BEAT_LIMIT)?;
    // A client is one when shell has answered and iopub has published.
    let mut client: Client = kernel.client()?;
    client.control("kernel_info_request", &json!({}))?;
    Ok(())
}

/// Returns the last lines of a log.
pub fn end_of(said: &str) -> String {
    let lines: Vec<&str> = said.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
