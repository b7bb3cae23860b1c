//! What can go wrong with a record.

use std::path::{Path, PathBuf};

use crate::{Digest, RunId};

/// The result of an operation on a record.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with a record. Each variant names the place; none repeats its source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system refused an operation.
    #[error("cannot {action} {path}")]
    Io {
        /// What was attempted, as a verb: `read`, `append to`, `create`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// An event of a journal does not verify.
    #[error("{path}: event {event} of the journal does not verify: {what}")]
    Broken {
        /// The journal.
        path: PathBuf,
        /// The number of the event that belongs there, counted from 0.
        event: u64,
        /// What is wrong with it.
        what: String,
    },
    /// A line of a samples file cannot be read.
    #[error("{path}: line {line} is not a sample: {what}")]
    BadSample {
        /// The file.
        path: PathBuf,
        /// The line's number, counted from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// An evidence file is not what its digest says.
    #[error("evidence {expected} has the content of {found}")]
    EvidenceChanged {
        /// The digest under which it was kept.
        expected: Digest,
        /// The digest of what is there now.
        found: Digest,
    },
    /// There is no such run.
    #[error("there is no run `{run}` in {path}")]
    NoSuchRun {
        /// The run asked for.
        run: RunId,
        /// The folder that was searched.
        path: PathBuf,
    },
    /// A folder is not the record of a run.
    #[error("{path} is not the record of a run: {what}")]
    NotARecord {
        /// The folder.
        path: PathBuf,
        /// What is missing or wrong.
        what: String,
    },
    /// Another process holds the lock of this application and environment.
    #[error("{application} in {environment} is locked by {holder}")]
    Locked {
        /// The application.
        application: String,
        /// The environment.
        environment: String,
        /// Who holds it and since when, in words.
        holder: String,
        /// The holder with its lease, where it is known.
        standing: Option<Box<crate::Standing>>,
    },
    /// Another process has taken the lock under which this one worked.
    #[error(
        "this process is fenced off: it held the lock under number {fencing}, and now it is held by \
         {holder}"
    )]
    FencedOff {
        /// The number under which this process held it.
        fencing: u64,
        /// Who holds it now, in words.
        holder: String,
    },
    /// The record has its end, and nothing is appended behind it.
    #[error("{path}: the record is ended, and nothing is appended to it")]
    Ended {
        /// The journal.
        path: PathBuf,
    },
    /// Something that was about to be written holds a known secret.
    #[error(
        "an entry of kind `{kind}` was not written because it holds the value of secret `{name}`"
    )]
    SecretInEntry {
        /// The kind of entry.
        kind: String,
        /// The secret's name.
        name: String,
    },
    /// A value cannot be written as JSON.
    #[error("an entry cannot be written as JSON")]
    Serialize(#[from] serde_json::Error),
    /// The catalogue shipped with the program cannot be read.
    #[error("the catalogue of items cannot be read: {what}")]
    Catalog {
        /// What is wrong with it.
        what: String,
    },
    /// A key cannot be used. What was read is not said.
    #[error("this key cannot be used: {what}")]
    BadKey {
        /// Why.
        what: String,
    },
    /// A signature cannot be read.
    #[error("this is not a signature of OpenSSH: {what}")]
    BadSignature {
        /// What is wrong with it.
        what: String,
    },
    /// A checkpoint cannot be read.
    #[error("this is not a checkpoint: {what}")]
    BadNote {
        /// What is wrong with it.
        what: String,
    },
    /// Latencies cannot be packed or unpacked.
    #[error("latencies cannot be packed: {what}")]
    Histogram {
        /// What is wrong.
        what: String,
    },
}

impl Error {
    /// Wraps an error of the file system with what was attempted and where.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
