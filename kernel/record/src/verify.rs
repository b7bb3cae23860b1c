//! Whether a record is what was written.

mod beside;
mod consents;
mod folders;
mod order;
mod seal;

use std::collections::BTreeSet;
use std::path::{Component, Path};

use crate::disk::NoFile;
use crate::{
    Digest, Error, Event, EventBody, JournalReader, PreviousRun, PublicKey, Result, RunFolder,
    RunState, SealFolder,
};

pub use consents::Approved;
pub use seal::{SealReport, Witness};

use consents::Consents;
use seal::Seals;

/// What checking a record gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Events whose chain was followed.
    pub events: u64,
    /// Evidence files that are what their digests say.
    pub evidence: u64,
    /// Evidence files that the journal names, here or not.
    pub evidence_named: u64,
    /// Samples files that are what their digests say.
    pub samples: u64,
    /// Whether the record says that it is complete.
    pub sealed: bool,
    /// The number, counted from 0, of the event in whose place no event stands that follows from those before it;
    /// it and what stands behind it was not read.
    pub broken: Option<u64>,
    /// The digest of the last line that was followed; nothing where none was.
    pub head: Option<Digest>,
    /// What is signed, and by whom.
    pub seal: SealReport,
    /// The approvals, and who signed each.
    pub approved: Vec<Approved>,
    /// The run before, as the first event names it.
    pub previous: Option<PreviousRun>,
    /// Files and folders (with a `/` behind their names) in the record's folder that are no part of it:
    /// what the program keeps there while it works, and signatures that were not looked at. Nothing shows
    /// whether they were changed.
    pub not_part: Vec<String>,
    /// What does not verify; empty when all does.
    pub findings: Vec<Finding>,
}

/// In what way something does not verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingKind {
    /// It is not what was written.
    Changed,
    /// It is not in the folder. Nothing says that it was changed; a copy may lie elsewhere.
    NotHere,
    /// It is in the folder, and the journal does not name it.
    NotNamed,
    /// A signature does not hold, or is of a key that it should not be of.
    Signature,
    /// An approval or a waiver is not signed as the policy wanted.
    Approval,
}

/// Something in a record that does not verify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// In what way.
    pub kind: FindingKind,
    /// The file, relative to the run's folder, with the event where there is one.
    pub place: String,
    /// What is wrong.
    pub what: String,
}

/// Whose signatures count, and for what.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// The public keys that are known to be the right ones to seal records and to sign notebooks; none where nobody
    /// said.
    pub keys: Vec<PublicKey>,
    /// The public keys of second persons who may stand for records: they seal none.
    pub witnesses: Vec<PublicKey>,
}

impl Trust {
    /// Returns whether a key is one of those that may seal.
    #[must_use]
    pub fn knows(&self, key: &PublicKey) -> bool {
        self.keys.contains(key)
    }

    /// Returns whether a key is that of a second person who may stand for a record.
    #[must_use]
    pub fn knows_witness(&self, key: &PublicKey) -> bool {
        self.witnesses.contains(key)
    }

    /// Returns all known keys, whatever they may do.
    pub fn all(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys.iter().chain(&self.witnesses)
    }
}

/// Checks the chain of a run's journal, the evidence and samples it names, and the checkpoints signed
/// over them. Reads only.
///
/// # Errors
/// [`Error::Io`] when a file that should be there cannot be read for another reason than being
/// missing. What does not verify is a finding, not an error.
pub fn verify_folder(run: &RunFolder) -> Result<VerifyReport> {
    verify_folder_with(run, &Trust::default())
}

/// Checks a record as [`verify_folder`] does, and its signatures against the keys that are known.
///
/// # Errors
/// As [`verify_folder`].
pub fn verify_folder_with(run: &RunFolder, trust: &Trust) -> Result<VerifyReport> {
    let mut report = VerifyReport::default();
    let mut state = RunState::default();
    let mut named = Named {
        unread: folders::unread(run, &mut report)?,
        ..Named::default()
    };
    let mut consents = Consents::default();
    let mut seals = Seals::read(run, !named.unread.contains(SealFolder::NAME), &mut report)?;
    let mut reader = run.events()?;
    loop {
        let event = match reader.next_event() {
            Ok(Some(event)) => event,
            Ok(None) => break,
            Err(Error::Broken { event, what, .. }) => {
                let what = order::told(run, event, &reader.head(), what)?;
                report.changed(RunFolder::place_of(event), what);
                report.broken = Some(event);
                break;
            }
            Err(error) => return Err(error),
        };
        check_order(&event, &mut state, &mut report);
        seals.note(&event, reader.tree());
        consents.note(&event, &mut report);
        check_event(run, &event.body, &mut report, &mut named)?;
        report.events = event.seq + 1;
    }
    if report.broken.is_none() {
        check_end(&reader, &state, &mut report)?;
    }
    beside::find(run, &named, state.sealed, &mut report)?;
    report.sealed = state.sealed;
    report.head = (report.events > 0).then(|| reader.head());
    report.previous = state.started.and_then(|started| started.previous);
    seals.judge(run, trust, &mut report)?;
    // What was signed may stand behind the line that cannot be followed.
    if report.broken.is_none() {
        consents.judge(&mut report);
    }
    Ok(report)
}

/// Checks the end of a journal that was followed to its last whole line.
fn check_end(reader: &JournalReader, state: &RunState, report: &mut VerifyReport) -> Result<()> {
    if report.events == 0 {
        report.changed(RunFolder::JOURNAL, "it holds no complete line");
    }
    let unread = reader.unread()?;
    if unread > 0 && state.finished.is_some() {
        let what = match unread {
            1 => "1 byte of a torn line stands at its end".to_owned(),
            more => format!("{more} bytes of a torn line stand at its end"),
        };
        let what = match (state.sealed, state.has_ended()) {
            (false, true) => format!(
                "{what}: the process was killed while it sealed the record. The next run of the environment cuts the \
                 line and seals the record"
            ),
            _ => what,
        };
        report.changed(RunFolder::JOURNAL, what);
    }
    Ok(())
}

fn check_order(event: &Event, state: &mut RunState, report: &mut VerifyReport) {
    let place = || RunFolder::place_of(event.seq);
    if state.sealed {
        report.changed(place(), "an event stands behind the end of the record");
    }
    if let Err(what) = state.apply(event) {
        report.changed(place(), what);
    }
}

impl VerifyReport {
    /// Returns whether journal, samples and evidence are those that were written, so that what follows
    /// from them can be made again. What was signed over them does not count.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.damage().next().is_none()
    }

    /// Returns what of journal, samples and evidence is not what was written, or not here. What was signed over
    /// them does not count.
    pub fn damage(&self) -> impl Iterator<Item = &Finding> {
        let of_files = |finding: &&Finding| {
            let place = &finding.place;
            match finding.kind {
                FindingKind::Changed | FindingKind::NotHere => !is_signed_part(place),
                // What stands elsewhere, or is hidden, is not read when notebooks are made.
                FindingKind::NotNamed => place
                    .strip_prefix("samples/")
                    .is_some_and(|name| name.ends_with(".jsonl") && !name.starts_with('.')),
                FindingKind::Signature | FindingKind::Approval => false,
            }
        };
        self.findings.iter().filter(of_files)
    }

    fn found(&mut self, kind: FindingKind, place: impl Into<String>, what: impl Into<String>) {
        self.findings.push(Finding {
            kind,
            place: place.into(),
            what: what.into(),
        });
    }

    fn changed(&mut self, place: impl Into<String>, what: impl Into<String>) {
        self.found(FindingKind::Changed, place, what);
    }
}

/// Returns whether a place is in the folder with what was signed.
fn is_signed_part(place: &str) -> bool {
    place
        .strip_prefix(SealFolder::NAME)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// The files that the journal names.
#[derive(Default)]
struct Named {
    evidence: BTreeSet<Digest>,
    samples: BTreeSet<String>,
    /// The folders that are none, and what lies behind them is not read.
    unread: BTreeSet<&'static str>,
}

fn check_event(
    run: &RunFolder,
    body: &EventBody,
    report: &mut VerifyReport,
    named: &mut Named,
) -> Result<()> {
    match body {
        EventBody::EvidenceKept { digest, .. } => check_evidence(run, digest, report, named),
        EventBody::InventoryTaken(taken) => check_evidence(run, &taken.evidence, report, named),
        EventBody::Planned(planned) => check_evidence(run, &planned.evidence, report, named),
        EventBody::SamplesClosed { file, digest, .. } => {
            named.samples.insert(file.clone());
            match named.unread.contains(folders::SAMPLES) {
                true => Ok(()),
                false => check_samples(run, file, digest, report),
            }
        }
        _ => Ok(()),
    }
}

/// Checks a file of the evidence when the journal names it for the first time.
fn check_evidence(
    run: &RunFolder,
    digest: &Digest,
    report: &mut VerifyReport,
    named: &mut Named,
) -> Result<()> {
    if !named.evidence.insert(*digest) {
        return Ok(());
    }
    report.evidence_named += 1;
    if named.unread.contains(folders::EVIDENCE) {
        return Ok(());
    }
    let place = format!("evidence/{digest}");
    match run.evidence().check(digest) {
        Ok(()) => report.evidence += 1,
        Err(Error::EvidenceChanged { .. }) => {
            report.changed(place, "changed: its content is not what its digest says");
        }
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            report.found(FindingKind::NotHere, place, "not here");
        }
        Err(Error::Io { source, .. }) if NoFile::is(&source) => {
            report.changed(place, NoFile::WHAT);
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Returns whether a path is the name of something in a folder, and leads nowhere else.
fn is_one_name(path: &str) -> bool {
    let mut parts = Path::new(path).components();
    let is_normal = matches!(parts.next(), Some(Component::Normal(name)) if name == path);
    is_normal && parts.next().is_none()
}

fn check_samples(
    run: &RunFolder,
    file: &str,
    expected: &Digest,
    report: &mut VerifyReport,
) -> Result<()> {
    let path = run.samples_path().join(file);
    let place = format!("samples/{file}");
    if !is_one_name(file) {
        report.changed(place, "the journal names a file outside of its folder");
        return Ok(());
    }
    match run.disk().read(&path) {
        Ok(mut content) => {
            let found = Digest::of_reader(&mut content).map_err(Error::io("read", &path))?;
            if found == *expected {
                report.samples += 1;
            } else {
                report.changed(
                    place,
                    "changed: its content is not what its digest in the journal says",
                );
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            report.found(FindingKind::NotHere, place, "not here");
        }
        Err(error) if NoFile::is(&error) => report.changed(place, NoFile::WHAT),
        Err(error) => return Err(Error::io("read", &path)(error)),
    }
    Ok(())
}
