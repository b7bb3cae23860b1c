//! What can go wrong while the tree is being verified.

use std::path::PathBuf;
use std::time::Duration;

/// An error that ends a stage, or the whole verification.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The command line says something that this program does not know.
    #[error("{problem}\nNothing was run. `cargo verify --help` lists the words.")]
    Usage {
        /// What was not understood.
        problem: String,
    },
    /// A program could not be started.
    #[error("cannot start `{program}`: is it installed and on PATH?")]
    Start {
        /// The program's name or path.
        program: String,
        /// Why the system refused.
        source: std::io::Error,
    },
    /// A program ended with an error.
    #[error("`{command}` {outcome}")]
    Command {
        /// The command line as it was run.
        command: String,
        /// How it ended.
        outcome: String,
    },
    /// A program ran longer than it may.
    #[error("`{command}` was stopped: it ran longer than its limit of {} s", limit.as_secs())]
    Limit {
        /// The command line as it was run.
        command: String,
        /// The limit.
        limit: Duration,
    },
    /// A file or folder could not be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why the system refused.
        source: std::io::Error,
    },
    /// The machine lacks something that this program cannot bring.
    #[error("{missing}\n{remedy}")]
    Machine {
        /// What is missing.
        missing: String,
        /// What a person can do.
        remedy: String,
    },
    /// An answer of a program could not be understood.
    #[error("cannot read the answer of `{command}`: {problem}")]
    Answer {
        /// The command line as it was run.
        command: String,
        /// What is wrong with the answer.
        problem: String,
    },
    /// A signal asked to stop.
    #[error("stopped by {signal}; the programs that were running have been stopped too")]
    Interrupted {
        /// The signal's name.
        signal: &'static str,
    },
}

impl Error {
    /// Returns the exit status that tells this error: 2 for usage, 130 for an interrupt, else 1.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Usage { .. } => 2,
            Self::Interrupted { .. } => 130,
            _ => 1,
        }
    }

    /// Returns the error and everything that caused it, one cause a line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str("\n  because: ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}
