use std::path::PathBuf;
use std::time::Duration;

/// What keeps a kernel from starting, from going on, or from being installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection file cannot be read.
    #[error(
        "cannot read the connection file {}; the kernel was not started; Jupyter writes this file and \
         passes its path, so start the kernel through Jupyter or name an existing file", path.display()
    )]
    ConnectionFileUnreadable {
        /// The file that was named.
        path: PathBuf,
        /// Why it cannot be read.
        source: std::io::Error,
    },
    /// The connection file is larger than a connection file can be.
    #[error(
        "the connection file {} has {size} bytes, the limit is {limit}; the kernel was not started; \
         name the file that Jupyter wrote", path.display()
    )]
    ConnectionFileTooLarge {
        /// The file that was named.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The largest size accepted, in bytes.
        limit: u64,
    },
    /// The connection file is not JSON or lacks a field.
    #[error(
        "the connection file {} does not say how to connect; the kernel was not started; it must be JSON \
         with ip, transport, key, signature_scheme and the five ports", path.display()
    )]
    ConnectionFileInvalid {
        /// The file that was named.
        path: PathBuf,
        /// What the parser met, with line and column.
        source: serde_json::Error,
    },
    /// The connection file asks for a signature scheme other than hmac-sha256.
    #[error(
        "the connection file {} asks for the signature scheme {scheme:?}; the kernel was not started; \
         this kernel signs with hmac-sha256 only: set Session.signature_scheme to that", path.display()
    )]
    UnknownSignatureScheme {
        /// The file that was named.
        path: PathBuf,
        /// The scheme it asks for.
        scheme: String,
    },
    /// The key of the connection file cannot be used.
    #[error(
        "the key in the connection file {} cannot be used: {reason}; the kernel was not started; \
         let Jupyter write the file anew", path.display()
    )]
    BadKey {
        /// The file that was named.
        path: PathBuf,
        /// What is wrong with the key; never the key itself.
        reason: &'static str,
    },
    /// A socket cannot be bound.
    #[error(
        "cannot listen on {endpoint} for the channel {channel}; the kernel was not started; \
         if another kernel uses this port, start again so that Jupyter picks another"
    )]
    Bind {
        /// The channel: shell, control, stdin, iopub or heartbeat.
        channel: &'static str,
        /// The endpoint, such as `tcp://127.0.0.1:6767`.
        endpoint: String,
        /// Why it cannot be bound.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The thread of the sockets or a signal handler could not be set up, or ended by itself.
    #[error("the kernel cannot {action}; the kernel has ended; start it again")]
    Runtime {
        /// What could not be done.
        action: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A kernelspec cannot be written, read or removed.
    #[error("cannot {action} {}; what was there before is unchanged", path.display())]
    Kernelspec {
        /// What was being done.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A kernelspec name that Jupyter would not accept.
    #[error(
        "the kernel name {name:?} is not valid; nothing was installed; use letters, digits, '.', '_' and '-'"
    )]
    KernelspecName {
        /// The name that was given.
        name: String,
    },
    /// No kernelspec of that name is installed.
    #[error(
        "no kernel named {name:?} is installed in {}; nothing was removed; `jupyter kernelspec list` \
         shows what is installed", path.display()
    )]
    KernelspecMissing {
        /// The name that was given.
        name: String,
        /// The folder that was looked into.
        path: PathBuf,
    },
    /// The folder for kernelspecs cannot be told from the environment.
    #[error(
        "cannot tell where Jupyter looks for kernels: {reason}; nothing was installed; use --prefix PATH"
    )]
    NoDataFolder {
        /// What is missing.
        reason: String,
    },
}

/// Why a prompt was not answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The client that sent the cell cannot be asked.
    #[error(
        "this cell needs an answer to {prompt:?}, but the client that runs it does not take input \
         (allow_stdin is false); run it in a notebook or console, or give the answer as an argument"
    )]
    NotAllowed {
        /// The question.
        prompt: String,
    },
    /// The cell was interrupted while it waited.
    #[error("interrupted while waiting for an answer to {prompt:?}")]
    Interrupted {
        /// The question.
        prompt: String,
    },
    /// Nobody answered in time.
    #[error("no answer to {prompt:?} within {} s", limit.as_secs())]
    TimedOut {
        /// The question.
        prompt: String,
        /// How long the kernel waited.
        limit: Duration,
    },
    /// The client that was asked has gone: its page was closed or loaded anew.
    #[error(
        "the page or console that was asked {prompt:?} has gone; nobody can answer there any more: run the cell again"
    )]
    Gone {
        /// The question.
        prompt: String,
    },
    /// The kernel is shutting down.
    #[error("the kernel is shutting down; {prompt:?} was not answered")]
    Closed {
        /// The question.
        prompt: String,
    },
}
