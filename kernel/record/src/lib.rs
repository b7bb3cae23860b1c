//! The record of a deployment run: an append-only, chained journal of events, per-second samples
//! with HDR histograms of latency, evidence kept by digest, and the catalogue of items a run
//! accounts for.
//!
//! This crate is the lowest of the project: it depends on none of the others, starts nothing and
//! reaches no network. Everything that a face shows and a notebook prints is read from here.
//!
//! - [`RunFolder`] is where a run lives on disk; [`RunsFolder`] holds the runs of a project.
//! - [`JournalWriter`] appends [`Event`]s, each chained to the line before; [`JournalReader`]
//!   streams them back while the run may still be writing.
//! - [`RunState`] is the pure fold over the events: where a run stands.
//! - [`SampleWriter`] and [`SampleReader`] hold what was measured, second by second.
//! - [`Catalog`] is the list of items and [`Verdict`] what became of each.

mod catalog;
mod clock;
pub mod disk;
mod error;
mod event;
mod evidence;
mod folder;
mod ids;
mod journal;
mod lock;
mod measured;
mod report;
mod samples;
mod secret;
mod state;
mod verdict;
mod verify;

pub use catalog::{Basis, Catalog, Group, Item, ItemKind, Phase, PhaseNumber, SCANS};
pub use clock::{Clock, SystemClock};
pub use disk::{Disk, SystemDisk};
pub use error::{Error, Result};
pub use event::*;
pub use evidence::EvidenceStore;
pub use folder::{RunFolder, RunsFolder};
pub use ids::{Digest, InvalidId, ItemId, Release, RunId, StepName};
pub use journal::{JournalReader, JournalWriter, Recovered};
pub use lock::{Fence, Held, LockHolder, RunLock, Standing};
pub use measured::{ClientCounted, LoadTested, ReleaseCount};
pub use report::{Block, Column, Report};
pub use samples::{Latency, Sample, SampleReader, SampleWriter, Source};
pub use secret::{Redactor, Secret};
pub use state::{GateState, ItemState, PhaseState, RunState, StepState, StepStatus};
pub use verdict::{EvidenceRef, Verdict};
pub use verify::{Finding as VerifyFinding, FindingKind, VerifyReport, verify_folder};
