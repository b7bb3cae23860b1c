//! What a router remembers over a restart.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::config::ServiceConfig;
use crate::control::{BackendAddress, Lease, LeaseExpiry};
use crate::error::Error;

/// Everything that control requests have changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct State {
    pub(crate) services: BTreeMap<String, ServiceState>,
    pub(crate) lease: Option<Lease>,
    pub(crate) last_expiry: Option<LeaseExpiry>,
    pub(crate) record_dir: Option<PathBuf>,
}

/// One service; `config.listen` holds the port that was really bound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceState {
    pub(crate) config: ServiceConfig,
    pub(crate) releases: Vec<ReleaseState>,
}

/// One release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReleaseState {
    pub(crate) name: String,
    pub(crate) weight: u16,
    pub(crate) backends: Vec<BackendAddress>,
}

/// The state file and the lock that makes this router its only writer.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    _lock: Flock<File>,
}

impl StateFile {
    /// Takes the lock and reads the state; none on the first start.
    ///
    /// # Errors
    /// [`Error::AlreadyRunning`], [`Error::File`], [`Error::StateUnreadable`].
    pub(crate) fn open(path: &Path) -> Result<(Self, State), Error> {
        let lock_path = path.with_added_extension("lock");
        let file = private(&lock_path, false).map_err(|source| Error::File {
            action: "open",
            path: lock_path.clone(),
            source,
        })?;
        let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
                return Err(Error::AlreadyRunning {
                    path: path.to_owned(),
                });
            }
            Err((_, errno)) => {
                return Err(Error::File {
                    action: "lock",
                    path: lock_path,
                    source: errno.into(),
                });
            }
        };
        let state = match std::fs::read(path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|source| Error::StateUnreadable {
                    path: path.to_owned(),
                    source,
                })?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => State::default(),
            Err(source) => {
                return Err(Error::File {
                    action: "read",
                    path: path.to_owned(),
                    source,
                });
            }
        };
        Ok((
            Self {
                path: path.to_owned(),
                _lock: lock,
            },
            state,
        ))
    }

    /// Replaces the file: written beside, synced, renamed, folder synced.
    ///
    /// # Errors
    /// [`Error::File`]; the old state is then still in place, or the new one whole.
    pub(crate) fn save(&self, state: &State) -> Result<(), Error> {
        let bytes = serde_json::to_vec_pretty(state).map_err(|source| Error::Encode {
            what: "the router's state",
            source,
        })?;
        let failed = |source| Error::File {
            action: "write",
            path: self.path.clone(),
            source,
        };
        let beside = self.path.with_added_extension("new");
        let mut file = private(&beside, true).map_err(failed)?;
        file.write_all(&bytes).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        std::fs::rename(&beside, &self.path).map_err(failed)?;
        let folder = self
            .path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))
            .and_then(|f| f.sync_all())
            .map_err(failed)
    }
}

fn private(path: &Path, truncate: bool) -> std::io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(truncate)
        .mode(0o600)
        .open(path)
}
