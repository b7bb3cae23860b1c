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
//! - [`RunState`] is the pure fold over the events: where a run stands. [`Standstills`] is another: when it waited for a
//!   person, or no process carried it out.
//! - [`SampleWriter`] and [`SampleReader`] hold what was measured, second by second.
//! - [`Tree`] is the Merkle tree (RFC 6962) over journal, samples and evidence, [`Checkpoint`] its signed
//!   size and root, [`SealKey`] what signs.
//! - [`Catalog`] is the list of items and [`Verdict`] what became of each.

mod catalog;
mod clock;
mod consent;
pub mod contacts;
mod cut_off;
pub mod disk;
mod due;
mod envelope;
mod error;
mod event;
mod evidence;
mod export;
mod extension;
mod folder;
mod ids;
mod journal;
mod key;
mod lock;
mod measured;
mod note;
mod plain;
mod report;
pub mod said;
mod samples;
mod seal;
mod secret;
mod sources;
mod sshsig;
mod standstill;
mod state;
mod tree;
mod verdict;
mod verify;
mod way_down;

pub use catalog::{Basis, Catalog, Group, Item, ItemKind, Phase, PhaseNumber, SCANS};
pub use clock::{Clock, SystemClock};
pub use consent::{APPROVED, Consent, ConsentWaiver, SignedConsent};
pub use cut_off::said_signed;
pub use disk::{Disk, SystemDisk};
pub use envelope::{LISTED, SignedStatement};
pub use error::{Error, Result};
pub use event::*;
pub use evidence::EvidenceStore;
pub use export::{RECORD as EXPORTED_RECORD, export};
pub use extension::{Against, Extension, KeptCheckpoint, checkpoints, hold};
pub use folder::{RunFolder, RunsFolder};
pub use ids::{Digest, InvalidId, ItemId, Release, RunId, StepName};
pub use journal::{JournalReader, JournalWriter, Recovered};
pub use key::{HIGH_S, PublicKey, PublicKeys, SealKey, has_high_s};
pub use lock::{Fence, Held, LockHolder, RunLock, Standing};
pub use measured::{ClientCounted, LoadTested, ReleaseCount};
pub use note::{Checkpoint, SignatureLine, verifier};
pub use plain::plain;
pub use report::{Block, Column, Report};
pub use samples::{
    Latency, Sample, SampleFollower, SampleLines, SampleReader, SampleWriter, Source,
};
pub use seal::{
    LARGEST_NOTE, LARGEST_STATEMENT, OUTPUTS_NOTE, SealFolder, WITNESSED, is_sealed_after, origin,
};
pub use secret::{Redactor, Secret};
pub use sources::SOURCES;
pub use sshsig::SshSignature;
pub use standstill::{Idle, Passed, Standstill, Standstills};
pub use state::{GateState, ItemState, PhaseState, RunState, StepState, StepStatus};
pub use tree::{
    Tree, TreeHead, consistency_proof, includes, inclusion_proof, is_consistent, leaf_hash, root_of,
};
pub use verdict::{EvidenceRef, Verdict};
pub use verify::{
    Approved, Finding as VerifyFinding, FindingKind, SealReport, Trust, VerifyReport, Witness,
    verify_folder, verify_folder_with,
};
pub use way_down::WayDown;
