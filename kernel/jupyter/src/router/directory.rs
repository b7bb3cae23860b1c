use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Replies that wait for one client: as many as it can have requests waiting.
pub(super) const OUTBOX: usize = 4096;

/// The clients of one socket by their identities. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Directory {
    state: Arc<Mutex<State>>,
    /// Told whenever somebody leaves.
    left: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    clients: HashMap<Bytes, Client>,
    entered: u64,
    closed: bool,
}

#[derive(Debug)]
struct Client {
    number: u64,
    outbox: Sender<Bytes>,
    cut: CancellationToken,
}

/// A client's place in the directory.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) identity: Bytes,
    /// Cancelled when the connection is to end at once, whatever waits.
    pub(super) cut: CancellationToken,
    number: u64,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    Queued,
    Gone,
    Full,
}

impl Directory {
    /// Enters a client; one without an identity is given one. The same identity coming back takes the place of the
    /// connection it had, which is closed. Nothing when the directory is closed.
    pub(super) fn enter(&self, identity: Bytes) -> Option<(Entry, Receiver<Bytes>)> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        state.entered += 1;
        let number = state.entered;
        let identity = if identity.is_empty() {
            // Identities of clients do not begin with a zero byte: RFC 28.
            let mut given = vec![0];
            given.extend_from_slice(&number.to_be_bytes());
            given.into()
        } else {
            identity
        };
        let (outbox, waiting) = channel(OUTBOX);
        let cut = CancellationToken::new();
        let client = Client {
            number,
            outbox,
            cut: cut.clone(),
        };
        if let Some(old) = state.clients.insert(identity.clone(), client) {
            old.cut.cancel();
        }
        let entry = Entry {
            identity,
            cut,
            number,
        };
        Some((entry, waiting))
    }

    /// Removes a client whose connection has ended, unless another has taken its place.
    pub(super) fn leave(&self, entry: &Entry) {
        let mut state = self.lock();
        let client = state.clients.get(&entry.identity);
        if client.is_some_and(|client| client.number == entry.number) {
            state.clients.remove(&entry.identity);
        }
        drop(state);
        self.left.send_replace(());
    }

    /// Returns what is told whenever somebody leaves.
    pub(super) fn departures(&self) -> watch::Receiver<()> {
        self.left.subscribe()
    }

    /// Returns whether a client is there.
    pub(super) fn has(&self, identity: &Bytes) -> bool {
        self.lock().clients.contains_key(identity)
    }

    /// Puts a message into a client's queue; a client whose queue is full is removed.
    pub(super) fn send(&self, identity: &Bytes, message: Bytes) -> Sent {
        let mut state = self.lock();
        let Some(client) = state.clients.get(identity) else {
            return Sent::Gone;
        };
        match client.outbox.try_send(message) {
            Ok(()) => Sent::Queued,
            Err(TrySendError::Closed(_)) => Sent::Gone,
            Err(TrySendError::Full(_)) => {
                client.cut.cancel();
                state.clients.remove(identity);
                Sent::Full
            }
        }
    }

    /// Removes everybody; nobody can enter any more.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.clients.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn me() -> Bytes {
        Bytes::from_static(b"me")
    }

    #[test]
    fn the_same_identity_takes_the_place_of_the_connection_it_had() {
        let directory = Directory::default();
        let (old, mut old_outbox) = directory.enter(me()).unwrap();
        let (_, mut outbox) = directory.enter(me()).unwrap();
        assert!(old.cut.is_cancelled());
        directory.leave(&old);
        assert_eq!(
            directory.send(&me(), Bytes::from_static(b"hi")),
            Sent::Queued
        );
        assert_eq!(outbox.try_recv().unwrap(), "hi");
        assert!(old_outbox.blocking_recv().is_none());
    }

    #[test]
    fn a_client_that_reads_nothing_is_removed_when_its_queue_is_full() {
        let directory = Directory::default();
        let (entry, outbox) = directory.enter(me()).unwrap();
        for _ in 0..OUTBOX {
            assert_eq!(directory.send(&me(), Bytes::new()), Sent::Queued);
        }
        assert_eq!(directory.send(&me(), Bytes::new()), Sent::Full);
        assert_eq!(directory.send(&me(), Bytes::new()), Sent::Gone);
        assert!(entry.cut.is_cancelled());
        assert_eq!(outbox.len(), OUTBOX);
    }

    #[test]
    fn clients_without_an_identity_are_told_apart_and_nobody_enters_a_closed_directory() {
        let directory = Directory::default();
        let (one, _outbox) = directory.enter(Bytes::new()).unwrap();
        let (two, _other) = directory.enter(Bytes::new()).unwrap();
        assert_ne!(one.identity, two.identity);
        directory.close();
        // What waits for them is still written.
        assert!(!one.cut.is_cancelled());
        assert!(directory.enter(me()).is_none());
        assert_eq!(directory.send(&one.identity, Bytes::new()), Sent::Gone);
    }
}
