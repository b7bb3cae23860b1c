//! `verify` of a record.

use code_deploy_record::{
    Approved, FindingKind, OUTPUTS_NOTE, RunFolder, RunStarted, SealFolder, SignedStatement, Trust,
    VerifyReport, verify_folder_with,
};

use super::foreign::{capped, listed};
use super::over::{self, Over, over};
use super::paths::journal_unread;
use super::signers::{self, counted};
use super::{Checked, Kind, Record, Row, identity, keys};
use crate::face::Face;
use crate::failure::Failure;
use crate::publish;

/// Checks a record, and what was signed over it.
pub(super) fn check(
    record: &RunFolder,
    trust: &Trust,
    face: &dyn Face,
    checked: &mut Checked,
) -> Result<(), Failure> {
    let name = record.path().display().to_string();
    if !checked.can_be_read(record) {
        return Ok(());
    }
    let report = verify_folder_with(record, trust)?;
    let started = record.started().ok();
    tell(face, &name, (&report, started.as_ref()), trust);
    let row = |kind, place: String, what: String| Row {
        kind,
        record: name.clone(),
        place,
        what,
    };
    let mut unnamed = Vec::new();
    for finding in &report.findings {
        let kind = match finding.kind {
            FindingKind::NotHere => Kind::NotHere,
            FindingKind::Signature => Kind::Signature,
            FindingKind::Approval => Kind::Approval,
            FindingKind::Changed | FindingKind::NotNamed => Kind::Different,
        };
        let row = row(kind, finding.place.clone(), finding.what.clone());
        if finding.kind == FindingKind::NotNamed {
            unnamed.push(row);
        } else {
            checked.rows.push(row);
        }
    }
    checked.rows.extend(capped(unnamed));
    if let Some(what) = started.and_then(|started| identity::misplaced(record, &started)) {
        let place = RunFolder::place_of(0);
        checked.rows.push(row(Kind::Different, place, what));
    }
    if let Some((place, what)) = unlike_before(record, &report)? {
        checked.rows.push(row(Kind::Different, place, what));
    }
    let statement = statement(record, &name, &report, face)?;
    for (kind, file, what) in statement.rows {
        let place = format!("{}/{file}", SealFolder::NAME);
        checked.rows.push(row(kind, place, what));
    }
    let sealing = report.seal.signed_by.iter().cloned();
    let approvers = report.approved.iter().filter_map(|one| one.key.clone());
    checked.signed_by.extend(sealing.chain(approvers));
    checked.signed_by.extend(keys::of_statement(record, trust)?);
    checked.records.push(Record {
        path: record.path().to_owned(),
        is_whole: report.is_whole() && !statement.is_over_more,
        is_endless: !report.sealed && report.broken.is_none(),
        signed: report.seal.covered.max(statement.events),
        report: report.clone(),
    });
    checked.vouched.push(signers::vouched(&name, &report));
    checked
        .vouched
        .extend(report.approved.iter().map(|one| approved(&name, one)));
    Ok(())
}

/// Says why the journal of a record is not read; nothing where it is.
pub(super) fn unread(record: &RunFolder) -> Option<Row> {
    let (kind, what) = journal_unread(record.path())?;
    Some(Row {
        kind,
        record: record.path().display().to_string(),
        place: RunFolder::JOURNAL.to_owned(),
        what: what.to_owned(),
    })
}

/// The statement over the notebooks, in the folder of the seal.
const STATEMENT: &str = SignedStatement::STATEMENT;

/// What does not hold of a file in the folder of the seal.
type OfFile = (Kind, &'static str, String);

/// What the statement shows that is kept with a record.
#[derive(Default)]
struct OfStatement {
    /// What does not hold.
    rows: Vec<OfFile>,
    /// How many events at the beginning of the record it was signed over.
    events: u64,
    /// Whether it was signed over more than the record has: what that gives now is less than what was signed.
    is_over_more: bool,
}

/// Checks the statement that is kept with a record.
fn statement(
    record: &RunFolder,
    name: &str,
    report: &VerifyReport,
    face: &dyn Face,
) -> Result<OfStatement, Failure> {
    let Some(signed) = publish::kept(record)? else {
        let rows = statement_not_here(record, report).into_iter().collect();
        return Ok(OfStatement {
            rows,
            ..OfStatement::default()
        });
    };
    let over = over(record, &signed, report)?;
    if let (Over::Earlier(events), false) = (&over, report.sealed) {
        face.text(&format!(
            "{name}: the statement that is kept with it was signed over its first {events} events"
        ));
    }
    let mut rows = judge_signed(record, &signed, &over, report);
    if !stands(record, OUTPUTS_NOTE) {
        let what = "not here: the signed root over the outputs of the notebooks".to_owned();
        rows.push((Kind::NotHere, OUTPUTS_NOTE, what));
    }
    let holds = over
        .keys(report)
        .is_some_and(|keys| signed.broken(keys).is_empty());
    let events = match over {
        Over::All => report.events,
        Over::Earlier(events) => events,
        Over::Later { .. } | Over::Unread | Over::Another => 0,
    };
    Ok(OfStatement {
        rows,
        events: if holds { events } else { 0 },
        is_over_more: holds && matches!(over, Over::Later { .. }),
    })
}

/// Returns whether something has the name of a file in the folder of the seal, whatever it is.
fn stands(record: &RunFolder, file: &str) -> bool {
    std::fs::symlink_metadata(record.seal().path().join(file)).is_ok()
}

/// Returns whether it is said of a file in the folder of the seal, or of all of it, that it is not read.
fn is_told(report: &VerifyReport, file: &str) -> bool {
    let folder = format!("{}/", SealFolder::NAME);
    let place = format!("{folder}{file}");
    let mut told = report.findings.iter().map(|finding| finding.place.as_str());
    told.any(|told| told == folder || told == place)
}

/// Says that a statement is not here: something of it is, which nothing writes without it, or the run has ended with
/// its key named, which signs one whenever a run ends.
fn statement_not_here(record: &RunFolder, report: &VerifyReport) -> Option<OfFile> {
    if !report.sealed || is_told(report, STATEMENT) {
        return None;
    }
    let mut beside = SignedStatement::FILES.into_iter().chain([OUTPUTS_NOTE]);
    let is_here = |name: &&str| stands(record, name);
    let what = match beside.find(is_here) {
        Some(beside) => format!(
            "not here: the statement over the notebooks of the run; {beside} is. It was taken away, or the process that \
             signs it was killed: `code-deploy notebooks --run RUN` signs it again"
        ),
        None if report.seal.keys.is_empty() => return None,
        None => "not here: no statement over its notebooks is kept with it. It was taken away, or the process ended \
                 before it signed: `code-deploy notebooks --run RUN` signs one"
            .to_owned(),
    };
    Some((Kind::NotHere, STATEMENT, what))
}

/// Says what does not hold of the statement that is kept with a record.
fn judge_signed(
    record: &RunFolder,
    signed: &SignedStatement,
    over: &Over,
    report: &VerifyReport,
) -> Vec<OfFile> {
    const CHANGED: &str = "changed: not what the signed statement gives";
    let Some(keys) = over.keys(report) else {
        return Vec::new();
    };
    let mut rows = Vec::new();
    match over {
        Over::All | Over::Unread => {}
        Over::Earlier(events) if report.sealed => {
            let what = format!(
                "the statement over the whole record is not here: this one was signed over its first \
                 {events} events"
            );
            rows.push((Kind::NotHere, STATEMENT, what));
        }
        Over::Earlier(_) => {}
        Over::Later { signed: size, here } if signed.broken(keys).is_empty() => {
            rows.push((Kind::Different, STATEMENT, over::cut(*size, *here)));
        }
        Over::Later { .. } | Over::Another => {
            let what = format!(
                "the statement of {} bytes is not over this record: size and root of its tree are others",
                signed.statement().len()
            );
            rows.push((Kind::Different, STATEMENT, what));
        }
    }
    let broken = signed.broken(keys).into_iter();
    let broken = broken.filter(|(file, _)| !is_told(report, file));
    rows.extend(broken.map(|(file, what)| (Kind::Signature, file, what.to_owned())));
    for (file, content) in signed.files(keys) {
        if is_told(report, file) {
            continue;
        }
        let found = publish::read_signed_file(&record.seal().path().join(file));
        let is_gone = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
        if found.as_ref().is_err_and(is_gone) {
            rows.push((Kind::NotHere, file, "not here".to_owned()));
        } else if !found.is_ok_and(|found| found == content) {
            rows.push((Kind::Different, file, CHANGED.to_owned()));
        }
    }
    rows
}

fn tell(
    face: &dyn Face,
    name: &str,
    (report, started): (&VerifyReport, Option<&RunStarted>),
    trust: &Trust,
) {
    let sealed = match (report.broken, report.sealed) {
        (Some(event), _) => format!("not followed from event {event} on"),
        (None, true) => "sealed".to_owned(),
        (None, false) => "NOT SEALED".to_owned(),
    };
    let head = report.head.map(|head| format!(", head {}", head.short()));
    let head = head.unwrap_or_default();
    let evidence = if report.evidence == report.evidence_named {
        counted(report.evidence, "evidence file")
    } else {
        format!(
            "{} of {} evidence files",
            report.evidence, report.evidence_named
        )
    };
    face.text(&format!(
        "{name}: {}, {evidence}, {}, {sealed}{head}{}",
        counted(report.events, "event"),
        counted(report.samples, "samples file"),
        signers::sealed(report)
    ));
    if let Some(started) = started {
        face.text(&format!("{name}: {}", identity::words(started)));
    }
    for line in signers::changes(name, report, trust)
        .into_iter()
        .chain(signers::unverified(name, report))
    {
        face.text(&line);
    }
    if !report.not_part.is_empty() {
        face.text(&format!(
            "{name}: not part of the record, and not checked: {}",
            listed(&report.not_part)
        ));
    }
    face.value("verified", &value(name, report, started));
}

/// Returns what came out for machines.
fn value(name: &str, report: &VerifyReport, started: Option<&RunStarted>) -> serde_json::Value {
    let findings: Vec<_> = report
        .findings
        .iter()
        .map(|f| [&f.place, &f.what])
        .collect();
    let seal = &report.seal;
    let keys: Vec<String> = seal.keys.iter().map(|(_, key)| key.name()).collect();
    let sealed_by = seal.keys.iter().zip(&seal.covered_by);
    let sealed_by: Vec<_> = sealed_by
        .map(|((event, key), events)| {
            serde_json::json!({ "from_event": event, "key": key.name(), "signed_events": events })
        })
        .collect();
    let witnesses: Vec<String> = seal.witnesses.iter().map(|one| one.key.name()).collect();
    serde_json::json!({
        "run": name, "of": started.map(identity::value), "events": report.events, "evidence": report.evidence,
        "evidence_named": report.evidence_named, "samples": report.samples,
        "sealed": report.sealed, "broken_at": report.broken, "head": report.head, "findings": findings,
        "tree": seal.tree, "checkpoints": seal.checkpoints,
        "signed_events": seal.covered, "keys": keys, "sealed_by": sealed_by, "witnesses": witnesses,
        "self_asserted": seal.is_self_asserted(), "unverified_signatures": seal.unverified,
        "not_part": report.not_part,
    })
}

/// Says who stands for an approval.
fn approved(name: &str, approved: &Approved) -> String {
    let Approved {
        gate,
        by,
        go,
        key,
        two_persons,
    } = approved;
    let word = if *go { "go" } else { "no-go" };
    match key {
        Some(key) => format!(
            "{name}: {word} of {by} to {gate} is signed with {}.",
            key.name()
        ),
        None => {
            let wanted = if *two_persons {
                ", though the policy wants two persons"
            } else {
                ""
            };
            format!("{name}: {word} of {by} to {gate} is signed by nobody{wanted}: self-asserted.")
        }
    }
}

/// Says in what way the run before is not as this record names it, where it lies beside this one.
fn unlike_before(
    record: &RunFolder,
    report: &VerifyReport,
) -> Result<Option<(String, String)>, Failure> {
    let Some(previous) = &report.previous else {
        return Ok(None);
    };
    let beside = record
        .path()
        .parent()
        .map(|runs| runs.join(previous.run.as_str()));
    let Some(folder) = beside.and_then(|path| RunFolder::at(&path).ok()) else {
        return Ok(None);
    };
    let place = RunFolder::place_of(0);
    // What is wrong with that record is said when it is verified.
    let Ok(mut events) = folder.events() else {
        return Ok(None);
    };
    loop {
        match events.next_event() {
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(_) => return Ok(None),
        }
    }
    let same = events.head() == previous.head
        && previous
            .checkpoint
            .is_none_or(|checkpoint| checkpoint == events.tree());
    let what = format!(
        "the run before, {}, is not as this record names it: one of the two was changed, or written anew",
        previous.run
    );
    Ok((!same).then_some((place, what)))
}
