//! The journal as the engine's tasks share it.

use std::sync::{Arc, Mutex, PoisonError};

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

#[derive(Debug)]
struct Entry {
    actor: String,
    body: EventBody,
    done: oneshot::Sender<Result<Event, Error>>,
}

/// The journal as the engine's tasks share it: a thread of its own writes, so that flushing to
/// disk never blocks the runtime; where the disk cannot block, each task writes itself. Cheap to
/// clone; the thread ends with the last clone.
#[derive(Debug, Clone)]
pub struct Journal {
    written_by: WrittenBy,
    state: watch::Receiver<Arc<RunState>>,
    notices: broadcast::Sender<Notice>,
    broken: watch::Receiver<bool>,
}

#[derive(Debug, Clone)]
enum WrittenBy {
    Thread(mpsc::Sender<Entry>),
    Task(Arc<Mutex<Pen>>),
}

/// Writes, folds and tells.
#[derive(Debug)]
struct Pen {
    writer: JournalWriter,
    folded: watch::Sender<Arc<RunState>>,
    notices: broadcast::Sender<Notice>,
    broken: watch::Sender<bool>,
}

impl Journal {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(writer: JournalWriter, state: RunState) -> std::io::Result<Self> {
        let (folded, state) = watch::channel(Arc::new(state));
        let notices = broadcast::Sender::new(BEHIND);
        let (breaks, broken) = watch::channel(false);
        let blocks = writer.disk().may_block();
        let pen = Pen {
            writer,
            folded,
            notices: notices.clone(),
            broken: breaks,
        };
        let written_by = if blocks {
            let (entries, waiting) = mpsc::channel(WAITING);
            std::thread::Builder::new()
                .name("journal".to_owned())
                .spawn(move || write_all(pen, waiting))?;
            WrittenBy::Thread(entries)
        } else {
            WrittenBy::Task(Arc::new(Mutex::new(pen)))
        };
        Ok(Self {
            written_by,
            state,
            notices,
            broken,
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
        let entries = match &self.written_by {
            WrittenBy::Thread(entries) => entries,
            WrittenBy::Task(pen) => {
                let mut pen = pen.lock().unwrap_or_else(PoisonError::into_inner);
                return pen.write(actor, body);
            }
        };
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
        entries.send(entry).await.map_err(|_| closed())?;
        written.await.map_err(|_| closed())?
    }

    /// Returns whether an entry could not be written: nothing is written any more then, and
    /// nothing may be done.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        *self.broken.borrow()
    }

    /// Waits until an entry could not be written, and returns the error that every further one
    /// gives. Cancel safe.
    pub async fn failed(&self) -> Error {
        let mut broken = self.broken.clone();
        if broken.wait_for(|broken| *broken).await.is_err() {
            std::future::pending::<()>().await;
        }
        let path = std::path::Path::new("the journal");
        Error::io("append to", path)(std::io::Error::other("an earlier entry was not written"))
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

fn write_all(mut pen: Pen, mut waiting: mpsc::Receiver<Entry>) {
    while let Some(Entry { actor, body, done }) = waiting.blocking_recv() {
        // A task that was cancelled does not wait for its answer any more.
        drop(done.send(pen.write(&actor, body)));
    }
}

impl Pen {
    fn write(&mut self, actor: &str, body: EventBody) -> Result<Event, Error> {
        let written = self.writer.append(actor, body);
        match &written {
            Ok(event) => {
                self.folded.send_modify(|state| {
                    if let Err(what) = Arc::make_mut(state).apply(event) {
                        tracing::error!(seq = event.seq, what, "an event does not follow");
                    }
                });
                let told = Notice::Event(Arc::new(event.clone()));
                // Nobody listening is fine: a run needs no face.
                drop(self.notices.send(told));
            }
            // Nothing was written, and the next entry may be.
            Err(Error::SecretInEntry { .. } | Error::Serialize(_)) => {}
            Err(_) => drop(self.broken.send_replace(true)),
        }
        written
    }
}
