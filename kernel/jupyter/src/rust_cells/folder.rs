//! The folder of a host: what it compiles, and the socket on which cells write.

use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Begins the names of these folders. They are short, as the path of a socket has to be.
const NAME: &str = "rust-cells-";
/// Locked for as long as the folder is in use.
const LOCK: &str = "lock";

/// Where evcxr compiles.
const EVCXR: &str = "evcxr";

/// Removes the folder. The lock goes last: what is left when this is cut short, the next one finds by it.
pub(super) fn remove(folder: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(folder.join(EVCXR)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => std::fs::remove_dir_all(folder),
    }
}

/// A folder that goes with its owner.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Creates a folder, and removes those whose owners were killed.
    pub(super) fn create(parent: &Path) -> std::io::Result<Self> {
        sweep(parent)?;
        let path = create_new(parent)?;
        let lock = File::create_new(path.join(LOCK))?;
        lock.try_lock()?;
        Ok(Self { path, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the folder for evcxr.
    pub(super) fn evcxr(&self) -> PathBuf {
        self.path.join(EVCXR)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            tracing::debug!(%error, "the folder of a Rust host is left to the next one");
        }
    }
}

fn create_new(parent: &Path) -> std::io::Result<PathBuf> {
    static CREATED: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = CREATED.fetch_add(1, Ordering::Relaxed);
        let folder = parent.join(format!("{NAME}{}-{number}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => return Ok(folder),
            // Left behind by a process that had the same id.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// A folder of another user cannot be removed, and need not.
fn sweep(parent: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(parent)?.flatten() {
        let is_named = entry.file_name().to_string_lossy().starts_with(NAME);
        if is_named && is_left(&entry.path()) {
            let _ = remove(&entry.path());
        }
    }
    Ok(())
}

fn is_left(folder: &Path) -> bool {
    File::open(folder.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn a_folder_goes_with_its_owner_or_with_the_next_one() {
        let parent = tempfile::TempDir::new().unwrap();
        let used = Folder::create(parent.path()).unwrap();
        let left = parent.path().join("rust-cells-1-0");
        std::fs::create_dir_all(left.join(EVCXR)).unwrap();
        std::fs::write(left.join(LOCK), "").unwrap();
        let second = Folder::create(parent.path()).unwrap();
        assert!(!left.exists());
        assert!(used.path().exists());
        let path = second.path().to_owned();
        drop(second);
        assert!(!path.exists());
    }
}
