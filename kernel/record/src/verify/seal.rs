//! Whether the checkpoints of a record hold, and what they show.

mod files;
mod keys;
mod second;

use std::collections::{BTreeMap, BTreeSet};

use super::{FindingKind, Trust, VerifyReport};
use crate::disk::is_incidental;
use crate::due::DueCheckpoints;
use crate::note::Checkpoint;
use crate::seal::file_of;
use crate::{Error, Event, EventBody, PublicKey, PublicKeys, Result, RunFolder};
use crate::{HIGH_S, OUTPUTS_NOTE, SignedStatement, TreeHead, has_high_s, origin};

use files::{Files, place};

/// How the name of a second signature over a checkpoint ends, as `ssh-keygen -Y sign` names it.
const SECOND: &str = ".sig";

/// What is signed, and by whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SealReport {
    /// Size and root of the tree over journal, samples and evidence.
    pub tree: Option<TreeHead>,
    /// The keys that the journal names, each with the number of the event that names it.
    pub keys: Vec<(u64, PublicKeys)>,
    /// Checkpoints that are signed as they should be and whose tree is the journal's.
    pub checkpoints: u64,
    /// Events that the last of them covers.
    pub covered: u64,
    /// Events that the last one of each key covers, in the order of `keys`; 0 where there is none.
    pub covered_by: Vec<u64>,
    /// Who else signed the last of them.
    pub witnesses: Vec<Witness>,
    /// The known keys by which a checkpoint is signed that holds, or the last one a second time.
    pub signed_by: Vec<PublicKey>,
    /// Lines of signatures of which nothing shows whose they are: the file, and the name that each gives.
    pub unverified: Vec<(String, String)>,
}

/// A second signature over a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// Whose.
    pub key: PublicKey,
    /// Whether that key is known as one of a second person.
    pub known: bool,
    /// Whether that key is known as one that may seal. It is then no second person's.
    pub seals: bool,
}

impl SealReport {
    /// Returns whether nobody but the holder of the record's own key stands for it.
    #[must_use]
    pub fn is_self_asserted(&self) -> bool {
        !self.witnesses.iter().any(|witness| witness.known)
    }

    fn note_signed_by(&mut self, key: &PublicKey) {
        if !self.signed_by.contains(key) {
            self.signed_by.push(key.clone());
        }
    }
}

/// A checkpoint that holds.
struct Held {
    /// The place of the key that signed it among those that the journal names.
    key: usize,
    /// The events that it covers.
    events: u64,
}

/// The checkpoints of a record, and what of the journal they are held against.
#[derive(Default)]
pub(super) struct Seals {
    files: Files,
    checkpoints: Vec<(String, Checkpoint)>,
    /// The files of checkpoints that are here, whether they can be read or not.
    here: BTreeSet<String>,
    /// The sizes of their trees.
    sizes: BTreeSet<u64>,
    /// Where the journal says that a checkpoint was signed.
    due: DueCheckpoints,
    /// The events up to each size that a checkpoint names, and the root there.
    reached: BTreeMap<u64, (u64, TreeHead)>,
    keys: Vec<(u64, u64, PublicKeys)>,
    origin: Option<String>,
    tree: Option<TreeHead>,
}

impl Seals {
    /// Reads the checkpoints, where their folder is one of the record.
    pub(super) fn read(
        run: &RunFolder,
        is_folder: bool,
        report: &mut VerifyReport,
    ) -> Result<Self> {
        let files = Files::look(run, is_folder, report)?;
        let mut seals = Self::default();
        for path in files.checkpoints(run)? {
            let place = place(&path);
            seals.here.insert(place.clone());
            let Some(text) = files.read(run, &path, report)? else {
                continue;
            };
            match text.parse() {
                Ok(checkpoint) => seals.push(place, checkpoint),
                Err(error @ Error::BadNote { .. }) => report.changed(place, error.to_string()),
                Err(error) => return Err(error),
            }
        }
        seals.files = files;
        Ok(seals)
    }

    fn push(&mut self, place: String, checkpoint: Checkpoint) {
        self.sizes.insert(checkpoint.head.size);
        self.checkpoints.push((place, checkpoint));
    }

    /// Takes note of an event, and of the tree up to it.
    pub(super) fn note(&mut self, event: &Event, tree: TreeHead) {
        match &event.body {
            EventBody::RunStarted(started) => self.origin = Some(origin(started)),
            EventBody::KeyNamed(key) => {
                self.keys.push((event.seq, tree.size, (**key).clone()));
            }
            _ => {}
        }
        self.due.note(event, || tree);
        self.tree = Some(tree);
        if self.sizes.contains(&tree.size) {
            self.reached.insert(tree.size, (event.seq + 1, tree));
        }
    }

    /// Says what does not hold.
    pub(super) fn judge(
        self,
        run: &RunFolder,
        trust: &Trust,
        report: &mut VerifyReport,
    ) -> Result<()> {
        report.seal.tree = self.tree;
        report.seal.keys = self
            .keys
            .iter()
            .map(|(event, _, key)| (*event, key.clone()))
            .collect();
        report.seal.covered_by = vec![0; self.keys.len()];
        self.judge_keys(trust, report);
        // That the folder is none is said, and what is missed in it follows from that.
        if !self.files.is_folder {
            return Ok(());
        }
        self.judge_p256(run, report)?;
        let size = self.tree.map_or(0, |tree| tree.size);
        let mut held = None;
        for (place, checkpoint) in &self.checkpoints {
            // It is over lines that could not be followed.
            if report.broken.is_some() && checkpoint.head.size > size {
                continue;
            }
            if let Some(Held { key, events }) = self.judge_one(place, checkpoint, report) {
                report.seal.checkpoints += 1;
                report.seal.covered = events;
                if let Some(covered) = report.seal.covered_by.get_mut(key) {
                    *covered = events;
                }
                self.judge_lines(place, checkpoint, trust, report);
                held = Some((place, checkpoint));
            }
        }
        if report.broken.is_none() {
            self.judge_outputs(run, trust, report)?;
        }
        if report.sealed {
            self.find_unnamed(run, held.map(|(place, _)| place.as_str()), report)?;
        }
        // What does not hold itself is nothing that a second person could stand for.
        if let Some((place, checkpoint)) = held {
            self.find_witnesses(run, place, checkpoint, trust, report)?;
        }
        let ends = self.sizes.contains(&size);
        let is_told = self.files.unread.contains(&file_of(size));
        if report.sealed && !self.keys.is_empty() && !ends && !is_told {
            let what = "not here: the checkpoint over the whole record, signed at its end";
            report.found(FindingKind::NotHere, file_of(size), what);
        }
        if report.sealed {
            self.find_missing(report);
        }
        Ok(())
    }

    /// Says which checkpoints are not here that were signed before the end of the record.
    fn find_missing(&self, report: &mut VerifyReport) {
        let before_its_end = self.due.signed().iter().filter(|due| !due.ends());
        for due in before_its_end {
            let place = file_of(due.head.size);
            if !self.here.contains(&place) {
                let signed = RunFolder::place_of(due.event.seq);
                let what = format!(
                    "not here: the checkpoint that is signed with {signed}; it was taken away, or the process \
                     was killed before it signed and the run went on without its key, or in a version that did not \
                     sign it then"
                );
                report.found(FindingKind::NotHere, place, what);
            }
        }
    }

    /// Returns what a checkpoint shows, if it holds.
    fn judge_one(
        &self,
        place: &str,
        checkpoint: &Checkpoint,
        report: &mut VerifyReport,
    ) -> Option<Held> {
        let TreeHead { size, root } = checkpoint.head;
        let here = self.tree.map_or(0, |tree| tree.size);
        if self.origin.as_ref() != Some(&checkpoint.origin) {
            let what = format!(
                "not of this run: it is a checkpoint of {}",
                checkpoint.origin
            );
            report.changed(place, what);
            return None;
        }
        if place != file_of(size) {
            report.changed(
                place,
                format!("its name is not that of a checkpoint of size {size}"),
            );
            return None;
        }
        let part = self.keys.iter().rposition(|(_, from, _)| *from <= size);
        let own = part.and_then(|part| self.keys.get(part));
        let signed = own.is_some_and(|(_, _, key)| checkpoint.is_signed_by(&key.ed25519()));
        let Some(key) = part.filter(|_| signed) else {
            let what = keys::not_signed(checkpoint, own.map(|(event, _, key)| (*event, key)));
            report.found(FindingKind::Signature, place, what);
            return None;
        };
        if size > here {
            let what = format!(
                "cut at its end: {place} was signed over {size} lines and files, and {here} are here"
            );
            report.changed(RunFolder::JOURNAL, what);
            return None;
        }
        match self.reached.get(&size) {
            Some((events, tree)) if tree.root == root => {
                let events = *events;
                Some(Held { key, events })
            }
            Some((events, _)) => {
                let since = report.seal.covered;
                let place_of_all = RunFolder::place_of_all(since, events.saturating_sub(1));
                let what = format!("changed: not what {place} was signed over");
                report.changed(place_of_all, what);
                None
            }
            None => {
                report.changed(place, "no event of the journal ends where it was signed");
                None
            }
        }
    }

    /// The root over the outputs of the notebooks, which has to be signed by the key named last.
    fn judge_outputs(
        &self,
        run: &RunFolder,
        trust: &Trust,
        report: &mut VerifyReport,
    ) -> Result<()> {
        let path = run.seal().path().join(OUTPUTS_NOTE);
        let Some(text) = self.files.read(run, &path, report)? else {
            return Ok(());
        };
        let key = self.keys.last().map(|(_, _, key)| key.ed25519());
        let origin = self
            .origin
            .as_ref()
            .map(|origin| format!("{origin}/outputs"));
        match text.parse::<Checkpoint>() {
            Ok(note) if Some(&note.origin) != origin.as_ref() => {
                let what = format!("not of this run: it is over the outputs of {}", note.origin);
                report.changed(place(&path), what);
            }
            Ok(note) if !key.is_some_and(|key| note.is_signed_by(&key)) => {
                let what = "it is not signed by the key that seals the record";
                report.found(FindingKind::Signature, place(&path), what);
            }
            Ok(note) => self.judge_lines(&place(&path), &note, trust, report),
            Err(error) => report.changed(place(&path), error.to_string()),
        }
        Ok(())
    }

    /// The P-256 signature of the statement, which anybody can give another form that holds, too.
    fn judge_p256(&self, run: &RunFolder, report: &mut VerifyReport) -> Result<()> {
        let path = run.seal().path().join(SignedStatement::P256_SIGNATURE);
        let read = self.files.read_bytes(run, &path, report)?;
        if read.is_some_and(|signature| has_high_s(&signature)) {
            report.found(FindingKind::Signature, place(&path), HIGH_S);
        }
        Ok(())
    }

    /// Says what nothing in the folder is written as. Second signatures are looked at over the last
    /// checkpoint alone.
    fn find_unnamed(
        &self,
        run: &RunFolder,
        last: Option<&str>,
        report: &mut VerifyReport,
    ) -> Result<()> {
        for path in run.seal().files()? {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let place = place(&path);
            if self.files.unread.contains(&place) {
                continue;
            }
            let of_checkpoint = self.here.contains(&place);
            if let Some(signed) = place.strip_suffix(SECOND)
                && self.here.contains(signed)
            {
                if last != Some(signed) {
                    report.not_part.push(place);
                }
                continue;
            }
            if is_incidental(&name) {
                report.not_part.push(place);
                continue;
            }
            let known = SignedStatement::FILES.contains(&name.as_str()) || name == OUTPUTS_NOTE;
            if !of_checkpoint && !known {
                let what = "nothing of this name is written by this program";
                report.found(FindingKind::NotNamed, place, what);
            }
        }
        Ok(())
    }
}

/// Returns the second signature over a checkpoint as findings name it.
fn place_of_second(checkpoint: &str) -> String {
    format!("{checkpoint}{SECOND}")
}
