//! Notices that whoever started the kernel has gone, so that a killed server leaves no kernels behind.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::{Pid, getppid};

const PERIOD: Duration = Duration::from_millis(500);
/// Orphans belong to this process.
const INIT: i32 = 1;

/// Returns the process that started this one. Whoever asks late may be told who took an orphan in.
pub(crate) fn starter() -> Pid {
    getppid()
}

/// Returns when the process that started this one has ended, or the one named (`JPY_PARENT_PID`) has.
/// Never returns where there is no such process: a kernel started by init itself.
///
/// # Cancel safety
/// Nothing is lost when this is dropped.
pub(crate) async fn parent_gone(starter: Pid, named: Option<u32>) {
    let named = named
        .and_then(|pid| i32::try_from(pid).ok())
        .filter(|pid| *pid > INIT)
        .map(Pid::from_raw)
        .filter(|pid| *pid != starter);
    loop {
        tokio::time::sleep(PERIOD).await;
        let orphaned = starter.as_raw() != INIT && getppid() != starter;
        let named_gone = named.is_some_and(|pid| kill(pid, None) == Err(Errno::ESRCH));
        if orphaned || named_gone {
            return;
        }
    }
}
