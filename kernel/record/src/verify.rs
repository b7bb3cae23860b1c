//! Whether a record is what was written.

use std::collections::BTreeSet;
use std::fs::File;

use crate::samples::samples_files;
use crate::{Digest, Error, EventBody, Result, RunFolder, RunState};

/// What checking a record gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Events whose chain was followed.
    pub events: u64,
    /// Evidence files that are what their digests say.
    pub evidence: u64,
    /// Samples files that are what their digests say.
    pub samples: u64,
    /// Whether the record says that it is complete.
    pub sealed: bool,
    /// The digest of the last line.
    pub head: Option<Digest>,
    /// What does not verify; empty when all does.
    pub findings: Vec<Finding>,
}

/// Something in a record that does not verify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file, relative to the run's folder, with the line where there is one.
    pub place: String,
    /// What is wrong.
    pub what: String,
}

/// Checks the chain of a run's journal, and the evidence and samples it names. Reads only.
///
/// # Errors
/// [`Error::Io`] when a file that should be there cannot be read for another reason than being
/// missing. What does not verify is a finding, not an error.
pub fn verify_folder(run: &RunFolder) -> Result<VerifyReport> {
    let mut report = VerifyReport::default();
    let mut state = RunState::default();
    let mut closed = BTreeSet::new();
    let mut reader = run.events()?;
    loop {
        let event = match reader.next_event() {
            Ok(Some(event)) => event,
            Ok(None) => break,
            Err(Error::Broken { line, what, .. }) => {
                report.found(format!("{}:{line}", RunFolder::JOURNAL), what);
                return Ok(report);
            }
            Err(error) => return Err(error),
        };
        if state.sealed {
            let place = format!("{}:{}", RunFolder::JOURNAL, event.seq + 1);
            report.found(place, "an event stands behind the end of the record");
        }
        if let Err(what) = state.apply(&event) {
            report.found(format!("{}:{}", RunFolder::JOURNAL, event.seq + 1), what);
        }
        check_event(run, &event.body, &mut report, &mut closed)?;
        report.events = event.seq + 1;
    }
    if report.events == 0 {
        report.found(RunFolder::JOURNAL.to_owned(), "it holds no complete line");
    }
    let unread = reader.unread()?;
    if unread > 0 && state.finished.is_some() {
        let what = format!("{unread} bytes of a torn line stand at its end");
        report.found(RunFolder::JOURNAL.to_owned(), what);
    }
    find_unnamed_samples(run, &state, &closed, &mut report)?;
    report.sealed = state.sealed;
    report.head = Some(reader.head());
    Ok(report)
}

impl VerifyReport {
    fn found(&mut self, place: impl Into<String>, what: impl Into<String>) {
        self.findings.push(Finding {
            place: place.into(),
            what: what.into(),
        });
    }
}

fn check_event(
    run: &RunFolder,
    body: &EventBody,
    report: &mut VerifyReport,
    closed: &mut BTreeSet<String>,
) -> Result<()> {
    match body {
        EventBody::EvidenceKept { digest, .. } => check_evidence(run, digest, report),
        EventBody::InventoryTaken(taken) => check_evidence(run, &taken.evidence, report),
        EventBody::Planned(planned) => check_evidence(run, &planned.evidence, report),
        EventBody::SamplesClosed { file, digest, .. } => {
            closed.insert(file.clone());
            check_samples(run, file, digest, report)
        }
        _ => Ok(()),
    }
}

fn check_evidence(run: &RunFolder, digest: &Digest, report: &mut VerifyReport) -> Result<()> {
    let place = format!("evidence/{digest}");
    match run.evidence().check(digest) {
        Ok(()) => report.evidence += 1,
        Err(Error::EvidenceChanged { .. }) => {
            report.found(place, "its content is not what its digest says");
        }
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            report.found(place, "it is missing");
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

fn check_samples(
    run: &RunFolder,
    file: &str,
    expected: &Digest,
    report: &mut VerifyReport,
) -> Result<()> {
    let path = run.samples_path().join(file);
    let place = format!("samples/{file}");
    match File::open(&path) {
        Ok(mut content) => {
            let found = Digest::of_reader(&mut content).map_err(Error::io("read", &path))?;
            if found == *expected {
                report.samples += 1;
            } else {
                report.found(
                    place,
                    "its content is not what its digest in the journal says",
                );
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            report.found(place, "it is missing");
        }
        Err(error) => return Err(Error::io("read", &path)(error)),
    }
    Ok(())
}

/// In a sealed record every samples file is named; one that is not was added later.
fn find_unnamed_samples(
    run: &RunFolder,
    state: &RunState,
    closed: &BTreeSet<String>,
    report: &mut VerifyReport,
) -> Result<()> {
    if !state.sealed {
        return Ok(());
    }
    for path in samples_files(&run.samples_path(), "")? {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if !closed.contains(name) {
            report.found(format!("samples/{name}"), "the journal does not name it");
        }
    }
    Ok(())
}
