//! What happened, for whoever asks.

use std::collections::VecDeque;
use std::sync::Mutex;

use crate::clock::unix_us;
use crate::control::Event;
use crate::sync::lock;

/// Most events kept; older ones are given up first. A run makes some dozens.
const MAX_EVENTS: usize = 1024;

/// The newest events.
#[derive(Debug, Default)]
pub(crate) struct Events {
    kept: Mutex<(u64, VecDeque<Event>)>,
}

impl Events {
    /// Adds one.
    pub(crate) fn push(&self, kind: &str, service: Option<&str>, text: String) {
        tracing::info!(kind, service, text, "router event");
        let mut kept = lock(&self.kept);
        kept.0 += 1;
        let event = Event {
            number: kept.0,
            at_us: unix_us(),
            kind: kind.to_owned(),
            service: service.map(str::to_owned),
            text,
        };
        if kept.1.len() == MAX_EVENTS {
            kept.1.pop_front();
        }
        kept.1.push_back(event);
    }

    /// Returns those with a greater number.
    pub(crate) fn since(&self, number: u64) -> Vec<Event> {
        lock(&self.kept)
            .1
            .iter()
            .filter(|event| event.number > number)
            .cloned()
            .collect()
    }

    /// Returns the number of the newest, or 0.
    pub(crate) fn last(&self) -> u64 {
        lock(&self.kept).0
    }
}
