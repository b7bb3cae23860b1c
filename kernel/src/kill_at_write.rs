//! For tests alone: a disk under which the process kills itself at a write of a journal.
//!
//! `CODE_DEPLOY_TEST_KILL_AT_WRITE=before:17` ends the process (SIGKILL) when the 17th line that it
//! writes to a journal is about to be written, `after:17` when it is on disk, `before:sealed` before the
//! first event of that kind. Nothing else sets it.

use std::io::{Read, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use code_deploy_record::disk::{AppendFile, Create, EntryKind, Locked, ReadFile};
use code_deploy_record::{Disk, SystemDisk};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The variable.
const VARIABLE: &str = "CODE_DEPLOY_TEST_KILL_AT_WRITE";

/// Where the process kills itself.
#[derive(Debug, Clone, PartialEq, Eq)]
struct At {
    before: bool,
    line: Line,
}

/// A line of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Line {
    /// By how many the process has written, with it.
    Number(u64),
    /// By a part that the first has: its kind.
    With(String),
}

impl At {
    fn is(&self, number: u64, text: &[u8]) -> bool {
        match &self.line {
            Line::Number(wanted) => number == *wanted,
            Line::With(part) => String::from_utf8_lossy(text).contains(part),
        }
    }

    fn read(text: &str) -> Option<Self> {
        let (when, line) = text.split_once(':')?;
        let before = match when {
            "before" => true,
            "after" => false,
            _ => return None,
        };
        let line = match line.parse() {
            Ok(number) => Line::Number(number),
            Err(_) if line.is_empty() => return None,
            Err(_) => Line::With(format!("\"kind\":\"{line}\"")),
        };
        Some(Self { before, line })
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

    fn kind(&self, path: &Path) -> Result<EntryKind> {
        SystemDisk.kind(path)
    }

    fn read(&self, path: &Path) -> Result<Box<dyn ReadFile>> {
        SystemDisk.read(path)
    }

    fn append(&self, path: &Path, create: Create) -> Result<Box<dyn AppendFile>> {
        let inner = SystemDisk.append(path, create)?;
        if path.file_name().is_none_or(|name| name != "journal.jsonl") {
            return Ok(inner);
        }
        let (at, writes) = (self.at.clone(), Arc::clone(&self.writes));
        let due = false;
        Ok(Box::new(KillingFile {
            inner,
            at,
            writes,
            due,
        }))
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
    /// Whether the line is written that is to be flushed first.
    due: bool,
}

impl AppendFile for KillingFile {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let write = self.writes.fetch_add(1, Ordering::SeqCst) + 1;
        self.due = self.at.is(write, bytes);
        if self.due && self.at.before {
            kill_this_process()?;
        }
        self.inner.append(bytes)
    }

    fn flush(&mut self) -> Result<()> {
        self.inner.flush()?;
        if self.due {
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
        let at = |before, line| Some(At { before, line });
        assert_eq!(At::read("before:17"), at(true, Line::Number(17)));
        assert_eq!(At::read("after:1"), at(false, Line::Number(1)));
        let sealed = Line::With("\"kind\":\"sealed\"".to_owned());
        assert_eq!(At::read("after:sealed"), at(false, sealed));
        for text in ["", "before", "17", "during:17", "after:"] {
            assert_eq!(At::read(text), None, "{text}");
        }
    }
}
