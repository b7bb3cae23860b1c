use std::fmt;
use std::path::Path;

use jupyter_protocol::{ConnectionInfo, connection_info::Transport};

use crate::error::Error;

/// A connection file has five ports and a key; anything much larger is another file.
const SIZE_LIMIT: u64 = 64 * 1024;
/// Jupyter's keys have 32 to 36 characters.
const KEY_LIMIT: usize = 1024;

/// How clients reach the kernel: the file Jupyter writes before it starts one.
///
/// Spec: <https://jupyter-client.readthedocs.io/en/latest/kernels.html#connection-files>.
#[derive(Clone)]
pub struct ConnectionFile {
    info: ConnectionInfo,
}

impl ConnectionFile {
    /// Reads and checks a connection file.
    ///
    /// # Errors
    /// Where the file is missing, unreadable, too large, not JSON, lacks a field, asks for a signature
    /// scheme other than `hmac-sha256`, or has a key that cannot be one. The key is never repeated.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let unreadable = |source| Error::ConnectionFileUnreadable {
            path: path.to_path_buf(),
            source,
        };
        let size = std::fs::metadata(path).map_err(unreadable)?.len();
        if size > SIZE_LIMIT {
            let (path, limit) = (path.to_path_buf(), SIZE_LIMIT);
            return Err(Error::ConnectionFileTooLarge { path, size, limit });
        }
        let text = std::fs::read(path).map_err(unreadable)?;
        let info: ConnectionInfo =
            serde_json::from_slice(&text).map_err(|source| Error::ConnectionFileInvalid {
                path: path.to_path_buf(),
                source,
            })?;
        if info.signature_scheme != "hmac-sha256" {
            return Err(Error::UnknownSignatureScheme {
                path: path.to_path_buf(),
                scheme: info.signature_scheme,
            });
        }
        if let Some(reason) = key_fault(&info.key) {
            return Err(Error::BadKey {
                path: path.to_path_buf(),
                reason,
            });
        }
        Ok(Self { info })
    }

    pub(crate) fn key(&self) -> &str {
        &self.info.key
    }

    pub(crate) fn endpoint(&self, channel: Channel) -> Endpoint {
        let (port, url) = match channel {
            Channel::Shell => (self.info.shell_port, self.info.shell_url()),
            Channel::Control => (self.info.control_port, self.info.control_url()),
            Channel::Stdin => (self.info.stdin_port, self.info.stdin_url()),
            Channel::Iopub => (self.info.iopub_port, self.info.iopub_url()),
            Channel::Heartbeat => (self.info.hb_port, self.info.hb_url()),
        };
        let address = match self.info.transport {
            Transport::TCP => Address::Tcp {
                host: self.info.ip.clone(),
                port,
            },
            Transport::IPC => Address::Ipc {
                path: format!("{}-{port}", self.info.ip).into(),
            },
        };
        Endpoint {
            channel,
            url,
            address,
        }
    }
}

impl fmt::Debug for ConnectionFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ConnectionFile")
            .field("shell", &self.info.shell_url())
            .field("key", &"(not shown)")
            .finish_non_exhaustive()
    }
}

fn key_fault(key: &str) -> Option<&'static str> {
    if key.len() > KEY_LIMIT {
        return Some("it is longer than 1024 bytes");
    }
    if !key.is_empty() && key.trim().is_empty() {
        return Some("it is white space only");
    }
    if key.chars().any(char::is_control) {
        return Some("it holds control characters");
    }
    None
}

/// The five channels of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    Shell,
    Control,
    Stdin,
    Iopub,
    Heartbeat,
}

impl Channel {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Shell => "shell",
            Self::Control => "control",
            Self::Stdin => "stdin",
            Self::Iopub => "iopub",
            Self::Heartbeat => "heartbeat",
        }
    }
}

/// Where a channel listens.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) channel: Channel,
    pub(crate) url: String,
    pub(crate) address: Address,
}

#[derive(Debug, Clone)]
pub(crate) enum Address {
    Tcp { host: String, port: u16 },
    Ipc { path: std::path::PathBuf },
}

impl Endpoint {
    pub(crate) fn bind_error(
        &self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        Error::Bind {
            channel: self.channel.name(),
            endpoint: self.url.clone(),
            source: source.into(),
        }
    }
}
