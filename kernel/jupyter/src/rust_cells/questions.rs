//! Questions of cells, on the side of the host.

use std::cell::{Cell, RefCell};
use std::process::Child;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};

use super::host::Events;
use super::protocol::Event;
use super::relay::Relay;

/// What a question that will not be answered gets, before the reason, where the asking code understands it.
const REFUSED: char = '\u{1}';
/// Other code gets an empty line; where it asks again and again, its process is ended.
const EMPTY_ANSWERS: u32 = 1000;

/// An answer of the kernel's: the line, or why there is none.
pub(super) type Answer = Result<String, String>;

/// Asks the kernel what a cell asks, while that runs.
pub(super) struct Questions<'a> {
    pub(super) relay: &'a Relay,
    pub(super) events: &'a Events,
    pub(super) answers: &'a Receiver<Answer>,
    /// Why the first question that got no answer got none.
    pub(super) refused: RefCell<Option<String>>,
    pub(super) empty_answers: Cell<u32>,
    /// The process that runs the cell.
    pub(super) process: Arc<Mutex<Child>>,
}

impl Questions<'_> {
    /// Returns the line that the cell reads.
    pub(super) fn ask(&self) -> String {
        let Some(asked) = self.relay.question() else {
            tracing::warn!("evcxr passed on a question that nobody asked");
            return String::new();
        };
        self.events.send(&Event::Ask {
            prompt: asked.prompt,
            password: asked.password,
        });
        let gone = || Err("the kernel has gone".to_owned());
        let answer = self.answers.recv().unwrap_or_else(|_| gone());
        match answer {
            Ok(line) => first_line(&line).replace(REFUSED, ""),
            Err(reason) => {
                let told = format!("{REFUSED}{}", first_line(&reason));
                self.refused.borrow_mut().get_or_insert(reason);
                if asked.can_refuse {
                    return told;
                }
                self.give_empty();
                String::new()
            }
        }
    }

    fn give_empty(&self) {
        self.empty_answers.set(self.empty_answers.get() + 1);
        if self.empty_answers.get() > EMPTY_ANSWERS {
            let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = process.kill() {
                tracing::warn!(%error, "the process that runs cells could not be ended");
            }
        }
    }
}

/// evcxr passes an answer on as one line.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
