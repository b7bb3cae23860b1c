//! Following a record while it is being written.

use std::time::Duration;

use code_deploy_record::{Event, EventBody, RunFolder};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::failure::Failure;

/// How long one wait for the file to change lasts before the reader looks again: a file system
/// without notification (a network mount) is then followed, too.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Hands every event from the given number on to `each`, and those that are written later, until
/// the run has ended.
///
/// # Errors
/// When the record cannot be read.
pub async fn follow(
    run: &RunFolder,
    from: u64,
    mut each: impl FnMut(Event),
) -> Result<(), Failure> {
    let mut events = run.events()?;
    loop {
        while let Some(event) = events.next_event()? {
            let ended = matches!(event.body, EventBody::RunFinished { .. });
            if event.seq >= from {
                each(event);
            }
            if ended {
                return Ok(());
            }
        }
        wait_for_change(run).await;
    }
}

/// Waits until the record has changed, or for a while. Cancel safe.
pub async fn wait_for_change(run: &RunFolder) {
    let path = run.journal_path();
    let watch = tokio::task::spawn_blocking(move || -> nix::Result<()> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
        inotify.add_watch(&path, AddWatchFlags::IN_MODIFY)?;
        let handle = nix::poll::PollFd::new(
            std::os::fd::AsFd::as_fd(&inotify),
            nix::poll::PollFlags::POLLIN,
        );
        let limit = u16::try_from(LOOK_AGAIN.as_millis()).unwrap_or(u16::MAX);
        nix::poll::poll(&mut [handle], limit).map(|_| ())
    });
    if !matches!(watch.await, Ok(Ok(()))) {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
