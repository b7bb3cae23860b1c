//! One change of a service at a time, whichever process makes it.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use code_deploy_engine::target::TargetError;

use crate::disk::create_private;
use crate::failure::{code, files, transient};

/// The pause between two tries. The system has no way to wait for a lock with a limit.
const AGAIN: Duration = Duration::from_millis(20);

/// How long a change may wait for another: a little longer than a start may take by default.
const LIMIT: Duration = Duration::from_secs(330);

/// A change that is being made. The lock ends with this value or with the process.
pub(crate) struct ChangeLock {
    _file: File,
}

impl ChangeLock {
    /// Takes the lock on the instances of a service. `root` is the folder of the environment.
    pub async fn of_service(root: &Path, service: &str) -> Result<Self, TargetError> {
        Self::of(
            root,
            &format!("service {service}"),
            &format!("service-{service}.lock"),
        )
        .await
    }

    /// Takes the lock on the router.
    pub async fn of_router(root: &Path) -> Result<Self, TargetError> {
        Self::of(root, "the router", "router.lock").await
    }

    /// Takes the lock of that file on what it says in words.
    pub async fn of(root: &Path, what: &str, file: &str) -> Result<Self, TargetError> {
        let folder = root.join("locks");
        let path = folder.join(file);
        create_private(&folder).map_err(files(None, "create", &folder))?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options
            .open(&path)
            .map_err(files(None, "open the lock", &path))?;
        let until = tokio::time::Instant::now() + LIMIT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::Error(error)) => {
                    return Err(files(None, "lock", &path)(error));
                }
                Err(TryLockError::WouldBlock) => {}
            }
            if tokio::time::Instant::now() >= until {
                let what = format!(
                    "another process has been changing {what} for {LIMIT:?} (lock {}); nothing \
                     was changed by this one",
                    path.display()
                );
                let next = "Wait for the other process or end it, then run again.";
                return Err(transient(code::BUSY, None, what, next));
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}
