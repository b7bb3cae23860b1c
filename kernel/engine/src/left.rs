//! Processes that a runner starts for a while, such as builds and trials: each carries the run's
//! folder in its environment, so that those which a killed runner left can be found and ended.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use code_deploy_record::{RunFolder, RunState, StepStatus};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::process::Command;

/// The variable with the folder of the run that a process works for.
const MARK: &str = "CODE_DEPLOY_WORKS_FOR";

/// How the steps begin that start such processes.
const STEPS: &str = "build.";

/// Marks what a command will start.
pub(crate) fn mark(command: &mut Command, run: &RunFolder) {
    command.env(MARK, folder(run));
}

/// Ends what the last runner of a run left, where it was killed in a step that starts processes;
/// returns how many it ended.
///
/// # Errors
/// When the processes cannot be listed, or one cannot be ended.
pub(crate) fn end(run: &RunFolder, state: &RunState) -> io::Result<usize> {
    let under_way = state.steps.iter().any(|(name, step)| {
        name.as_str().starts_with(STEPS) && step.status == StepStatus::Intended
    });
    if !under_way {
        return Ok(0);
    }
    let wanted = wanted(run);
    let mut ended = 0;
    for pid in pids(run)? {
        ended += usize::from(end_marked(pid, wanted.as_bytes())?);
    }
    Ok(ended)
}

/// Returns the processes that carry the mark of a run. Those of other users are not seen.
///
/// # Errors
/// When the processes cannot be listed.
pub(crate) fn pids(run: &RunFolder) -> io::Result<Vec<u32>> {
    let wanted = wanted(run);
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        found.extend(pid.filter(|pid| carries(*pid, wanted.as_bytes())));
    }
    Ok(found)
}

/// Says whether the environment of a process holds the mark. That of another user cannot be read,
/// and is not ours.
fn carries(pid: u32, mark: &[u8]) -> bool {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|one| one == mark)
}

fn wanted(run: &RunFolder) -> OsString {
    let mut wanted = OsString::from(MARK);
    wanted.push("=");
    wanted.push(folder(run));
    wanted
}

/// Ends a process if it carries the mark. The handle is opened before the mark is read, so that the
/// signal can reach no other process.
fn end_marked(pid: u32, mark: &[u8]) -> io::Result<bool> {
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let handle = number.map(|pid| pidfd_open(pid, PidfdFlags::empty()));
    let Some(Ok(handle)) = handle else {
        return Ok(false);
    };
    if !carries(pid, mark) {
        return Ok(false);
    }
    match pidfd_send_signal(&handle, Signal::KILL) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::SRCH) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn folder(run: &RunFolder) -> PathBuf {
    std::path::absolute(run.path()).unwrap_or_else(|_| run.path().to_owned())
}
