//! The journal of a run: one event a line, each line chained to the one before.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{AppendFile, Create, Disk, ReadFile};
use crate::due::DueCheckpoints;
use crate::folder::sync_folder_of;
use crate::seal::{SealFolder, Sealer, is_sealed_after, leaves_of, origin};
use crate::{
    Clock, Digest, Error, Event, EventBody, Fence, PublicKeys, Redactor, Result, SealKey, Tree,
    TreeHead,
};

/// The longest line that is read, in bytes. Larger content belongs into the evidence folder.
const LONGEST_LINE: u64 = 16 * 1024 * 1024;

/// The memory that is kept for lines between two of them, in bytes.
const KEPT_LINE: usize = 16 * 1024;

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
    tree: Tree,
    known: Known,
    sealer: Option<Sealer>,
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
            tree: Tree::default(),
            known: Known::default(),
            sealer: None,
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
        let (mut last_time, mut known) = (None, Known::default());
        while let Some(event) = reader.next_event()? {
            last_time = Some(event.time);
            known.note(&event, || reader.tree());
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
            tree: reader.tree,
            known,
            sealer: None,
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
    /// What is secret by its form (keys, tokens, passwords in URLs) is replaced by what it is.
    ///
    /// # Errors
    /// [`Error::FencedOff`] when another process has taken the lock (nothing is written);
    /// [`Error::Ended`] behind the end of a record (nothing is written);
    /// [`Error::SecretInEntry`] when the event holds a known secret (nothing is written);
    /// [`Error::Io`] when it could not be written or flushed, after which every further call
    /// fails too, because what is on disk is not known any more.
    pub fn append(&mut self, actor: &str, body: EventBody) -> Result<Event> {
        if self.broken {
            let source = std::io::Error::other("an earlier write to this journal failed");
            return Err(Error::io("append to", &self.path)(source));
        }
        if self.known.ended {
            let path = self.path.clone();
            return Err(Error::Ended { path });
        }
        let now = self.clock.now();
        let time = self.last_time.map_or(now, |last| last.max(now));
        let actor = actor.to_owned();
        let mut event = Event {
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
        if let Some(cleaned) = Redactor::clean_line(&line) {
            event = serde_json::from_str(&cleaned)?;
            line = serde_json::to_string(&event)?;
        }
        let head = Digest::of(line.as_bytes());
        let leaves: Vec<Digest> = leaves_of(line.as_bytes(), &event.body).collect();
        line.push('\n');
        // Nobody takes the lock between the look and the write.
        let _held = match &self.fence {
            Some(fence) => Some(fence.hold().inspect_err(|_| self.broken = true)?),
            None => None,
        };
        self.write(line.as_bytes())
            .inspect_err(|_| self.broken = true)?;
        (self.head, self.next, self.last_time) = (head, self.next + 1, Some(time));
        leaves.into_iter().for_each(|leaf| self.tree.push(leaf));
        self.known.note(&event, || self.tree.head());
        if is_sealed_after(&event.body) {
            self.seal()?;
        }
        Ok(event)
    }

    /// Seals the record from now on with a key: a checkpoint is signed at the end of each phase, at
    /// every pause and at the end. Where the record names the key already and ends where a process was killed just
    /// before it signed, that is signed now. Returns the event that names the key, unless the record names it already.
    ///
    /// # Errors
    /// [`Error::NotARecord`] before the first event; otherwise as [`append`](Self::append).
    pub fn seal_with(&mut self, key: Arc<SealKey>) -> Result<Option<Event>> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let Some(origin) = self.known.origin.clone() else {
            return Err(Error::NotARecord {
                path: folder.to_owned(),
                what: "its journal does not begin with the start of a run".to_owned(),
            });
        };
        let public = key.public();
        self.sealer = Some(Sealer::new(
            key,
            SealFolder::new(Arc::clone(&self.disk), folder),
            origin,
        )?);
        if self.known.key.as_ref() == Some(&public) {
            self.seal_what_was_cut_off()?;
            return Ok(None);
        }
        let named = EventBody::KeyNamed(Box::new(public));
        self.append("engine", named).map(Some)
    }

    /// Signs the end of a record that was cut off before it was signed, where the record names that key and its
    /// earlier checkpoints hold. Appends nothing.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sign_with(&mut self, key: Option<&Arc<SealKey>>) -> Result<()> {
        match key.filter(|key| self.known.key.as_ref() == Some(&key.public())) {
            Some(key) => self.seal_with(Arc::clone(key)).map(drop),
            None => Ok(()),
        }
    }

    /// Signs a checkpoint over all that stands in the journal now. Does nothing where no key seals
    /// the record.
    ///
    /// # Errors
    /// [`Error::Io`]; then nothing more is written, as after an event that could not be.
    pub fn seal(&mut self) -> Result<()> {
        let Some(sealer) = &self.sealer else {
            return Ok(());
        };
        sealer.seal(&self.tree).inspect_err(|_| self.broken = true)
    }

    /// Signs what a process did not that was killed between a line and the signature over it: nothing stands behind
    /// that line then. What is missing further up was never signed or was taken away, and is left to be told.
    fn seal_what_was_cut_off(&mut self) -> Result<()> {
        let due = self.known.due.of_last_key();
        let (Some(sealer), Some((last, before))) = (&self.sealer, due.split_last()) else {
            return Ok(());
        };
        if last.head != self.tree.head() {
            return Ok(());
        }
        // What is signed has to be on disk first, also where the process that wrote it did not wait for that.
        self.file
            .flush()
            .map_err(Error::io("flush", &self.path))
            .and_then(|()| sealer.seal_cut_off(last.head, before))
            .inspect_err(|_| self.broken = true)
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

/// What the writer has to know of the events in the journal.
#[derive(Debug, Default)]
struct Known {
    origin: Option<String>,
    key: Option<PublicKeys>,
    due: DueCheckpoints,
    ended: bool,
}

impl Known {
    fn note(&mut self, event: &Event, head: impl FnOnce() -> TreeHead) {
        self.due.note(event, head);
        match &event.body {
            EventBody::RunStarted(started) => self.origin = Some(origin(started)),
            EventBody::KeyNamed(key) => self.key = Some((**key).clone()),
            EventBody::Sealed { .. } => self.ended = true,
            _ => {}
        }
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
    tree: Tree,
    /// The leaves of the tree, where they are kept.
    leaves: Option<Vec<Digest>>,
    /// The memory of the last line.
    line: Vec<u8>,
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
            tree: Tree::default(),
            leaves: None,
            line: Vec::new(),
        })
    }

    /// Has the reader keep the leaves of the tree, 32 bytes each, from which proofs are made.
    pub(crate) fn keeping_leaves(mut self) -> Self {
        self.leaves = Some(Vec::new());
        self
    }

    /// Returns the leaves of what was read; none where they are not kept.
    pub(crate) fn leaves(&self) -> &[Digest] {
        self.leaves.as_deref().unwrap_or_default()
    }

    /// Returns the leaves of what was read, without a copy; none where they are not kept.
    pub(crate) fn into_leaves(self) -> Vec<Digest> {
        self.leaves.unwrap_or_default()
    }

    /// Returns the next event, or nothing when there is none (yet).
    ///
    /// # Errors
    /// [`Error::Broken`] when a complete line does not verify; [`Error::Io`].
    pub fn next_event(&mut self) -> Result<Option<Event>> {
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        let event = self.read_line(&mut line);
        // A long line is no reason to hold its memory for the rest of the journal.
        line.shrink_to(KEPT_LINE);
        self.line = line;
        event
    }

    fn read_line(&mut self, line: &mut Vec<u8>) -> Result<Option<Event>> {
        let mut part = (&mut self.file).take(LONGEST_LINE);
        let read = part
            .read_until(b'\n', line)
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
        let event = self.verify(line)?;
        self.position += read as u64;
        self.head = Digest::of(line);
        self.next += 1;
        self.last_time = Some(event.time);
        for leaf in leaves_of(line, &event.body) {
            self.tree.push(leaf);
            self.leaves.iter_mut().for_each(|kept| kept.push(leaf));
        }
        Ok(Some(event))
    }

    /// Returns the digest of the last line read.
    #[must_use]
    pub fn head(&self) -> Digest {
        self.head
    }

    /// Returns size and root of the tree over what was read: each line, and after it the files that it
    /// names.
    #[must_use]
    pub fn tree(&self) -> TreeHead {
        self.tree.head()
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
            .map_err(|error| self.broken(format!("its line cannot be read as one: {error}")))?;
        if event.seq != self.next {
            let what = format!(
                "its line has the number {}: events are missing or out of order",
                event.seq
            );
            return Err(self.broken(what));
        }
        if event.prev != self.head {
            let what = "it does not follow from the event before: one of the two was changed, \
                        or an event was removed or moved";
            return Err(self.broken(what));
        }
        if self.last_time.is_some_and(|last| event.time < last) {
            return Err(self.broken("its time is before that of the event before"));
        }
        Ok(event)
    }

    fn broken(&self, what: impl Into<String>) -> Error {
        Error::Broken {
            path: self.path.clone(),
            event: self.next,
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
