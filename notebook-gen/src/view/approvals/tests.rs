#![allow(clippy::unwrap_used)]

use code_deploy_record::{Column, Consent, Digest, SealKey};
use code_deploy_synthetic::{self as synthetic, Story};

use super::*;

fn facts() -> Facts {
    let project = tempfile::tempdir().unwrap();
    Facts::read(&synthetic::run(project.path(), "run-1", Story::Succeeded)).unwrap()
}

/// Adds an answer to the go/no-go question of the plan, signed as given.
fn answer(
    facts: &mut Facts,
    must_be_signed: bool,
    signature: Option<Result<(Consent, PublicKey), String>>,
) {
    facts.approvals.push(At {
        seq: 41,
        time: synthetic::start(),
        phase: None,
        step: None,
        what: Approval {
            gate: "go/no-go".to_owned(),
            plan: Digest::of(b"plan"),
            by: "ben".to_owned(),
            go: true,
            reason: "looked at it".to_owned(),
            two_persons: must_be_signed,
            must_be_signed,
            signature,
        },
    });
}

/// Returns what ben signs, with the items that this accepts not to hold.
fn consent(items: &[&str]) -> (Consent, PublicKey) {
    let waivers = items.iter().map(|item| ConsentWaiver {
        item: item.parse().unwrap(),
        by: "ben".to_owned(),
        reason: "not here".to_owned(),
        expires: "2026-12-31".parse().unwrap(),
    });
    let consent = Consent {
        run: "run-1".parse().unwrap(),
        gate: "go/no-go".to_owned(),
        plan: Digest::of(b"plan"),
        go: true,
        by: "ben".to_owned(),
        reason: "looked at it".to_owned(),
        signed: synthetic::start(),
        expires: synthetic::start() + chrono::TimeDelta::days(1),
        waivers: waivers.collect(),
    };
    let key = SealKey::from_seed(&[4; 32]).unwrap();
    (consent, key.public().ed25519())
}

fn told(report: &Report) -> String {
    crate::report_to_text(report)
}

#[test]
fn an_approval_names_who_when_why_which_plan_which_key_and_until_when() {
    let mut facts = facts();
    let signed = consent(&[]);
    let fingerprint = signed.1.fingerprint().unwrap();
    answer(&mut facts, true, Some(Ok(signed)));
    let text = told(&approvals(&facts));
    for words in [
        "14:00:00",
        "go/no-go",
        "ben",
        "looked at it",
        &Digest::of(b"plan").short(),
        "verified, with the key that is known as theirs",
        fingerprint.as_str(),
        "2026-11-24 14:00:00 UTC",
        "41",
        "asked for another person than anna",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    assert!(!text.contains("not the plan of this run"), "{text}");
}

#[test]
fn what_is_not_signed_or_does_not_hold_is_said_with_its_reason() {
    let mut plain = facts();
    answer(&mut plain, false, None);
    plain.approvals.first_mut().unwrap().what.plan = Digest::of(b"another");
    let text = told(&approvals(&plain));
    assert!(
        text.contains("not signed: the deployment file names no key"),
        "{text}"
    );
    assert!(
        text.contains("an answer that is not signed has no expiry"),
        "{text}"
    );
    assert!(text.contains("which is not the plan of this run"), "{text}");
    let mut broken = facts();
    answer(
        &mut broken,
        true,
        Some(Err("it is over plan 4711".to_owned())),
    );
    let text = told(&approvals(&broken));
    assert!(
        text.contains("does not count: it is over plan 4711"),
        "{text}"
    );
}

#[test]
fn without_an_approval_it_is_said_what_the_policy_asks_for() {
    let mut facts = facts();
    let text = told(&approvals(&facts));
    assert!(
        text.contains("what the policy asks for is not in the record"),
        "{text}"
    );
    for (rule, said) in [
        ("none", "the policy of dev asks for no approval (event "),
        (
            "somebodyelse",
            "asks for one by another person than the one who deploys",
        ),
    ] {
        let mut sections = facts.sections.iter_mut();
        let scope = sections.find(|one| one.what.name == "scope").unwrap();
        let titles = ["About", "Rule"].map(Column::text).to_vec();
        let rows = vec![vec!["Approval".to_owned(), rule.to_owned()]];
        scope.what.report = Report::new().with_table("Policy", titles, rows);
        let text = told(&approvals(&facts));
        assert!(text.contains(said), "{said}\n{text}");
    }
    facts.state.approval_asked = Some(("go/no-go".to_owned(), Digest::of(b"plan")));
    assert!(told(&approvals(&facts)).contains("Asked for and not answered: go/no-go"));
}

#[test]
fn a_waiver_says_whether_a_signed_approval_accepts_it() {
    let mut facts = facts();
    let text = told(&waivers(&facts));
    assert!(
        text.contains("not signed: no approval of this run is"),
        "{text}"
    );
    let items = facts.state.items.iter();
    let waived = items.filter(|(_, one)| matches!(one.verdict, Verdict::Waived { .. }));
    let ids: Vec<String> = waived.map(|(item, _)| item.to_string()).collect();
    assert!(ids.len() > 1);
    answer(
        &mut facts,
        true,
        Some(Ok(consent(&[ids.first().unwrap().as_str()]))),
    );
    let text = told(&waivers(&facts));
    let signed = text
        .lines()
        .filter(|line| line.contains("verified, of ben with SHA256:"));
    assert_eq!(signed.count(), 1, "{text}");
    assert!(
        text.contains("none: the signed approval does not accept it"),
        "{text}"
    );
}
