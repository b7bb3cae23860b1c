//! Cells in Rust, by evcxr, in a process of their own: started at the first such cell, so that a kernel that
//! never sees Rust stays small, and killed without harm when a computation has to stop.
//!
//! Four processes take part, all the same program: the kernel ([`RustCells`]), the host that compiles
//! ([`host_main`], `PROGRAM internal rust-cells`), the one that evcxr starts to run what was compiled, and the child
//! in which that one runs it ([`early_hook`]). Kernel and host speak JSON lines over pipes. What a cell writes goes
//! from the last but one to the host, at the pace of the kernel, and does not pass evcxr, whose queues have no bound.
//! All but the kernel share a process group, so that one signal ends them and whatever they started; the host ends
//! its group when the kernel has gone.

mod child;
mod client;
mod crates;
mod folder;
mod fragment;
mod frames;
mod host;
mod program;
mod protocol;
mod questions;
mod relay;
mod render;
mod scanner;
mod shown;

pub use client::RustCells;
pub use crates::CellCrate;
pub use fragment::is_complete;
pub use host::host_main;

use nix::sys::resource::{Resource, setrlimit};

/// The words after the program's name under which evcxr starts the process that runs cells.
const RUNTIME_WORDS: [&str; 2] = ["internal", "rust-runtime"];
/// The words under which that one starts the child that runs them.
const PROGRAM_WORDS: [&str; 2] = ["internal", "rust-program"];
/// evcxr calls the program as a wrapper of rustc with this set.
const RUSTC_WRAPPER: &str = "EVCXR_RUSTC_WRAPPER";
/// The kind of error of a cell whose question got no answer.
const NO_ANSWER: &str = "NoAnswer";
/// Among all processes the one that runs cells is to end first where memory runs out.
const FIRST_TO_GO: &str = "1000";
/// The process that runs cells could not do its work.
const FAILED: i32 = 70;

/// Must be the first call in the program's `main`: where this process was started to run cells or as a wrapper
/// of rustc, it does that and never returns.
///
/// Only the process started for it becomes one: a program of ours that a cell starts inherits evcxr's
/// environment, and must not.
pub fn early_hook() {
    let words: Vec<_> = std::env::args_os().skip(1).take(2).collect();
    if words == RUNTIME_WORDS {
        end(program::run(&PROGRAM_WORDS));
    }
    if words == PROGRAM_WORDS {
        bind_to_parent();
        evcxr::runtime_hook();
    }
    if std::env::var_os(RUSTC_WRAPPER).is_some() {
        evcxr::runtime_hook();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "before main has begun there are no guards, and nothing but the status is to be told"
)]
fn end(status: std::io::Result<i32>) -> ! {
    std::process::exit(status.unwrap_or(FAILED))
}

/// Makes the process that runs cells go with its parent, leave no core behind, and be the first to go where
/// memory runs out. Each is a kindness to the rest of the machine, not needed for the cell.
fn bind_to_parent() {
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    let _ = std::fs::write("/proc/self/oom_score_adj", FIRST_TO_GO);
}
