//! The local target with real processes: what it starts, watches, changes and leaves behind.

#![allow(dead_code, reason = "the stage offers more than these tests use")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod environment;
mod stage;
mod starting;
mod stopping;
mod supervision;
mod traffic;
