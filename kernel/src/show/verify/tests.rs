//! Damage of every kind, done to a sealed record and to the notebooks made from it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod approved;
mod attributed;
mod builds;
mod forged;
mod halves;
mod hostile;
mod imposed;
mod left;
mod no_files;
mod not_recorded;
mod outputs;
mod roles;
mod swapped;
mod told;
mod vouched;
mod without_end;

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
    replay_with(shown, record, Some(key), change);
}

/// As [`replay`], without a signature where there is no key.
fn replay_with(
    shown: &RunFolder,
    record: &RunFolder,
    key: Option<&Arc<SealKey>>,
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
        if let (0, Some(key)) = (event.seq, key) {
            writer.seal_with(Arc::clone(key)).unwrap();
        }
    }
}

impl Stage {
    fn new(seed: u8) -> Self {
        Self::with(seed, true)
    }

    /// The same record without a key: nothing of it is signed.
    fn unsigned() -> Self {
        Self::with(1, false)
    }

    fn with(seed: u8, is_sealed: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let shown = Path::new(env!("CARGO_MANIFEST_DIR")).join("../notebooks/record");
        let shown = RunFolder::at(&shown).unwrap();
        let id = shown.started().unwrap().run;
        let record = RunsFolder::of_project(folder.path())
            .create_run(&id)
            .unwrap();
        let key = Arc::new(SealKey::from_seed(&[seed; 32]).unwrap());
        replay_with(&shown, &record, is_sealed.then_some(&key), |body| body);
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
            key: files,
            ..VerifyArgs::default()
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
fn a_run_that_is_not_named_by_a_path_is_checked_with_the_notebooks_it_left() {
    let stage = Stage::new(1);
    let project = Project {
        file: stage.folder.path().join("deploy.yaml"),
        folder: stage.folder.path().to_owned(),
    };
    let run = stage.record.started().unwrap().run;
    let left = project.notebooks_of(&run);
    std::fs::create_dir(stage.folder.path().join("deployments")).unwrap();
    std::fs::rename(stage.pages(), &left).unwrap();
    let named = VerifyArgs {
        paths: vec![run.as_str().into()],
        ..VerifyArgs::default()
    };
    let all = [VerifyArgs::default(), named];
    for arguments in &all {
        assert_eq!(exit(verify(Some(&project), arguments, &Blind)), 0);
    }
    let page = left.join(PAGE);
    let text = std::fs::read_to_string(&page).unwrap();
    std::fs::write(&page, text.replacen("canary", "Canary", 1)).unwrap();
    for arguments in &all {
        assert_eq!(exit(verify(Some(&project), arguments, &Blind)), 10);
    }
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
        assert!(
            row.what.starts_with(&format!("{what} (cell ")),
            "{}",
            row.what
        );
        assert!(row.what.contains(", under \""), "{}", row.what);
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
    // A list of one's own, which another key signs, does not help: the statement does not name what it lists.
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
    assert_eq!(exit(stage.verify(&[], &[stage.pages()])), 10);
    assert_eq!(exit(stage.verify(&[stage.public()], &[stage.pages()])), 10);
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
    publish::publish(None, &later, Some(&stage.key)).unwrap();
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
    publish::publish(None, &again, Some(&stage.key)).unwrap();
    assert_eq!(exit(stage.verify(&[stage.public()], &both[..1])), 0);
    let mut checked = Checked::default();
    records::check(&later, &Trust::default(), &Blind, &mut checked).unwrap();
    let [row] = checked.rows.as_slice() else {
        panic!("{} rows", checked.rows.len());
    };
    assert_eq!(row.place, "journal.jsonl, event 0");
    assert!(
        row.what
            .contains("one of the two was changed, or written anew")
    );
    assert_ne!(exit(stage.verify(&[stage.public()], &both)), 0);
}
