//! The host's end of what cells write: passes it on to the kernel while a cell runs.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::frames::{self, Asked, Frame};
use super::host::Events;
use super::protocol::Event;

/// The end of what a cell wrote to standard error, where the text of a panic stands, in bytes.
const ERRORS_KEPT: usize = 16 * 1024;
/// What ends the message of a panic.
const PANIC_ENDS: [&str; 2] = ["stack backtrace:", "note: "];

/// Passes on what cells write.
#[derive(Clone)]
pub(super) struct Relay {
    shared: Arc<Shared>,
}

struct Shared {
    events: Events,
    cell: Mutex<Cell>,
    changed: Condvar,
}

/// Where text goes now.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Text {
    /// Nowhere: no cell of the user's runs yet.
    #[default]
    Dropped,
    /// To the kernel.
    Shown,
    /// It waits for the next cell: threads of an earlier one write it.
    Waits,
}

#[derive(Debug, Default)]
struct Cell {
    text: Text,
    errors: String,
    told: Told,
}

/// What a cell came to, beside what evcxr says of it.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// What it panicked with.
    pub(super) panic: Option<String>,
    /// The error, in one line, with which a `?` ended it.
    pub(super) gave_up: Option<String>,
    /// The size of a value that is not shown.
    pub(super) too_large: Option<u64>,
    /// How its process ended.
    pub(super) ended: Option<String>,
    asked: Option<Asked>,
}

impl Relay {
    /// Listens in the folder for the processes that run cells, one after the other.
    pub(super) fn start(folder: &Path, events: Events) -> std::io::Result<Self> {
        let listener = UnixListener::bind(frames::socket(folder))?;
        let relay = Self {
            shared: Arc::new(Shared {
                events,
                cell: Mutex::default(),
                changed: Condvar::new(),
            }),
        };
        let heard = relay.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let heard =
                    connection.and_then(|open| frames::listen(open, |frame| heard.hear(frame)));
                if let Err(error) = heard {
                    tracing::debug!(%error, "the process that runs cells went away");
                }
            }
        });
        Ok(relay)
    }

    /// From here on text is a cell's.
    pub(super) fn begin(&self) {
        let mut cell = self.cell();
        *cell = Cell {
            text: Text::Shown,
            ..Cell::default()
        };
        self.shared.changed.notify_all();
    }

    /// Ends what [`Relay::begin`] began. All that the cell wrote was passed on: its process waited for that.
    pub(super) fn end(&self) -> Told {
        let mut cell = self.cell();
        cell.text = Text::Waits;
        std::mem::take(&mut cell.told)
    }

    /// Takes the question that evcxr passes on.
    pub(super) fn question(&self) -> Option<Asked> {
        self.cell().told.asked.take()
    }

    fn hear(&self, frame: Frame) {
        let text = match frame {
            Frame::Stdout(text) => Event::Stdout { text },
            Frame::Stderr(text) => Event::Stderr { text },
            Frame::Display(display) => Event::Display { display },
            Frame::Clear(wait) => Event::Clear { wait },
            other => return self.cell().note(other),
        };
        let mut cell = self.cell();
        while cell.text == Text::Waits {
            let waited = self.shared.changed.wait(cell);
            cell = waited.unwrap_or_else(PoisonError::into_inner);
        }
        if cell.text == Text::Dropped {
            return;
        }
        if let Event::Stderr { text } = &text {
            cell.keep(text);
        }
        drop(cell);
        self.shared.events.send(&text);
    }

    fn cell(&self) -> MutexGuard<'_, Cell> {
        let cell = self.shared.cell.lock();
        cell.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cell {
    fn note(&mut self, frame: Frame) {
        match frame {
            Frame::Asked(asked) => self.told.asked = Some(asked),
            Frame::Panicked(pid) => self.told.panic = Some(panic_text(&self.errors, pid)),
            Frame::GaveUp => {
                // Further lines of an error are set in.
                let is_first = |line: &&str| !line.starts_with(char::is_whitespace);
                let first = self.errors.lines().rfind(is_first).unwrap_or("an error");
                self.told.gave_up = Some(first.trim_end().to_owned());
            }
            Frame::TooLarge(size) => self.told.too_large = Some(size),
            Frame::Ended(how) => self.told.ended = Some(how),
            Frame::Stdout(_)
            | Frame::Stderr(_)
            | Frame::Display(_)
            | Frame::Clear(_)
            | Frame::Done => {}
        }
    }

    fn keep(&mut self, text: &str) {
        self.errors.push_str(text);
        if self.errors.len() > 2 * ERRORS_KEPT {
            let from = self
                .errors
                .ceil_char_boundary(self.errors.len() - ERRORS_KEPT);
            self.errors.drain(..from);
        }
    }
}

/// Returns the message of the panic of a cell. Cells run on the first thread of their process, whose thread id
/// is the process id; panics of threads a cell started are their own affair.
fn panic_text(errors: &str, pid: u32) -> String {
    let head = format!("({pid}) panicked at ");
    let after = errors
        .rfind(&head)
        .and_then(|at| errors[at..].split_once('\n'));
    let lines = after.map_or("", |(_, rest)| rest).lines();
    let message: Vec<&str> = lines
        .take_while(|line| !PANIC_ENDS.iter().any(|end| line.starts_with(end)))
        .collect();
    message.join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn only_the_message_of_the_cells_own_thread_is_its_panic() {
        let errors = "thread '<unnamed>' (42) panicked at src/lib.rs:1:1:\nboom\nbang\nstack backtrace:\n 0: x\n\
                      thread '<unnamed>' (43) panicked at src/lib.rs:1:1:\nnot ours\n";
        assert_eq!(panic_text(errors, 42), "boom\nbang");
        assert_eq!(panic_text(errors, 44), "");
    }

    #[test]
    fn the_end_of_long_errors_is_kept() {
        let mut cell = Cell::default();
        (0..100_000).for_each(|number| cell.keep(&format!("é{number}\n")));
        assert!(cell.errors.len() <= 2 * ERRORS_KEPT + 10);
        cell.note(Frame::GaveUp);
        assert_eq!(cell.told.gave_up.take().unwrap(), "é99999");
        cell.keep("error: of several lines\n  next: this\n");
        cell.note(Frame::GaveUp);
        assert_eq!(cell.told.gave_up.unwrap(), "error: of several lines");
    }
}
