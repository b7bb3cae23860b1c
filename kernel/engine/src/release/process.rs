//! A helper process that outlives this program: told from others by its number, its start time
//! and its command line.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::Instant;

use crate::spec::Spec;
use crate::step::StepError;

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// How long a process may take to end after it was made to.
const FORCED: Duration = Duration::from_secs(5);

/// A process of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    /// Its number.
    pub(super) pid: u32,
    /// When it started, in the system's ticks since it booted.
    pub(super) start_ticks: u64,
}

/// Starts a program in a group of its own, so that a Ctrl-C for this program is none for it, with
/// its output in `logs/NAME.log`.
pub(super) fn spawn(
    program: &Path,
    arguments: &[OsString],
    spec: &Spec,
    logs: &Path,
    name: &str,
) -> Result<Process, StepError> {
    let cannot = |error: std::io::Error| {
        let what = format!("{} could not be started: {error}", program.display());
        StepError::permanent(
            "CD0468",
            what,
            "Check that the program is there and may be run.",
        )
    };
    let log = logs.join(format!("{name}.log"));
    let mut options = OpenOptions::new();
    let log = options
        .append(true)
        .create(true)
        .mode(0o600)
        .open(log)
        .map_err(cannot)?;
    let errors = log.try_clone().map_err(cannot)?;
    let mut command = tokio::process::Command::new(program);
    for secret in spec.secret_variables() {
        command.env_remove(secret);
    }
    let child = command
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .stdout(log)
        .stderr(errors)
        .process_group(0)
        .kill_on_drop(false)
        .spawn()
        .map_err(cannot)?;
    let pid = child.id().unwrap_or(0);
    let start_ticks = start_ticks(pid).unwrap_or(0);
    Ok(Process { pid, start_ticks })
}

impl Process {
    /// Returns a process that runs and whose command line names `config`. Looks at all of them.
    pub(super) fn find(config: &Path) -> Option<Self> {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.find_map(|pid| Self::running(pid, config))
    }

    /// Returns the process of that number when it runs and its command line names `config`.
    pub(super) fn running(pid: u32, config: &Path) -> Option<Self> {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let config = config.as_os_str().as_encoded_bytes();
        let named = command
            .split(|byte| *byte == 0)
            .any(|argument| argument == config);
        let start_ticks = start_ticks(pid)?;
        named.then_some(Self { pid, start_ticks })
    }

    /// Returns whether the process still runs: the same number with the same start time, and not
    /// ended but unburied.
    pub(super) fn is_alive(&self) -> bool {
        start_ticks(self.pid) == Some(self.start_ticks)
    }

    /// Asks the process to end; makes it end after the limit.
    pub(super) async fn end(&self, limit: Duration) -> Result<(), StepError> {
        self.signal(Signal::SIGTERM);
        if self.gone_within(limit).await {
            return Ok(());
        }
        self.signal(Signal::SIGKILL);
        if self.gone_within(FORCED).await {
            return Ok(());
        }
        let (pid, seconds) = (self.pid, limit.as_secs());
        let what = format!("process {pid} did not end within {seconds} s, nor when made to");
        Err(StepError::transient(
            "CD0469",
            what,
            "Look at the process table.",
        ))
    }

    fn signal(&self, signal: Signal) {
        let Ok(pid) = i32::try_from(self.pid) else {
            return;
        };
        if self.is_alive()
            && let Err(error) = kill(Pid::from_raw(pid), signal)
        {
            tracing::debug!(%error, pid, "the process ended before its signal");
        }
    }

    async fn gone_within(&self, limit: Duration) -> bool {
        let began = Instant::now();
        while self.is_alive() {
            if began.elapsed() >= limit {
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
        true
    }
}

/// Returns the start time of a process that runs.
fn start_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, also spaces and parentheses.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}
