//! The wall clock, read in one place.

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the time since 1970-01-01 UTC in microseconds.
pub(crate) fn unix_us() -> u64 {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
}
