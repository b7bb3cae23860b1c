use std::fmt;

/// Why a run cannot be read.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The cell does not run in a notebook of `code-deploy`.
    NotInNotebook,
    /// The program `code-deploy` cannot be started.
    NotStarted {
        /// Its file.
        program: String,
        /// Why.
        reason: String,
    },
    /// The program `code-deploy` refused: there is no such run, or its record is damaged.
    Refused {
        /// What it said: what is wrong, and what to do next.
        said: String,
    },
    /// What the program `code-deploy` wrote is not what this crate reads.
    Unreadable {
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInNotebook => formatter.write_str(
                "the record of a run can be read in a notebook of `code-deploy` only: its kernel sets \
                 CODE_DEPLOY_PROGRAM, which is not set here",
            ),
            Self::NotStarted { program, reason } => {
                write!(formatter, "{program} cannot be started: {reason}; nothing was read")
            }
            Self::Refused { said } => formatter.write_str(said.trim_end()),
            Self::Unreadable { line, reason } => write!(
                formatter,
                "line {line} of what `code-deploy` told of the run cannot be read: {reason}; restart the kernel, so \
                 that both are of the same version"
            ),
        }
    }
}

/// Shows the error as [`fmt::Display`] does: a notebook shows the error of a `?` this way.
impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl std::error::Error for Error {}
