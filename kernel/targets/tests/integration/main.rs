//! The local target with real processes: what it starts, watches, changes and leaves behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../../../router/tests/integration/asking.rs"]
mod asking;
mod docker;
mod environment;
mod hosting;
mod keeping;
mod kubernetes;
mod stage;
mod starting;
mod stopping;
mod supervision;
mod traffic;
mod upgrading;
mod versions;
mod watching;
