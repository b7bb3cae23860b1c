//! `record checkpoints` for machines: each checkpoint with the proof that it extends the one before.

use code_deploy_notebook_gen::{SignedBy, signed_at};
use code_deploy_record::{Digest, KeptCheckpoint, RunFolder, checkpoints};
use serde_json::{Value, json};

use crate::face::Face;
use crate::failure::Failure;

/// Gives the checkpoints of a record to machines, one after the other. Returns whether machines look on and
/// there is a checkpoint; people see the view of that name.
///
/// # Errors
/// When the record cannot be read.
pub fn to_machines(run: &RunFolder, face: &dyn Face) -> Result<bool, Failure> {
    let mut is_told = false;
    if !face.is_for_machines() {
        return Ok(is_told);
    }
    for (number, kept) in (1..).zip(checkpoints(run)?) {
        is_told = face.value("checkpoint", &value(number, &kept));
        if !is_told {
            break;
        }
    }
    Ok(is_told)
}

fn value(number: u64, kept: &KeptCheckpoint) -> Value {
    let checkpoint = match &kept.checkpoint {
        Ok(checkpoint) => checkpoint,
        Err(what) => return json!({ "number": number, "file": kept.file, "unreadable": what }),
    };
    let last = kept.last.as_ref();
    let extension = kept.extension.as_ref().map(|one| {
        json!({
            "from_size": one.from.size, "to_size": checkpoint.head.size, "holds": one.holds,
            "proof": one.proof.iter().map(Digest::to_base64).collect::<Vec<_>>(),
        })
    });
    let by = SignedBy::of(kept);
    json!({
        "number": number, "file": kept.file, "origin": checkpoint.origin,
        "size": checkpoint.head.size, "root": checkpoint.head.root.to_base64(),
        "events": last.map(|event| event.seq + 1), "time": last.map(|event| event.time),
        "signed_at": last.map(|event| signed_at(&event.body)),
        "signed_by": by.verified, "not_valid": by.broken, "unverified": by.unverified,
        "signature_holds": kept.is_signed, "root_holds": kept.is_of_journal,
        "consistency": extension,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

    use std::path::Path;

    use code_deploy_record::{Checkpoint, PublicKey, SignatureLine};

    use super::*;

    #[test]
    fn checkpoints_that_are_gone_or_unreadable_are_told_where_they_were() {
        let shown = Path::new(env!("CARGO_MANIFEST_DIR")).join("../notebooks/record");
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("record");
        std::fs::create_dir_all(record.join("seal")).unwrap();
        std::fs::copy(
            shown.join(RunFolder::JOURNAL),
            record.join(RunFolder::JOURNAL),
        )
        .unwrap();
        for path in RunFolder::at(&shown).unwrap().seal().checkpoints().unwrap() {
            let name = path.file_name().unwrap();
            std::fs::copy(&path, record.join("seal").join(name)).unwrap();
        }
        let run = RunFolder::at(&record).unwrap();
        let files = run.seal().checkpoints().unwrap();
        std::fs::write(&files[0], "no note").unwrap();
        std::fs::remove_file(&files[2]).unwrap();
        let all = checkpoints(&run).unwrap();
        assert_eq!(all.len(), files.len());
        let values: Vec<Value> = (1..).zip(&all).map(|(at, one)| value(at, one)).collect();
        for at in [0, 2] {
            assert!(values[at]["unreadable"].is_string(), "{}", values[at]);
        }
        assert_eq!(
            values[2]["unreadable"],
            "not here: the journal says that it was signed"
        );
        assert_eq!(values[3]["consistency"]["from_size"], values[1]["size"]);
        assert_eq!(values[3]["consistency"]["holds"], true);
        assert_eq!(values[1]["consistency"], Value::Null);
    }

    #[test]
    fn only_signatures_that_were_verified_are_said_to_be_somebodys() {
        let shown = Path::new(env!("CARGO_MANIFEST_DIR")).join("../notebooks/record");
        let mut kept = checkpoints(&RunFolder::at(&shown).unwrap())
            .unwrap()
            .remove(0);
        let own = value(1, &kept);
        let note = kept.checkpoint.as_ref().unwrap().to_string();
        let forged = "\u{2014} anna AAAAAGFubmEncyBzaWduYXR1cmU=\n";
        let note: Checkpoint = (note + forged).parse().unwrap();
        let known: Vec<PublicKey> = kept
            .lines
            .iter()
            .map(|line| match line {
                SignatureLine::Holds(key) => key.clone(),
                other => panic!("{other:?}"),
            })
            .collect();
        kept.lines = note.lines(&known);
        kept.checkpoint = Ok(note);
        let told = value(1, &kept);
        assert_eq!(told["signed_by"], own["signed_by"]);
        assert_eq!(told["unverified"], json!(["anna"]));
        assert_eq!(
            (&own["unverified"], &own["not_valid"]),
            (&json!([]), &json!([]))
        );
    }

    #[test]
    fn what_machines_get_proves_each_checkpoint_from_the_one_before() {
        let shown = Path::new(env!("CARGO_MANIFEST_DIR")).join("../notebooks/record");
        let all = checkpoints(&RunFolder::at(&shown).unwrap()).unwrap();
        let values: Vec<Value> = (1..).zip(&all).map(|(at, one)| value(at, one)).collect();
        assert!(values.len() > 5, "{}", values.len());
        assert_eq!(values[0]["signed_at"], "the end of phase 01");
        assert_eq!(values[0]["consistency"], Value::Null);
        let last = values.last().unwrap();
        assert_eq!(last["signed_at"], "the end of the record");
        for (pair, kept) in values.windows(2).zip(all.iter().skip(1)) {
            let (old, new) = (&pair[0], &pair[1]);
            let consistency = &new["consistency"];
            assert_eq!(consistency["from_size"], old["size"]);
            assert_eq!(consistency["to_size"], new["size"]);
            let proof = &kept.extension.as_ref().unwrap().proof;
            let proof: Vec<String> = proof.iter().map(Digest::to_base64).collect();
            assert!(!proof.is_empty());
            assert_eq!(consistency["proof"], json!(proof));
            let note = std::fs::read_to_string(shown.join(&kept.file)).unwrap();
            assert_eq!(note.lines().nth(2), new["root"].as_str());
            for holds in [
                &consistency["holds"],
                &new["signature_holds"],
                &new["root_holds"],
            ] {
                assert_eq!(holds, true);
            }
        }
    }
}
