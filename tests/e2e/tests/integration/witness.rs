//! Second persons who stand for a record, what their keys do not do, and names that anybody may add to a checkpoint.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use code_deploy_record::{
    EventBody, OUTPUTS_NOTE, Redactor, RunFolder, SealKey, SignedStatement, SystemClock,
};

use crate::kit::{Place, Said};
use crate::verify::copy;

/// The public key of the record, and that of the second person, as files of the place.
const OWN: &str = "record/seal/ed25519.pem";
const SECOND: &str = "id.pub";

fn ssh_keygen(place: &Place, arguments: &[&str]) {
    let mut command = Command::new("ssh-keygen");
    let done = command
        .args(arguments)
        .current_dir(place.path())
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
}

/// A place with a copy of the record that the repository shows, and an OpenSSH key of a second person.
fn laid_out() -> Place {
    let place = Place::new();
    let shown = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../notebooks/record");
    copy(&shown, &place.path().join("record"));
    let id = ["-q", "-t", "ed25519", "-N", "", "-C", "anna", "-f", "id"];
    ssh_keygen(&place, &id);
    place
}

fn record(place: &Place) -> RunFolder {
    RunFolder::at(&place.path().join("record")).unwrap()
}

/// The file of the last checkpoint.
fn last(place: &Place) -> PathBuf {
    record(place).seal().checkpoints().unwrap().pop().unwrap()
}

fn verify(place: &Place, options: &[&str]) -> Said {
    place.run(&[&["verify", "record"], options].concat())
}

#[test]
fn a_second_person_stands_for_a_record_that_they_signed_by_ssh_keygen() {
    let place = laid_out();
    let last = last(&place);
    let sign = [
        "-q",
        "-Y",
        "sign",
        "-f",
        "id",
        "-n",
        "code-deploy-checkpoint",
    ];
    ssh_keygen(&place, &[&sign[..], &[last.to_str().unwrap()]].concat());
    let said = verify(&place, &["--key", OWN, "--witness", SECOND]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.out.contains("a second person vouches for it"),
        "{said:?}"
    );
    let said = verify(&place, &["--key", OWN, "--key", SECOND]);
    assert_eq!(said.code, Some(0), "{said:?}");
    for words in ["it does not count as a witness's", "is self-asserted"] {
        assert!(said.out.contains(words), "{words}: {said:?}");
    }
    let both = ["--key", OWN, "--key", SECOND, "--witness", SECOND];
    verify(&place, &both).refused(2, "CD0001", &["is given twice"]);
    // Without their signature they are missed.
    std::fs::remove_file(format!("{}.sig", last.display())).unwrap();
    let words = [
        "(--witness)",
        "no signature that was checked is of this key",
    ];
    verify(&place, &["--key", OWN, "--witness", SECOND]).refused(11, "CD0315", &words);
}

/// Takes the end of the record away, and has the second person seal it anew with their own key.
fn seal_anew(place: &Place) {
    let record = record(place);
    std::fs::remove_file(last(place)).unwrap();
    for name in SignedStatement::FILES.into_iter().chain([OUTPUTS_NOTE]) {
        record.seal().remove(name).unwrap();
    }
    let text = std::fs::read_to_string(record.journal_path()).unwrap();
    let (kept, _) = text.trim_end().rsplit_once('\n').unwrap();
    std::fs::write(record.journal_path(), format!("{kept}\n")).unwrap();
    let key = std::fs::read_to_string(place.path().join("id")).unwrap();
    let key = Arc::new(SealKey::parse(&key).unwrap());
    let opened = record.open_journal(Arc::new(SystemClock), Redactor::default());
    let (mut writer, ..) = opened.unwrap();
    writer.seal_with(key).unwrap().unwrap();
    let events = writer.next_seq();
    writer
        .append("engine", EventBody::Sealed { events })
        .unwrap();
}

#[test]
fn a_record_that_the_second_person_sealed_anew_does_not_verify_by_their_key() {
    let place = laid_out();
    std::fs::copy(place.path().join(OWN), place.path().join("own.pem")).unwrap();
    let events = record(&place).events().unwrap().count();
    seal_anew(&place);
    let event = format!("journal.jsonl, event {}", events - 1);
    let said = verify(&place, &["--key", "own.pem", "--witness", SECOND]);
    said.refused(11, "CD0315", &[&event, "a witness"]);
    // Where they may seal, that is told; the statement over the notebooks is missed.
    let said = verify(&place, &["--key", "own.pem", "--key", SECOND]);
    said.refused(
        13,
        "CD0308",
        &[&format!("{event}: from here on code-deploy-")],
    );
}

#[test]
fn a_name_that_was_added_to_a_checkpoint_is_listed_and_told_as_unverified() {
    let place = laid_out();
    let last = last(&place);
    let whole = std::fs::read_to_string(&last).unwrap();
    let line = whole.lines().next_back().unwrap();
    let own = line.split(' ').nth(1).unwrap();
    std::fs::write(&last, format!("{whole}\u{2014} anna AAAAAGFubmE=\n")).unwrap();
    let listed = place.run(&["record", "checkpoints", "--run", "record"]);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    let words = format!("holds, of {own}; unverified: anna");
    assert!(listed.out.contains(&words), "{listed:?}");
    assert!(!listed.out.contains(&format!("{own}, anna")), "{listed:?}");
    let unsigned = ["record", "checkpoints", "--run", "record", "--unsigned"];
    place
        .run(&unsigned)
        .refused(2, "CD0001", &["goes with `export` alone"]);
    let said = verify(&place, &["--key", OWN]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let words = "nothing shows whose these further signatures are";
    assert!(said.out.contains(words), "{said:?}");
    // One in the name of the record's own key, which did not make it.
    std::fs::write(&last, format!("{whole}\u{2014} {own} AAAAAGFubmE=\n")).unwrap();
    verify(&place, &["--key", OWN]).refused(11, "CD0315", &["a line of its signatures"]);
}
