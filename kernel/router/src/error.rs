//! What can go wrong in the router and in talking to it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Why the router could not start or go on, or why a request to it was not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The path of the control socket is longer than the operating system allows.
    #[error(
        "the control socket path {} has {length} bytes, but a Unix socket path holds at most {limit}; nothing was started; choose a shorter folder",
        path.display()
    )]
    SocketPathTooLong {
        /// The path asked for.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
        /// The longest path that works, in bytes.
        limit: usize,
    },
    /// The folder of the control socket can be entered by other users.
    #[error(
        "the control folder {} has mode {mode:o}, which lets other users in; nothing was started; give it mode 700",
        path.display()
    )]
    FolderOpen {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another router holds the state file.
    #[error(
        "another router already works with the state file {}; nothing was started; stop that router or use another folder",
        path.display()
    )]
    AlreadyRunning {
        /// The state file both want.
        path: PathBuf,
    },
    /// A file or folder could not be used.
    #[error("could not {action} {}", path.display())]
    File {
        /// What was tried, as a verb phrase: "read", "write", ...
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The state file is not one that this router can read.
    #[error(
        "the state file {} is not readable as router state; nothing was started; move it away to begin without services",
        path.display()
    )]
    StateUnreadable {
        /// The state file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A value could not be written as JSON.
    #[error("could not write {what} as JSON")]
    Encode {
        /// What was to be written.
        what: &'static str,
        /// What the serializer said.
        source: serde_json::Error,
    },
    /// The address of a service could not be listened on.
    #[error(
        "service {service} cannot listen on {address}; nothing was changed; free the port or choose port 0"
    )]
    Listen {
        /// The service.
        service: String,
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The router refused a request; nothing was changed.
    #[error("the router refused ({code}): {message}")]
    Refused {
        /// A stable word for the reason.
        code: String,
        /// The reason in plain words.
        message: String,
    },
    /// The router did not answer in time; whether it carried the request out is not known.
    #[error(
        "the router at {} did not answer {operation} within {limit:?}; read its status to see what is in force",
        socket.display()
    )]
    NoAnswer {
        /// The control socket.
        socket: PathBuf,
        /// The operation asked for.
        operation: &'static str,
        /// How long was waited.
        limit: Duration,
    },
    /// The control socket could not be reached or broke.
    #[error(
        "the router's control socket {} could not be used for {operation}; is the router running?",
        socket.display()
    )]
    Control {
        /// The control socket.
        socket: PathBuf,
        /// The operation asked for.
        operation: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The router's answer has another shape than this client understands.
    #[error(
        "the router at {} answered {operation} in a form this program does not understand; are both of the same version?",
        socket.display()
    )]
    Answer {
        /// The control socket.
        socket: PathBuf,
        /// The operation asked for.
        operation: &'static str,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// The router that runs did not hand over to this one.
    #[error(
        "the router at {} did not hand over: {reason}; it goes on, and nothing was changed",
        socket.display()
    )]
    HandOver {
        /// The control socket.
        socket: PathBuf,
        /// The reason in plain words.
        reason: String,
    },
    /// A task of the router ended that should not have.
    #[error("the router's {task} ended unexpectedly; it stops so that it can be started again")]
    TaskEnded {
        /// The task.
        task: &'static str,
    },
}

impl Error {
    /// Returns a refusal with a stable code and a reason in plain words.
    pub(crate) fn refused(code: &str, message: impl Into<String>) -> Self {
        Self::Refused {
            code: code.to_owned(),
            message: message.into(),
        }
    }

    /// Returns the stable word for this error, as control answers carry it.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Refused { code, .. } => code,
            Self::SocketPathTooLong { .. } => "socket-path-too-long",
            Self::FolderOpen { .. } => "folder-open",
            Self::AlreadyRunning { .. } => "already-running",
            Self::File { .. } => "file",
            Self::StateUnreadable { .. } => "state-unreadable",
            Self::Encode { .. } => "encode",
            Self::Listen { .. } => "listen",
            Self::NoAnswer { .. } => "no-answer",
            Self::Control { .. } => "control",
            Self::Answer { .. } => "answer",
            Self::HandOver { .. } => "hand-over",
            Self::TaskEnded { .. } => "task-ended",
        }
    }
}
