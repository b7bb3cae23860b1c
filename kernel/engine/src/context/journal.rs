//! The journal as the engine's tasks share it.

use std::sync::Arc;

use code_deploy_record::{Error, Event, EventBody, JournalWriter, RunState};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::Progress;

/// Events that wait to be written: one per task that runs at a time, and those are few.
const WAITING: usize = 64;

/// Notices that a slow face may be behind before it misses some: it then reads the record.
const BEHIND: usize = 4096;

/// What the faces are told.
#[derive(Debug, Clone)]
pub enum Notice {
    /// An event, as it stands in the journal.
    Event(Arc<Event>),
    /// What is going on between two events.
    Progress(Progress),
}

struct Entry {
    actor: String,
    body: EventBody,
    done: oneshot::Sender<Result<Event, Error>>,
}

/// The journal as the engine's tasks share it: a thread of its own writes, so that flushing to
/// disk never blocks the runtime. Cheap to clone; the thread ends with the last clone.
#[derive(Debug, Clone)]
pub struct Journal {
    entries: mpsc::Sender<Entry>,
    state: watch::Receiver<Arc<RunState>>,
    notices: broadcast::Sender<Notice>,
}

impl Journal {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(writer: JournalWriter, state: RunState) -> std::io::Result<Self> {
        let (entries, waiting) = mpsc::channel(WAITING);
        let (folded, state) = watch::channel(Arc::new(state));
        let notices = broadcast::Sender::new(BEHIND);
        let tell = notices.clone();
        std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || write_all(writer, waiting, &folded, &tell))?;
        Ok(Self {
            entries,
            state,
            notices,
        })
    }

    /// Appends an event; returns it when it is on disk and folded into the state.
    ///
    /// # Errors
    /// When it could not be written; nothing may be done then that it announces.
    ///
    /// # Cancel safety
    /// When the future is dropped the event may or may not be written.
    pub async fn append(&self, actor: &str, body: EventBody) -> Result<Event, Error> {
        let (done, written) = oneshot::channel();
        let entry = Entry {
            actor: actor.to_owned(),
            body,
            done,
        };
        let closed = || {
            let path = std::path::Path::new("the journal");
            Error::io("append to", path)(std::io::Error::other("its writer has ended"))
        };
        self.entries.send(entry).await.map_err(|_| closed())?;
        written.await.map_err(|_| closed())?
    }

    /// Returns where the run stands.
    #[must_use]
    pub fn state(&self) -> Arc<RunState> {
        self.state.borrow().clone()
    }

    /// Returns a receiver of what the faces are told from now on.
    #[must_use]
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    /// Tells the faces something that is not journaled.
    pub fn tell(&self, notice: Notice) {
        // Nobody listening is fine: a run needs no face.
        drop(self.notices.send(notice));
    }
}

fn write_all(
    mut writer: JournalWriter,
    mut waiting: mpsc::Receiver<Entry>,
    folded: &watch::Sender<Arc<RunState>>,
    notices: &broadcast::Sender<Notice>,
) {
    while let Some(Entry { actor, body, done }) = waiting.blocking_recv() {
        let written = writer.append(&actor, body);
        if let Ok(event) = &written {
            folded.send_modify(|state| {
                if let Err(what) = Arc::make_mut(state).apply(event) {
                    tracing::error!(seq = event.seq, what, "an event does not follow");
                }
            });
            drop(notices.send(Notice::Event(Arc::new(event.clone()))));
        }
        // A task that was cancelled does not wait for its answer any more.
        drop(done.send(written));
    }
}
