//! What is signed over a record of which something was taken away or changed: nothing.

use std::collections::BTreeMap;

use code_deploy_record::{Checkpoint, JournalWriter};

use super::told::{go_on, told, unfinished};
use super::*;

/// The files of the folder of a seal, with what stands in them.
fn sealed(record: &RunFolder) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = record.seal().files().unwrap().into_iter();
    files
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect()
}

fn refused(failure: Failure, words: &str) {
    let Failure { problem, exit, .. } = failure;
    assert_eq!((problem.code.as_str(), exit.code()), ("CD0318", 1));
    assert!(problem.what.contains(words), "{}", problem.what);
    assert!(problem.state.contains("Nothing was signed or written"));
    assert!(
        problem.next.contains("--unsigned --out FOLDER") && problem.next.contains("from a copy"),
        "{}",
        problem.next
    );
}

#[test]
fn nothing_is_signed_or_written_where_a_checkpoint_is_gone_or_does_not_hold() {
    let stage = Stage::new(1);
    let (out, archive) = (
        stage.folder.path().join("out"),
        stage.folder.path().join("run.tar"),
    );
    let files = stage.record.seal().checkpoints().unwrap();
    let forger = SealKey::from_seed(&[9; 32]).unwrap();
    // One that is gone and that a later one covers is no reason: only the last one is without.
    for (path, may_be_gone) in [
        (files.first().unwrap(), true),
        (files.last().unwrap(), false),
    ] {
        let name = path.file_name().unwrap().to_str().unwrap();
        let whole = std::fs::read_to_string(path).unwrap();
        let note: Checkpoint = whole.parse().unwrap();
        let forged = Checkpoint::sign(&note.origin, note.head, &forger).to_string();
        let damage = [None, Some(forged)];
        for content in damage.into_iter().skip(usize::from(may_be_gone)) {
            std::fs::remove_file(path).unwrap();
            if let Some(content) = &content {
                std::fs::write(path, content).unwrap();
            }
            let before = sealed(&stage.record);
            let written = publish::write(None, &stage.record, Some(&stage.key), &out);
            refused(written.unwrap_err(), name);
            let exported = publish::export(None, &stage.record, Some(&stage.key), &archive);
            refused(exported.unwrap_err(), name);
            assert!(!out.exists() && !archive.exists());
            assert_eq!(sealed(&stage.record), before);
            std::fs::write(path, &whole).unwrap();
        }
    }
    let samples = stage.record.samples_path().join("router.jsonl");
    let whole = std::fs::read(&samples).unwrap();
    std::fs::write(&samples, &whole[1..]).unwrap();
    let written = publish::write(None, &stage.record, Some(&stage.key), &out);
    refused(written.unwrap_err(), "samples/router.jsonl");
    assert!(!out.exists());
    std::fs::write(&samples, whole).unwrap();
    // Without a signature there is nothing to refuse, and put back, all is as before.
    std::fs::remove_file(files.last().unwrap()).unwrap();
    let unsigned = stage.folder.path().join("unsigned");
    assert_eq!(
        publish::write(None, &stage.record, None, &unsigned).unwrap(),
        18
    );
    let cut = stage.record.seal().checkpoints().unwrap();
    assert_eq!(cut.len() + 1, files.len());
    reopened(&stage.record).sign_with(Some(&stage.key)).unwrap();
    publish::write(None, &stage.record, Some(&stage.key), &out).unwrap();
    assert_eq!(told(&[stage.record.path().to_owned(), out]).0, 0);
}

#[test]
fn a_record_that_lacks_a_checkpoint_which_a_later_one_covers_is_signed_and_the_gap_is_told() {
    let stage = Stage::new(1);
    let gone = stage.record.seal().checkpoints().unwrap().remove(0);
    std::fs::remove_file(&gone).unwrap();
    let out = stage.folder.path().join("out");
    publish::write(None, &stage.record, Some(&stage.key), &out).unwrap();
    assert!(out.join("seal").is_dir() && !gone.exists());
    let (code, said) = told(&[stage.record.path().to_owned(), out]);
    let name = gone.file_name().unwrap().to_str().unwrap();
    assert!(code == 13 && said.contains(name), "{said}");
}

#[test]
fn an_end_that_was_left_unsigned_is_signed_where_nothing_says_that_it_was_before() {
    let stage = Stage::new(1);
    let last = stage.record.seal().checkpoints().unwrap().pop().unwrap();
    let whole = std::fs::read(&last).unwrap();
    let out = stage.folder.path().join("out");
    let write = |project: Option<&Project>| {
        std::fs::remove_file(&last).unwrap();
        for name in SignedStatement::FILES.into_iter().chain(["outputs.note"]) {
            stage.record.seal().remove(name).unwrap();
        }
        publish::write(project, &stage.record, Some(&stage.key), &out)
    };
    write(None).unwrap();
    assert_eq!(std::fs::read(&last).unwrap(), whole);
    assert_eq!(told(&[stage.record.path().to_owned(), out.clone()]).0, 0);
    // The notebooks that the run has left say that there was a signature.
    let (project, _) = super::forged::left(&stage);
    let name = last.file_name().unwrap().to_str().unwrap();
    refused(write(Some(&project)).unwrap_err(), name);
    assert!(!last.exists());
}

#[test]
fn signed_notebooks_are_not_lost_to_unsigned_ones() {
    let stage = Stage::new(1);
    let lost = publish::refuse_to_lose(&stage.pages()).unwrap_err();
    assert_eq!(lost.exit.code(), 2);
    assert!(
        lost.problem.what.contains("would be lost"),
        "{}",
        lost.problem.what
    );
    publish::refuse_to_lose(&Stage::unsigned().pages()).unwrap();
    publish::refuse_to_lose(&stage.folder.path().join("new")).unwrap();
}

fn reopened(record: &RunFolder) -> JournalWriter {
    let clock = Arc::new(Replayed(Mutex::new(DateTime::UNIX_EPOCH)));
    record.open_journal(clock, Redactor::default()).unwrap().0
}

#[test]
fn a_run_that_was_killed_before_it_signed_and_went_on_is_signed_in_the_end() {
    let stage = Stage::new(1);
    let ends =
        |event: &code_deploy_record::Event| matches!(event.body, EventBody::PhaseFinished { .. });
    let mut events = stage.record.events().unwrap();
    let finished = events.find(|event| ends(event.as_ref().unwrap()));
    let lines = usize::try_from(finished.unwrap().unwrap().seq).unwrap() + 1;
    let (begun, writer) = unfinished(&stage, lines);
    drop(writer);
    let first = begun.seal().checkpoints().unwrap().pop().unwrap();
    std::fs::remove_file(&first).unwrap();
    // Nobody can tell yet whether it was signed.
    publish::publish(None, &begun, Some(&stage.key)).unwrap();
    let mut writer = reopened(&begun);
    assert_eq!(writer.seal_with(Arc::clone(&stage.key)).unwrap(), None);
    assert!(first.is_file());
    go_on(&stage, &mut writer, lines, usize::MAX);
    drop(writer);
    let pages = stage.folder.path().join("resumed");
    publish::write(None, &begun, Some(&stage.key), &pages).unwrap();
    assert_eq!(told(&[begun.path().to_owned(), pages]).0, 0);
}
