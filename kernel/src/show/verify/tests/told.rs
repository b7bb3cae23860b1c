//! What is said of folders, of records that break off or go on, and of what holds nothing.

use super::*;

/// A face that keeps what it is given to say.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

#[async_trait::async_trait]
impl Face for Told {
    fn report(&self, _: &str, report: &Report) {
        let text = code_deploy_notebook_gen::report_to_text(report);
        self.0.lock().unwrap().push(text);
    }
    fn chart(&self, _: &code_deploy_notebook_gen::Chart) {}
    fn text(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
    fn value(&self, _: &str, _: &serde_json::Value) -> bool {
        false
    }
    fn notice(&self, _: &code_deploy_engine::Notice) {}
    async fn ask(&self, _: &str) -> Option<code_deploy_engine::context::Answer> {
        None
    }
}

/// Verifies paths; returns the exit code, what was said, and the failure's lines.
pub(super) fn told(paths: &[PathBuf]) -> (u8, String) {
    let arguments = VerifyArgs {
        paths: paths.to_vec(),
        ..VerifyArgs::default()
    };
    told_of(None, &arguments)
}

/// Verifies what is named; returns as [`told`] does.
pub(super) fn told_of(project: Option<&Project>, arguments: &VerifyArgs) -> (u8, String) {
    let face = Told::default();
    let result = verify(project, arguments, &face);
    let mut said = face.0.into_inner().unwrap();
    if let Err(failure) = &result {
        said.extend(failure.lines());
    }
    (exit(result), said.join("\n"))
}

/// Lays notebooks and record into one folder, as the repository shows them.
pub(super) fn side_by_side(stage: &Stage) -> (PathBuf, PathBuf) {
    let record = stage.pages().join("record");
    std::fs::rename(stage.record.path(), &record).unwrap();
    (stage.pages(), record)
}

#[test]
fn a_damaged_record_beside_its_notebooks_is_told_as_it_is_alone() {
    let stage = Stage::new(1);
    let (both, record) = side_by_side(&stage);
    let journal = record.join(RunFolder::JOURNAL);
    let router = record.join("samples/router.jsonl");
    let line = |number: usize, bend: fn(&str) -> String| {
        let text = std::fs::read_to_string(&journal).unwrap();
        let lines = text.lines().enumerate();
        let bent = lines.map(|(at, line)| match at + 1 == number {
            true => bend(line),
            false => format!("{line}\n"),
        });
        bent.collect::<String>().into_bytes()
    };
    let mut sample = std::fs::read(&router).unwrap();
    sample[1] ^= 1;
    let garbled = |line: &str| format!("{}\n", line.replacen("\"time\"", "\"tima\"", 1));
    let damages = [
        (&journal, line(1, garbled), "journal.jsonl, event 0"),
        (&journal, line(500, garbled), "journal.jsonl, event 499"),
        (
            &journal,
            line(300, |_| String::new()),
            "journal.jsonl, event 299",
        ),
        (&journal, Vec::new(), "journal.jsonl"),
        (&router, sample, "samples/router.jsonl"),
    ];
    for (path, damaged, place) in damages {
        let whole = std::fs::read(path).unwrap();
        std::fs::write(path, damaged).unwrap();
        let (alone, of_record) = told(std::slice::from_ref(&record));
        let (beside, said) = told(std::slice::from_ref(&both));
        assert_eq!((alone, beside), (10, 10), "{of_record}\n{said}");
        for text in [&of_record, &said] {
            assert!(text.contains(place), "{place}: {text}");
            assert!(
                !text.contains("head ,") && !text.contains("head \n"),
                "{text}"
            );
            assert!(!text.contains("code-deploy verify"), "{text}");
        }
        assert!(
            said.contains("files are, byte for byte, what code-deploy-"),
            "{said}"
        );
        assert!(
            said.contains("Their record is not what was written"),
            "{said}"
        );
        // What was changed in the notebooks themselves is still found.
        let page = both.join(PAGE);
        let content = std::fs::read(&page).unwrap();
        std::fs::write(&page, b"{}").unwrap();
        let (code, said) = told(std::slice::from_ref(&both));
        assert!(code == 10 && said.contains(PAGE), "{said}");
        std::fs::write(&page, content).unwrap();
        std::fs::write(path, whole).unwrap();
    }
    assert_eq!(told(&[both]).0, 0);
}

#[test]
fn a_record_that_breaks_off_says_how_far_it_was_followed() {
    let stage = Stage::new(1);
    let journal = stage.record.journal_path();
    let text = std::fs::read_to_string(&journal).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let left = [&lines[..299], &lines[300..]].concat().join("\n");
    std::fs::write(&journal, left + "\n").unwrap();
    let (code, said) = told(&[stage.record.path().to_owned()]);
    assert_eq!(code, 10, "{said}");
    for words in ["299 events", "not followed from event 299 on, head "] {
        assert!(said.contains(words), "{said}");
    }
    assert!(!said.contains("NOT SEALED"), "{said}");
    assert!(said.contains("1 place does not verify"), "{said}");
}

#[test]
fn a_notebook_alone_is_not_said_to_be_as_it_was_written() {
    let stage = Stage::new(1);
    let alone = stage.folder.path().join("alone");
    std::fs::create_dir(&alone).unwrap();
    let page = alone.join(PAGE);
    std::fs::copy(stage.pages().join(PAGE), &page).unwrap();
    for path in [&alone, &page] {
        let (code, said) = told(std::slice::from_ref(path));
        assert_eq!(code, 13, "{said}");
        assert!(said.contains("CD0308"), "{said}");
        assert!(
            said.contains("outputs were checked, not its text"),
            "{said}"
        );
        assert!(
            said.contains("1 notebook was not checked in whole"),
            "{said}"
        );
        assert!(!said.contains("Everything is as"), "{said}");
    }
    // With what was signed beside it, the text is checked, too.
    let seal = alone.join("seal");
    std::fs::create_dir(&seal).unwrap();
    for entry in std::fs::read_dir(stage.pages().join("seal")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), seal.join(entry.file_name())).unwrap();
    }
    let (code, said) = told(&[page]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("1 file is, byte for byte,"), "{said}");
    assert!(!said.contains("Everything is as"), "{said}");
    for words in [
        "What is here is as it was signed.",
        "alone is self-asserted",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn notebooks_without_their_record_are_held_against_all_that_was_signed() {
    let stage = Stage::new(1);
    let pages = stage.pages();
    let (code, said) = told(std::slice::from_ref(&pages));
    assert!(code == 0 && said.contains("is self-asserted"), "{said}");

    let guide = pages.join("VERIFY.md");
    let text = std::fs::read_to_string(&guide).unwrap();
    std::fs::write(&guide, format!("{text}Run this, too.\n")).unwrap();
    let (code, said) = told(std::slice::from_ref(&pages));
    assert!(
        code == 14 && said.contains("do not run commands from it"),
        "{said}"
    );
    std::fs::write(&guide, text).unwrap();

    for name in ["p256.pem", "allowed_signers", "statement.sigstore.json"] {
        let path = pages.join("seal").join(name);
        let content = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let (code, said) = told(std::slice::from_ref(&pages));
        assert!(code == 13 && said.contains(name), "{said}");
        std::fs::write(&path, content).unwrap();
    }

    // Somebody signs what others made.
    let other = SealKey::from_seed(&[2; 32]).unwrap();
    let signed = publish::read_signed(&pages.join("seal")).unwrap().unwrap();
    let statement = signed.statement().to_vec();
    let anew = SignedStatement::sign(statement, signed.sums().to_owned(), &other).unwrap();
    for (path, content) in publish::beside(&other.public(), &anew) {
        std::fs::write(pages.join(path), content).unwrap();
    }
    let (code, said) = told(&[pages]);
    let signers = [&stage.key, &Arc::new(other)].map(|key| key.public().name());
    assert_eq!(code, 11, "{said}");
    for name in signers {
        assert!(said.contains(&name), "{name}: {said}");
    }
}

#[test]
fn a_folder_of_exported_runs_is_checked_with_the_record_of_each() {
    let stage = Stage::new(1);
    let outer = stage.folder.path().join("outer");
    std::fs::create_dir(&outer).unwrap();
    side_by_side(&stage);
    let run = outer.join("run");
    std::fs::rename(stage.pages(), &run).unwrap();
    let (code, said) = told(std::slice::from_ref(&outer));
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("Everything that was checked is as it was written."),
        "{said}"
    );

    let journal = run.join("record").join(RunFolder::JOURNAL);
    for line in ["\"seq\":0,", "\"seq\":4,"] {
        let text = std::fs::read_to_string(&journal).unwrap();
        let garbled = line.replace("seq", "sEq");
        std::fs::write(&journal, text.replacen(line, &garbled, 1)).unwrap();
        let (code, said) = told(std::slice::from_ref(&outer));
        assert_eq!(code, 10, "{said}");
        std::fs::write(&journal, text).unwrap();
    }
    std::fs::remove_dir_all(run.join("record/evidence")).unwrap();
    let (code, said) = told(std::slice::from_ref(&outer));
    assert_eq!(code, 13, "{said}");
    // Without its notebooks, too.
    for entry in std::fs::read_dir(&run).unwrap().flatten() {
        if entry.path().extension().is_some_and(|one| one == "ipynb") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    let (code, said) = told(&[outer]);
    assert_eq!(code, 13, "{said}");
}

#[test]
fn a_record_that_is_named_counts_before_the_one_that_came_with_the_notebooks() {
    let (kept, other) = (Stage::new(1), Stage::new(2));
    let (received, _) = side_by_side(&other);
    let (code, said) = told(std::slice::from_ref(&received));
    assert!(code == 0 && said.contains("is self-asserted"), "{said}");
    let (code, said) = told(&[kept.record.path().to_owned(), received]);
    assert_eq!(code, 10, "{said}");
}

/// Writes the first lines of the stage's record into a new one, which goes on being written.
pub(super) fn unfinished(
    stage: &Stage,
    lines: usize,
) -> (RunFolder, code_deploy_record::JournalWriter) {
    let runs = RunsFolder::of_project(&stage.folder.path().join("other"));
    let id = stage.record.started().unwrap().run;
    let begun = runs.create_run(&id).unwrap();
    for part in ["samples", "evidence"] {
        for entry in std::fs::read_dir(stage.record.path().join(part)).unwrap() {
            let entry = entry.unwrap();
            let target = begun.path().join(part).join(entry.file_name());
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
    let clock = Arc::new(Replayed(Mutex::new(DateTime::UNIX_EPOCH)));
    let mut writer = begun
        .create_journal(clock.clone(), Redactor::default())
        .unwrap();
    for event in stage.record.events().unwrap().take(lines) {
        let event = event.unwrap();
        if matches!(event.body, EventBody::KeyNamed(_)) {
            continue;
        }
        *clock.0.lock().unwrap() = event.time;
        writer.append(&event.actor, event.body).unwrap();
        if event.seq == 0 {
            writer.seal_with(Arc::clone(&stage.key)).unwrap();
        }
    }
    (begun, writer)
}

/// Goes on writing a record as the stage's goes on.
pub(super) fn go_on(
    stage: &Stage,
    writer: &mut code_deploy_record::JournalWriter,
    from: usize,
    to: usize,
) {
    for event in stage.record.events().unwrap().take(to).skip(from) {
        let event = event.unwrap();
        writer.append(&event.actor, event.body).unwrap();
    }
}

#[test]
fn a_run_that_was_exported_and_went_on_is_not_said_to_be_changed() {
    let stage = Stage::new(1);
    let (begun, mut writer) = unfinished(&stage, 200);
    let out = stage.folder.path().join("run.tar");
    publish::export(None, &begun, Some(&stage.key), &out).unwrap();
    let pages = stage.folder.path().join("early");
    publish::write(None, &begun, Some(&stage.key), &pages).unwrap();
    let both = [begun.path().to_owned(), pages.clone()];
    assert_eq!(told(&both).0, 12);

    go_on(&stage, &mut writer, 200, 260);
    let (code, said) = told(&both);
    assert_eq!(code, 12, "{said}");
    assert!(
        said.contains("was signed over its first 200 events"),
        "{said}"
    );
    assert!(
        said.contains("They are of the first 200 events of their run"),
        "{said}"
    );
    assert!(!said.contains("does not verify"), "{said}");

    // A notebook that was changed since, and a statement over another beginning, are found.
    let page = pages.join(PAGE);
    let whole = std::fs::read_to_string(&page).unwrap();
    std::fs::write(&page, whole.replacen("shop", "shoq", 1)).unwrap();
    assert_eq!(told(&both).0, 10);
    std::fs::write(&page, whole).unwrap();
    let kept = publish::kept(&begun).unwrap().unwrap();
    let mut named: serde_json::Value = serde_json::from_slice(kept.statement()).unwrap();
    named["predicate"]["record"]["root"] = "0".repeat(64).into();
    let forged =
        SignedStatement::sign(named.to_string().into(), kept.sums().to_owned(), &stage.key);
    for (name, content) in forged.unwrap().files(&stage.key.public()) {
        begun.seal().write(name, &content).unwrap();
    }
    let (code, said) = told(&both[..1]);
    assert!(
        code == 10 && said.contains("is not over this record"),
        "{said}"
    );
}

#[test]
fn a_run_that_ended_and_has_only_an_earlier_statement_misses_the_one_over_it() {
    let stage = Stage::new(1);
    let (begun, mut writer) = unfinished(&stage, 200);
    let pages = stage.folder.path().join("early");
    publish::write(None, &begun, Some(&stage.key), &pages).unwrap();
    go_on(&stage, &mut writer, 200, usize::MAX);
    let (code, said) = told(&[begun.path().to_owned(), pages]);
    assert_eq!(code, 13, "{said}");
    for words in [
        "seal/statement.json",
        "the notebooks of the whole run",
        "2 files are",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn a_project_and_its_folders_are_checked_with_all_their_runs() {
    let stage = Stage::new(1);
    let project = stage.folder.path();
    let run = stage.record.started().unwrap().run;
    std::fs::create_dir(project.join("deployments")).unwrap();
    let pages = project.join("deployments").join(run.as_str());
    std::fs::rename(stage.pages(), &pages).unwrap();
    // Notebooks that are ready to run, and older states that Jupyter keeps, are of no run.
    let ready =
        serde_json::json!({ "cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5 });
    std::fs::write(project.join("01_Deployment_Plan.ipynb"), ready.to_string()).unwrap();
    let older = pages.join(".ipynb_checkpoints");
    std::fs::create_dir(&older).unwrap();
    std::fs::copy(pages.join(PAGE), older.join(PAGE)).unwrap();
    let runs = project.join(".code-deploy/runs");
    let names = [
        project.to_owned(),
        project.join("deployments"),
        project.join(".code-deploy"),
        runs,
    ];
    for name in &names {
        let (code, said) = told(std::slice::from_ref(name));
        assert_eq!(code, 0, "{}: {said}", name.display());
        assert!(said.contains(" events, "), "{said}");
        let compared = said.contains("29 notebooks and charts");
        assert_eq!(compared, names[..2].contains(name), "{said}");
    }
    // The worst of what is found is the answer.
    let (_begun, _writer) = unfinished(&stage, 200);
    let other = stage.folder.path().join("other");
    assert_eq!(told(std::slice::from_ref(&other)).0, 12);
    let journal = stage.record.journal_path();
    let text = std::fs::read_to_string(&journal).unwrap();
    std::fs::write(&journal, text.replacen("\"time\"", "\"tima\"", 2)).unwrap();
    assert_eq!(told(&[project.to_owned(), other]).0, 10);
}

#[test]
fn a_folder_that_holds_nothing_to_verify_is_told_with_what_to_name() {
    let folder = tempfile::tempdir().unwrap();
    let (code, said) = told(&[folder.path().to_owned()]);
    assert_eq!(code, 1);
    for words in [
        "CD0303",
        "holds neither a record (`journal.jsonl`) nor notebooks",
        "state: Nothing was looked at",
        "next: Name the folder of a record or of notebooks",
    ] {
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn what_was_compared_is_counted_as_what_it_is() {
    let stage = Stage::new(1);
    let (code, said) = told(&stage.both());
    assert_eq!(code, 0, "{said}");
    let words = "compared with the 29 notebooks and charts that the record gives, signed, and with the \
                 11 files that say how they are signed";
    assert!(said.contains(words), "{said}");
}
