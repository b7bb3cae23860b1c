//! What crosses crates, seen from outside: the house itself, and the built program as its users
//! and the tools around it see it.
//!
//! `cargo verify --only tests` runs these with everything that they need. Tests that drive a part
//! of the stage are in modules whose names the verification knows: `notebooks`, `jupyter`, `browser`
//! and `envelope` need the Python tools, `browser` needs Chromium too, `disk` mounts disks, `docker` needs a
//! Docker engine, `registry` a registry of images too, `restarts` the program of an engine, `engines` all of these,
//! and `kubernetes` a Kubernetes cluster. Such a test fails where its part is missing; it never passes without having run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod approvals;
mod bad_input;
mod browser;
mod disk;
mod docker;
mod endurance;
mod engines;
mod envelope;
mod faces;
mod faults;
mod house;
mod ill;
mod jupyter;
mod kills;
mod kit;
mod kubernetes;
mod machine;
mod notebooks;
mod outlives;
mod registry;
mod remains;
mod restarts;
mod run;
mod seal;
mod secrets;
mod stage;
mod standing;
mod steering;
mod verify;
mod witness;
