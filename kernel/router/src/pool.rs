//! Unused connections to one backend.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::sync::lock;
use crate::upstream::Connection;

/// Most unused connections kept per backend; each is a file descriptor on both sides.
const MAX_IDLE: usize = 256;

/// Unused connections to one backend; the one used last is taken first.
#[derive(Debug)]
pub(crate) struct Pool {
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    closed: bool,
    connections: Vec<(Connection, Instant)>,
}

impl Pool {
    /// Returns an empty pool.
    pub(crate) fn new() -> Self {
        Self {
            idle: Mutex::default(),
        }
    }

    /// Takes a connection that was unused for less than `limit`.
    pub(crate) fn take(&self, limit: Duration, now: Instant) -> Option<Connection> {
        let mut idle = lock(&self.idle);
        let position = idle.connections.iter().rposition(|(connection, since)| {
            connection.is_ready() && now.saturating_duration_since(*since) < limit
        })?;
        Some(idle.connections.remove(position).0)
    }

    /// Gives a connection back whose exchange is complete.
    pub(crate) fn give(&self, connection: Connection, now: Instant) {
        let mut idle = lock(&self.idle);
        if !idle.closed && !connection.is_closed() && idle.connections.len() < MAX_IDLE {
            idle.connections.push((connection, now));
        }
    }

    /// Closes what was unused for `limit` or was closed by the other side.
    pub(crate) fn sweep(&self, limit: Duration, now: Instant) {
        lock(&self.idle).connections.retain(|(connection, since)| {
            !connection.is_closed() && now.saturating_duration_since(*since) < limit
        });
    }

    /// Closes every unused connection and keeps none from now on.
    pub(crate) fn close(&self) {
        let mut idle = lock(&self.idle);
        idle.closed = true;
        idle.connections.clear();
    }
}
