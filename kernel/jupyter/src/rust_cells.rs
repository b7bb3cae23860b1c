//! Cells in Rust, by evcxr, in a process of their own: started at the first such cell, so that a kernel that
//! never sees Rust stays small, and killed without harm when a computation has to stop.
//!
//! Three processes take part, all the same program: the kernel ([`RustCells`]), the host that compiles
//! ([`host_main`], `PROGRAM internal rust-cells`), and the one that runs what was compiled, which evcxr starts
//! ([`early_hook`]). They speak JSON lines over pipes. Host and computation share a process group, so that one signal
//! ends both and whatever they started; the host ends its group when the kernel has gone.

mod client;
mod fragment;
mod host;
mod protocol;
mod render;

pub use client::RustCells;
pub use fragment::is_complete;
pub use host::{early_hook, host_main};
