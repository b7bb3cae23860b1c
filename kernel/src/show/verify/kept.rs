//! `verify --checkpoint`: records held against checkpoints of them that were kept elsewhere.

use std::path::PathBuf;

use code_deploy_record::{
    Against, Checkpoint, Digest, PublicKey, RunFolder, SignatureLine, TreeHead, Trust,
    VerifyReport, hold, origin,
};

use super::foreign::listed;
use super::over::reached;
use super::paths::Subjects;
use super::{Checked, Kind, Record, Row};
use crate::commands::VerifyArgs;
use crate::face::Face;
use crate::failure::Failure;
use crate::project::Project;

/// A checkpoint that was given.
pub(super) struct Kept {
    path: PathBuf,
    checkpoint: Checkpoint,
}

impl Kept {
    /// Returns whether it is signed by a key.
    pub(super) fn is_signed_by(&self, key: &PublicKey) -> bool {
        self.checkpoint.is_signed_by(key)
    }
}

/// Reads the checkpoints that are given.
///
/// # Errors
/// When a file cannot be read or holds none.
pub(super) fn read(arguments: &VerifyArgs) -> Result<Vec<Kept>, Failure> {
    let read = arguments.checkpoint.iter().map(|path| {
        let next = "Give a checkpoint as it stands in `seal/` of a run's record: a signed note with size \
                    and root of the tree.";
        let text = super::keys::read_named(path).map_err(|error| {
            Failure::usage(format!("{} cannot be read: {error}", path.display()), next)
        })?;
        let checkpoint = text
            .parse::<Checkpoint>()
            .map_err(|error| Failure::usage(format!("{}: {error}", path.display()), next))?;
        let path = path.clone();
        Ok::<_, Failure>(Kept { path, checkpoint })
    });
    read.collect()
}

/// Refuses checkpoints of runs none of whose records is verified. A record that does not say of which run it
/// is has other findings.
///
/// # Errors
/// When there is such a checkpoint.
pub(super) fn refuse_others(
    kept: &[Kept],
    project: Option<&Project>,
    subjects: &Subjects,
) -> Result<(), Failure> {
    if kept.is_empty() {
        return Ok(());
    }
    let mut records = subjects.records.clone();
    for notebooks in &subjects.notebooks {
        records.extend(notebooks.record(project, subjects)?);
    }
    let origins: Vec<Option<String>> = records.iter().map(origin_of).collect();
    let is_known = |kept: &&Kept| {
        let own = &kept.checkpoint.origin;
        origins
            .iter()
            .any(|one| one.as_ref().is_none_or(|one| one == own))
    };
    let Some(other) = kept.iter().find(|kept| !is_known(kept)) else {
        return Ok(());
    };
    let mut here: Vec<String> = origins.into_iter().flatten().collect();
    here.sort();
    here.dedup();
    let here = match here.as_slice() {
        [] => "no record is verified".to_owned(),
        origins => format!("what is verified is of {}", origins.join(", ")),
    };
    let what = format!(
        "{} is a checkpoint of {}, and {here}",
        other.path.display(),
        other.checkpoint.origin
    );
    let next = "Name the run that the checkpoint is of, or the folder of its record, beside `--checkpoint`. The \
                first line of a record's checkpoint ends with the run.";
    Err(Failure::usage(what, next))
}

fn origin_of(record: &RunFolder) -> Option<String> {
    record.started().ok().map(|started| origin(&started))
}

/// Holds the records that were checked against the checkpoints of them.
pub(super) fn hold_all(
    kept: &[Kept],
    trust: &Trust,
    face: &dyn Face,
    checked: &mut Checked,
) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for kept in kept {
        let mut is_held = false;
        for record in &mut checked.records {
            let folder = RunFolder::at(&record.path)?;
            if origin_of(&folder).as_ref() == Some(&kept.checkpoint.origin) {
                rows.extend(hold_one(kept, record, &folder, trust, face)?);
                if signed(kept, &record.report, trust).holds {
                    let events = reached(&folder, &kept.checkpoint.head)?;
                    record.signed = record.signed.max(events.unwrap_or(0));
                }
                is_held = true;
            }
        }
        if !is_held {
            face.text(&format!(
                "{}: no record here says that it is of {}, so that none was held against it",
                kept.path.display(),
                kept.checkpoint.origin
            ));
        }
    }
    checked.rows.extend(rows);
    Ok(())
}

fn hold_one(
    kept: &Kept,
    record: &Record,
    folder: &RunFolder,
    trust: &Trust,
    face: &dyn Face,
) -> Result<Vec<Row>, Failure> {
    let (file, name) = (kept.path.display(), record.path.display().to_string());
    let row = |kind, what: String| Row {
        kind,
        record: name.clone(),
        place: RunFolder::JOURNAL.to_owned(),
        what,
    };
    let mut rows = Vec::new();
    let signed = signed(kept, &record.report, trust);
    for what in signed.troubles {
        rows.push(row(Kind::Signature, format!("held against {file}: {what}")));
    }
    if !signed.unverified.is_empty() {
        let names = listed(&signed.unverified);
        face.text(&format!(
            "{file}: nothing shows whose these further signatures are, and they do not count: {names}"
        ));
    }
    let TreeHead { size, root } = kept.checkpoint.head;
    match hold(folder, &kept.checkpoint)? {
        Against::Extension { here, proof } => {
            tell(face, kept, &name, signed.holds, &here, &proof);
        }
        Against::Shorter { here } => rows.push(row(
            Kind::Different,
            format!(
                "cut at its end: {file}, kept elsewhere, was signed over {size} lines and files, and {here} \
                 are here"
            ),
        )),
        Against::Other { root: found } => rows.push(row(
            Kind::Different,
            format!(
                "changed, or written anew: the root over the first {size} lines and files is {}, and {file}, \
                 kept elsewhere, has {}",
                found.short(),
                root.short()
            ),
        )),
        Against::Unread { event } => rows.push(row(
            Kind::Unread,
            format!(
                "it cannot be followed from event {event} on, so that it was not held against {file}, which is \
                 over {size} lines and files"
            ),
        )),
    }
    Ok(rows)
}

/// What the signatures of a checkpoint show that was kept elsewhere.
struct Signed {
    /// Whether one is of a key that the journal names, or that was given. A witness's is one, too: it seals nothing
    /// here, and says what they have seen.
    holds: bool,
    /// What does not hold of them.
    troubles: Vec<String>,
    /// The names in those of which nothing shows whose they are, where one holds.
    unverified: Vec<String>,
}

fn signed(kept: &Kept, report: &VerifyReport, trust: &Trust) -> Signed {
    let named = report.seal.keys.iter().map(|(_, keys)| keys.ed25519());
    let known: Vec<PublicKey> = named.chain(trust.all().cloned()).collect();
    let lines = kept.checkpoint.lines(&known);
    let holds = lines
        .iter()
        .any(|line| matches!(line, SignatureLine::Holds(_)));
    let (mut troubles, mut unverified) = (Vec::new(), Vec::new());
    for line in lines {
        match line {
            SignatureLine::Holds(_) => {}
            SignatureLine::Broken(key) if holds => troubles.push(format!(
                "a line of its signatures says that it is of {}, and does not hold",
                key.name()
            )),
            SignatureLine::Broken(key) => troubles.push(format!(
                "the signature of {} does not hold over the text of that checkpoint: its name, size or root was \
                 changed",
                key.name()
            )),
            SignatureLine::Unknown(name) => unverified.push(name),
        }
    }
    if !holds && troubles.is_empty() {
        troubles.push(format!(
            "that checkpoint is said to be signed by {}, which is no key that the journal names or that was given",
            listed(&unverified)
        ));
        unverified.clear();
    }
    Signed {
        holds,
        troubles,
        unverified,
    }
}

fn tell(face: &dyn Face, kept: &Kept, name: &str, signed: bool, here: &TreeHead, proof: &[Digest]) {
    let size = kept.checkpoint.head.size;
    let value = serde_json::json!({
        "run": name, "checkpoint": kept.path.display().to_string(), "signature_holds": signed,
        "from": { "size": size, "root": kept.checkpoint.head.root.to_base64() },
        "to": { "size": here.size, "root": here.root.to_base64() },
        "proof": proof.iter().map(Digest::to_base64).collect::<Vec<_>>(),
    });
    if face.value("extension", &value) {
        return;
    }
    face.text(&words(kept, name, signed, here, proof));
}

/// Says that a record goes on from a checkpoint. Where who signed that is not known, it is no more than a root in a
/// file.
fn words(kept: &Kept, name: &str, signed: bool, here: &TreeHead, proof: &[Digest]) -> String {
    let (size, file) = (kept.checkpoint.head.size, kept.path.display());
    let grew = match proof.len() {
        0 if size == here.size => "nothing was added since".to_owned(),
        1 => format!("a proof of 1 hash shows that it only grew to {}", here.size),
        more => format!(
            "a proof of {more} hashes shows that it only grew to {}",
            here.size
        ),
    };
    if signed {
        return format!(
            "{name} is an extension of the checkpoint of size {size} in {file}: the root over its first {size} lines \
             and files is the one that was signed, and {grew}."
        );
    }
    format!(
        "{name} has over its first {size} lines and files the root that stands in {file}, and {grew}; who signed that \
         is not known, so that it shows nothing of who wrote either."
    )
}
