//! That a record only grew: its checkpoints one after the other, and one that was kept elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::disk::is_refused;
use crate::due::DueCheckpoints;
use crate::seal::file_of;
use crate::{
    Checkpoint, Digest, Error, Event, EventBody, PublicKey, PublicKeys, Result, RunFolder,
    SealFolder, SignatureLine, TreeHead, consistency_proof, is_consistent, origin, root_of,
};

/// A checkpoint in the folder of a record, and how it stands to the journal.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptCheckpoint {
    /// Its file, relative to the run's folder.
    pub file: String,
    /// The checkpoint, or why its file is none, or not here.
    pub checkpoint: std::result::Result<Checkpoint, String>,
    /// The last event that it covers, or with which it was signed where it cannot be read; nothing where no line of the journal ends at its size.
    pub last: Option<Event>,
    /// Whether it is signed by the key that the journal names before its end.
    pub is_signed: bool,
    /// What each line of its signatures shows to somebody who knows the keys that the journal names, and no others.
    pub lines: Vec<SignatureLine>,
    /// Whether it is one of this run, with the root of the journal at its size.
    pub is_of_journal: bool,
    /// How it follows from the last before it that is signed and of the journal; nothing for the first.
    pub extension: Option<Extension>,
    /// Whether it is not here, and a later one that holds and that the same key signed covers all that it was over.
    pub is_covered: bool,
}

/// That a tree only grew from one size to another, with the proof of RFC 6962 (section 2.1.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// The tree before.
    pub from: TreeHead,
    /// The hashes of the proof; none also where the journal is too short to make one.
    pub proof: Vec<Digest>,
    /// Whether the proof shows that the tree only grew.
    pub holds: bool,
}

/// How a record stands to a checkpoint of it that was kept elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Against {
    /// It goes on from there: the first leaves are those that were signed.
    Extension {
        /// The tree as it is here.
        here: TreeHead,
        /// The proof that it only grew from the checkpoint's.
        proof: Vec<Digest>,
    },
    /// It has fewer leaves.
    Shorter {
        /// How many.
        here: u64,
    },
    /// Its first leaves are others.
    Other {
        /// The root over them.
        root: Digest,
    },
    /// Its journal cannot be followed so far.
    Unread {
        /// The number of the event from which on it cannot be followed, counted from 0.
        event: u64,
    },
}

impl Extension {
    fn between(leaves: &[Digest], from: TreeHead, to: &TreeHead) -> Self {
        let proof = proof_between(leaves, from.size, to.size);
        let holds = proof
            .as_ref()
            .is_some_and(|proof| is_consistent(&from, to, proof));
        Self {
            from,
            proof: proof.unwrap_or_default(),
            holds,
        }
    }
}

/// Returns the first `size` leaves; nothing where there are not so many.
fn first(leaves: &[Digest], size: u64) -> Option<&[Digest]> {
    leaves.get(..usize::try_from(size).ok()?)
}

fn proof_between(leaves: &[Digest], from: u64, to: u64) -> Option<Vec<Digest>> {
    consistency_proof(first(leaves, to)?, usize::try_from(from).ok()?)
}

/// Holds a record against a checkpoint of it, as far as its journal can be followed: the root over its
/// first leaves is made anew, and so is the proof that it only grew since. Whose checkpoint it is, and
/// who signed it, is not looked at.
///
/// # Errors
/// [`Error::Io`].
pub fn hold(run: &RunFolder, checkpoint: &Checkpoint) -> Result<Against> {
    let mut reader = run.events()?.keeping_leaves();
    let broken = loop {
        match reader.next_event() {
            Ok(Some(_)) => {}
            Ok(None) => break None,
            Err(Error::Broken { event, .. }) => break Some(event),
            Err(error) => return Err(error),
        }
    };
    let (before, here) = (checkpoint.head, reader.tree());
    let Some(leaves) = first(reader.leaves(), before.size) else {
        return Ok(match broken {
            Some(event) => Against::Unread { event },
            None => Against::Shorter { here: here.size },
        });
    };
    let root = root_of(leaves);
    let extension = Extension::between(reader.leaves(), before, &here);
    Ok(match extension {
        Extension {
            proof, holds: true, ..
        } if root == before.root => Against::Extension { here, proof },
        _ => Against::Other { root },
    })
}

/// What is said of a checkpoint that the journal asks for.
const NOT_HERE: &str = "not here: the journal says that it was signed";

impl KeptCheckpoint {
    /// Returns whether it is here, is signed as it has to be, and is over this journal.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.is_signed && self.is_of_journal
    }

    /// Says why it does not hold.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        match &self.checkpoint {
            Err(what) => Some(what.clone()),
            Ok(_) if !self.is_signed => {
                let what = "it is not signed by the key that the journal names there";
                Some(what.to_owned())
            }
            Ok(_) if !self.is_of_journal => {
                Some("the journal has another root there, or ends before".to_owned())
            }
            Ok(_) => None,
        }
    }
}

/// Returns the checkpoints of a record, smallest first, each with the proof that it extends the last one before it that
/// holds. One that the journal says was signed, and that is not in the folder, stands among them as none.
///
/// # Errors
/// [`Error::Broken`] when an event of the journal does not verify; [`Error::Io`].
pub fn checkpoints(run: &RunFolder) -> Result<Vec<KeptCheckpoint>> {
    let mut notes = Vec::new();
    for path in run.seal().checkpoints()? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let file = format!("{}/{name}", SealFolder::NAME);
        notes.push((file, read(run, &path)?));
    }
    let read = notes.iter().filter_map(|(_, note)| note.as_ref().ok());
    let sizes: BTreeSet<u64> = read.map(|note| note.head.size).collect();
    let journal = Journal::read(run, &sizes)?;
    let here: BTreeSet<String> = notes.iter().map(|(file, _)| file.clone()).collect();
    let missing = journal.due.keys().filter(|file| !here.contains(*file));
    notes.extend(missing.map(|file| (file.clone(), Err(NOT_HERE.to_owned()))));
    notes.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut before: Option<TreeHead> = None;
    let kept = notes.into_iter().map(|(file, note)| {
        let head = note.as_ref().ok().map(|note| note.head);
        let kept = journal.judge(file, note, before);
        // What does not hold itself is nothing that the next one could go on from.
        if kept.holds() {
            before = head;
        }
        kept
    });
    let mut kept: Vec<KeptCheckpoint> = kept.collect();
    journal.note_covered(&mut kept, &here);
    Ok(kept)
}

/// Returns the checkpoint of a file, or why it is none.
fn read(run: &RunFolder, path: &Path) -> Result<std::result::Result<Checkpoint, String>> {
    match run.seal().read(path) {
        Ok(note) => {
            let note = String::from_utf8_lossy(&note).parse::<Checkpoint>();
            Ok(note.map_err(|error| error.to_string()))
        }
        Err(Error::Io { source, .. }) if is_refused(&source) => Ok(Err(source.to_string())),
        Err(error) => Err(error),
    }
}

/// What of a journal checkpoints are held against.
#[derive(Default)]
struct Journal {
    origin: Option<String>,
    leaves: Vec<Digest>,
    /// The events that end at the sizes that were asked for, and the trees there.
    reached: BTreeMap<u64, (Event, TreeHead)>,
    /// The keys that the journal names, each with the size from which on it seals.
    keys: Vec<(u64, PublicKeys)>,
    /// The sizes at which a checkpoint was signed, and the events with which, by its file.
    due: BTreeMap<String, (u64, Event)>,
}

impl Journal {
    fn read(run: &RunFolder, sizes: &BTreeSet<u64>) -> Result<Self> {
        let mut journal = Self::default();
        let mut reader = run.events()?.keeping_leaves();
        let mut due = DueCheckpoints::default();
        while let Some(event) = reader.next_event()? {
            let size = reader.leaves().len() as u64;
            due.note(&event, || reader.tree());
            match &event.body {
                EventBody::RunStarted(started) => journal.origin = Some(origin(started)),
                EventBody::KeyNamed(keys) => journal.keys.push((size, (**keys).clone())),
                _ => {}
            }
            if sizes.contains(&size) {
                journal.reached.insert(size, (event, reader.tree()));
            }
        }
        let signed = due.signed().iter();
        let signed = signed.map(|one| (file_of(one.head.size), (one.head.size, one.event.clone())));
        journal.due.extend(signed);
        journal.leaves = reader.into_leaves();
        Ok(journal)
    }

    /// Returns the place of the key that signs at a size among those that the journal names.
    fn key_at(&self, size: u64) -> Option<usize> {
        self.keys.iter().rposition(|(from, _)| *from <= size)
    }

    /// Takes note of which checkpoints that are not here a later one covers. One that is here and does not hold was
    /// changed, which no later one mends.
    fn note_covered(&self, kept: &mut [KeptCheckpoint], here: &BTreeSet<String>) {
        let mut covering = None;
        for one in kept.iter_mut().rev() {
            if let (true, Ok(checkpoint)) = (one.holds(), &one.checkpoint) {
                covering = self.key_at(checkpoint.head.size);
            } else if let Some((size, _)) = self.due.get(&one.file) {
                let is_same = covering.is_some() && covering == self.key_at(*size);
                one.is_covered = is_same && !here.contains(&one.file);
            }
        }
    }

    fn judge(
        &self,
        file: String,
        note: std::result::Result<Checkpoint, String>,
        before: Option<TreeHead>,
    ) -> KeptCheckpoint {
        let Ok(checkpoint) = &note else {
            return KeptCheckpoint {
                last: self.due.get(&file).map(|(_, event)| event.clone()),
                file,
                checkpoint: note,
                is_signed: false,
                lines: Vec::new(),
                is_of_journal: false,
                extension: None,
                is_covered: false,
            };
        };
        let head = checkpoint.head;
        let known = self.keys.iter().map(|(_, keys)| keys.ed25519());
        let known: Vec<PublicKey> = known.collect();
        let keys = self.key_at(head.size).and_then(|at| self.keys.get(at));
        let reached = self.reached.get(&head.size);
        let is_own = self.origin.as_ref() == Some(&checkpoint.origin);
        KeptCheckpoint {
            file,
            last: reached.map(|(event, _)| event.clone()),
            is_signed: keys.is_some_and(|(_, keys)| checkpoint.is_signed_by(&keys.ed25519())),
            lines: checkpoint.lines(&known),
            is_of_journal: is_own && reached.is_some_and(|(_, tree)| *tree == head),
            extension: before.map(|from| Extension::between(&self.leaves, from, &head)),
            is_covered: false,
            checkpoint: note,
        }
    }
}
