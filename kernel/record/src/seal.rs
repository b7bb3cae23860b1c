//! What seals a record: the leaves of its tree, and the checkpoints signed over them.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, EntryKind, is_refused, read_at_most};
use crate::due::Due;
use crate::folder::{create_private, entries_or_none};
use crate::note::Checkpoint;
use crate::tree::{Tree, leaf_hash};
use crate::{Digest, Error, EventBody, Result, RunOutcome, RunStarted, SealKey, TreeHead};

/// How the name of a checkpoint's file ends.
const CHECKPOINT: &str = ".checkpoint";

/// The namespace of a second signature over a checkpoint: `ssh-keygen -Y sign -n`.
pub const WITNESSED: &str = "code-deploy-checkpoint";

/// The file with the signed root over the outputs of the notebooks, in the folder of the seal.
pub const OUTPUTS_NOTE: &str = "outputs.note";

/// How the name of a file ends that is being written.
const PART: &str = ".part";

/// The largest checkpoint, signature or public key that is read, in bytes: many times what one of ours has.
pub const LARGEST_NOTE: u64 = 64 * 1024;

/// The largest of the files of a signed statement that is read, in bytes: many times what one of ours has.
pub const LARGEST_STATEMENT: u64 = 4 * 1024 * 1024;

/// Returns the leaves that a line of the journal gives: the line itself without its line end, then,
/// for each file that it names by its digest, the line that `sha256sum` prints for that file in the
/// run's folder.
pub(crate) fn leaves_of(line: &[u8], body: &EventBody) -> impl Iterator<Item = Digest> {
    let file = file_named(body).map(|file| leaf_hash(file.as_bytes()));
    std::iter::once(leaf_hash(line)).chain(file)
}

fn file_named(body: &EventBody) -> Option<String> {
    match body {
        EventBody::EvidenceKept { digest, .. } => Some(sum_line(digest, "evidence", digest)),
        EventBody::SamplesClosed { file, digest, .. } => Some(sum_line(digest, "samples", file)),
        _ => None,
    }
}

fn sum_line(digest: &Digest, folder: &str, name: &impl std::fmt::Display) -> String {
    format!("{digest}  {folder}/{name}")
}

/// Returns whether the record is signed up to and with an event: the end of a phase, a pause, an end.
#[must_use]
pub fn is_sealed_after(body: &EventBody) -> bool {
    match body {
        EventBody::PhaseFinished { .. } | EventBody::Paused { .. } | EventBody::Sealed { .. } => {
            true
        }
        EventBody::RunFinished { outcome, .. } => *outcome == RunOutcome::NeedsPerson,
        _ => false,
    }
}

/// Returns whose tree a checkpoint of a run is over.
#[must_use]
pub fn origin(started: &RunStarted) -> String {
    let RunStarted {
        application,
        environment,
        run,
        ..
    } = started;
    format!("code-deploy/{application}/{environment}/{run}")
}

/// The folder `seal` of a run: checkpoints, public keys, and what was signed in the end.
#[derive(Debug, Clone)]
pub struct SealFolder {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl SealFolder {
    /// The folder's name in that of the run.
    pub const NAME: &'static str = "seal";

    pub(crate) fn new(disk: Arc<dyn Disk>, run: &Path) -> Self {
        let path = run.join(Self::NAME);
        Self { disk, path }
    }

    /// Returns the folder's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a checkpoint, under its size.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn keep(&self, checkpoint: &Checkpoint) -> Result<()> {
        let name = name_of(checkpoint.head.size);
        self.write(&name, checkpoint.to_string().as_bytes())
    }

    /// Returns what stands where the checkpoint of that size is written.
    fn checkpoint(&self, size: u64) -> Result<Written> {
        let path = self.path.join(name_of(size));
        match self.read(&path) {
            Ok(note) => {
                let note = String::from_utf8_lossy(&note).parse().ok();
                Ok(note.map_or(Written::Another, |note| Written::Checkpoint(Box::new(note))))
            }
            Err(Error::Io { source, .. }) if is_nowhere(&source) => Ok(Written::Nothing),
            Err(Error::Io { source, .. }) if is_refused(&source) => Ok(Written::Another),
            Err(error) => Err(error),
        }
    }

    /// Reads a file of the folder that holds a checkpoint or a signature.
    ///
    /// # Errors
    /// [`Error::Io`], also for what is no file of its own and for one of more than [`LARGEST_NOTE`] bytes.
    pub(crate) fn read(&self, path: &Path) -> Result<Vec<u8>> {
        let opened = self.disk.read(path);
        let read = opened.and_then(|file| read_at_most(file, LARGEST_NOTE));
        read.map_err(Error::io("read", path))
    }

    /// Returns whether the folder is there, and no link to one.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        let kind = self.disk.kind(&self.path);
        kind.is_ok_and(|kind| kind == EntryKind::Folder)
    }

    /// Writes a file, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        create_private(self.disk.as_ref(), &self.path)?;
        let target = self.path.join(name);
        let written = self.disk.replace(&target, &mut &*content);
        written.map_err(Error::io("write", &target))
    }

    /// Removes a file. One that is not there is no error.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove(&self, name: &str) -> Result<()> {
        let path = self.path.join(name);
        self.disk.remove(&path).map_err(Error::io("remove", &path))
    }

    /// Removes what a process left behind that was killed while it wrote.
    pub(crate) fn clear(&self) -> Result<()> {
        for path in self.files()? {
            if path.to_str().is_some_and(|name| name.ends_with(PART)) {
                let removed = self.disk.remove(&path);
                removed.map_err(Error::io("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Returns the files of the checkpoints, smallest first; none where there is no folder. Hidden names are
    /// of none.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn checkpoints(&self) -> Result<Vec<PathBuf>> {
        let mut files = self.files()?;
        let name = |path: &PathBuf| Some(path.file_name()?.to_str()?.to_owned());
        files.retain(|path| {
            name(path).is_some_and(|name| name.ends_with(CHECKPOINT) && !name.starts_with('.'))
        });
        Ok(files)
    }

    /// Returns all files of the folder, in order; none where there is no folder, or a link to one.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn files(&self) -> Result<Vec<PathBuf>> {
        if !self.is_folder() {
            return Ok(Vec::new());
        }
        let mut files = entries_or_none(self.disk.as_ref(), &self.path)?;
        files.sort();
        Ok(files)
    }
}

/// Returns the name of a checkpoint's file.
fn name_of(size: u64) -> String {
    format!("{size:012}{CHECKPOINT}")
}

/// Returns the file of a checkpoint, relative to the run's folder.
pub(crate) fn file_of(size: u64) -> String {
    format!("{}/{}", SealFolder::NAME, name_of(size))
}

/// What stands where a checkpoint is written.
enum Written {
    Checkpoint(Box<Checkpoint>),
    /// Something that is none.
    Another,
    Nothing,
}

/// Returns whether nothing stands at a path, or its folder is none.
fn is_nowhere(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// How a checkpoint stands to a tree that the journal had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Holds,
    Broken,
    NotHere,
}

/// Signs checkpoints of a journal while it is written.
#[derive(Debug)]
pub(crate) struct Sealer {
    key: Arc<SealKey>,
    folder: SealFolder,
    origin: String,
}

impl Sealer {
    pub(crate) fn new(key: Arc<SealKey>, folder: SealFolder, origin: String) -> Result<Self> {
        folder.clear()?;
        Ok(Self {
            key,
            folder,
            origin,
        })
    }

    /// Signs a tree that the journal had when it had to be signed last, where it was not. Does nothing unless the
    /// last of the checkpoints over the trees that had to be signed before is there, and none is there that does not
    /// hold: to sign what should have been signed earlier would vouch for lines that may have been changed since. What
    /// is not here and a later one covers is signed all the same.
    pub(crate) fn seal_cut_off(&self, last: TreeHead, before: &[Due]) -> Result<()> {
        // What is there and does not hold was changed: it is left for whoever looks into that.
        if self.standing(last)? != Standing::NotHere {
            return Ok(());
        }
        let mut covered = Standing::Holds;
        for due in before {
            covered = self.standing(due.head)?;
            if covered == Standing::Broken {
                return Ok(());
            }
        }
        if covered != Standing::Holds {
            return Ok(());
        }
        self.folder
            .keep(&Checkpoint::sign(&self.origin, last, &self.key))
    }

    /// Returns how the checkpoint over that tree stands which this key has to sign.
    fn standing(&self, head: TreeHead) -> Result<Standing> {
        let kept = match self.folder.checkpoint(head.size)? {
            Written::Checkpoint(kept) => kept,
            Written::Another => return Ok(Standing::Broken),
            Written::Nothing => return Ok(Standing::NotHere),
        };
        let is_own = kept.origin == self.origin && kept.head == head;
        let is_signed = kept.is_signed_by(&self.key.public().ed25519());
        Ok(match is_own && is_signed {
            true => Standing::Holds,
            false => Standing::Broken,
        })
    }

    /// Signs the tree as it is now.
    pub(crate) fn seal(&self, tree: &Tree) -> Result<()> {
        self.folder
            .keep(&Checkpoint::sign(&self.origin, tree.head(), &self.key))
    }
}
