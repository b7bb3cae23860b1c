//! The file that keeps inputs across restarts. Kernels that run at the same time share it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{BufRead, BufReader, Error, ErrorKind, Result, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::{BYTES_LIMIT, Entry, LIMIT};

/// A file longer than this is cut to the inputs that are remembered.
const FILE_LIMIT: u64 = 2 * BYTES_LIMIT as u64;
/// How often another kernel may replace the file between opening and locking it.
const ATTEMPTS: usize = 8;

/// One line of the file; a session begins with one that has no input.
#[derive(Debug, Serialize, Deserialize)]
struct Line<'a> {
    session: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    input: Option<std::borrow::Cow<'a, str>>,
}

/// The file of all sessions.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
}

impl Store {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Begins a session: returns its number and the inputs of the earlier ones, oldest first. Lines that cannot
    /// be read (a full disk, an editor) are passed over.
    pub(super) fn begin(&self) -> Result<(i64, Vec<Entry>)> {
        if let Some(folder) = self.path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        let mut file = self.locked()?;
        let length = file.metadata()?.len();
        let (last, mut entries) = read(&mut file, length)?;
        let surplus = entries.len().saturating_sub(LIMIT);
        entries.drain(..surplus);
        let session = last + 1;
        let begun = Line {
            session,
            line: None,
            input: None,
        };
        if length > FILE_LIMIT {
            self.replace(&entries, &begun)?;
        } else {
            let mut text = Vec::new();
            write_line(&mut text, &begun)?;
            end_torn_line(&mut file, length, &mut text)?;
            file.write_all(&text)?;
        }
        Ok((session, entries))
    }

    /// Adds inputs at the end.
    pub(super) fn append(&self, entries: &[Entry]) -> Result<()> {
        let mut text = Vec::new();
        for entry in entries {
            write_line(&mut text, &line_of(entry))?;
        }
        self.locked()?.write_all(&text)
    }

    fn replace(&self, entries: &[Entry], begun: &Line<'_>) -> Result<()> {
        let beside = self
            .path
            .with_extension(format!("{}.new", std::process::id()));
        let mut text = Vec::new();
        for entry in entries {
            write_line(&mut text, &line_of(entry))?;
        }
        write_line(&mut text, begun)?;
        let mut new = private().create_new(true).append(true).open(&beside)?;
        let written = new.write_all(&text).and_then(|()| new.sync_data());
        let replaced = written.and_then(|()| std::fs::rename(&beside, &self.path));
        if replaced.is_err() {
            let _ = std::fs::remove_file(&beside);
        }
        replaced
    }

    /// Opens the file and locks it; another kernel may have put a new one in its place in between.
    fn locked(&self) -> Result<Flock<File>> {
        for _ in 0..ATTEMPTS {
            let file = private()
                .create(true)
                .append(true)
                .read(true)
                .open(&self.path)?;
            let file = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
            let here = std::fs::metadata(&self.path).map(|found| (found.dev(), found.ino()));
            let ours = file.metadata()?;
            if here.is_ok_and(|here| here == (ours.dev(), ours.ino())) {
                return Ok(file);
            }
        }
        Err(Error::new(
            ErrorKind::ResourceBusy,
            "it is replaced again and again",
        ))
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

fn line_of(entry: &Entry) -> Line<'_> {
    Line {
        session: entry.session,
        line: Some(entry.line),
        input: Some((&*entry.input).into()),
    }
}

fn write_line(text: &mut Vec<u8>, line: &Line<'_>) -> Result<()> {
    serde_json::to_writer(&mut *text, line)?;
    text.push(b'\n');
    Ok(())
}

/// Returns the number of the last session and the inputs at the end of the file, as many as are remembered.
fn read(file: &mut File, length: u64) -> Result<(i64, Vec<Entry>)> {
    file.seek(SeekFrom::Start(length.saturating_sub(FILE_LIMIT)))?;
    let (mut last, mut entries) = (0, Vec::new());
    for line in BufReader::new(file).split(b'\n') {
        let line = line?;
        let Ok(line) = serde_json::from_slice::<Line<'_>>(&line) else {
            continue;
        };
        last = last.max(line.session);
        if let (Some(number), Some(input)) = (line.line, line.input) {
            entries.push(Entry {
                session: line.session,
                line: number,
                input: input.into(),
            });
        }
    }
    Ok((last, entries))
}

/// Ends a last line that was cut off, so that it does not take the next one with it.
fn end_torn_line(file: &mut File, length: u64, text: &mut Vec<u8>) -> Result<()> {
    if length == 0 {
        return Ok(());
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    std::io::Read::read_exact(file, &mut last)?;
    if last != [b'\n'] {
        text.insert(0, b'\n');
    }
    Ok(())
}
