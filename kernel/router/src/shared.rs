//! What the parts of a router share.

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::events::Events;
use crate::table::Table;
use crate::tally::Tallies;

/// What the parts of a router share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) table: Table,
    pub(crate) tallies: Tallies,
    pub(crate) events: Events,
    /// Work for clients, which is waited for when the router stops.
    pub(crate) work: TaskTracker,
    /// Work for the router itself, which ends when the router stops.
    pub(crate) background: TaskTracker,
    /// First stage of stopping: nothing new, everything begun goes on.
    pub(crate) stop: CancellationToken,
    /// Second stage: everything ends.
    pub(crate) hard: CancellationToken,
    /// From when on connections are accepted.
    pub(crate) begun: CancellationToken,
    /// From when on another router accepts them: what was begun here goes on, and nothing is changed.
    pub(crate) handed: CancellationToken,
    /// Told whenever the health of any backend changes.
    pub(crate) health_changed: Notify,
}

impl Shared {
    /// Returns an empty one that stops with `stop`.
    pub(crate) fn new(stop: &CancellationToken) -> Self {
        Self {
            table: Table::default(),
            tallies: Tallies::default(),
            events: Events::default(),
            work: TaskTracker::new(),
            background: TaskTracker::new(),
            stop: stop.child_token(),
            hard: CancellationToken::new(),
            begun: CancellationToken::new(),
            handed: CancellationToken::new(),
            health_changed: Notify::new(),
        }
    }
}
