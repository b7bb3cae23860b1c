//! Approvals that the holder of the key that seals writes in another person's name.

use std::cell::Cell;

use super::forged::{flat, run_of};
use super::told::told;
use super::*;

/// Writes the stage's record anew with a go of Anna that nobody signed; returns it. The question names her key, or none.
fn with_a_go_of_anna(stage: &Stage, is_named: bool) -> RunFolder {
    let anna = SealKey::from_seed(&[4; 32]).unwrap().public().ed25519();
    let anna = anna.to_openssh().unwrap();
    let folder = stage.folder.path().join(format!("anew-{is_named}"));
    let anew = RunsFolder::of_project(&folder)
        .create_run(&run_of(stage))
        .unwrap();
    let plan = stage.record.state().unwrap().plan.unwrap().digest;
    let noted = Cell::new(0);
    let gate = || "go/no-go".to_owned();
    replay(&stage.record, &anew, &stage.key, |body| {
        if !matches!(body, EventBody::Noted { .. }) {
            return body;
        }
        noted.set(noted.get() + 1);
        match noted.get() {
            1 => EventBody::ApprovalAsked {
                gate: gate(),
                plan,
                summary: "to prod?".to_owned(),
                two_persons: true,
                signers: is_named
                    .then(|| ("Anna".to_owned(), anna.clone()))
                    .into_iter()
                    .collect(),
            },
            2 => EventBody::ApprovalGiven {
                gate: gate(),
                plan,
                by: "Anna".to_owned(),
                go: true,
                reason: "looked at it".to_owned(),
            },
            _ => body,
        }
    });
    publish::publish(None, &anew, Some(&stage.key)).unwrap();
    anew
}

#[test]
fn a_go_that_nobody_signed_is_not_what_was_wanted_where_its_signer_is_named() {
    let stage = Stage::new(1);
    let named = with_a_go_of_anna(&stage, true);
    let (code, said) = told(&[named.path().to_owned()]);
    assert_eq!(code, 15, "{said}");
    let said = flat(&said);
    for words in ["CD0316", "the go of Anna to go/no-go is signed by nobody"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let nobody = with_a_go_of_anna(&stage, false);
    let (code, said) = told(&[nobody.path().to_owned()]);
    assert_eq!(code, 0, "{said}");
}
