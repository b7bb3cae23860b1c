//! Checkpoints that are not here, and signatures that nobody looks at.

use std::path::Path;

use code_deploy_record::{
    Checkpoint, EventBody, FindingKind, JournalWriter, Redactor, SignedStatement, TreeHead,
    checkpoints as kept_checkpoints, said_signed,
};

use crate::seal::{checked, checkpoints, cut_and_sealed_again, finished, found, key, sealed_with};
use crate::{Place, started};

#[test]
fn a_checkpoint_over_a_phase_that_is_not_here_is_named_with_its_event() {
    let place = sealed_with(1);
    std::fs::remove_file(checkpoints(&place.run).remove(0)).unwrap();
    let [(kind, at, what)] = &found(&place, &[])[..] else {
        panic!("{:?}", found(&place, &[]));
    };
    assert_eq!(
        (*kind, at.as_str()),
        (FindingKind::NotHere, "seal/000000000004.checkpoint")
    );
    assert!(what.contains("journal.jsonl, event 3"), "{what}");
}

/// A run that was killed before it signed the end of its phase, and gone on with by a process that has the
/// key or not, or another.
fn killed_and_gone_on_with(resumed_with: Option<u8>) -> Place {
    let place = Place::new();
    let mut writer = place.writer();
    writer.append("engine", started()).unwrap();
    writer.seal_with(key(1)).unwrap();
    writer.append("engine", finished(1)).unwrap();
    drop(writer);
    std::fs::remove_file(checkpoints(&place.run).remove(0)).unwrap();
    let (mut writer, ..) = place
        .run
        .open_journal(place.clock.clone(), Redactor::default())
        .unwrap();
    if let Some(seed) = resumed_with {
        writer.seal_with(key(seed)).unwrap();
    }
    let (host, program) = ("host".to_owned(), "0.1.0".to_owned());
    let taken = EventBody::LockTaken {
        fencing: 2,
        host,
        pid: 1,
        program,
    };
    writer.append("person:anna", taken).unwrap();
    let events = writer.next_seq();
    writer
        .append("engine", EventBody::Sealed { events })
        .unwrap();
    place
}

#[test]
fn what_a_killed_process_did_not_sign_is_signed_by_the_one_that_goes_on() {
    let place = killed_and_gone_on_with(Some(1));
    let report = checked(&place, &[key(1).public().ed25519()]);
    assert_eq!(report.findings, []);
    let signed = checkpoints(&place.run);
    assert_eq!((signed.len(), report.seal.checkpoints), (2, 2));
    // To take it away is found, though the lock was taken behind it.
    std::fs::remove_file(&signed[0]).unwrap();
    let [(kind, at, what)] = &found(&place, &[])[..] else {
        panic!("{:?}", found(&place, &[]));
    };
    assert_eq!(
        (*kind, at.as_str()),
        (FindingKind::NotHere, "seal/000000000003.checkpoint")
    );
    assert!(what.contains("journal.jsonl, event 2"), "{what}");
}

#[test]
fn a_run_that_went_on_without_its_key_has_no_checkpoint_and_that_is_said() {
    let place = killed_and_gone_on_with(None);
    let found = found(&place, &[]);
    assert!(found.iter().all(|(kind, ..)| *kind == FindingKind::NotHere));
    let phase = found
        .iter()
        .find(|one| one.1 == "seal/000000000003.checkpoint");
    let (.., what) = phase.unwrap();
    assert!(what.contains("the run went on without its key"), "{what}");
    // Whoever has the key later vouches for none of it.
    let before = checkpoints(&place.run);
    reopened(&place).sign_with(Some(&key(1))).unwrap();
    assert_eq!(checkpoints(&place.run), before);
}

fn reopened(place: &Place) -> JournalWriter {
    let redactor = Redactor::default();
    let opened = place.run.open_journal(place.clock.clone(), redactor);
    opened.unwrap().0
}

#[test]
fn who_goes_on_signs_nothing_anew_of_which_the_signature_was_taken_away() {
    let place = Place::new();
    let mut writer = place.writer();
    writer.append("engine", started()).unwrap();
    writer.seal_with(key(1)).unwrap();
    for phase in [1, 2, 3] {
        writer.append("engine", finished(phase)).unwrap();
    }
    drop(writer);
    let signed = checkpoints(&place.run);
    assert_eq!(signed.len(), 3);
    // All but the last: its signature is there, and nothing is cut off.
    std::fs::remove_file(&signed[0]).unwrap();
    reopened(&place).seal_with(key(1)).unwrap();
    assert_eq!(checkpoints(&place.run), signed[1..]);
    // The last too, as if a process had been killed before it signed: the one before it covers what is missing.
    std::fs::remove_file(&signed[2]).unwrap();
    reopened(&place).seal_with(key(1)).unwrap();
    assert_eq!(checkpoints(&place.run), signed[1..]);
    // Where that one is gone, nothing covers it.
    let covering = std::fs::read(&signed[1]).unwrap();
    std::fs::remove_file(&signed[1]).unwrap();
    std::fs::remove_file(&signed[2]).unwrap();
    reopened(&place).seal_with(key(1)).unwrap();
    assert_eq!(checkpoints(&place.run), signed[..0]);
    // A file of that name is no signature: it was changed, and no later one mends that.
    std::fs::write(&signed[0], "signed").unwrap();
    std::fs::write(&signed[1], covering).unwrap();
    reopened(&place).seal_with(key(1)).unwrap();
    assert_eq!(checkpoints(&place.run), signed[..2]);
    // So it is where the last itself is another.
    std::fs::remove_file(&signed[0]).unwrap();
    std::fs::write(&signed[2], "signed").unwrap();
    reopened(&place).seal_with(key(1)).unwrap();
    assert_eq!(std::fs::read(&signed[2]).unwrap(), b"signed");
}

#[test]
fn a_checkpoint_that_is_gone_is_covered_by_a_later_one_of_the_same_key() {
    let place = sealed_with(1);
    let covered = || -> Vec<bool> {
        let all = kept_checkpoints(&place.run).unwrap();
        all.iter().map(|one| one.is_covered).collect()
    };
    let signed = checkpoints(&place.run);
    assert_eq!(covered(), [false; 3]);
    std::fs::remove_file(&signed[0]).unwrap();
    assert_eq!(covered(), [true, false, false]);
    std::fs::write(&signed[0], "signed").unwrap();
    assert_eq!(covered(), [false; 3]);
    std::fs::remove_file(&signed[2]).unwrap();
    assert_eq!(covered(), [false; 3]);
    // What another key signs later covers nothing of the first.
    let place = cut_and_sealed_again();
    for path in &checkpoints(&place.run)[..2] {
        std::fs::remove_file(path).unwrap();
    }
    let all = kept_checkpoints(&place.run).unwrap();
    let covered: Vec<bool> = all.iter().map(|one| one.is_covered).collect();
    assert_eq!(covered, [false; 2]);
}

/// Keeps a statement over a tree in a folder, signed with that key.
fn state(folder: &Path, tree: TreeHead, seed: u8) {
    let record = serde_json::json!({ "predicate": { "record": tree } });
    let text = record.to_string().into_bytes();
    let signed = SignedStatement::sign(text, String::new(), &key(seed)).unwrap();
    std::fs::create_dir_all(folder).unwrap();
    for (name, content) in signed.files(&key(seed).public()) {
        std::fs::write(folder.join(name), content).unwrap();
    }
}

#[test]
fn what_says_that_the_end_of_a_record_was_signed_is_found() {
    let place = sealed_with(1);
    let (seal, notebooks) = (place.run.seal(), place.folder.path().join("pages"));
    let beside = notebooks.join("seal");
    let said = || said_signed(&place.run, Some(&notebooks)).unwrap();
    let (first, last) = (
        note_of(&checkpoints(&place.run)[0]),
        note_of(&checkpoints(&place.run)[2]),
    );
    assert_eq!(said(), None);
    // A run that was exported on its way has a statement over what it had then.
    state(seal.path(), first.head, 1);
    state(&beside, first.head, 1);
    assert_eq!(said(), None);
    let larger = TreeHead {
        size: last.head.size + 1,
        ..last.head
    };
    let other = TreeHead {
        root: last.head.root,
        ..first.head
    };
    for tree in [last.head, larger, other] {
        state(&beside, tree, 1);
        assert_eq!(said(), Some(beside.join("statement.json")));
    }
    // Beside the notebooks anybody may have left something.
    state(&beside, last.head, 9);
    assert_eq!(said(), None);
    state(seal.path(), last.head, 1);
    assert_eq!(said(), Some(seal.path().join("statement.json")));
    std::fs::remove_file(seal.path().join("statement.json")).unwrap();
    assert_eq!(said(), Some(seal.path().join("SHA256SUMS")));
    for name in SignedStatement::FILES {
        seal.remove(name).unwrap();
    }
    assert_eq!(said(), None);
    let longer = Checkpoint::sign(&last.origin, larger, &key(1));
    seal.keep(&longer).unwrap();
    assert_eq!(said(), checkpoints(&place.run).pop());
}

fn note_of(path: &Path) -> Checkpoint {
    std::fs::read_to_string(path).unwrap().parse().unwrap()
}

#[test]
fn a_signature_that_was_cut_off_is_made_behind_those_that_hold() {
    let place = Place::new();
    let mut writer = place.writer();
    writer.append("engine", started()).unwrap();
    writer.seal_with(key(1)).unwrap();
    for phase in [1, 2] {
        writer.append("engine", finished(phase)).unwrap();
    }
    drop(writer);
    let signed = checkpoints(&place.run);
    std::fs::remove_file(&signed[1]).unwrap();
    reopened(&place).seal_with(key(1)).unwrap();
    assert_eq!(checkpoints(&place.run), signed);
}

#[test]
fn another_key_that_goes_on_signs_nothing_for_the_one_before() {
    let place = killed_and_gone_on_with(Some(2));
    let keys = [1, 2].map(|seed| key(seed).public().ed25519());
    assert_eq!(checked(&place, &keys).findings, []);
    assert_eq!(checkpoints(&place.run).len(), 1);
}

#[test]
fn a_second_signature_over_an_earlier_checkpoint_is_not_said_to_be_checked() {
    let place = sealed_with(1);
    let first = checkpoints(&place.run).remove(0);
    std::fs::write(format!("{}.sig", first.display()), "anything").unwrap();
    let report = checked(&place, &[]);
    assert_eq!(report.findings, []);
    assert_eq!(report.not_part, ["seal/000000000004.checkpoint.sig"]);
}
