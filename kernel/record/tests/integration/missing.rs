//! Checkpoints that are not here, and signatures that nobody looks at.

use code_deploy_record::{EventBody, FindingKind, JournalWriter, Redactor};

use crate::seal::{checked, checkpoints, finished, found, key, sealed_with};
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
    // The last too, as if a process had been killed before it signed: those before it do not hold.
    std::fs::remove_file(&signed[2]).unwrap();
    reopened(&place).seal_with(key(1)).unwrap();
    assert_eq!(checkpoints(&place.run), signed[1..2]);
    // A file of that name is no signature.
    std::fs::write(&signed[0], "signed").unwrap();
    reopened(&place).seal_with(key(1)).unwrap();
    assert_eq!(checkpoints(&place.run), signed[..2]);
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
