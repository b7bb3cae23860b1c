//! One runner per application and environment.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::folder::create_private;
use crate::{Error, Result, RunId, RunsFolder};

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockHolder {
    /// The run it is held for.
    pub run: RunId,
    /// The process.
    pub pid: u32,
    /// The machine.
    pub host: String,
    /// The system's user.
    pub user: String,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Grows by one with each holder, so that an earlier one can be told from the present one.
    pub fencing: u64,
}

impl std::fmt::Display for LockHolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let since = self.since.format("%Y-%m-%d %H:%M:%S UTC");
        let Self {
            run,
            pid,
            host,
            user,
            ..
        } = self;
        write!(
            f,
            "{user} on {host} (process {pid}) for run {run} since {since}"
        )
    }
}

/// The lock of one application and environment. The operating system releases it when the
/// process ends, however it ends, so that a dead holder never blocks anybody.
#[derive(Debug)]
pub struct RunLock {
    file: File,
    path: PathBuf,
    holder: LockHolder,
}

impl RunLock {
    /// Takes the lock.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process holds it; [`Error::Io`].
    pub fn take(
        runs: &RunsFolder,
        application: &str,
        environment: &str,
        mut holder: LockHolder,
    ) -> Result<Self> {
        let path = lock_path(runs, application, environment);
        create_private(&runs.path().join("locks"))?;
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let mut file = options.open(&path).map_err(Error::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                let holder = read_holder(&mut file, &path)?;
                let holder = holder.map_or_else(
                    || "a process that has just taken it".to_owned(),
                    |h| h.to_string(),
                );
                let (application, environment) = (application.to_owned(), environment.to_owned());
                return Err(Error::Locked {
                    application,
                    environment,
                    holder,
                });
            }
            Err(std::fs::TryLockError::Error(source)) => {
                return Err(Error::io("lock", &path)(source));
            }
        }
        let before = read_holder(&mut file, &path)?;
        holder.fencing = before.map_or(0, |before| before.fencing) + 1;
        let mut lock = Self { file, path, holder };
        lock.write_holder()?;
        Ok(lock)
    }

    /// Returns who holds the lock of an application and environment now, if anybody does.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn holder_of(
        runs: &RunsFolder,
        application: &str,
        environment: &str,
    ) -> Result<Option<LockHolder>> {
        let path = lock_path(runs, application, environment);
        let mut file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("open", &path)(error)),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(std::fs::TryLockError::WouldBlock) => read_holder(&mut file, &path),
            Err(std::fs::TryLockError::Error(source)) => Err(Error::io("lock", &path)(source)),
        }
    }

    /// Returns this holder.
    #[must_use]
    pub fn holder(&self) -> &LockHolder {
        &self.holder
    }

    fn write_holder(&mut self) -> Result<()> {
        let text = serde_json::to_vec(&self.holder)?;
        let path = &self.path;
        self.file.set_len(0).map_err(Error::io("write", path))?;
        self.file
            .seek(SeekFrom::Start(0))
            .map_err(Error::io("write", path))?;
        self.file
            .write_all(&text)
            .map_err(Error::io("write", path))?;
        self.file.sync_all().map_err(Error::io("flush", path))
    }
}

fn lock_path(runs: &RunsFolder, application: &str, environment: &str) -> PathBuf {
    runs.path()
        .join("locks")
        .join(format!("{application}--{environment}.lock"))
}

fn read_holder(file: &mut File, path: &Path) -> Result<Option<LockHolder>> {
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(0))
        .map_err(Error::io("read", path))?;
    file.take(64 * 1024)
        .read_to_end(&mut text)
        .map_err(Error::io("read", path))?;
    Ok(serde_json::from_slice(&text).ok())
}
