//! Which checkpoints a journal asks for.

use crate::seal::is_sealed_after;
use crate::{Event, EventBody, TreeHead};

/// A checkpoint that has to be signed with an event.
#[derive(Debug, Clone)]
pub(crate) struct Due {
    /// The tree that it is over.
    pub(crate) head: TreeHead,
    pub(crate) event: Event,
}

/// The checkpoints that the keys of a journal have to sign, as its events ask for them one after the other.
#[derive(Debug, Default)]
pub(crate) struct DueCheckpoints {
    all: Vec<Due>,
    /// How many of them keys had to sign before the one that is named last.
    of_keys_before: usize,
    is_key_named: bool,
    /// Whether the last one is due with the last event.
    is_open: bool,
}

impl DueCheckpoints {
    /// Takes note of the next event, up to and with which the tree is the one that `head` returns.
    pub(crate) fn note(&mut self, event: &Event, head: impl FnOnce() -> TreeHead) {
        let was_open = std::mem::take(&mut self.is_open);
        if matches!(event.body, EventBody::KeyNamed(_)) {
            // A process that was killed between the two has left no checkpoint, and another key cannot sign it.
            if was_open {
                self.all.pop();
            }
            self.of_keys_before = self.all.len();
            self.is_key_named = true;
        } else if self.is_key_named && is_sealed_after(&event.body) {
            let (head, event) = (head(), event.clone());
            self.all.push(Due { head, event });
            self.is_open = true;
        }
    }

    /// Returns those of which the journal tells that they were signed: whether the last one of a journal that goes on
    /// was, only the next event tells.
    pub(crate) fn signed(&self) -> &[Due] {
        match self.all.split_last() {
            Some((last, before)) if self.is_open && !last.ends() => before,
            _ => &self.all,
        }
    }

    /// Returns all those that the key named last has to sign, or has signed.
    pub(crate) fn of_last_key(&self) -> &[Due] {
        self.all.get(self.of_keys_before..).unwrap_or_default()
    }
}

impl Due {
    /// Returns whether it is the one over the whole record.
    pub(crate) fn ends(&self) -> bool {
        matches!(self.event.body, EventBody::Sealed { .. })
    }
}
