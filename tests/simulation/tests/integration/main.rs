//! Whole runs in a simulated world: thousands of seeds, each promise shown to be checked, sweeps
//! over every point, and that a seed gives the same run again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs
)]

mod planted;
mod replay;
mod seeds;
mod sweeps;
