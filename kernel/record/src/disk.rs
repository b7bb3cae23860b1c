//! What a record asks of the disk that it lies on.

mod opened;

use std::fmt::Debug;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Result, Seek, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use opened::{NoFile, is_refused, open_file, open_named, read_at_most, too_large};

/// The disk that a record lies on. A value of this kind is handed to whoever reads or writes a
/// record, so that simulations decide what becomes of a write that was not flushed, of a full
/// disk and of a process that dies between two bytes.
pub trait Disk: Debug + Send + Sync {
    /// Returns whether an operation may wait for hardware, so that it does not belong on the
    /// threads of an asynchronous runtime.
    fn may_block(&self) -> bool;

    /// Creates a folder and the ones above it, private to the user. One that is there is kept.
    ///
    /// # Errors
    /// What the system says.
    fn create_folder(&self, path: &Path) -> Result<()>;

    /// Creates a folder that is not there yet, private to the user.
    ///
    /// # Errors
    /// What the system says; `AlreadyExists`.
    fn create_new_folder(&self, path: &Path) -> Result<()>;

    /// Makes sure that the entries of a folder are on disk.
    ///
    /// # Errors
    /// What the system says.
    fn sync_folder(&self, path: &Path) -> Result<()>;

    /// Returns the paths of what is in a folder, in no order.
    ///
    /// # Errors
    /// What the system says; `NotFound`.
    fn entries(&self, path: &Path) -> Result<Vec<PathBuf>>;

    /// Returns whether there is a file at `path`.
    fn is_file(&self, path: &Path) -> bool;

    /// Returns whether there is a folder at `path`.
    fn is_folder(&self, path: &Path) -> bool;

    /// Returns what stands at `path` itself: a link is not followed.
    ///
    /// # Errors
    /// What the system says; `NotFound`.
    fn kind(&self, path: &Path) -> Result<EntryKind>;

    /// Opens the file that stands at `path` itself for reading: nothing else is opened, followed or waited for.
    ///
    /// # Errors
    /// What the system says; `NotFound`; [`NoFile`] where something else stands there.
    fn read(&self, path: &Path) -> Result<Box<dyn ReadFile>>;

    /// Opens a file for appending, private to the user.
    ///
    /// # Errors
    /// What the system says; `AlreadyExists`, `NotFound`.
    fn append(&self, path: &Path, create: Create) -> Result<Box<dyn AppendFile>>;

    /// Replaces a file by `content` as a whole or not at all, on disk when this returns.
    ///
    /// # Errors
    /// What the system says; the file is then as it was.
    fn replace(&self, path: &Path, content: &mut dyn Read) -> Result<()>;

    /// Locks the file at `path`, which is created if it is not there, for one process at a time.
    /// Waits when `wait`, and returns nothing when another holds it otherwise. The lock ends with
    /// the value that is returned, or with the process, however it ends.
    ///
    /// # Errors
    /// What the system says.
    fn lock(&self, path: &Path, wait: bool) -> Result<Option<Box<dyn Locked>>>;

    /// Removes a file. One that is not there is no error.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, path: &Path) -> Result<()>;
}

/// Returns whether a file of that name comes about by itself and says nothing of a run: one that a process was
/// writing (`NAME.PID.part`) when it was killed, or one in which a system keeps what is its own.
#[must_use]
pub fn is_incidental(name: &str) -> bool {
    const BEGINNINGS: [&str; 3] = ["._", ".~", ".nfs"];
    const NAMES: [&str; 3] = [".DS_Store", "Thumbs.db", "desktop.ini"];
    let is_of_system =
        NAMES.contains(&name) || BEGINNINGS.iter().any(|begin| name.starts_with(begin));
    is_of_system || writer_of(name).is_some()
}

/// Returns what stands before the number of a process in the name of a file that it writes, or wrote, before the file
/// is named as it should be (`NAME.PID.part`), with that number.
#[must_use]
pub fn writer_of(name: &str) -> Option<(&str, u32)> {
    let (before, process) = name.strip_suffix(".part")?.rsplit_once('.')?;
    let is_number = process.bytes().all(|byte| byte.is_ascii_digit());
    let process = process.parse().ok()?;
    (is_number && !before.is_empty()).then_some((before, process))
}

/// What stands at a path itself, not where it leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A link, a device, a pipe or a socket.
    Other,
}

/// Whether a file is created when it is opened for appending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Create {
    /// It must not be there yet.
    New,
    /// It is created when it is not there.
    IfMissing,
    /// It must be there.
    No,
}

/// A file that is open for reading.
pub trait ReadFile: Read + Seek + Debug + Send + Sync {
    /// Returns the length of the file now, in bytes.
    ///
    /// # Errors
    /// What the system says.
    fn length(&self) -> Result<u64>;
}

/// A file that is open for appending.
pub trait AppendFile: Debug + Send + Sync {
    /// Appends all bytes.
    ///
    /// # Errors
    /// What the system says; some of the bytes may then be in the file.
    fn append(&mut self, bytes: &[u8]) -> Result<()>;

    /// Waits until everything that was appended is on disk.
    ///
    /// # Errors
    /// What the system says; how much is on disk is then not known.
    fn flush(&mut self) -> Result<()>;

    /// Cuts the file to a length in bytes, on disk when this returns.
    ///
    /// # Errors
    /// What the system says.
    fn cut(&mut self, length: u64) -> Result<()>;
}

/// A lock that is held until this is dropped.
pub trait Locked: Debug + Send + Sync {}

/// The disk of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemDisk;

impl SystemDisk {
    /// Returns it as those take it who read and write records.
    #[must_use]
    pub fn shared() -> Arc<dyn Disk> {
        Arc::new(Self)
    }
}

impl Disk for SystemDisk {
    fn may_block(&self) -> bool {
        true
    }

    fn create_folder(&self, path: &Path) -> Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn create_new_folder(&self, path: &Path) -> Result<()> {
        DirBuilder::new().mode(0o700).create(path)
    }

    fn sync_folder(&self, path: &Path) -> Result<()> {
        File::open(path)?.sync_all()
    }

    fn entries(&self, path: &Path) -> Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(path)?;
        entries.map(|entry| Ok(entry?.path())).collect()
    }

    fn is_file(&self, path: &Path) -> bool {
        path.is_file()
    }

    fn is_folder(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn kind(&self, path: &Path) -> Result<EntryKind> {
        let found = std::fs::symlink_metadata(path)?;
        Ok(match (found.is_file(), found.is_dir()) {
            (true, _) => EntryKind::File,
            (_, true) => EntryKind::Folder,
            _ => EntryKind::Other,
        })
    }

    fn read(&self, path: &Path) -> Result<Box<dyn ReadFile>> {
        Ok(Box::new(open_file(path)?))
    }

    fn append(&self, path: &Path, create: Create) -> Result<Box<dyn AppendFile>> {
        let mut options = OpenOptions::new();
        options.append(true).mode(0o600);
        match create {
            Create::New => options.create_new(true),
            Create::IfMissing => options.create(true),
            Create::No => &mut options,
        };
        Ok(Box::new(options.open(path)?))
    }

    fn replace(&self, path: &Path, content: &mut dyn Read) -> Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = path.with_file_name(format!("{name}.{}.part", std::process::id()));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&temporary)?;
        std::io::copy(content, &mut file)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        self.sync_folder(path.parent().unwrap_or(Path::new(".")))
    }

    fn lock(&self, path: &Path, wait: bool) -> Result<Option<Box<dyn Locked>>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.mode(0o600).open(path)?;
        if wait {
            file.lock()?;
            return Ok(Some(Box::new(file)));
        }
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn remove(&self, path: &Path) -> Result<()> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl ReadFile for File {
    fn length(&self) -> Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl AppendFile for File {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_all(bytes)
    }

    fn flush(&mut self) -> Result<()> {
        self.sync_data()
    }

    fn cut(&mut self, length: u64) -> Result<()> {
        self.set_len(length)?;
        self.sync_all()
    }
}

impl Locked for File {}
