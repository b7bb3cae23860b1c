//! What can go wrong with the client itself, as opposed to its requests.

use std::path::PathBuf;

/// Why the client did not start or could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The configuration cannot be used; nothing was sent.
    #[error("the client's setting `{setting}` cannot be used: {what}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// What is wrong with it and what would be right.
        what: String,
    },
    /// A file of the client could not be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file of the client does not hold what it should.
    #[error("{} is not what the client wrote", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The samples could not be written.
    #[error("the client's samples could not be written")]
    Samples(#[from] code_deploy_record::Error),
    /// The disk did not take what was measured.
    #[error("the disk took none of the client's results for {seconds} s; the client stopped")]
    DiskStalled {
        /// How long the results could wait, in seconds.
        seconds: usize,
    },
    /// The thread that writes the files ended unexpectedly.
    #[error("the writer of the client's results ended unexpectedly; results may be missing")]
    WriterLost,
    /// The signal handlers could not be installed.
    #[error("cannot listen for signals")]
    Signals {
        /// What the system said.
        source: std::io::Error,
    },
}

impl LoadError {
    pub(super) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
