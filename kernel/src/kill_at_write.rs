//! For tests alone: a disk under which the process kills itself at a write of a journal.
//!
//! `CODE_DEPLOY_TEST_KILL_AT_WRITE=before:17` ends the process (SIGKILL) when the 17th line that it
//! writes to a journal is about to be written, `after:17` when it is on disk. Nothing else sets it.

use std::io::{Read, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use code_deploy_record::disk::{AppendFile, Create, Locked, ReadFile};
use code_deploy_record::{Disk, SystemDisk};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The variable.
const VARIABLE: &str = "CODE_DEPLOY_TEST_KILL_AT_WRITE";

/// Where the process kills itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct At {
    before: bool,
    write: u64,
}

impl At {
    fn read(text: &str) -> Option<Self> {
        let (when, write) = text.split_once(':')?;
        let before = match when {
            "before" => true,
            "after" => false,
            _ => return None,
        };
        let write = write.parse().ok()?;
        Some(Self { before, write })
    }
}

/// Returns the disk of this machine, or one that kills where a test asks for that.
pub fn disk(lookup: impl Fn(&str) -> Option<String>) -> Arc<dyn Disk> {
    match lookup(VARIABLE).and_then(|text| At::read(&text)) {
        Some(at) => Arc::new(KillingDisk {
            at,
            writes: Arc::default(),
        }),
        None => SystemDisk::shared(),
    }
}

#[derive(Debug)]
struct KillingDisk {
    at: At,
    writes: Arc<AtomicU64>,
}

impl Disk for KillingDisk {
    fn may_block(&self) -> bool {
        SystemDisk.may_block()
    }

    fn create_folder(&self, path: &Path) -> Result<()> {
        SystemDisk.create_folder(path)
    }

    fn create_new_folder(&self, path: &Path) -> Result<()> {
        SystemDisk.create_new_folder(path)
    }

    fn sync_folder(&self, path: &Path) -> Result<()> {
        SystemDisk.sync_folder(path)
    }

    fn entries(&self, path: &Path) -> Result<Vec<PathBuf>> {
        SystemDisk.entries(path)
    }

    fn is_file(&self, path: &Path) -> bool {
        SystemDisk.is_file(path)
    }

    fn is_folder(&self, path: &Path) -> bool {
        SystemDisk.is_folder(path)
    }

    fn read(&self, path: &Path) -> Result<Box<dyn ReadFile>> {
        SystemDisk.read(path)
    }

    fn append(&self, path: &Path, create: Create) -> Result<Box<dyn AppendFile>> {
        let inner = SystemDisk.append(path, create)?;
        if path.file_name().is_none_or(|name| name != "journal.jsonl") {
            return Ok(inner);
        }
        let (at, writes) = (self.at, Arc::clone(&self.writes));
        Ok(Box::new(KillingFile { inner, at, writes }))
    }

    fn replace(&self, path: &Path, content: &mut dyn Read) -> Result<()> {
        SystemDisk.replace(path, content)
    }

    fn lock(&self, path: &Path, wait: bool) -> Result<Option<Box<dyn Locked>>> {
        SystemDisk.lock(path, wait)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        SystemDisk.remove(path)
    }
}

#[derive(Debug)]
struct KillingFile {
    inner: Box<dyn AppendFile>,
    at: At,
    writes: Arc<AtomicU64>,
}

impl AppendFile for KillingFile {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let write = self.writes.fetch_add(1, Ordering::SeqCst) + 1;
        if self.at.before && write == self.at.write {
            kill_this_process()?;
        }
        self.inner.append(bytes)
    }

    fn flush(&mut self) -> Result<()> {
        self.inner.flush()?;
        if !self.at.before && self.writes.load(Ordering::SeqCst) == self.at.write {
            kill_this_process()?;
        }
        Ok(())
    }

    fn cut(&mut self, length: u64) -> Result<()> {
        self.inner.cut(length)
    }
}

fn kill_this_process() -> Result<()> {
    kill(Pid::this(), Signal::SIGKILL)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

    use super::*;

    #[test]
    fn only_what_says_when_and_at_which_write_kills() {
        let at = |before, write| Some(At { before, write });
        assert_eq!(At::read("before:17"), at(true, 17));
        assert_eq!(At::read("after:1"), at(false, 1));
        for text in ["", "before", "17", "during:17", "after:x"] {
            assert_eq!(At::read(text), None, "{text}");
        }
    }
}
