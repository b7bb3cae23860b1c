//! Whole runs of the engine in a simulated world, from a seed: target, clock, disk, network and
//! chance are simulated; runner, steps, gates, rollback and resume are the real ones. An
//! independent checker reads the journal and the world's log afterwards.
//!
//! - [`run::seed`] runs one seed; the same seed gives the same run to the byte.
//! - [`faults::Storm`] decides what goes wrong, [`scene::Scene`] what is deployed.
//! - [`check`] holds the promises, one file each.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test kit: what cannot be has to stop it loudly"
)]

pub mod chance;
pub mod check;
pub mod disk;
pub mod faults;
pub mod outside;
pub mod process;
pub mod run;
pub mod samples;
pub mod scene;
pub mod show;
pub mod steps;
pub mod target;
pub mod world;

/// That of the program: a run in memory allocates more than it computes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
