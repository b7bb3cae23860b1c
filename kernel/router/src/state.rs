//! What a router remembers over a restart.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

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
///
/// The lock belongs to the open file, not to the process: it holds until every process that was
/// given the file has closed it.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    lock: File,
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
            path: lock_path,
            source,
        })?;
        Self::locked(path, file)
    }

    /// Goes on with the lock of the router before this one, and reads the state.
    ///
    /// # Errors
    /// [`Error::AlreadyRunning`] when it is not that lock; [`Error::File`],
    /// [`Error::StateUnreadable`].
    pub(crate) fn adopt(path: &Path, lock: OwnedFd) -> Result<(Self, State), Error> {
        Self::locked(path, File::from(lock))
    }

    fn locked(path: &Path, lock: File) -> Result<(Self, State), Error> {
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::AlreadyRunning {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => {
                return Err(Error::File {
                    action: "lock",
                    path: path.with_added_extension("lock"),
                    source,
                });
            }
        }
        let state = read(path)?;
        let path = path.to_owned();
        Ok((Self { path, lock }, state))
    }

    /// Returns another handle on the lock, for the router that goes on.
    ///
    /// # Errors
    /// [`Error::File`] when the operating system has no more descriptors.
    pub(crate) fn lock(&self) -> Result<OwnedFd, Error> {
        let copy = self.lock.try_clone().map_err(|source| Error::File {
            action: "hand on the lock of",
            path: self.path.clone(),
            source,
        })?;
        Ok(copy.into())
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

fn read(path: &Path) -> Result<State, Error> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| Error::StateUnreadable {
            path: path.to_owned(),
            source,
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(State::default()),
        Err(source) => Err(Error::File {
            action: "read",
            path: path.to_owned(),
            source,
        }),
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
