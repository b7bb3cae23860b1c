//! The outside client and the load generator: requests at a steady rate, and what became of each.
//!
//! The client is open-loop: request number `i` is due `i / rate` after the start, whatever became
//! of the ones before, and its latency counts from when it was due. A server that stalls for a
//! second is therefore seen by every request of that second, as its users would see it; a client that
//! waited for answers would send one slow request and miss the rest.
//!
//! # Guarantees
//! - Every request that was due is counted once, in the totals and in the sample of the second in
//!   which it was due: as answered, as failed with a cause, or as failed because the client
//!   had as many requests in flight as it may have ([`Cause::Saturated`]). None is dropped.
//! - Latency includes the time the client itself was late; the longest such time is in the totals
//!   ([`ClientTotals::longest_lag_us`]). The timer's own grain is one millisecond.
//! - A request is sent again only when its kept connection turned out to be closed before a byte
//!   of the request was sent, as any client does.
//! - The client ends by itself, at the latest after [`ClientConfig::max_duration`]. Its memory does
//!   not grow with the length of the run.
//!
//! # Caveats
//! The sample of a second is written once all requests that were due in it are settled, so a second
//! with a slow request may stand in the file after a later second.

mod config;
mod description;
mod error;
mod files;
mod ledger;
mod mix;
mod outcome;
mod run;
mod sender;
mod totals;

#[cfg(test)]
mod tests;

pub use config::ClientConfig;
pub(crate) use description::description;
pub use error::LoadError;
pub use outcome::Cause;
pub use run::{run_client, run_client_until_signal};
pub use totals::{ClientTotals, EndReason, ReleaseTotals};
