//! Processes of this machine, told apart from others that got the same number later.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};

/// A process: its number together with the time it was started, because numbers are given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The number.
    pub pid: u32,
    /// When it was started, in clock ticks since the machine was (`starttime` of `proc(5)`).
    pub started_ticks: u64,
}

impl ProcessId {
    /// Returns the identity of the process that has that number now, if there is one.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in parentheses and may itself hold some; the fields follow the last.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace();
        let state = fields.next()?;
        let started_ticks = fields.nth(18)?.parse().ok()?;
        (!matches!(state, "Z" | "X")).then_some(Self { pid, started_ticks })
    }

    /// Returns the processes that run in the session of this one, without itself. The process must
    /// have made the session, and may be gone: its number is not given again while the session
    /// has members.
    #[must_use]
    pub fn session(&self) -> Vec<Self> {
        if Self::of(self.pid).is_some_and(|process| process != *self) {
            return Vec::new();
        }
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let others = pids.filter(|pid| *pid != self.pid && session_of(*pid) == Some(self.pid));
        others.filter_map(Self::of).collect()
    }

    /// Returns whether this very process still runs.
    #[must_use]
    pub fn runs(&self) -> bool {
        Self::of(self.pid) == Some(*self)
    }

    /// Asks the process to end (SIGTERM). A process that is gone is no error.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn terminate(&self) -> io::Result<()> {
        self.signal(Signal::TERM)
    }

    /// Makes the process end (SIGKILL). A process that is gone is no error.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }

    /// The handle is opened before the identity is checked, so that the signal can reach no
    /// other process.
    fn signal(&self, signal: Signal) -> io::Result<()> {
        let Some(handle) = self.open()? else {
            return Ok(());
        };
        match rustix::process::pidfd_send_signal(&handle, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn open(&self) -> io::Result<Option<OwnedFd>> {
        let raw = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let Some(pid) = raw else { return Ok(None) };
        let handle = match rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(handle) => handle,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(self.runs().then_some(handle))
    }

    /// Waits until the process has ended, at most that long; returns whether it has.
    ///
    /// # Errors
    /// When the system refuses to watch it.
    ///
    /// # Cancel safety
    /// When the future is dropped, a thread waits on for the rest of the limit.
    pub async fn ended_within(&self, limit: Duration) -> io::Result<bool> {
        let Some(handle) = self.open()? else {
            return Ok(true);
        };
        // A process handle can be polled, and only a thread of its own may wait for that.
        let waited = tokio::task::spawn_blocking(move || wait_readable(&handle, limit)).await;
        waited
            .map_err(io::Error::other)?
            .map(|ended| ended || !self.runs())
    }

    /// Waits until the process has ended.
    ///
    /// # Errors
    /// When the system refuses to watch it.
    ///
    /// # Cancel safety
    /// When the future is dropped, a thread waits on for the rest of [`LOOK_AGAIN`].
    pub async fn ended(&self) -> io::Result<()> {
        while !self.ended_within(LOOK_AGAIN).await? {}
        Ok(())
    }
}

/// How long a thread waits for the end of a process without looking whether it is still wanted.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

fn session_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // State, parent and group stand before the session.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(3)?.parse().ok()
}

fn wait_readable(handle: &OwnedFd, limit: Duration) -> io::Result<bool> {
    let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
    let mut watched = [PollFd::new(handle, PollFlags::IN)];
    loop {
        match poll(&mut watched, Some(&limit)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
