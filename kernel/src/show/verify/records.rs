//! `verify` of a record.

use code_deploy_record::{
    Approved, FindingKind, PublicKeys, RunFolder, SealReport, SignedStatement, TreeHead, Trust,
    VerifyReport, verify_folder_with,
};

use super::{Checked, Kind, Row};
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
    let report = verify_folder_with(record, trust)?;
    let name = record.path().display().to_string();
    checked.records += 1;
    checked.unsealed += usize::from(!report.sealed);
    tell(face, &name, &report);
    let row = |kind, place: String, what: String| Row {
        kind,
        record: name.clone(),
        place,
        what,
    };
    for finding in &report.findings {
        let kind = match finding.kind {
            FindingKind::NotHere => Kind::NotHere,
            FindingKind::Signature => Kind::Signature,
            FindingKind::Approval => Kind::Approval,
            FindingKind::Changed | FindingKind::NotNamed => Kind::Different,
        };
        checked
            .rows
            .push(row(kind, finding.place.clone(), finding.what.clone()));
    }
    if let Some((place, what)) = unlike_before(record, &report)? {
        checked.rows.push(row(Kind::Different, place, what));
    }
    let keys: Option<&PublicKeys> = report.seal.keys.last().map(|(_, keys)| keys);
    if let Some(keys) = keys {
        let signed = publish::kept(record)?;
        if let Some(signed) = signed.as_ref().filter(|signed| !is_over(signed, &report)) {
            let what = format!(
                "the statement of {} bytes is not over this record: size and root of its tree are others",
                signed.statement().len()
            );
            checked
                .rows
                .push(row(Kind::Different, "seal/statement.json".to_owned(), what));
        }
        let broken = signed.as_ref().map(|signed| signed.broken(keys));
        for (file, what) in broken.into_iter().flatten() {
            checked.rows.push(row(
                Kind::Signature,
                format!("seal/{file}"),
                what.to_owned(),
            ));
        }
        for (file, content) in signed.iter().flat_map(|signed| signed.files(keys)) {
            let found = std::fs::read(record.seal().path().join(file));
            if !found.is_ok_and(|found| found == content) {
                let what = "changed: not what the signed statement gives".to_owned();
                checked
                    .rows
                    .push(row(Kind::Different, format!("seal/{file}"), what));
            }
        }
    }
    checked.vouched.push(vouched(&name, &report));
    checked
        .vouched
        .extend(report.approved.iter().map(|one| approved(&name, one)));
    Ok(())
}

/// Returns whether a statement names size and root of a record's tree.
fn is_over(signed: &SignedStatement, report: &VerifyReport) -> bool {
    let statement: Option<serde_json::Value> = serde_json::from_slice(signed.statement()).ok();
    let named = statement.and_then(|one| one.get("predicate")?.get("record").cloned());
    let named = named.and_then(|named| serde_json::from_value::<TreeHead>(named).ok());
    named.is_some() && named == report.seal.tree
}

fn tell(face: &dyn Face, name: &str, report: &VerifyReport) {
    let sealed = if report.sealed {
        "sealed"
    } else {
        "NOT SEALED"
    };
    let head = report.head.map(|head| head.short()).unwrap_or_default();
    let evidence = if report.evidence == report.evidence_named {
        format!("{} evidence files", report.evidence)
    } else {
        format!(
            "{} of {} evidence files",
            report.evidence, report.evidence_named
        )
    };
    face.text(&format!(
        "{name}: {} events, {evidence}, {} samples files, {sealed}, head {head}{}",
        report.events,
        report.samples,
        signed(&report.seal)
    ));
    let findings: Vec<_> = report
        .findings
        .iter()
        .map(|f| [&f.place, &f.what])
        .collect();
    let keys: Vec<String> = report.seal.keys.iter().map(|(_, key)| key.name()).collect();
    let witnesses = report.seal.witnesses.iter();
    let witnesses: Vec<String> = witnesses.map(|one| one.key.name()).collect();
    face.value(
        "verified",
        &serde_json::json!({
            "run": name, "events": report.events, "evidence": report.evidence,
            "evidence_named": report.evidence_named, "samples": report.samples,
            "sealed": report.sealed, "head": report.head, "findings": findings,
            "tree": report.seal.tree, "checkpoints": report.seal.checkpoints,
            "signed_events": report.seal.covered, "keys": keys, "witnesses": witnesses,
            "self_asserted": report.seal.is_self_asserted(),
        }),
    );
}

fn signed(seal: &SealReport) -> String {
    let (Some((_, key)), Some(tree)) = (seal.keys.last(), seal.tree) else {
        return ", no signature".to_owned();
    };
    let root = tree.root.short();
    format!(
        ", root {root} of {} leaves; {} checkpoints of {}, the last over {} events",
        tree.size,
        seal.checkpoints,
        key.name(),
        seal.covered
    )
}

/// Says who stands for a record.
fn vouched(name: &str, report: &VerifyReport) -> String {
    let seal = &report.seal;
    let known: Vec<String> = seal
        .witnesses
        .iter()
        .filter(|witness| witness.known)
        .map(|witness| witness.key.name())
        .collect();
    if !known.is_empty() {
        return format!(
            "{name}: a second person vouches for it: {}.",
            known.join(", ")
        );
    }
    let unknown: Vec<String> = seal.witnesses.iter().map(|one| one.key.name()).collect();
    let more = match unknown.as_slice() {
        [] => String::new(),
        names => format!(
            " A second key signed it, too ({}): give it with `--key` if you know whose it is.",
            names.join(", ")
        ),
    };
    let holder = match seal.keys.last() {
        Some((_, key)) => format!("whoever holds key {}", key.name()),
        None => "whoever can write the folder".to_owned(),
    };
    format!("{name} is self-asserted: {holder} could have written all of it anew.{more}")
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
    let place = format!("{}:1", RunFolder::JOURNAL);
    let mut events = folder.events()?;
    loop {
        match events.next_event() {
            Ok(Some(_)) => {}
            Ok(None) => break,
            // What is wrong with that record is said when it is verified.
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
