//! The shop as its callers see it: services that really run, on ports of their own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![allow(
    clippy::disallowed_methods,
    reason = "the tests wait for what they spawn"
)]

mod contracts;
mod draining;
mod faults;
mod kit;
mod postgres;
mod program;
mod releases;
mod serving;
