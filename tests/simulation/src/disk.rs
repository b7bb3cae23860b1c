//! A disk in memory that tells what is flushed from what only is written.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Error, ErrorKind, Read, Result};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use code_deploy_record::Disk;
use code_deploy_record::disk::{AppendFile, Create, EntryKind, Locked, ReadFile};

use crate::faults::{DiskFault, Fault, Point};
use crate::world::{Process, What, World};

/// The disk as one process sees it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SimulatedDisk {
    disk: Arc<Mutex<Contents>>,
    world: World,
    process: Process,
}

/// What is on the disk.
#[derive(Debug, Default)]
pub struct Contents {
    folders: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, Content>,
    locks: BTreeMap<u64, Process>,
    fencing: u64,
}

#[derive(Debug, Default, Clone)]
struct Content {
    inode: u64,
    bytes: Arc<Vec<u8>>,
    /// How many bytes are on disk for good.
    flushed: usize,
    /// Whether the name is on disk for good.
    named: bool,
}

/// The disk, for whoever lets processes run on it.
#[derive(Debug, Clone, Default)]
pub struct Platter(Arc<Mutex<Contents>>);

fn hold(disk: &Mutex<Contents>) -> MutexGuard<'_, Contents> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Platter {
    /// Returns the disk as a process sees it.
    #[must_use]
    pub fn seen_by(&self, world: &World, process: Process) -> SimulatedDisk {
        SimulatedDisk {
            disk: Arc::clone(&self.0),
            world: world.clone(),
            process,
        }
    }

    /// Returns the journal of the run that began last, if there is one.
    #[must_use]
    pub fn last_journal(&self) -> Option<(PathBuf, Arc<Vec<u8>>)> {
        let contents = hold(&self.0);
        let journals = contents.files.iter().filter(|(path, _)| is_journal(path));
        let last = journals.max_by(|one, other| one.0.cmp(other.0));
        last.map(|(path, content)| (path.clone(), Arc::clone(&content.bytes)))
    }

    /// Replaces the journal of a run.
    pub fn write_journal(&self, path: &Path, bytes: Vec<u8>) {
        let mut contents = hold(&self.0);
        if let Some(content) = contents.files.get_mut(path) {
            content.flushed = bytes.len();
            content.bytes = Arc::new(bytes);
        }
    }

    /// Returns what is on the disk, apart from it.
    #[must_use]
    pub fn copy(&self) -> Self {
        let contents = hold(&self.0);
        Self(Arc::new(Mutex::new(Contents {
            folders: contents.folders.clone(),
            files: contents.files.clone(),
            locks: BTreeMap::new(),
            fencing: contents.fencing,
        })))
    }

    /// Returns whether somebody holds a lock.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        !hold(&self.0).locks.is_empty()
    }

    /// Loses what was not flushed: each file keeps a part of it, in thousandths.
    fn lose_power(&self, part: u64) {
        let mut contents = hold(&self.0);
        let ours = |path: &PathBuf| !path.starts_with(LOGS);
        contents
            .files
            .retain(|path, content| content.named || !ours(path));
        for (_, content) in contents.files.iter_mut().filter(|(path, _)| ours(path)) {
            let unflushed = content.bytes.len() - content.flushed;
            let kept = content.flushed + unflushed * part as usize / 1000;
            let mut bytes = content.bytes.to_vec();
            if part.is_multiple_of(2) {
                bytes.truncate(kept);
            } else {
                // The length may be on disk before what belongs there.
                bytes[kept..].fill(0);
            }
            content.flushed = bytes.len();
            content.bytes = Arc::new(bytes);
        }
    }

    /// Returns how many lines of the last journal are on disk for good.
    fn durable(&self) -> u64 {
        let contents = hold(&self.0);
        let journals = contents.files.iter().filter(|(path, _)| is_journal(path));
        let last = journals.max_by(|one, other| one.0.cmp(other.0));
        last.map_or(0, |(_, content)| lines(&content.bytes[..content.flushed]))
    }
}

/// Where the logs of the instances are: on the machine of the target, whose power is its own.
pub const LOGS: &str = "/simulated/logs";

fn lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

fn is_journal(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "journal.jsonl")
}

fn dead() -> Error {
    Error::other("this process is dead")
}

fn not_found() -> Error {
    Error::from(ErrorKind::NotFound)
}

impl SimulatedDisk {
    fn contents(&self) -> Result<MutexGuard<'_, Contents>> {
        if self.world.look().dead.contains(&self.process) {
            return Err(dead());
        }
        Ok(hold(&self.disk))
    }

    /// Lets something go wrong before a change; returns what goes wrong when it is made.
    fn before(&self, point: Point) -> Result<Option<Fault>> {
        let mut world = self.world.look();
        if world.dead.contains(&self.process) {
            return Err(dead());
        }
        let fault = world.storm.strike(point);
        if let Some(fault) = fault {
            let text = format!("{fault:?} at {point:?}");
            world.note(Some(self.process), What::Fault(text));
        }
        match fault {
            Some(Fault::KillBefore) => {
                world.kill(self.process, "before a write");
                return Err(dead());
            }
            Some(Fault::Disk(broken)) => world.storm.disk = Some(broken),
            Some(other) => crate::target::of_the_world(&mut world, other),
            None => {}
        }
        match world.storm.disk {
            Some(DiskFault::Full) => Err(Error::from(ErrorKind::StorageFull)),
            Some(DiskFault::ReadOnly) => Err(Error::from(ErrorKind::ReadOnlyFilesystem)),
            Some(DiskFault::Broken) => Err(Error::other("input/output error")),
            None => Ok(fault),
        }
    }

    /// Lets the process die after a change, if it is to.
    fn after(&self, fault: Option<Fault>, what: &str) -> Result<()> {
        match fault {
            Some(Fault::KillAfter) => {
                self.world
                    .look()
                    .kill(self.process, &format!("after {what}"));
                Err(dead())
            }
            Some(Fault::PowerLoss(part)) => {
                self.world.look().kill(self.process, "by a loss of power");
                let platter = Platter(Arc::clone(&self.disk));
                platter.lose_power(part);
                self.world.look().durable = platter.durable();
                Err(dead())
            }
            _ => Ok(()),
        }
    }

    fn make(&self, path: &Path, what: &str, named: bool) -> Result<()> {
        let fault = self.before(Point::Make)?;
        {
            let mut contents = hold(&self.disk);
            let inode = contents.next_inode();
            let content = contents.files.entry(path.to_owned()).or_insert(Content {
                inode,
                ..Content::default()
            });
            content.named |= named;
        }
        self.after(fault, what)
    }
}

impl Contents {
    fn next_inode(&self) -> u64 {
        let files = self.files.values().map(|content| content.inode);
        let held = self.locks.keys().copied();
        files.chain(held).max().unwrap_or(0) + 1
    }
}

impl Disk for SimulatedDisk {
    fn may_block(&self) -> bool {
        false
    }

    fn create_folder(&self, path: &Path) -> Result<()> {
        if self.contents()?.folders.contains(path) {
            return Ok(());
        }
        let fault = self.before(Point::Make)?;
        for folder in path.ancestors() {
            hold(&self.disk).folders.insert(folder.to_owned());
        }
        self.after(fault, "a folder was made")
    }

    fn create_new_folder(&self, path: &Path) -> Result<()> {
        if self.contents()?.folders.contains(path) {
            return Err(Error::from(ErrorKind::AlreadyExists));
        }
        self.create_folder(path)
    }

    fn sync_folder(&self, path: &Path) -> Result<()> {
        let fault = self.before(Point::Make)?;
        {
            let mut contents = hold(&self.disk);
            for (file, content) in &mut contents.files {
                content.named |= file.parent() == Some(path);
            }
        }
        self.after(fault, "a folder was flushed")
    }

    fn entries(&self, path: &Path) -> Result<Vec<PathBuf>> {
        if path.ends_with("samples") {
            crate::samples::write(&self.world, self)?;
        }
        let contents = self.contents()?;
        if !contents.folders.contains(path) {
            return Err(not_found());
        }
        let inside = |entry: &&PathBuf| entry.parent() == Some(path);
        let folders = contents.folders.iter().filter(inside).cloned();
        let files = contents.files.keys().filter(inside).cloned();
        Ok(folders.chain(files).collect())
    }

    fn is_file(&self, path: &Path) -> bool {
        self.contents()
            .is_ok_and(|all| all.files.contains_key(path))
    }

    fn is_folder(&self, path: &Path) -> bool {
        self.contents().is_ok_and(|all| all.folders.contains(path))
    }

    fn kind(&self, path: &Path) -> Result<EntryKind> {
        let contents = self.contents()?;
        match (
            contents.files.contains_key(path),
            contents.folders.contains(path),
        ) {
            (true, _) => Ok(EntryKind::File),
            (_, true) => Ok(EntryKind::Folder),
            _ => Err(not_found()),
        }
    }

    fn read(&self, path: &Path) -> Result<Box<dyn ReadFile>> {
        let contents = self.contents()?;
        let content = contents.files.get(path).ok_or_else(not_found)?;
        Ok(Box::new(Reading(Cursor::new(Shared(Arc::clone(
            &content.bytes,
        ))))))
    }

    fn append(&self, path: &Path, create: Create) -> Result<Box<dyn AppendFile>> {
        let there = self.contents()?.files.contains_key(path);
        match (there, create) {
            (true, Create::New) => return Err(Error::from(ErrorKind::AlreadyExists)),
            (false, Create::No) => return Err(not_found()),
            (false, _) if is_journal(path) => {
                self.make(path, "a journal was made", false)?;
                self.world.look().durable = 0;
            }
            (false, _) => {
                drop(self.contents()?);
                let mut contents = hold(&self.disk);
                let inode = contents.next_inode();
                let content = Content {
                    inode,
                    ..Content::default()
                };
                contents.files.insert(path.to_owned(), content);
            }
            (true, _) => {}
        }
        Ok(Box::new(Appending {
            disk: self.clone(),
            path: path.to_owned(),
            journal: is_journal(path),
        }))
    }

    fn replace(&self, path: &Path, content: &mut dyn Read) -> Result<()> {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        let fault = self.before(Point::Make)?;
        {
            let mut contents = hold(&self.disk);
            let inode = contents.next_inode();
            if path.extension().is_some_and(|end| end == "holder") {
                contents.note_holder(&bytes, self);
            }
            let flushed = bytes.len();
            let bytes = Arc::new(bytes);
            let replaced = Content {
                inode,
                bytes,
                flushed,
                named: true,
            };
            contents.files.insert(path.to_owned(), replaced);
        }
        self.after(fault, "a file was replaced")
    }

    fn lock(&self, path: &Path, _: bool) -> Result<Option<Box<dyn Locked>>> {
        let mut contents = self.contents()?;
        if !contents.files.contains_key(path) {
            drop(contents);
            self.make(path, "a lock file was made", true)?;
            contents = self.contents()?;
        }
        let inode = contents.files.get(path).map_or(0, |content| content.inode);
        if contents.locks.contains_key(&inode) {
            return Ok(None);
        }
        contents.locks.insert(inode, self.process);
        Ok(Some(Box::new(Holding {
            disk: Arc::clone(&self.disk),
            inode,
        })))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        let fault = self.before(Point::Make)?;
        hold(&self.disk).files.remove(path);
        self.after(fault, "a file was removed")
    }
}

impl Contents {
    /// Notes when the lock of the run has another holder than before.
    fn note_holder(&mut self, bytes: &[u8], disk: &SimulatedDisk) {
        let standing: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
        let fencing = standing.get("fencing").and_then(serde_json::Value::as_u64);
        let fencing = fencing.unwrap_or(0);
        if fencing != self.fencing {
            self.fencing = fencing;
            let mut world = disk.world.look();
            world.holder = Some(disk.process);
            world.note(Some(disk.process), What::LockTaken(fencing));
        }
    }
}

/// A lock that is held.
#[derive(Debug)]
struct Holding {
    disk: Arc<Mutex<Contents>>,
    inode: u64,
}

impl Locked for Holding {}

impl Drop for Holding {
    fn drop(&mut self) {
        hold(&self.disk).locks.remove(&self.inode);
    }
}

#[derive(Debug)]
struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A file that is read.
#[derive(Debug)]
struct Reading(Cursor<Shared>);

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.0.read(buffer)
    }
}

impl std::io::Seek for Reading {
    fn seek(&mut self, to: std::io::SeekFrom) -> Result<u64> {
        self.0.seek(to)
    }
}

impl ReadFile for Reading {
    fn length(&self) -> Result<u64> {
        Ok(self.0.get_ref().as_ref().len() as u64)
    }
}

/// A file that is appended to.
#[derive(Debug)]
struct Appending {
    disk: SimulatedDisk,
    path: PathBuf,
    journal: bool,
}

impl Appending {
    fn change(&self, change: impl FnOnce(&mut Content)) -> Result<()> {
        let mut contents = hold(&self.disk.disk);
        let content = contents.files.get_mut(&self.path).ok_or_else(not_found)?;
        change(content);
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> Result<()> {
        self.change(|content| Arc::make_mut(&mut content.bytes).extend_from_slice(bytes))
    }
}

impl AppendFile for Appending {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if !self.journal {
            drop(self.disk.contents()?);
            return self.write(bytes);
        }
        let fault = match self.disk.before(Point::Append) {
            Ok(fault) => fault,
            Err(error) if error.kind() == ErrorKind::StorageFull => {
                self.write(bytes.get(..bytes.len() / 3).unwrap_or_default())?;
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        if let Some(Fault::Torn(part)) = fault {
            let kept = bytes.len() * part as usize / 1000;
            self.write(bytes.get(..kept).unwrap_or_default())?;
            let mut world = self.disk.world.look();
            world.kill(self.disk.process, "within a write");
            return Err(dead());
        }
        self.write(bytes)?;
        self.disk
            .world
            .look()
            .note(Some(self.disk.process), What::Appended);
        self.disk.after(fault, "a write")
    }

    fn flush(&mut self) -> Result<()> {
        if !self.journal {
            return Ok(());
        }
        let fault = self.disk.before(Point::Flush)?;
        let mut added = 0;
        self.change(|content| {
            added = lines(content.bytes.get(content.flushed..).unwrap_or_default());
            content.flushed = content.bytes.len();
        })?;
        self.disk.world.look().durable += added;
        self.disk.after(fault, "a flush")
    }

    fn cut(&mut self, length: u64) -> Result<()> {
        self.disk.before(Point::Make)?;
        self.change(|content| {
            Arc::make_mut(&mut content.bytes).truncate(length as usize);
            content.flushed = content.bytes.len();
        })?;
        self.disk.world.look().durable = Platter(Arc::clone(&self.disk.disk)).durable();
        Ok(())
    }
}
