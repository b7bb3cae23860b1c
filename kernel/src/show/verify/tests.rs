//! Damage of every kind, done to a sealed record and to the notebooks made from it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use code_deploy_record::{
    Clock, EventBody, PreviousRun, PublicKey, Redactor, RunFolder, RunsFolder, SealKey,
    SignedStatement,
};

use super::*;
use crate::publish;

/// Shows nothing.
struct Blind;

#[async_trait::async_trait]
impl Face for Blind {
    fn report(&self, _: &str, _: &Report) {}
    fn chart(&self, _: &code_deploy_notebook_gen::Chart) {}
    fn text(&self, _: &str) {}
    fn value(&self, _: &str, _: &serde_json::Value) -> bool {
        false
    }
    fn notice(&self, _: &code_deploy_engine::Notice) {}
    async fn ask(&self, _: &str) -> Option<code_deploy_engine::context::Answer> {
        None
    }
}

/// Says the times of a record again.
struct Replayed(Mutex<DateTime<Utc>>);

impl Clock for Replayed {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }
}

/// The record that the repository shows, sealed with a key, and its notebooks as they are written.
struct Stage {
    folder: tempfile::TempDir,
    record: RunFolder,
    key: Arc<SealKey>,
}

/// Writes a record again, sealed with a key, each entry as it was or as `change` makes it.
fn replay(
    shown: &RunFolder,
    record: &RunFolder,
    key: &Arc<SealKey>,
    change: impl Fn(EventBody) -> EventBody,
) {
    for part in ["samples", "evidence"] {
        for entry in std::fs::read_dir(shown.path().join(part)).unwrap() {
            let entry = entry.unwrap();
            let target = record.path().join(part).join(entry.file_name());
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
    let clock = Arc::new(Replayed(Mutex::new(DateTime::UNIX_EPOCH)));
    let mut writer = record
        .create_journal(clock.clone(), Redactor::default())
        .unwrap();
    for event in shown.events().unwrap() {
        let event = event.unwrap();
        if matches!(event.body, EventBody::KeyNamed(_)) {
            continue;
        }
        *clock.0.lock().unwrap() = event.time;
        writer.append(&event.actor, change(event.body)).unwrap();
        if event.seq == 0 {
            writer.seal_with(Arc::clone(key)).unwrap();
        }
    }
}

impl Stage {
    fn new(seed: u8) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let shown = Path::new(env!("CARGO_MANIFEST_DIR")).join("../notebooks/record");
        let shown = RunFolder::at(&shown).unwrap();
        let id = shown.started().unwrap().run;
        let record = RunsFolder::of_project(folder.path())
            .create_run(&id)
            .unwrap();
        let key = Arc::new(SealKey::from_seed(&[seed; 32]).unwrap());
        replay(&shown, &record, &key, |body| body);
        let stage = Self {
            folder,
            record,
            key,
        };
        publish::write(None, &stage.record, Some(&stage.key), &stage.pages()).unwrap();
        stage
    }

    fn pages(&self) -> PathBuf {
        self.folder.path().join("pages")
    }

    fn public(&self) -> PublicKey {
        self.key.public().ed25519()
    }

    fn verify(&self, keys: &[PublicKey], paths: &[PathBuf]) -> Result<Exit, Failure> {
        let mut files = Vec::new();
        for (number, key) in keys.iter().enumerate() {
            let path = self.folder.path().join(format!("{number}.pem"));
            std::fs::write(&path, key.to_pem()).unwrap();
            files.push(path);
        }
        let arguments = VerifyArgs {
            paths: paths.to_vec(),
            notebooks: None,
            key: files,
        };
        verify(None, &arguments, &Blind)
    }

    fn both(&self) -> [PathBuf; 2] {
        [self.record.path().to_owned(), self.pages()]
    }

    fn record_rows(&self) -> Vec<Row> {
        let mut checked = Checked::default();
        records::check(&self.record, &Trust::default(), &Blind, &mut checked).unwrap();
        checked.rows
    }

    fn given(&self) -> Given {
        Given::by(None, &self.record, &Notebooks::whole(&self.pages())).unwrap()
    }

    fn notebook_rows(&self, given: &Given, name: &str) -> Vec<Row> {
        let notebooks = Notebooks {
            only: Some(PathBuf::from(name)),
            ..Notebooks::whole(&self.pages())
        };
        notebooks::compare(given, &notebooks, &Blind).unwrap()
    }

    fn edit(&self, name: &str, change: impl FnOnce(&mut serde_json::Value)) {
        let path = self.pages().join(name);
        let mut notebook = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut notebook);
        std::fs::write(&path, serde_json::to_vec(&notebook).unwrap()).unwrap();
    }
}

const PAGE: &str = "06_Application_Deployment.ipynb";

fn kinds(rows: &[Row]) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = rows.iter().map(|row| row.kind).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

fn exit(result: Result<Exit, Failure>) -> u8 {
    result.unwrap_or_else(|failure| failure.exit).code()
}

/// Places in a file, spread over all of it by a fixed sequence.
fn places(length: usize, count: usize) -> impl Iterator<Item = (usize, u8)> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..count).map(move |number| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let within = (state >> 33) as usize % (length / count + 1);
        (
            (number * length / count + within).min(length - 1),
            1 << (number % 8),
        )
    })
}

/// Flips bits of a file one after the other; returns how many went unnoticed.
fn flip(path: &Path, count: usize, is_named: impl Fn() -> bool) -> usize {
    let whole = std::fs::read(path).unwrap();
    let mut unnoticed = 0;
    for (position, bit) in places(whole.len(), count) {
        let mut damaged = whole.clone();
        damaged[position] ^= bit;
        std::fs::write(path, &damaged).unwrap();
        unnoticed += usize::from(!is_named());
    }
    std::fs::write(path, &whole).unwrap();
    unnoticed
}

#[test]
fn what_was_not_touched_verifies_with_and_without_its_key() {
    let stage = Stage::new(1);
    assert_eq!(exit(stage.verify(&[], &stage.both())), 0);
    assert_eq!(exit(stage.verify(&[stage.public()], &stage.both())), 0);
    let another = SealKey::from_seed(&[9; 32]).unwrap().public().ed25519();
    assert_eq!(
        exit(stage.verify(std::slice::from_ref(&another), &stage.both())),
        11
    );
    // The notebooks alone: by what they carry.
    assert_eq!(exit(stage.verify(&[stage.public()], &[stage.pages()])), 0);
    assert_eq!(
        exit(stage.verify(&[another], &[stage.pages().join(PAGE)])),
        11
    );
}

#[test]
fn every_flipped_byte_of_record_and_notebooks_is_named() {
    let stage = Stage::new(1);
    let mut flips = 0;
    let mut small: Vec<PathBuf> = stage.record.seal().files().unwrap();
    small.extend(
        std::fs::read_dir(stage.record.samples_path())
            .unwrap()
            .map(|e| e.unwrap().path())
            // What a client writes beside them while it works is no part of the record.
            .filter(|path| path.extension().is_some_and(|end| end == "jsonl"))
            // Nothing came of some clients.
            .filter(|path| std::fs::metadata(path).unwrap().len() > 0),
    );
    for (path, count) in small
        .iter()
        .map(|path| (path.clone(), 40))
        .chain([(stage.record.journal_path(), 600)])
    {
        let name = path
            .strip_prefix(stage.record.path())
            .unwrap()
            .display()
            .to_string();
        let named = || {
            stage
                .record_rows()
                .iter()
                .any(|row| row.place.starts_with(&name))
        };
        assert_eq!(flip(&path, count, named), 0, "{name}");
        flips += count;
    }
    let given = stage.given();
    for (name, _) in &given.files.clone() {
        let name = name.display().to_string();
        let path = stage.pages().join(&name);
        let named = || {
            stage
                .notebook_rows(&given, &name)
                .iter()
                .any(|row| row.place.starts_with(&name))
        };
        assert_eq!(flip(&path, 80, named), 0, "{name}");
        flips += 80;
    }
    assert!(flips > 3_000, "{flips}");
    assert_eq!(exit(stage.verify(&[stage.public()], &stage.both())), 0);
}

#[test]
fn what_a_person_added_is_an_addition_and_no_damage() {
    let stage = Stage::new(1);
    let given = stage.given();
    stage.edit(PAGE, |notebook| {
        let note = serde_json::json!({
            "cell_type": "markdown", "id": "mine", "metadata": {}, "source": "Looked at it. Anna",
        });
        notebook["cells"].as_array_mut().unwrap().insert(2, note);
        notebook["metadata"]["language_info"]["version"] = "1.95".into();
    });
    let rows = stage.notebook_rows(&given, PAGE);
    assert_eq!(kinds(&rows), [Kind::Added]);
    assert!(rows.iter().any(|row| row.place == format!("{PAGE}#mine")));
    assert_eq!(exit(stage.verify(&[], &stage.both())), 0);
}

/// Returns the place of the first cell with outputs.
fn with_outputs(notebook: &serde_json::Value) -> usize {
    let cells = notebook["cells"].as_array().unwrap();
    let has = |cell: &serde_json::Value| cell["outputs"].as_array().is_some_and(|o| !o.is_empty());
    cells.iter().position(has).unwrap()
}

/// A change of a notebook, and what is said of it.
type Change = (fn(&mut serde_json::Value), &'static str);

#[test]
fn an_edited_output_a_moved_and_a_removed_cell_are_named_with_their_cell() {
    let stage = Stage::new(1);
    let given = stage.given();
    let path = stage.pages().join(PAGE);
    let whole = std::fs::read(&path).unwrap();
    let changes: [Change; 4] = [
        (
            |notebook| {
                let at = with_outputs(notebook);
                notebook["cells"][at]["outputs"][0]["data"]["text/plain"] = "all is well".into();
            },
            "its outputs were changed",
        ),
        (
            |notebook| notebook["cells"][1]["source"] = "another".into(),
            "its text was changed",
        ),
        (
            |notebook| notebook["cells"].as_array_mut().unwrap().swap(1, 2),
            "the cell was moved",
        ),
        (
            |notebook| drop(notebook["cells"].as_array_mut().unwrap().remove(3)),
            "the cell was removed",
        ),
    ];
    for (change, what) in changes {
        stage.edit(PAGE, change);
        let rows = stage.notebook_rows(&given, PAGE);
        let row = rows.iter().find(|row| row.kind == Kind::Different).unwrap();
        assert!(row.place.starts_with(&format!("{PAGE}#")), "{}", row.place);
        assert_eq!(row.what, what);
        assert_eq!(exit(stage.verify(&[], &stage.both())), 10, "{what}");
        std::fs::write(&path, &whole).unwrap();
    }
    // Without the record, the outputs alone say it.
    stage.edit(PAGE, |notebook| {
        let at = with_outputs(notebook);
        notebook["cells"][at]["outputs"][0]["data"]["text/plain"] = "all is well".into();
    });
    assert_eq!(exit(stage.verify(&[], &[path])), 10);
}

#[test]
fn words_that_were_changed_are_found_without_the_record_by_what_was_signed() {
    let stage = Stage::new(1);
    let whole = stage.pages().join(PAGE);
    stage.edit(PAGE, |notebook| {
        let cells = notebook["cells"].as_array_mut().unwrap();
        let words = cells
            .iter_mut()
            .find(|cell| cell["cell_type"] == "markdown");
        words.unwrap()["source"] = "everything went well".into();
    });
    for paths in [[stage.pages()], [whole]] {
        assert_eq!(exit(stage.verify(&[], &paths)), 10, "{paths:?}");
        assert_eq!(exit(stage.verify(&[stage.public()], &paths)), 10);
    }
    let seal = stage.pages().join("seal");
    // A list of one's own, which another key signs, does not help: the statement does not name it.
    let content = std::fs::read(stage.pages().join(PAGE)).unwrap();
    let digest = code_deploy_record::Digest::of(&content);
    let sums = std::fs::read_to_string(seal.join("SHA256SUMS")).unwrap();
    let sums = sums.lines().map(|line| match line.ends_with(PAGE) {
        true => format!("{digest}  {PAGE}\n"),
        false => format!("{line}\n"),
    });
    let sums: String = sums.collect();
    let forger = SealKey::from_seed(&[9; 32]).unwrap();
    let signature = forger.sign_ssh(code_deploy_record::LISTED, sums.as_bytes());
    std::fs::write(seal.join("SHA256SUMS"), sums).unwrap();
    std::fs::write(seal.join("SHA256SUMS.sig"), signature.unwrap()).unwrap();
    assert_eq!(exit(stage.verify(&[], &[stage.pages()])), 11);
    assert_eq!(exit(stage.verify(&[stage.public()], &[stage.pages()])), 11);
}

#[test]
fn a_notebook_of_another_run_and_one_of_another_key_are_named() {
    let (stage, other) = (Stage::new(1), Stage::new(2));
    let given = stage.given();
    std::fs::copy(other.pages().join(PAGE), stage.pages().join(PAGE)).unwrap();
    assert_eq!(kinds(&stage.notebook_rows(&given, PAGE)), [Kind::Different]);
    stage.edit(PAGE, |notebook| {
        notebook["metadata"]["code-deploy"]["run"] = "another".into();
    });
    let rows = stage.notebook_rows(&given, PAGE);
    assert!(
        rows[0].what.contains("it says that it is of another"),
        "{}",
        rows[0].what
    );
}

#[test]
fn notebooks_of_another_version_count_where_the_key_signed_them() {
    let stage = Stage::new(1);
    let texts = |notebook: &mut serde_json::Value| {
        notebook["metadata"]["code-deploy"]["made_by"]["templates"] = "0".repeat(64).into();
    };
    let given = stage.given();
    stage.edit(PAGE, texts);
    assert_eq!(exit(stage.verify(&[], &stage.both())), 10);
    let unsigned = Given {
        is_signed: false,
        ..stage.given()
    };
    let rows = stage.notebook_rows(&unsigned, PAGE);
    assert_eq!(kinds(&rows), [Kind::NotComparable]);
    // The same bytes, but in the list that the key signed.
    let found = std::fs::read(stage.pages().join(PAGE)).unwrap();
    let digest = code_deploy_record::Digest::of(&found).to_string();
    let listed = given
        .listed
        .into_iter()
        .map(|(path, known)| match path.ends_with(PAGE) {
            true => (path, digest.clone()),
            false => (path, known),
        });
    let given = Given {
        listed: listed.collect(),
        ..given
    };
    assert_eq!(kinds(&stage.notebook_rows(&given, PAGE)), []);
    // In the folder that was signed, other bytes are a change, whatever they say made them.
    stage.edit(PAGE, |notebook| {
        notebook["cells"][0]["source"] = "everything went well".into();
    });
    assert_eq!(kinds(&stage.notebook_rows(&given, PAGE)), [Kind::Different]);
}

#[test]
fn notebooks_made_again_beside_other_runs_verify_without_the_files_that_were_signed() {
    let stage = Stage::new(1);
    let signed = publish::kept(&stage.record).unwrap().unwrap();
    let other = signed.sums().replacen('0', "1", 1);
    let text = signed.statement().to_vec();
    let signed = SignedStatement::sign(text, other, &stage.key).unwrap();
    for (name, content) in signed.files(&stage.key.public()) {
        stage.record.seal().write(name, &content).unwrap();
    }
    let again = stage.folder.path().join("again");
    publish::write(None, &stage.record, None, &again).unwrap();
    assert!(!again.join("seal").exists());
    let both = [stage.record.path().to_owned(), again];
    assert_eq!(exit(stage.verify(&[], &both)), 0);
}

#[test]
fn an_archive_is_the_same_bytes_every_time_and_verifies_where_it_is_unpacked() {
    let stage = Stage::new(1);
    let out = stage.folder.path().join("run.tar");
    publish::export(None, &stage.record, Some(&stage.key), &out).unwrap();
    let again = stage.folder.path().join("again.tar");
    publish::export(None, &stage.record, None, &again).unwrap();
    assert!(std::fs::read(&out).unwrap() == std::fs::read(&again).unwrap());
    let unpacked = stage.folder.path().join("unpacked");
    std::fs::create_dir(&unpacked).unwrap();
    let done = std::process::Command::new("tar")
        .arg("xf")
        .arg(&out)
        .arg("-C")
        .arg(&unpacked)
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    let run = stage.record.started().unwrap().run;
    let folder = unpacked.join(run.as_str());
    assert_eq!(exit(stage.verify(&[stage.public()], &[folder])), 0);
    let refused = publish::export(None, &stage.record, None, &out).unwrap_err();
    assert_eq!(refused.problem.code, crate::codes::CANNOT_WRITE);
}

/// Makes a record of a run after the stage's, which names it as it is now.
fn run_after(stage: &Stage, named: Option<PreviousRun>) -> RunFolder {
    let runs = RunsFolder::of_project(stage.folder.path());
    let id = "20991231T235959999Z-dev-local-0000".parse().unwrap();
    let later = runs.create_run(&id).unwrap();
    replay(&stage.record, &later, &stage.key, |body| match body {
        EventBody::RunStarted(mut started) => {
            started.run = id.clone();
            started.previous.clone_from(&named);
            EventBody::RunStarted(started)
        }
        body => body,
    });
    later
}

#[test]
fn a_run_that_was_written_anew_is_named_by_the_run_after_it() {
    let stage = Stage::new(1);
    let mut events = stage.record.events().unwrap();
    while events.next_event().unwrap().is_some() {}
    let named = PreviousRun {
        run: stage.record.started().unwrap().run,
        head: events.head(),
        checkpoint: stage
            .record
            .last_checkpoint()
            .unwrap()
            .map(|last| last.head),
    };
    assert!(named.checkpoint.is_some());
    let later = run_after(&stage, Some(named));
    let both = [stage.record.path().to_owned(), later.path().to_owned()];
    assert_eq!(exit(stage.verify(&[stage.public()], &both)), 0);

    // The earlier one with another end, sealed again with the same key: it verifies
    // by itself, and is not the one that the later run followed.
    let id = stage.record.started().unwrap().run;
    let kept = stage.folder.path().join("kept");
    std::fs::rename(stage.record.path(), &kept).unwrap();
    let runs = RunsFolder::of_project(stage.folder.path());
    let again = runs.create_run(&id).unwrap();
    replay(
        &RunFolder::at(&kept).unwrap(),
        &again,
        &stage.key,
        |body| match body {
            EventBody::RunFinished { outcome, .. } => EventBody::RunFinished {
                outcome,
                summary: "all went well".to_owned(),
            },
            body => body,
        },
    );
    assert_eq!(exit(stage.verify(&[stage.public()], &both[..1])), 0);
    let mut checked = Checked::default();
    records::check(&later, &Trust::default(), &Blind, &mut checked).unwrap();
    let [row] = checked.rows.as_slice() else {
        panic!("{} rows", checked.rows.len());
    };
    assert_eq!(row.place, "journal.jsonl:1");
    assert!(
        row.what
            .contains("one of the two was changed, or written anew")
    );
    assert_ne!(exit(stage.verify(&[stage.public()], &both)), 0);
}

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
fn told(paths: &[PathBuf]) -> (u8, String) {
    let face = Told::default();
    let arguments = VerifyArgs {
        paths: paths.to_vec(),
        notebooks: None,
        key: Vec::new(),
    };
    let result = verify(None, &arguments, &face);
    let mut said = face.0.into_inner().unwrap();
    if let Err(failure) = &result {
        said.extend(failure.lines());
    }
    (exit(result), said.join("\n"))
}

/// Lays notebooks and record into one folder, as the repository shows them.
fn side_by_side(stage: &Stage) -> (PathBuf, PathBuf) {
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
        (&journal, line(1, garbled), "journal.jsonl:1"),
        (&journal, line(500, garbled), "journal.jsonl:500"),
        (&journal, line(300, |_| String::new()), "journal.jsonl:300"),
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
    for words in ["299 events", "not followed from line 300 on, head "] {
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
    assert!(said.contains("Everything is as it was written."), "{said}");
}

/// Writes the first lines of the stage's record into a new one, which goes on being written.
fn unfinished(stage: &Stage, lines: usize) -> (RunFolder, code_deploy_record::JournalWriter) {
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
fn go_on(stage: &Stage, writer: &mut code_deploy_record::JournalWriter, from: usize, to: usize) {
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
        let compared = said.contains("26 notebooks and charts");
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
    let words = "compared with the 26 notebooks and charts that the record gives, signed, and with the \
                 11 files that say how they are signed";
    assert!(said.contains(words), "{said}");
}
