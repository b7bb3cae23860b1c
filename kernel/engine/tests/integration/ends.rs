//! The end of a record that its own process was killed before it signed.

use std::path::PathBuf;

use code_deploy_record::{EventBody, RunFolder, RunsFolder, SignedStatement};

use crate::stage::{Stage, seal_key};

/// A run to its end, whose last checkpoint is gone.
async fn without_its_last_checkpoint(stage: &Stage) -> (RunFolder, PathBuf) {
    let mut runner = stage.open("1.1.0").await;
    assert!(runner.run_all().await.unwrap().is_done());
    runner.close().await;
    let record = stage.last_run();
    let last = record.seal().checkpoints().unwrap().pop().unwrap();
    std::fs::remove_file(&last).unwrap();
    (record, last)
}

/// Begins the next run, and returns what it notes of the record of the one before.
async fn noted_by_the_next(stage: &Stage) -> Vec<String> {
    let runner = stage.open("1.2.0").await;
    runner.close().await;
    let noted = stage
        .events()
        .into_iter()
        .filter_map(|event| match event.body {
            EventBody::Noted { text, .. } if text.contains("the end of the record of run") => {
                Some(text)
            }
            _ => None,
        });
    noted.collect()
}

#[tokio::test]
async fn the_next_run_signs_an_end_that_was_left_unsigned_and_notes_that_it_did() {
    let stage = Stage::canary().await;
    let (record, last) = without_its_last_checkpoint(&stage).await;
    let run = record.started().unwrap().run;
    let noted = noted_by_the_next(&stage).await;
    assert_eq!(noted.len(), 1, "{noted:?}");
    let words = format!("this run signed the end of the record of run {run}");
    assert!(noted[0].starts_with(&words), "{noted:?}");
    assert!(last.is_file() && record.is_signed_to_its_end().unwrap());
}

#[tokio::test]
async fn an_end_that_something_says_was_signed_before_is_not_signed_anew() {
    let stage = Stage::canary().await;
    let (record, last) = without_its_last_checkpoint(&stage).await;
    let run = record.started().unwrap().run;
    let mut events = record.events().unwrap();
    while events.next_event().unwrap().is_some() {}
    let statement = serde_json::json!({ "predicate": { "record": events.tree() } });
    let key = seal_key();
    let signed = SignedStatement::sign(statement.to_string().into_bytes(), String::new(), &key);
    let left = RunsFolder::notebooks_of(&stage.spec.project, &run).join("seal");
    std::fs::create_dir_all(&left).unwrap();
    for (name, content) in signed.unwrap().files(&key.public()) {
        std::fs::write(left.join(name), content).unwrap();
    }
    let noted = noted_by_the_next(&stage).await;
    assert_eq!(noted.len(), 1, "{noted:?}");
    let words = format!("the end of the record of run {run} is not signed");
    assert!(noted[0].starts_with(&words), "{noted:?}");
    assert!(!last.exists());
}
