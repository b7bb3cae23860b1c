//! Drives a real kernel process over real sockets, as clients do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod channels;
mod clients;
mod connection_file;
mod display;
mod execute;
mod hostile_bytes;
mod ipc;
mod kernelspec;
mod kit;
mod lifetime;
mod python;
mod requests;
mod rust_cells;
mod stalled_reader;
