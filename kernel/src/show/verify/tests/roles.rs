//! Keys that seal, second persons, and names that anybody may add to a checkpoint.

use code_deploy_record::{Checkpoint, WITNESSED};

use super::forged::{checkpoints_of, flat, held};
use super::told::{go_on, told_of, unfinished};
use super::*;

fn key(seed: u8) -> Arc<SealKey> {
    Arc::new(SealKey::from_seed(&[seed; 32]).unwrap())
}

fn public(seed: u8) -> PublicKey {
    key(seed).public().ed25519()
}

/// Verifies paths with keys that may seal and keys of witnesses; returns the exit code and what was said.
pub(super) fn with_keys(
    stage: &Stage,
    paths: &[PathBuf],
    keys: &[PublicKey],
    witnesses: &[PublicKey],
) -> (u8, String) {
    let files = |role: &str, keys: &[PublicKey]| -> Vec<PathBuf> {
        let written = keys.iter().enumerate().map(|(number, key)| {
            let path = stage.folder.path().join(format!("{role}-{number}.pem"));
            std::fs::write(&path, key.to_pem()).unwrap();
            path
        });
        written.collect()
    };
    let arguments = VerifyArgs {
        paths: paths.to_vec(),
        key: files("key", keys),
        witness: files("witness", witnesses),
        ..VerifyArgs::default()
    };
    let (code, said) = told_of(None, &arguments);
    (code, flat(&said))
}

/// The file of the last checkpoint of the stage's record.
fn last_of(stage: &Stage) -> PathBuf {
    stage.record.seal().checkpoints().unwrap().pop().unwrap()
}

/// Signs the last checkpoint of the stage's record as a second person does.
fn witnessed(stage: &Stage, seed: u8) {
    let last = last_of(stage);
    let signed = std::fs::read(&last).unwrap();
    let signature = key(seed).sign_ssh(WITNESSED, &signed).unwrap();
    std::fs::write(format!("{}.sig", last.display()), signature).unwrap();
}

#[test]
fn a_witness_stands_for_a_record_and_a_key_that_may_seal_does_not() {
    let stage = Stage::new(1);
    witnessed(&stage, 3);
    let record = [stage.record.path().to_owned()];
    let own = stage.public();
    let (code, said) = with_keys(&stage, &record, std::slice::from_ref(&own), &[public(3)]);
    let words = format!("a second person vouches for it: {}.", public(3).name());
    assert!(code == 0 && said.contains(&words), "{said}");
    assert!(!said.contains("self-asserted"), "{said}");
    // A witness alone is enough.
    let (code, said) = with_keys(&stage, &record, &[], &[public(3)]);
    assert!(code == 0 && said.contains(&words), "{said}");
    let (code, said) = with_keys(&stage, &record, &[own.clone(), public(3)], &[]);
    let words = format!(
        "A key that is given with `--key` signed its last checkpoint, too ({}): it does not count as a witness's",
        public(3).name()
    );
    assert!(code == 0 && said.contains(&words), "{said}");
    assert!(said.contains("is self-asserted"), "{said}");
    let (code, said) = with_keys(&stage, &record, std::slice::from_ref(&own), &[]);
    let words = "give it with `--witness` if you know whose it is";
    assert!(code == 0 && said.contains(words), "{said}");
    assert!(said.contains("is self-asserted"), "{said}");
    // A witness who signed nothing is missed, beside one who did.
    for witnesses in [vec![public(9)], vec![public(3), public(9)]] {
        let (code, said) = with_keys(&stage, &record, std::slice::from_ref(&own), &witnesses);
        assert_eq!(code, 11, "{said}");
        assert!(
            said.contains("the keys that are given (--witness)"),
            "{said}"
        );
        assert!(said.contains(&public(9).name()), "{said}");
    }
    // Notebooks without their record are signed by no witness.
    let pages = [stage.pages()];
    assert_eq!(
        with_keys(&stage, &pages, std::slice::from_ref(&own), &[public(3)]).0,
        11
    );
}

#[test]
fn the_same_key_for_both_roles_is_refused_before_anything_is_checked() {
    let stage = Stage::new(1);
    let witness = stage.folder.path().join("witness.pub");
    let line = stage.public().to_openssh().unwrap();
    std::fs::write(&witness, line).unwrap();
    let own = stage.folder.path().join("own.pem");
    std::fs::write(&own, stage.public().to_pem()).unwrap();
    let arguments = VerifyArgs {
        paths: vec![stage.record.path().to_owned()],
        key: vec![own],
        witness: vec![witness],
        ..VerifyArgs::default()
    };
    let (code, said) = told_of(None, &arguments);
    assert!(
        code == 2 && flat(&said).contains("is given twice"),
        "{said}"
    );
    assert!(!said.contains(" events, "), "{said}");
}

/// The stage's record, which another key seals from event 200 on.
fn gone_on_with(stage: &Stage, seed: u8) -> RunFolder {
    let (begun, mut writer) = unfinished(stage, 200);
    writer.seal_with(key(seed)).unwrap().unwrap();
    go_on(stage, &mut writer, 200, usize::MAX);
    drop(writer);
    publish::publish(None, &begun, Some(&key(seed))).unwrap();
    begun
}

#[test]
fn another_key_that_may_seal_is_told_with_its_line_and_one_that_may_not_is_a_finding() {
    let stage = Stage::new(1);
    let begun = [gone_on_with(&stage, 3).path().to_owned()];
    let own = stage.public();
    let (code, said) = with_keys(&stage, &begun, &[own.clone(), public(3)], &[]);
    let words = format!(
        "journal.jsonl, event 200: from here on {} seals (before: {}, which signed events 0 to ",
        public(3).name(),
        own.name()
    );
    assert!(code == 0 && said.contains(&words), "{said}");
    assert!(said.contains("is self-asserted"), "{said}");
    // Whoever is named as a second person has not sealed, whatever they signed.
    let (code, said) = with_keys(&stage, &begun, std::slice::from_ref(&own), &[public(3)]);
    assert_eq!(code, 11, "{said}");
    let words = "journal.jsonl, event 200";
    assert!(
        said.contains(words) && said.contains("a witness seals nothing"),
        "{said}"
    );
    assert!(!said.contains("from here on code-deploy"), "{said}");
    // One key from begin to end is told of no change.
    let record = [stage.record.path().to_owned()];
    let (code, said) = with_keys(&stage, &record, &[own], &[]);
    assert!(code == 0 && !said.contains("from here on"), "{said}");
}

/// The line of the signature of a key over a checkpoint, or over another root of the same size.
fn line_of(checkpoint: &Checkpoint, seed: u8, is_over_it: bool) -> String {
    let mut head = checkpoint.head;
    if !is_over_it {
        head.root = code_deploy_record::Digest::of(b"another");
    }
    let signed = Checkpoint::sign(&checkpoint.origin, head, &key(seed)).to_string();
    signed.split_once("\n\n").unwrap().1.to_owned()
}

const ADDED: &str = "\u{2014} anna AAAAAGFubmE=\n";

#[test]
fn a_line_that_was_added_to_a_checkpoint_is_told_and_one_that_does_not_hold_is_a_finding() {
    let stage = Stage::new(1);
    let record = [stage.record.path().to_owned()];
    let own = [stage.public()];
    let last = last_of(&stage);
    let whole = std::fs::read_to_string(&last).unwrap();
    let note: Checkpoint = whole.parse().unwrap();
    std::fs::write(&last, format!("{whole}{ADDED}")).unwrap();
    for keys in [&own[..], &[]] {
        let (code, said) = with_keys(&stage, &record, keys, &[]);
        assert_eq!(code, 0, "{said}");
        let words =
            "nothing shows whose these further signatures are, and they do not count: anna (seal/";
        assert!(
            said.contains(words) && said.contains("is self-asserted"),
            "{said}"
        );
    }
    let line = line_of(&note, 3, true);
    std::fs::write(&last, format!("{whole}{line}")).unwrap();
    let (code, said) = with_keys(&stage, &record, &own, &[public(3)]);
    assert!(
        code == 0 && said.contains("a second person vouches"),
        "{said}"
    );
    assert!(!said.contains("nothing shows whose"), "{said}");
    let line = line_of(&note, 3, false);
    std::fs::write(&last, format!("{whole}{line}")).unwrap();
    let (code, said) = with_keys(&stage, &record, &own, &[public(3)]);
    assert!(code == 11 && said.contains("and does not hold"), "{said}");
    assert_eq!(with_keys(&stage, &record, &own, &[]).0, 0);
}

#[test]
fn lines_that_were_added_to_a_checkpoint_that_was_kept_are_told_or_found() {
    let stage = Stage::new(1);
    let kept = checkpoints_of(&stage).remove(1);
    let with = |line: &str| format!("{kept}{line}").parse::<Checkpoint>().unwrap();
    let (code, said) = held(&stage, &stage.record, &with(ADDED));
    let said = flat(&said);
    assert!(code == 0 && said.contains("is an extension of"), "{said}");
    assert!(
        said.contains("nothing shows whose these further signatures are"),
        "{said}"
    );
    let forged = with(&line_of(&kept, 1, false));
    let (code, said) = held(&stage, &stage.record, &forged);
    assert!(
        code == 11 && flat(&said).contains("says that it is of"),
        "{said}"
    );
    // One that a witness signed alone is held against the record by their key.
    let witnessed = Checkpoint::sign(&kept.origin, kept.head, &key(3));
    let (code, said) = held(&stage, &stage.record, &witnessed);
    assert_eq!(code, 11, "{said}");
    let (file, witness) = (
        stage.folder.path().join("kept.checkpoint"),
        stage.folder.path().join("witness.pem"),
    );
    std::fs::write(&witness, public(3).to_pem()).unwrap();
    let arguments = VerifyArgs {
        paths: vec![stage.record.path().to_owned()],
        checkpoint: vec![file],
        witness: vec![witness],
        ..VerifyArgs::default()
    };
    let (code, said) = told_of(None, &arguments);
    assert!(code == 0 && said.contains("is an extension of"), "{said}");
    assert!(said.contains("is self-asserted"), "{said}");
}
