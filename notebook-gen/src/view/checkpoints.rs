//! What was signed while the run was written, when, and whether it holds.

use code_deploy_record::{EventBody, KeptCheckpoint, Report, checkpoints as kept_checkpoints};

use crate::Result;
use crate::facts::Facts;
use crate::format::moment;
use crate::view::lists::table;
use crate::view::{columns, row};

/// Says with what a checkpoint was signed, by the last event that it covers.
#[must_use]
pub fn signed_at(body: &EventBody) -> String {
    match body {
        EventBody::PhaseFinished { phase, .. } => format!("the end of phase {phase}"),
        EventBody::Paused { .. } => "a pause".to_owned(),
        EventBody::RunFinished { .. } => "a stop at which a person must decide".to_owned(),
        EventBody::Sealed { .. } => "the end of the record".to_owned(),
        _ => "another event".to_owned(),
    }
}

pub(super) fn checkpoints(facts: &Facts) -> Result<Report> {
    let kept = kept_checkpoints(&facts.folder)?;
    let numbered = (1_u64..).zip(&kept);
    let rows = numbered.map(|(number, one)| line(number, one)).collect();
    let titles = columns([
        "Number",
        "Time (UTC)",
        "Signed at",
        "Events",
        "Size",
        "Root",
        "Signature",
        "From the one before",
        "File",
    ]);
    let none = "No checkpoint is in the folder of this record.";
    Ok(table("Checkpoints", titles, rows, none))
}

fn line(number: u64, kept: &KeptCheckpoint) -> Vec<String> {
    let (place, number) = (number, number.to_string());
    let last = kept.last.as_ref();
    let time = last.map_or_else(unknown, |event| moment(event.time));
    let at = last.map_or_else(unknown, |event| signed_at(&event.body));
    let events = last.map_or_else(unknown, |event| (event.seq + 1).to_string());
    let (size, root) = match &kept.checkpoint {
        Ok(one) => (one.head.size.to_string(), one.head.root.to_base64()),
        Err(_) => (unknown(), unknown()),
    };
    let (signature, grown) = (signature(kept), grown(place, kept));
    row([
        &number, &time, &at, &events, &size, &root, &signature, &grown, &kept.file,
    ])
}

fn unknown() -> String {
    "not known".to_owned()
}

fn signature(kept: &KeptCheckpoint) -> String {
    let checkpoint = match &kept.checkpoint {
        Ok(checkpoint) => checkpoint,
        Err(what) => return what.clone(),
    };
    let by = checkpoint.signers().collect::<Vec<_>>().join(", ");
    match (kept.is_signed, kept.is_of_journal) {
        (true, true) => format!("holds, of {by}"),
        (true, false) => format!("holds, of {by}; but the journal has another root there"),
        (false, _) => format!("does not hold: {by} is not the key that the journal names there"),
    }
}

fn grown(place: u64, kept: &KeptCheckpoint) -> String {
    if kept.checkpoint.is_err() {
        return "not read".to_owned();
    }
    match &kept.extension {
        None if place == 1 => "the first".to_owned(),
        None => "none before it holds".to_owned(),
        Some(one) if one.holds => {
            let hashes = match one.proof.len() {
                1 => "1 hash".to_owned(),
                number => format!("{number} hashes"),
            };
            format!("proved, from {} by {hashes}", one.from.size)
        }
        Some(one) => format!("not an extension of that of size {}", one.from.size),
    }
}
