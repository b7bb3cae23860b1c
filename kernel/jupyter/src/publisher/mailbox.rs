use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Weight;

/// Above this the publisher waits for a reader that reads: room for a burst, small beside the process.
const SOFT_BYTES: usize = 8 * 1024 * 1024;
/// The same in messages, because small ones cost more than their bytes.
const SOFT_MESSAGES: usize = 20_000;
/// The most a stalled reader may cost before it is disconnected.
pub(super) const HARD_BYTES: usize = 64 * 1024 * 1024;
/// Clients subscribe to everything, or to a few kinds of messages.
const TOPICS_LIMIT: usize = 1024;
/// What one write takes at most, so that progress is seen often.
const BATCH_BYTES: usize = 64 * 1024;

/// A reader with a full mailbox that took less than [`PACE_BYTES`] in so long a time has stalled.
const STALL_LIMIT: Duration = Duration::from_millis(500);
/// What a reader takes at least that others wait for; clients on a busy machine take several times as much.
const PACE_BYTES: usize = 128 * 1024;

/// What became of a message offered to a mailbox.
pub(super) enum Offer {
    /// It is in, or the reader has left.
    Taken,
    /// The reader has stalled and does without it.
    LeftOut,
    /// Full, but the reader moves: offer again when it [`Mailbox::moved`], or after this time.
    Wait(Duration),
    /// Full beyond the hard limit.
    Refused,
}

/// Messages on their way to one reader.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    state: Mutex<State>,
    filled: Notify,
    taken: Notify,
}

#[derive(Debug)]
struct State {
    topics: Vec<Bytes>,
    queue: VecDeque<Bytes>,
    bytes: usize,
    /// True while a batch is being written.
    writing: bool,
    /// When it had last taken [`PACE_BYTES`], or had nothing to read.
    last_progress: Instant,
    /// Since when what it takes is counted, and how much that is, in bytes.
    counted: (Instant, usize),
    left_out: u64,
    notice: Option<Bytes>,
    closed: bool,
}

impl State {
    fn push(&mut self, message: Bytes) {
        self.bytes += message.len();
        self.queue.push_back(message);
    }
}

impl Default for State {
    fn default() -> Self {
        Self {
            topics: Vec::new(),
            queue: VecDeque::new(),
            bytes: 0,
            writing: false,
            last_progress: Instant::now(),
            counted: (Instant::now(), 0),
            left_out: 0,
            notice: None,
            closed: false,
        }
    }
}

impl Mailbox {
    pub(super) fn wants(&self, topic: &[u8]) -> bool {
        self.lock()
            .topics
            .iter()
            .any(|prefix| topic.starts_with(prefix))
    }

    /// Returns false where the reader has subscribed to more than it can mean.
    pub(super) fn subscribe(&self, topic: &Bytes) -> bool {
        let mut state = self.lock();
        let room = state.topics.len() < TOPICS_LIMIT;
        if room {
            state.topics.push(topic.clone());
        }
        room
    }

    pub(super) fn cancel(&self, topic: &Bytes) {
        let mut state = self.lock();
        if let Some(position) = state.topics.iter().position(|other| other == topic) {
            state.topics.remove(position);
        }
    }

    pub(super) fn offer(&self, message: &Bytes, weight: Weight, now: Instant) -> Offer {
        let mut state = self.lock();
        if state.closed {
            return Offer::Taken;
        }
        if state.bytes >= SOFT_BYTES || state.queue.len() >= SOFT_MESSAGES {
            let quiet = now.saturating_duration_since(state.last_progress);
            if quiet < STALL_LIMIT {
                return Offer::Wait(STALL_LIMIT.saturating_sub(quiet));
            }
            if weight == Weight::Passing {
                state.left_out += 1;
                return Offer::LeftOut;
            }
            if state.bytes >= HARD_BYTES {
                return Offer::Refused;
            }
        }
        if state.queue.is_empty() && !state.writing {
            // The time a reader had nothing to read does not count as stalling.
            state.last_progress = now;
            state.counted = (now, 0);
        }
        if let Some(notice) = state.notice.take() {
            state.push(notice);
        }
        state.push(message.clone());
        drop(state);
        self.filled.notify_one();
        Offer::Taken
    }

    /// Keeps what tells the reader, where the messages left out would have been, that they were; the first
    /// of a gap stands for all.
    pub(super) fn explain(&self, notice: impl FnOnce() -> Bytes) {
        let mut state = self.lock();
        if state.notice.is_none() {
            state.notice = Some(notice());
        }
    }

    /// Waits until the reader took something, at most `limit`.
    pub(super) async fn moved(&self, limit: Duration) {
        let _ = tokio::time::timeout(limit, self.taken.notified()).await;
    }

    /// Waits until nothing is on its way.
    pub(super) async fn empty(&self) {
        loop {
            let taken = self.taken.notified();
            {
                let state = self.lock();
                if state.closed || (state.queue.is_empty() && !state.writing) {
                    return;
                }
            }
            taken.await;
        }
    }

    /// Waits for messages and returns them as one piece; `None` after [`Mailbox::close`].
    ///
    /// # Cancel safety
    /// A batch that was returned is no longer in the mailbox.
    pub(super) async fn next_batch(&self) -> Option<Bytes> {
        loop {
            let filled = self.filled.notified();
            {
                let mut state = self.lock();
                if state.closed {
                    return None;
                }
                if !state.queue.is_empty() {
                    state.writing = true;
                    return Some(take_batch(&mut state));
                }
            }
            filled.await;
        }
    }

    /// Notes that the reader took so many bytes.
    pub(super) fn progressed(&self, bytes: usize, now: Instant) {
        let mut state = self.lock();
        let (since, taken) = state.counted;
        // What a reader takes in a long time does not make it fast.
        let is_over = now.saturating_duration_since(since) > STALL_LIMIT;
        let (since, taken) = if is_over {
            (now, bytes)
        } else {
            (since, taken + bytes)
        };
        state.counted = (since, taken);
        if taken >= PACE_BYTES {
            state.counted = (now, 0);
            state.last_progress = now;
        }
        drop(state);
        self.taken.notify_one();
    }

    pub(super) fn delivered(&self) {
        let mut state = self.lock();
        state.writing = false;
        if state.queue.is_empty() && state.left_out > 0 {
            let left_out = std::mem::take(&mut state.left_out);
            tracing::warn!(
                left_out,
                "a reader of iopub stalled; passing messages were left out"
            );
            if let Some(notice) = state.notice.take() {
                state.push(notice);
            }
        }
        drop(state);
        self.taken.notify_one();
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.queue.clear();
        state.bytes = 0;
        drop(state);
        self.filled.notify_one();
        self.taken.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take_batch(state: &mut State) -> Bytes {
    let mut batch = match state.queue.pop_front() {
        // A large message goes out as it is, without a copy.
        Some(first) if first.len() >= BATCH_BYTES || state.queue.is_empty() => {
            state.bytes -= first.len();
            return first;
        }
        Some(first) => BytesMut::from(first.as_ref()),
        None => BytesMut::new(),
    };
    while let Some(next) = state.queue.front() {
        if batch.len() + next.len() > BATCH_BYTES {
            break;
        }
        batch.extend_from_slice(next);
        state.queue.pop_front();
    }
    state.bytes -= batch.len();
    batch.freeze()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    const MESSAGE_BYTES: usize = 1024 * 1024;

    fn fill(mailbox: &Mailbox, now: Instant) -> usize {
        let message = Bytes::from(vec![0; MESSAGE_BYTES]);
        let mut taken = 0;
        while matches!(mailbox.offer(&message, Weight::Kept, now), Offer::Taken) {
            taken += 1;
        }
        taken
    }

    #[test]
    fn a_full_mailbox_of_a_moving_reader_makes_the_publisher_wait() {
        let mailbox = Mailbox::default();
        let now = Instant::now();
        assert_eq!(fill(&mailbox, now), SOFT_BYTES / MESSAGE_BYTES);
        let text = Bytes::from_static(b"text");
        assert!(matches!(
            mailbox.offer(&text, Weight::Passing, now),
            Offer::Wait(_)
        ));
    }

    #[test]
    fn a_stalled_reader_loses_passing_messages_and_keeps_the_others_up_to_the_hard_limit() {
        let mailbox = Mailbox::default();
        let now = Instant::now();
        fill(&mailbox, now);
        let later = now + STALL_LIMIT;
        let text = Bytes::from_static(b"text");
        assert!(matches!(
            mailbox.offer(&text, Weight::Passing, later),
            Offer::LeftOut
        ));
        assert_eq!(mailbox.lock().left_out, 1);
        assert_eq!(
            fill(&mailbox, later),
            (HARD_BYTES - SOFT_BYTES) / MESSAGE_BYTES
        );
        assert!(matches!(
            mailbox.offer(&text, Weight::Kept, later),
            Offer::Refused
        ));
    }

    #[test]
    fn a_reader_that_trickles_has_stalled_and_one_that_keeps_pace_has_not() {
        for (bytes, stalls) in [(1024, true), (PACE_BYTES, false)] {
            let mailbox = Mailbox::default();
            let now = Instant::now();
            fill(&mailbox, now);
            let half = now + STALL_LIMIT / 2;
            mailbox.progressed(bytes, half);
            let text = Bytes::from_static(b"text");
            let offered = mailbox.offer(&text, Weight::Passing, now + STALL_LIMIT);
            assert_eq!(matches!(offered, Offer::LeftOut), stalls, "{bytes} bytes");
        }
    }

    #[test]
    fn a_reader_that_is_slow_for_long_is_not_taken_for_one_that_keeps_pace() {
        let mailbox = Mailbox::default();
        let begun = Instant::now();
        fill(&mailbox, begun);
        // 200 KiB a second.
        let mut now = begun;
        for _ in 0..40 {
            now += STALL_LIMIT / 5;
            mailbox.progressed(PACE_BYTES / 6, now);
        }
        let offered = mailbox.offer(&Bytes::from_static(b"text"), Weight::Passing, now);
        assert!(matches!(offered, Offer::LeftOut));
    }

    #[tokio::test]
    async fn a_reader_that_stalled_is_told_where_something_was_left_out() {
        let mailbox = Mailbox::default();
        let now = Instant::now();
        fill(&mailbox, now);
        let later = now + STALL_LIMIT;
        for text in ["lost", "lost too"] {
            mailbox.offer(&Bytes::from_static(text.as_bytes()), Weight::Passing, later);
            mailbox.explain(|| Bytes::from_static(b"[gap]"));
        }
        mailbox.offer(&Bytes::from_static(b"idle"), Weight::Kept, later);
        let mut last = Bytes::new();
        for _ in 0..=SOFT_BYTES / MESSAGE_BYTES {
            last = mailbox.next_batch().await.unwrap();
        }
        assert_eq!(last, "[gap]idle");
    }

    #[test]
    fn a_reader_has_room_for_many_topics_but_not_for_any_number() {
        let mailbox = Mailbox::default();
        let topic = Bytes::from_static(b"kernel");
        assert!((0..TOPICS_LIMIT).all(|_| mailbox.subscribe(&topic)));
        assert!(!mailbox.subscribe(&topic));
        mailbox.cancel(&topic);
        assert!(mailbox.subscribe(&topic));
    }

    #[tokio::test]
    async fn batches_hold_the_messages_in_order() {
        let mailbox = Mailbox::default();
        for text in ["a", "b", "c"] {
            mailbox.offer(
                &Bytes::from_static(text.as_bytes()),
                Weight::Kept,
                Instant::now(),
            );
        }
        assert_eq!(mailbox.next_batch().await.unwrap(), "abc");
        mailbox.close();
        assert!(mailbox.next_batch().await.is_none());
    }
}
