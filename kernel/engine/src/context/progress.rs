//! What is going on between two events.

use std::time::Duration;

/// What is going on between two events. Shown by the faces, never journaled.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// What is done or waited for: `catalog 1.1.0: 2 of 3 health passes`.
    pub what: String,
    /// How long it has taken.
    pub elapsed: Duration,
    /// How long it may take, where there is a limit.
    pub limit: Option<Duration>,
    /// How far it is, from 0 to 1, where that is known.
    pub share: Option<f64>,
}
