//! What was signed while the run was written, when, and whether it holds.

use code_deploy_record::{
    EventBody, KeptCheckpoint, Report, SignatureLine, checkpoints as kept_checkpoints, plain,
};

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
    // Whoever may write the folder may give a file any name.
    let file = plain(&kept.file);
    row([
        &number, &time, &at, &events, &size, &root, &signature, &grown, &file,
    ])
}

fn unknown() -> String {
    "not known".to_owned()
}

/// Says who signed a checkpoint. Whoever may write its file may put names into it, so that only those count of which
/// the journal has the key.
fn signature(kept: &KeptCheckpoint) -> String {
    if let Err(what) = &kept.checkpoint {
        return what.clone();
    }
    let SignedBy {
        verified,
        broken,
        unverified,
    } = SignedBy::of(kept);
    let mut text = match (kept.is_signed, kept.is_of_journal) {
        (true, true) => format!("holds, of {}", verified.join(", ")),
        (true, false) => format!(
            "holds, of {}; but the journal has another root there",
            verified.join(", ")
        ),
        (false, _) => {
            "does not hold: no valid signature of the key that the journal names there".to_owned()
        }
    };
    let others: &[String] = if kept.is_signed { &[] } else { &verified };
    for (what, names) in [
        ("of another key of the journal", others),
        ("not valid", broken.as_slice()),
        ("unverified", unverified.as_slice()),
    ] {
        if !names.is_empty() {
            text.push_str(&format!("; {what}: {}", names.join(", ")));
        }
    }
    text
}

/// The names in the signatures of a checkpoint, by what is known of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SignedBy {
    /// Of keys that the journal names, whose signatures hold.
    pub verified: Vec<String>,
    /// Of keys that the journal names, whose signatures do not hold.
    pub broken: Vec<String>,
    /// Of keys that the journal does not name: nothing in the record shows whose they are.
    pub unverified: Vec<String>,
}

impl SignedBy {
    /// Returns the names in the signatures of a checkpoint.
    #[must_use]
    pub fn of(kept: &KeptCheckpoint) -> Self {
        let mut by = Self::default();
        for line in &kept.lines {
            let (names, name) = match line {
                SignatureLine::Holds(key) => (&mut by.verified, key.name()),
                SignatureLine::Broken(key) => (&mut by.broken, key.name()),
                SignatureLine::Unknown(name) => (&mut by.unverified, name.clone()),
            };
            if !names.contains(&name) {
                names.push(name);
            }
        }
        by
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
