//! The journal of a run: one event a line, each line chained to the one before.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{AppendFile, Create, Disk, ReadFile};
use crate::folder::sync_folder_of;
use crate::{Clock, Digest, Error, Event, EventBody, Fence, Redactor, Result};

/// The longest line that is read, in bytes. Larger content belongs into the evidence folder.
const LONGEST_LINE: u64 = 16 * 1024 * 1024;

/// What opening a journal found at its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Bytes of a torn last line, which were cut off. 0 when the journal was whole.
    pub torn_bytes: u64,
}

/// Appends events to a journal. One writer per journal: the run's lock sees to that.
///
/// # Guarantees
/// When [`append`](Self::append) returns, the event is on disk (`fdatasync`). After an error
/// nothing more is written: the journal may end in a torn line, which the next
/// [`open`](Self::open) cuts. A writer with a [`Fence`] writes nothing any more when another
/// process has taken the lock.
pub struct JournalWriter {
    file: Box<dyn AppendFile>,
    disk: Arc<dyn Disk>,
    fence: Option<Fence>,
    path: PathBuf,
    clock: Arc<dyn Clock>,
    redactor: Redactor,
    head: Digest,
    next: u64,
    last_time: Option<chrono::DateTime<chrono::Utc>>,
    broken: bool,
}

impl std::fmt::Debug for JournalWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JournalWriter")
            .field("path", &self.path)
            .field("next", &self.next)
            .finish()
    }
}

impl JournalWriter {
    /// Creates a journal that is not there yet.
    ///
    /// # Errors
    /// [`Error::Io`], also when the file exists.
    pub fn create(
        disk: &Arc<dyn Disk>,
        path: &Path,
        clock: Arc<dyn Clock>,
        redactor: Redactor,
    ) -> Result<Self> {
        let created = disk.append(path, Create::New);
        let file = created.map_err(Error::io("create", path))?;
        sync_folder_of(disk.as_ref(), path)?;
        let (head, next) = (Digest::ZERO, 0);
        let path = path.to_owned();
        Ok(Self {
            file,
            disk: Arc::clone(disk),
            fence: None,
            path,
            clock,
            redactor,
            head,
            next,
            last_time: None,
            broken: false,
        })
    }

    /// Opens a journal to go on writing: verifies every line, hands each event to `each`, and
    /// cuts a torn last line.
    ///
    /// # Errors
    /// [`Error::Broken`] when any other line does not verify; [`Error::Io`].
    pub fn open(
        disk: &Arc<dyn Disk>,
        path: &Path,
        clock: Arc<dyn Clock>,
        redactor: Redactor,
        mut each: impl FnMut(&Event),
    ) -> Result<(Self, Recovered)> {
        let mut reader = JournalReader::open(disk.as_ref(), path)?;
        let mut last_time = None;
        while let Some(event) = reader.next_event()? {
            last_time = Some(event.time);
            each(&event);
        }
        let opened = disk.append(path, Create::No);
        let mut file = opened.map_err(Error::io("append to", path))?;
        let torn_bytes = reader.unread()?;
        if torn_bytes > 0 {
            let cut = file.cut(reader.position);
            cut.map_err(Error::io("cut", path))?;
        }
        let (head, next) = (reader.head, reader.next);
        let path = path.to_owned();
        let writer = Self {
            file,
            disk: Arc::clone(disk),
            fence: None,
            path,
            clock,
            redactor,
            head,
            next,
            last_time,
            broken: false,
        };
        Ok((writer, Recovered { torn_bytes }))
    }

    /// Writes only while the lock is held under which this process works.
    pub fn fence_with(&mut self, fence: Fence) {
        self.fence = Some(fence);
    }

    /// Returns the disk that it writes to.
    #[must_use]
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Appends an event and waits until it is on disk.
    ///
    /// # Errors
    /// [`Error::FencedOff`] when another process has taken the lock (nothing is written);
    /// [`Error::SecretInEntry`] when the event holds a known secret (nothing is written);
    /// [`Error::Io`] when it could not be written or flushed, after which every further call
    /// fails too, because what is on disk is not known any more.
    pub fn append(&mut self, actor: &str, body: EventBody) -> Result<Event> {
        if self.broken {
            let source = std::io::Error::other("an earlier write to this journal failed");
            return Err(Error::io("append to", &self.path)(source));
        }
        let now = self.clock.now();
        let time = self.last_time.map_or(now, |last| last.max(now));
        let actor = actor.to_owned();
        let event = Event {
            seq: self.next,
            time,
            actor,
            prev: self.head,
            body,
        };
        let mut line = serde_json::to_string(&event)?;
        if let Some(name) = self.redactor.find(&line) {
            let kind = kind_of(&line);
            return Err(Error::SecretInEntry { kind, name });
        }
        let head = Digest::of(line.as_bytes());
        line.push('\n');
        // Nobody takes the lock between the look and the write.
        let _held = match &self.fence {
            Some(fence) => Some(fence.hold().inspect_err(|_| self.broken = true)?),
            None => None,
        };
        self.write(line.as_bytes())
            .inspect_err(|_| self.broken = true)?;
        (self.head, self.next, self.last_time) = (head, self.next + 1, Some(time));
        Ok(event)
    }

    fn write(&mut self, line: &[u8]) -> Result<()> {
        self.file
            .append(line)
            .map_err(Error::io("append to", &self.path))?;
        self.file.flush().map_err(Error::io("flush", &self.path))
    }

    /// Returns the digest of the last line.
    #[must_use]
    pub fn head(&self) -> Digest {
        self.head
    }

    /// Returns the sequence number of the next event.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.next
    }
}

fn kind_of(line: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
    value
        .get("kind")
        .and_then(|kind| kind.as_str())
        .unwrap_or("unknown")
        .to_owned()
}

/// Reads a journal from its beginning, verifying every line. Works while a writer appends: a
/// last line that has no line end yet is not returned, and the next call looks again.
#[derive(Debug)]
pub struct JournalReader {
    file: BufReader<Box<dyn ReadFile>>,
    path: PathBuf,
    position: u64,
    head: Digest,
    next: u64,
    last_time: Option<chrono::DateTime<chrono::Utc>>,
}

impl JournalReader {
    /// Opens a journal.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Self> {
        let file = disk.read(path).map_err(Error::io("read", path))?;
        let file = BufReader::with_capacity(64 * 1024, file);
        let path = path.to_owned();
        Ok(Self {
            file,
            path,
            position: 0,
            head: Digest::ZERO,
            next: 0,
            last_time: None,
        })
    }

    /// Returns the next event, or nothing when there is none (yet).
    ///
    /// # Errors
    /// [`Error::Broken`] when a complete line does not verify; [`Error::Io`].
    pub fn next_event(&mut self) -> Result<Option<Event>> {
        let mut line = Vec::new();
        let mut part = (&mut self.file).take(LONGEST_LINE);
        let read = part
            .read_until(b'\n', &mut line)
            .map_err(Error::io("read", &self.path))?;
        if line.last() != Some(&b'\n') {
            if read as u64 == LONGEST_LINE {
                return Err(self.broken("it is longer than any that this program writes"));
            }
            self.rewind()?;
            return Ok(None);
        }
        line.pop();
        if line.iter().all(|byte| *byte == 0) && self.is_last(read as u64)? {
            self.rewind()?;
            return Ok(None);
        }
        let event = self.verify(&line)?;
        self.position += read as u64;
        self.head = Digest::of(&line);
        self.next += 1;
        self.last_time = Some(event.time);
        Ok(Some(event))
    }

    /// Returns the digest of the last line read.
    #[must_use]
    pub fn head(&self) -> Digest {
        self.head
    }

    /// Returns how many bytes were read and verified.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Returns how many bytes stand behind the last complete line: a line that is being written,
    /// or one torn by a crash.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn unread(&self) -> Result<u64> {
        let length = self.file.get_ref().length();
        let length = length.map_err(Error::io("read", &self.path))?;
        Ok(length.saturating_sub(self.position))
    }

    fn is_last(&self, read: u64) -> Result<bool> {
        Ok(self.unread()? <= read)
    }

    fn rewind(&mut self) -> Result<()> {
        let seek = self.file.seek(SeekFrom::Start(self.position));
        seek.map(|_| ()).map_err(Error::io("read", &self.path))
    }

    fn verify(&self, line: &[u8]) -> Result<Event> {
        let event = Event::of_line(line)
            .map_err(|error| self.broken(format!("it is not an event: {error}")))?;
        if event.seq != self.next {
            let what = format!(
                "its sequence number is {}, expected {}",
                event.seq, self.next
            );
            return Err(self.broken(what));
        }
        if event.prev != self.head {
            let what = "it does not follow from the line before: one of the two was changed, \
                        or a line was removed or moved";
            return Err(self.broken(what));
        }
        if self.last_time.is_some_and(|last| event.time < last) {
            return Err(self.broken("its time is before that of the line before"));
        }
        Ok(event)
    }

    fn broken(&self, what: impl Into<String>) -> Error {
        Error::Broken {
            path: self.path.clone(),
            line: self.next + 1,
            what: what.into(),
        }
    }
}

impl Iterator for JournalReader {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Result<Event>> {
        self.next_event().transpose()
    }
}
