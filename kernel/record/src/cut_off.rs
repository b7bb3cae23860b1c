//! Whether the end of a record that nothing signs was signed before.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::disk::{EntryKind, is_refused, read_at_most};
use crate::{
    Checkpoint, Digest, Error, EventBody, LARGEST_STATEMENT, OUTPUTS_NOTE, PublicKey, Result,
    RunFolder, SealFolder, SignedStatement, TreeHead,
};

/// Returns what says that a record was signed up to the end that it has here, or further, or over other lines; nothing
/// where nothing does. Whoever signs an end whose checkpoint is gone otherwise vouches for lines that somebody may have put
/// in the place of those that were signed. `notebooks` is where the run leaves its notebooks.
///
/// # Errors
/// [`Error::Broken`] when an event of the journal does not verify; [`Error::Io`].
pub fn said_signed(run: &RunFolder, notebooks: Option<&Path>) -> Result<Option<PathBuf>> {
    let seal = run.seal();
    let own = signed_in(run, seal.path())?;
    if own.is_none()
        && let Some(part) = part_of_statement(run, &seal)
    {
        return Ok(Some(part));
    }
    let beside = notebooks.map(|folder| folder.join(SealFolder::NAME));
    let signed = match &beside {
        Some(folder) => signed_in(run, folder)?,
        None => None,
    };
    let trees = [&own, &signed].map(|one| one.as_ref().and_then(SignedStatement::tree));
    let journal = Journal::read(run, &trees)?;
    // What stands in the record's own folder says so whoever signed it; elsewhere, anybody may have left something.
    let is_of_journal = |signed: &SignedStatement| {
        let mut keys = journal.keys.iter();
        keys.any(|key| signed.is_signed_by(key))
    };
    let [own_tree, tree] = trees;
    if own.is_some() && !own_tree.is_some_and(|tree| journal.goes_on_from(&tree)) {
        return Ok(Some(seal.path().join(SignedStatement::STATEMENT)));
    }
    let is_said = signed.is_some_and(|signed| is_of_journal(&signed));
    if is_said && !tree.is_some_and(|tree| journal.goes_on_from(&tree)) {
        return Ok(beside.map(|folder| folder.join(SignedStatement::STATEMENT)));
    }
    larger_checkpoint(&seal, journal.end.size)
}

/// Returns the statement that is kept in a folder, which is no link.
fn signed_in(run: &RunFolder, folder: &Path) -> Result<Option<SignedStatement>> {
    let disk = run.disk();
    if !disk
        .kind(folder)
        .is_ok_and(|kind| kind == EntryKind::Folder)
    {
        return Ok(None);
    }
    SignedStatement::read(|name| {
        let path = folder.join(name);
        let opened = disk.read(&path);
        match opened.and_then(|file| read_at_most(file, LARGEST_STATEMENT)) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == ErrorKind::NotFound || is_refused(&error) => Ok(None),
            Err(error) => Err(Error::io("read", &path)(error)),
        }
    })
}

/// Returns a file that nothing writes but with a statement.
fn part_of_statement(run: &RunFolder, seal: &SealFolder) -> Option<PathBuf> {
    let names = SignedStatement::FILES.into_iter().chain([OUTPUTS_NOTE]);
    let mut paths = names.map(|name| seal.path().join(name));
    paths.find(|path| run.disk().kind(path).is_ok())
}

/// Returns a checkpoint over more than the journal has.
fn larger_checkpoint(seal: &SealFolder, size: u64) -> Result<Option<PathBuf>> {
    for path in seal.checkpoints()?.into_iter().rev() {
        let note = match seal.read(&path) {
            Ok(note) => String::from_utf8_lossy(&note).parse::<Checkpoint>().ok(),
            Err(Error::Io { source, .. })
                if source.kind() == ErrorKind::NotFound || is_refused(&source) =>
            {
                None
            }
            Err(error) => return Err(error),
        };
        if note.is_some_and(|note| note.head.size > size) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// What of a journal statements are held against.
struct Journal {
    /// The roots at the sizes that were asked for.
    reached: BTreeMap<u64, Digest>,
    /// The halves of the keys that it names which sign checkpoints.
    keys: Vec<PublicKey>,
    end: TreeHead,
}

impl Journal {
    fn read(run: &RunFolder, asked: &[Option<TreeHead>]) -> Result<Self> {
        let (mut reached, mut keys) = (BTreeMap::new(), Vec::new());
        let mut reader = run.events()?;
        while let Some(event) = reader.next_event()? {
            if let EventBody::KeyNamed(key) = &event.body {
                keys.push(key.ed25519());
            }
            let tree = reader.tree();
            if asked.iter().flatten().any(|asked| asked.size == tree.size) {
                reached.insert(tree.size, tree.root);
            }
        }
        let end = reader.tree();
        Ok(Self { reached, keys, end })
    }

    /// Returns whether the journal had that tree, and went on.
    fn goes_on_from(&self, tree: &TreeHead) -> bool {
        tree.size < self.end.size && self.reached.get(&tree.size) == Some(&tree.root)
    }
}
