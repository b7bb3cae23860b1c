//! The record through its public surface.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod evidence;
mod extension;
mod halves;
mod journal;
mod lock;
mod missing;
mod own;
mod roles;
mod samples;
mod seal;
mod state;
mod tree;
mod unsigned;
mod verify;

use std::sync::{Arc, Mutex};

use chrono::{DateTime, Duration, Utc};
use code_deploy_record::{
    Clock, Digest, EventBody, JournalWriter, PhaseNumber, Redactor, RunFolder, RunStarted,
    RunsFolder, Severity,
};

/// A clock that goes on by one second with each look, unless it is set.
#[derive(Debug)]
pub struct SteppedClock(Mutex<DateTime<Utc>>);

impl SteppedClock {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new("2026-01-02T03:04:05Z".parse().unwrap())))
    }

    pub fn set(&self, time: &str) {
        *self.0.lock().unwrap() = time.parse().unwrap();
    }
}

impl Clock for SteppedClock {
    fn now(&self) -> DateTime<Utc> {
        let mut time = self.0.lock().unwrap();
        *time += Duration::seconds(1);
        *time
    }
}

pub struct Place {
    pub folder: tempfile::TempDir,
    pub run: RunFolder,
    pub clock: Arc<SteppedClock>,
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runs = RunsFolder::of_project(folder.path());
        let run = runs.create_run(&"run-1".parse().unwrap()).unwrap();
        Self {
            folder,
            run,
            clock: SteppedClock::new(),
        }
    }

    pub fn runs(&self) -> RunsFolder {
        RunsFolder::of_project(self.folder.path())
    }

    pub fn writer(&self) -> JournalWriter {
        self.run
            .create_journal(self.clock.clone(), Redactor::default())
            .unwrap()
    }

    /// A journal with a start and some notes.
    pub fn with_notes(count: usize) -> Self {
        let place = Self::new();
        let mut writer = place.writer();
        writer.append("engine", started()).unwrap();
        for number in 0..count {
            writer
                .append("engine", note(&format!("note {number}")))
                .unwrap();
        }
        place
    }

    pub fn journal(&self) -> Vec<u8> {
        std::fs::read(self.run.journal_path()).unwrap()
    }

    pub fn write_journal(&self, content: &[u8]) {
        std::fs::write(self.run.journal_path(), content).unwrap();
    }
}

pub fn started() -> EventBody {
    EventBody::RunStarted(Box::new(RunStarted {
        run: "run-1".parse().unwrap(),
        application: "shop".to_owned(),
        environment: "dev".to_owned(),
        target: "local".to_owned(),
        strategy: "canary".to_owned(),
        initial: false,
        from: Some("1.0.0".parse().unwrap()),
        to: "1.1.0".parse().unwrap(),
        program: "0.1.0".to_owned(),
        host: "host".to_owned(),
        user: "anna".to_owned(),
        deployment_file: Digest::of(b"file"),
        previous: None,
        planted_fault: None,
        reverts: None,
    }))
}

pub fn note(text: &str) -> EventBody {
    EventBody::Noted {
        severity: Severity::Info,
        text: text.to_owned(),
    }
}

pub fn phase(number: u8) -> PhaseNumber {
    PhaseNumber::new(number).unwrap()
}
