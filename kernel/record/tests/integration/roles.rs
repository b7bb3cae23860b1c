//! Whose signatures count, and for what: keys that seal, second persons, and names that anybody may have added.

use std::path::PathBuf;

use code_deploy_record::{
    Checkpoint, Digest, FindingKind, PublicKey, SignatureLine, TreeHead, VerifyReport, WITNESSED,
    checkpoints as kept_checkpoints,
};

use crate::Place;
use crate::seal::{checked_with, checkpoints, cut_and_sealed_again, key, sealed_with};

fn public(seed: u8) -> PublicKey {
    key(seed).public().ed25519()
}

fn signatures(report: &VerifyReport) -> Vec<(&str, &str)> {
    let found = report.findings.iter();
    let found = found.filter(|one| one.kind == FindingKind::Signature);
    found
        .map(|one| (one.place.as_str(), one.what.as_str()))
        .collect()
}

/// The file of the last checkpoint, and what stands in it.
fn last(place: &Place) -> (PathBuf, Checkpoint) {
    let path = checkpoints(&place.run).pop().unwrap();
    let note = std::fs::read_to_string(&path).unwrap().parse().unwrap();
    (path, note)
}

/// The line of the signature of a key over a head of the same tree.
fn line_of(note: &Checkpoint, head: TreeHead, seed: u8) -> String {
    let signed = Checkpoint::sign(&note.origin, head, &key(seed)).to_string();
    let (_, line) = signed.split_once("\n\n").unwrap();
    line.to_owned()
}

fn another(head: TreeHead) -> TreeHead {
    let root = Digest::of(b"another");
    TreeHead { root, ..head }
}

const LAST: &str = "seal/000000000012.checkpoint";

#[test]
fn a_key_counts_for_what_it_is_given_for_alone() {
    let place = sealed_with(1);
    let (path, note) = last(&place);
    let second = PathBuf::from(format!("{}.sig", path.display()));
    let text = note.to_string();
    std::fs::write(
        &second,
        key(3).sign_ssh(WITNESSED, text.as_bytes()).unwrap(),
    )
    .unwrap();
    let report = checked_with(&place, &[public(1)], &[public(3)]);
    assert_eq!(report.findings, []);
    assert!(!report.seal.is_self_asserted());
    assert_eq!(report.seal.signed_by, [public(1), public(3)]);
    // As one that may seal it signed something, and is no second person.
    let report = checked_with(&place, &[public(1), public(3)], &[]);
    assert_eq!(report.findings, []);
    assert!(report.seal.is_self_asserted());
    assert!(report.seal.witnesses[0].seals && !report.seal.witnesses[0].known);
    assert_eq!(report.seal.signed_by, [public(1), public(3)]);
    // The key that seals is no second person's, whether others may seal is said or not.
    for keys in [vec![], vec![public(9)]] {
        let report = checked_with(&place, &keys, &[public(1)]);
        let found = signatures(&report);
        assert_eq!(found[0].0, "journal.jsonl, event 1");
        assert!(found[0].1.contains("a witness seals nothing"), "{found:?}");
    }
}

#[test]
fn a_record_that_a_witness_went_on_sealing_does_not_verify_by_their_key() {
    let place = cut_and_sealed_again();
    let report = checked_with(&place, &[public(1)], &[public(2)]);
    let found = signatures(&report);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "journal.jsonl, event 6");
    assert!(found[0].1.contains("a witness seals nothing"), "{found:?}");
    // Where both may, it is known which events each signed.
    let report = checked_with(&place, &[public(1), public(2)], &[]);
    assert!(signatures(&report).is_empty());
    let named: Vec<u64> = report.seal.keys.iter().map(|(event, _)| *event).collect();
    assert_eq!((named, report.seal.covered_by), (vec![1, 6], vec![6, 9]));
}

#[test]
fn a_line_of_a_witness_in_the_checkpoint_itself_counts_once_their_key_is_known() {
    let place = sealed_with(1);
    let (path, note) = last(&place);
    let line = line_of(&note, note.head, 3);
    std::fs::write(&path, format!("{note}{line}")).unwrap();
    let report = checked_with(&place, &[public(1)], &[public(3)]);
    assert_eq!(report.findings, []);
    assert!(!report.seal.is_self_asserted() && report.seal.unverified.is_empty());
    let report = checked_with(&place, &[public(1), public(3)], &[]);
    assert!(report.seal.is_self_asserted() && report.seal.witnesses[0].seals);
    // Whose it is, nothing shows to whoever does not know the key.
    let report = checked_with(&place, &[public(1)], &[]);
    assert_eq!(report.findings, []);
    assert!(report.seal.is_self_asserted() && report.seal.witnesses.is_empty());
    let unverified = vec![(LAST.to_owned(), public(3).name())];
    assert_eq!(report.seal.unverified, unverified);
}

#[test]
fn a_witness_of_an_earlier_checkpoint_stands_for_nothing_that_came_after_it() {
    let place = sealed_with(1);
    let first = checkpoints(&place.run).remove(0);
    let note: Checkpoint = std::fs::read_to_string(&first).unwrap().parse().unwrap();
    let line = line_of(&note, note.head, 3);
    std::fs::write(&first, format!("{note}{line}")).unwrap();
    let report = checked_with(&place, &[public(1)], &[public(3)]);
    assert_eq!(report.findings, []);
    assert_eq!(report.seal.signed_by, [public(1)]);
    assert!(report.seal.is_self_asserted());
    // Over the last one it counts.
    let (path, note) = last(&place);
    let line = line_of(&note, note.head, 3);
    std::fs::write(&path, format!("{note}{line}")).unwrap();
    let report = checked_with(&place, &[public(1)], &[public(3)]);
    assert_eq!(report.seal.signed_by, [public(1), public(3)]);
    assert!(!report.seal.is_self_asserted());
}

#[test]
fn a_witness_is_not_asked_to_have_sealed_a_record_without_a_key() {
    let place = Place::with_notes(2);
    let report = checked_with(&place, &[], &[public(3)]);
    assert!(signatures(&report).is_empty(), "{:?}", report.findings);
    let report = checked_with(&place, &[public(1)], &[public(3)]);
    assert_eq!(signatures(&report).len(), 1);
}

#[test]
fn nobody_stands_for_a_checkpoint_that_does_not_hold() {
    let place = sealed_with(1);
    let (path, note) = last(&place);
    let forged = Checkpoint::sign(&note.origin, another(note.head), &key(1));
    let line = line_of(&note, another(note.head), 3);
    std::fs::write(&path, format!("{forged}{line}")).unwrap();
    let report = checked_with(&place, &[public(1)], &[public(3)]);
    assert!(!report.findings.is_empty());
    assert_eq!(report.seal.signed_by, [public(1)]);
    assert!(report.seal.is_self_asserted());
}

#[test]
fn names_that_somebody_added_to_a_checkpoint_are_nobodys_signature() {
    let place = sealed_with(1);
    let (path, note) = last(&place);
    std::fs::write(&path, format!("{note}\u{2014} anna AAAAAGFubmE=\n")).unwrap();
    let report = checked_with(&place, &[public(1)], &[]);
    assert_eq!(report.findings, []);
    let unverified = vec![(LAST.to_owned(), "anna".to_owned())];
    assert_eq!(report.seal.unverified, unverified);
    let kept = kept_checkpoints(&place.run).unwrap().pop().unwrap();
    let known = SignatureLine::Holds(public(1));
    let added = SignatureLine::Unknown("anna".to_owned());
    assert!(kept.holds());
    assert_eq!(kept.lines, [known, added]);
    // A control character in a name makes it no note.
    std::fs::write(&path, format!("{note}\u{2014} an\u{1b}na AAAAAGFubmE=\n")).unwrap();
    let report = checked_with(&place, &[public(1)], &[]);
    assert_eq!(report.findings[0].kind, FindingKind::Changed);
    assert_eq!(report.findings[0].place, LAST);
}

#[test]
fn a_line_that_names_a_known_key_and_does_not_hold_is_a_finding() {
    let place = sealed_with(1);
    let (path, note) = last(&place);
    let forged = |seed| {
        let line = line_of(&note, another(note.head), seed);
        std::fs::write(&path, format!("{note}{line}")).unwrap();
    };
    forged(3);
    let report = checked_with(&place, &[public(1)], &[public(3)]);
    let found = signatures(&report);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, LAST);
    assert!(found[0].1.contains(&public(3).name()), "{found:?}");
    assert!(report.seal.is_self_asserted());
    // Of one that nobody gave nothing is known.
    let report = checked_with(&place, &[public(1)], &[]);
    assert!(signatures(&report).is_empty());
    // The key of the record is known from its journal.
    forged(1);
    let report = checked_with(&place, &[], &[]);
    let found = signatures(&report);
    assert!(found.len() == 1 && found[0].0 == LAST, "{found:?}");
    let kept = kept_checkpoints(&place.run).unwrap().pop().unwrap();
    let lines = [
        SignatureLine::Holds(public(1)),
        SignatureLine::Broken(public(1)),
    ];
    assert_eq!(kept.lines, lines);
}

#[test]
fn a_p256_key_signs_no_checkpoint() {
    let place = sealed_with(1);
    let (path, note) = last(&place);
    let p256 = key(3).public().p256();
    let signature = key(3).sign_p256(note.text().as_bytes());
    let body = [[0_u8; 4].as_slice(), &signature].concat();
    let line = format!("\u{2014} anna {}\n", base64_of(&body));
    std::fs::write(&path, format!("{note}{line}")).unwrap();
    let report = checked_with(&place, &[public(1)], &[p256]);
    assert!(report.seal.witnesses.is_empty());
    assert_eq!(report.seal.unverified.len(), 1);
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
