//! Checkpoints that are not here, and signatures that nobody looks at.

use code_deploy_record::{EventBody, FindingKind, Redactor};

use crate::seal::{checked, checkpoints, finished, found, key, sealed_with};
use crate::{Place, started};

#[test]
fn a_checkpoint_over_a_phase_that_is_not_here_is_named_with_its_line() {
    let place = sealed_with(1);
    std::fs::remove_file(checkpoints(&place.run).remove(0)).unwrap();
    let [(kind, at, what)] = &found(&place, &[])[..] else {
        panic!("{:?}", found(&place, &[]));
    };
    assert_eq!(
        (*kind, at.as_str()),
        (FindingKind::NotHere, "seal/000000000004.checkpoint")
    );
    assert!(what.contains("journal.jsonl:4"), "{what}");
}

#[test]
fn a_process_that_was_killed_before_it_signed_has_left_nothing_that_is_missing() {
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
    writer.seal_with(key(1)).unwrap();
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
    assert_eq!(found(&place, &[]), []);
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
