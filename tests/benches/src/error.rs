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
    /// A record could not be made, or did not verify.
    #[error("the record: {what}")]
    Record {
        /// What went wrong.
        what: String,
    },
    /// A peer cannot be used.
    #[error("{given:?} is no peer: {reason}")]
    Peer {
        /// What was given.
        given: String,
        /// What is wrong with it.
        reason: String,
    },
}
