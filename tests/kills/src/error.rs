//! What keeps rounds from being carried out.

use std::path::PathBuf;
use std::time::Duration;

/// Why rounds could not be carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder of the stage could not be used.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A process could not be started, watched or killed.
    #[error("cannot {action} a process")]
    Process {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A command failed without which nothing can be shown.
    #[error("`{command}` ended with {code:?}:\n{said}")]
    Command {
        /// The command.
        command: String,
        /// Its exit code.
        code: Option<i32>,
        /// What it said.
        said: String,
    },
    /// Something did not happen in time.
    #[error("{what} did not happen within {limit:?}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
    },
    /// A record could not be read.
    #[error("a record cannot be read")]
    Record(#[from] code_deploy_record::Error),
    /// The kernel could not be driven.
    #[error("the kernel could not be driven")]
    Wire(#[from] code_deploy_wire::Error),
}

impl Error {
    /// Returns a function that tells what could not be done with a file.
    pub(crate) fn file(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }

    /// Returns a function that tells what could not be done with a process.
    pub(crate) fn process(action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Process { action, source }
    }
}
