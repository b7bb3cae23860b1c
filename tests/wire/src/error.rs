use std::path::PathBuf;
use std::time::Duration;

/// What keeps a kernel from being started or asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A socket refused, broke, or was closed by the kernel.
    #[error("port {port}: {action} failed")]
    Socket {
        /// The port of the kernel.
        port: u16,
        /// What was being done.
        action: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// What was waited for did not come.
    #[error("{what} did not come within {limit:?}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
    },
    /// A kernel sent something that is no Jupyter message.
    #[error("port {port} sent what is no message: {reason}")]
    NoMessage {
        /// The port of the kernel.
        port: u16,
        /// What is wrong with it.
        reason: String,
    },
    /// A kernel cannot be started, or ended by itself.
    #[error("the kernel {name} cannot {action}")]
    Process {
        /// The name of the kernel.
        name: String,
        /// What it was to do.
        action: &'static str,
        /// Why it cannot.
        source: std::io::Error,
    },
    /// A kernelspec cannot be read.
    #[error("{} is no kernelspec: {reason}", path.display())]
    Kernelspec {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}
