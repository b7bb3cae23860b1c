//! Answers to approvals that nobody signed, where the question names the keys of those who may answer.

use std::collections::BTreeMap;

use code_deploy_record::{
    APPROVED, Consent, Digest, EventBody, FindingKind, JournalWriter, Planned, SignedConsent,
};

use crate::seal::{found, key, waiver};
use crate::{Place, started};

const GATE: &str = "go/no-go";

fn plan() -> Digest {
    Digest::of(b"plan")
}

/// The keys of those who may answer: nobody's, or that of one person.
fn signers(seed: Option<u8>) -> BTreeMap<String, String> {
    let line = |seed| key(seed).public().ed25519().to_openssh().unwrap();
    seed.map(|seed| ("ben".to_owned(), line(seed)))
        .into_iter()
        .collect()
}

/// A sealed record whose plan is made.
fn planned(place: &Place) -> JournalWriter {
    let mut writer = place.writer();
    writer.append("engine", started()).unwrap();
    writer.seal_with(key(1)).unwrap();
    let planned = Planned {
        digest: plan(),
        evidence: place.run.evidence().keep(b"{}").unwrap(),
        steps: vec![],
    };
    writer
        .append("engine", EventBody::Planned(planned))
        .unwrap();
    writer
}

/// Asks, and names the keys of those who may answer.
fn ask(writer: &mut JournalWriter, signers: BTreeMap<String, String>) {
    let asked = EventBody::ApprovalAsked {
        gate: GATE.to_owned(),
        plan: plan(),
        summary: "1.1.0 to prod?".to_owned(),
        two_persons: true,
        signers,
    };
    writer.append("engine", asked).unwrap();
}

/// Answers in the name of Ben, unsigned.
fn answer(writer: &mut JournalWriter, go: bool) {
    let given = EventBody::ApprovalGiven {
        gate: GATE.to_owned(),
        plan: plan(),
        by: "ben".to_owned(),
        go,
        reason: "looked at it".to_owned(),
    };
    writer.append("person:ben", given).unwrap();
}

/// Signs the answer that comes next.
fn sign(writer: &mut JournalWriter, seed: u8) {
    sign_for(writer, seed, "run-1");
}

fn sign_for(writer: &mut JournalWriter, seed: u8, run: &str) {
    let consent = Consent {
        run: run.parse().unwrap(),
        gate: GATE.to_owned(),
        plan: plan(),
        go: true,
        by: "ben".to_owned(),
        reason: "looked at it".to_owned(),
        signed: "2026-01-02T03:00:00Z".parse().unwrap(),
        expires: "2026-01-03T03:00:00Z".parse().unwrap(),
        waivers: vec![],
    };
    let statement = serde_json::to_string(&consent).unwrap();
    let signature = key(seed).sign_ssh(APPROVED, statement.as_bytes()).unwrap();
    let signed = SignedConsent {
        statement,
        signature,
    };
    writer
        .append("person:ben", EventBody::ConsentSigned(signed))
        .unwrap();
}

fn waive(writer: &mut JournalWriter, item: &str) {
    writer.append("engine", waiver(item)).unwrap();
}

/// What is found of approvals: where, and what.
fn approvals(place: &Place) -> Vec<(String, String)> {
    let found = found(place, &[]).into_iter();
    let found = found.filter(|(kind, ..)| *kind == FindingKind::Approval);
    found.map(|(_, at, what)| (at, what)).collect()
}

#[test]
fn an_answer_that_nobody_signed_is_found_where_the_question_names_keys() {
    for (go, word) in [(true, "the go of ben"), (false, "the no-go of ben")] {
        let place = Place::new();
        let mut writer = planned(&place);
        ask(&mut writer, signers(Some(4)));
        answer(&mut writer, go);
        let found = approvals(&place);
        assert_eq!(found.len(), 1, "{found:?}");
        let (at, what) = &found[0];
        assert_eq!(at, "journal.jsonl, event 4");
        assert!(
            what.contains(word) && what.contains("signed by nobody"),
            "{what}"
        );
    }
}

#[test]
fn a_signature_stands_for_one_answer_and_a_wrong_one_is_told_once() {
    let place = Place::new();
    let mut writer = planned(&place);
    ask(&mut writer, signers(Some(4)));
    sign(&mut writer, 4);
    answer(&mut writer, true);
    assert_eq!(approvals(&place), []);
    answer(&mut writer, true);
    let found = approvals(&place);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "journal.jsonl, event 6");

    let place = Place::new();
    let mut writer = planned(&place);
    ask(&mut writer, signers(Some(4)));
    sign(&mut writer, 5);
    answer(&mut writer, true);
    let found = approvals(&place);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].1.contains("is not signed with the key"),
        "{found:?}"
    );
}

#[test]
fn what_was_signed_for_another_run_of_the_same_plan_stands_for_nothing() {
    let place = Place::new();
    let mut writer = planned(&place);
    ask(&mut writer, signers(Some(4)));
    sign_for(&mut writer, 4, "run-2");
    answer(&mut writer, true);
    let found = approvals(&place);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].1.contains("it is for run run-2"), "{found:?}");
}

#[test]
fn nobody_has_to_sign_where_the_last_question_names_no_keys() {
    let place = Place::new();
    let mut writer = planned(&place);
    ask(&mut writer, signers(None));
    answer(&mut writer, true);
    waive(&mut writer, "1.1.1");
    assert_eq!(approvals(&place), []);
    // The deployment file may name others when the run goes on and asks again.
    ask(&mut writer, signers(Some(4)));
    ask(&mut writer, signers(None));
    answer(&mut writer, true);
    assert_eq!(approvals(&place), []);
}

#[test]
fn what_is_waived_has_to_be_signed_where_the_answer_has_to_be() {
    let place = Place::new();
    let mut writer = planned(&place);
    ask(&mut writer, signers(Some(4)));
    waive(&mut writer, "1.1.1");
    // A run that ends before somebody answers goes by no approval.
    assert_eq!(approvals(&place), []);
    answer(&mut writer, true);
    let found = approvals(&place);
    let places: Vec<&str> = found.iter().map(|(at, _)| at.as_str()).collect();
    assert_eq!(places, ["journal.jsonl, event 5", "journal.jsonl, event 4"]);
    assert!(found[1].1.contains("1.1.1"), "{found:?}");
}
