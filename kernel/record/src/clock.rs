//! Where the time comes from.

use chrono::{DateTime, SubsecRound, Utc};

/// A source of the present time. A value of this kind is handed to whoever needs the time, so
/// that tests and simulations decide what time it is.
pub trait Clock: Send + Sync {
    /// Returns the present time in UTC, to the microsecond.
    fn now(&self) -> DateTime<Utc>;
}

/// The clock of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place that reads the machine's clock"
    )]
    fn now(&self) -> DateTime<Utc> {
        Utc::now().trunc_subsecs(6)
    }
}
