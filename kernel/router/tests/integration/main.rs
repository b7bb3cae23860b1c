//! A whole router on loopback, between real clients and real backends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod asking;
mod control;
mod drain;
mod faults;
mod handover;
mod health;
mod kit;
mod lease;
mod restart;
mod samples;
mod split;
mod streams;
