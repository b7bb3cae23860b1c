//! Records without an end: how far something that was signed covers them.

use super::forged::{checkpoints_of, flat, held};
use super::told::{told, unfinished};
use super::*;

#[test]
fn of_a_record_without_an_end_it_is_said_up_to_which_event_something_signed_covers_it() {
    let stage = Stage::new(1);
    let (begun, _writer) = unfinished(&stage, 200);
    let report = code_deploy_record::verify_folder(&begun).unwrap();
    let (signed, events) = (report.seal.covered, report.events);
    assert!(signed > 0 && signed < events, "{signed} of {events}");
    let (code, said) = told(&[begun.path().to_owned()]);
    assert_eq!(code, 12, "{said}");
    let words = format!(
        "what was signed covers its journal up to event {}; events {signed} to {} are not signed: each follows from \
         the one before, but whoever can write there can make such a chain anew",
        signed - 1,
        events - 1
    );
    assert!(flat(&said).contains(&words), "{said}");
    assert!(!said.contains("as it was written"), "{said}");
    // Who signed what is there is told, too.
    assert!(said.contains("is self-asserted"), "{said}");
}

#[test]
fn a_statement_and_a_checkpoint_that_was_kept_elsewhere_are_signed_too() {
    let stage = Stage::new(1);
    let (begun, _writer) = unfinished(&stage, 200);
    let kept = checkpoints_of(&stage).remove(1);
    let aside = stage.folder.path().join("aside");
    std::fs::rename(begun.seal().path(), &aside).unwrap();
    let (code, said) = told(&[begun.path().to_owned()]);
    let none = "nothing that was signed covers an event of its journal";
    assert!(code == 12 && flat(&said).contains(none), "{said}");
    let (code, said) = held(&stage, &begun, &kept);
    let events = over::reached(&begun, &kept.head).unwrap().unwrap();
    let words = format!(
        "what was signed covers its journal up to event {};",
        events - 1
    );
    assert!(code == 12 && flat(&said).contains(&words), "{said}");
    // One of somebody else is no more than a root in a file.
    let forger = SealKey::from_seed(&[9; 32]).unwrap();
    let forged = code_deploy_record::Checkpoint::sign(&kept.origin, kept.head, &forger);
    let (_, said) = held(&stage, &begun, &forged);
    assert!(!flat(&said).contains(&words), "{said}");

    std::fs::rename(&aside, begun.seal().path()).unwrap();
    publish::publish(None, &begun, Some(&stage.key)).unwrap();
    let (code, said) = told(&[begun.path().to_owned()]);
    let words = "what was signed covers its journal up to event 199, the last that is here";
    assert!(code == 12 && flat(&said).contains(words), "{said}");
}

#[test]
fn of_a_cut_record_that_nobody_signed_it_is_said_that_its_chain_is_all_there_is() {
    let stage = Stage::unsigned();
    let journal = stage.record.journal_path();
    let text = std::fs::read_to_string(&journal).unwrap();
    let (cut, _) = text.trim_end().rsplit_once('\n').unwrap();
    std::fs::write(&journal, format!("{cut}\n")).unwrap();
    let (code, said) = told(&[stage.record.path().to_owned()]);
    assert_eq!(code, 12, "{said}");
    let words = format!(
        "that each of the {} follows from the one before",
        cut.lines().count()
    );
    assert!(flat(&said).contains(&words), "{said}");
}
