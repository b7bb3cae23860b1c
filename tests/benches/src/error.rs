/// What keeps a figure from being taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A kernel did not start or did not answer.
    #[error("{peer}: {figure} was not measured")]
    Kernel {
        /// The kernel.
        peer: String,
        /// What was to be measured.
        figure: String,
        /// What happened.
        source: code_deploy_wire::Error,
    },
    /// A cell did something else than it was to do.
    #[error("{peer}: {what}")]
    Unexpected {
        /// The kernel.
        peer: String,
        /// What it did.
        what: String,
    },
    /// A file could not be used.
    #[error("cannot {action} {path}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A record could not be written or read.
    #[error("the record failed")]
    Record(#[from] code_deploy_record::Error),
    /// Something is not as it has to be to measure it.
    #[error("{0}")]
    Answer(String),
    /// A peer cannot be used.
    #[error("{given:?} is no peer: {reason}")]
    Peer {
        /// What was given.
        given: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// Wraps an error of the file system with what was attempted and where.
    pub fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
