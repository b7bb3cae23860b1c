//! Processes of the stage, found by what they work on.

use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Error;

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its command line.
    pub line: String,
}

impl Process {
    /// Returns the word behind `internal`, for a process that the program started for itself.
    #[must_use]
    pub fn role(&self) -> Option<&str> {
        let (_, rest) = self.line.split_once(" internal ")?;
        rest.split(' ').next()
    }

    /// Kills it (SIGKILL). One that is gone is no error.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&self) -> Result<(), Error> {
        kill_pid(self.pid)
    }
}

/// Kills a process (SIGKILL). One that is gone is no error.
pub(crate) fn kill_pid(pid: u32) -> Result<(), Error> {
    match kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
        Err(errno) => Err(Error::process("kill")(errno.into())),
    }
}

/// Returns the processes whose command line names the folder, or that work in it.
///
/// # Errors
/// When the system's list of processes cannot be read.
pub fn processes_of(folder: &Path) -> Result<Vec<Process>, Error> {
    let proc = Path::new("/proc");
    let entries = std::fs::read_dir(proc).map_err(Error::file("list", proc))?;
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // A process that ends meanwhile has no command line.
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let works = std::fs::read_link(entry.path().join("cwd"));
        let here = works.is_ok_and(|works| works.starts_with(folder));
        if !line.is_empty() && (here || line.contains(&*folder.to_string_lossy())) {
            found.push(Process { pid, line });
        }
    }
    found.sort_by_key(|process| process.pid);
    Ok(found)
}
