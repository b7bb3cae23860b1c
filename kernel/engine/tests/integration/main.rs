//! The engine through its public surface, against a simulated target.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod builds;
mod changes;
mod checked;
mod crashes;
mod databases;
mod ends;
mod later;
mod plans;
mod refusals;
mod runs;
mod simulated;
mod stage;
mod steering;
