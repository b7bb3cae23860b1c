//! The wall clock, read in one place.

use code_deploy_record::{Clock as _, SystemClock};

/// Returns the time since 1970-01-01 UTC in microseconds.
pub(crate) fn unix_us() -> u64 {
    u64::try_from(SystemClock.now().timestamp_micros()).unwrap_or_default()
}
