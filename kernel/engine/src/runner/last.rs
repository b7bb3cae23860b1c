//! The runs that were before: the last one, and those that a run requires.

use std::path::Path;
use std::sync::Arc;

use code_deploy_record::{
    EventBody, JournalReader, PreviousRun, Release, RunFolder, RunLock, RunOutcome, RunStarted,
    RunState, RunsFolder, Severity, said_signed,
};

use super::OpenOptions;
use super::open::fence;
use crate::{Error, Result};

/// The last run of an application in an environment.
pub(super) struct Last {
    pub(super) folder: RunFolder,
    pub(super) state: RunState,
}

impl Last {
    pub(super) fn run(&self) -> String {
        self.state
            .started
            .as_ref()
            .map_or_else(String::new, |started| started.run.to_string())
    }

    pub(super) fn is_ended(&self) -> bool {
        self.state.has_ended()
    }

    /// Returns whether it deployed to that target.
    pub(super) fn is_at(&self, target: &str) -> bool {
        let started = self.state.started.as_ref();
        started.is_some_and(|started| started.target == target)
    }

    /// Returns the release on which it left everything, once it has ended.
    pub(super) fn release_left(&self) -> Option<Release> {
        let started = self.state.started.as_ref()?;
        match self.state.finished.as_ref()?.0 {
            RunOutcome::Succeeded => Some(started.to.clone()),
            _ => started.from.clone(),
        }
    }

    /// Returns what ties the next run to it, so that the runs are one line.
    pub(super) fn link(&self) -> Result<PreviousRun> {
        let mut journal: JournalReader = self.folder.events()?;
        while journal.next_event()?.is_some() {}
        let run = self.run().parse().map_err(|_| damaged_name(&self.folder))?;
        Ok(PreviousRun {
            run,
            head: journal.head(),
            checkpoint: self.folder.last_checkpoint()?.map(|last| last.head),
        })
    }
}

/// Returns the folder of the runs of the project.
pub(super) fn runs_of(options: &OpenOptions) -> RunsFolder {
    let disk = Arc::clone(&options.surroundings.disk);
    RunsFolder::on_disk(disk, &options.spec.project)
}

/// Finds the last run of the application in the environment.
pub(super) fn last_run(runs: &RunsFolder, options: &OpenOptions) -> Result<Option<Last>> {
    let spec = &options.spec;
    for id in runs.list()?.into_iter().rev() {
        let folder = runs.run(&id)?;
        let Some(started) = started(&folder)? else {
            continue;
        };
        if started.application != spec.application || started.environment != spec.environment {
            continue;
        }
        let state = folder.state().map_err(|error| damaged(&folder, &error))?;
        return Ok(Some(Last { folder, state }));
    }
    Ok(None)
}

/// Returns how a run began; nothing when it was cut off before its first event, which is as if it
/// had never been.
fn started(folder: &RunFolder) -> Result<Option<RunStarted>> {
    match folder.started() {
        Ok(started) => Ok(Some(started)),
        Err(error) => {
            let nothing_written = folder
                .events()
                .and_then(|mut events| events.next_event())
                .is_ok_and(|first| first.is_none());
            if nothing_written {
                Ok(None)
            } else {
                Err(damaged(folder, &error))
            }
        }
    }
}

fn damaged(folder: &RunFolder, error: &code_deploy_record::Error) -> Error {
    let what = format!(
        "the record in {} cannot be relied on: {}",
        folder.path().display(),
        crate::error::with_sources(error)
    );
    Error::refused(
        crate::code::DAMAGED,
        what,
        "Restore the folder from a copy, or move it out of the runs folder once you know what \
         runs.",
    )
}

/// What was done of the end of the last run's record, for the journal of the next one.
pub(super) type Closed = (Severity, String);

/// Seals a run that ended but was cut off before its seal, or before that was signed. What something says was signed before
/// is not signed: whoever may write the folder can have put other lines in its place. Returns what the next run notes of it.
pub(super) fn seal_if_cut_off(
    last: Option<&Last>,
    options: &OpenOptions,
    lock: &RunLock,
) -> Result<Option<Closed>> {
    let Some(last) = last else {
        return Ok(None);
    };
    if last.state.sealed && last.folder.is_signed_to_its_end()? {
        return Ok(None);
    }
    let started = last.state.started.as_ref();
    let notebooks = started.map(|one| RunsFolder::notebooks_of(&options.spec.project, &one.run));
    let said = said_signed(&last.folder, notebooks.as_deref())?;
    let key = options.seal_key.as_ref().filter(|_| said.is_none());
    let (clock, redactor) = (Arc::clone(&options.clock), options.redactor.clone());
    let (mut writer, state, _) = last.folder.open_journal(clock, redactor)?;
    fence(&mut writer, lock, options);
    if state.sealed {
        // Only the key that the record names can sign it now: nothing is appended behind an end.
        writer.sign_with(key)?;
    } else {
        if let Some(key) = key {
            writer.seal_with(Arc::clone(key))?;
        }
        let events = writer.next_seq();
        writer.append("engine", EventBody::Sealed { events })?;
    }
    closed(last, options, said.as_deref())
}

/// Says what was signed of the end of the last run's record, and what was not.
fn closed(last: &Last, options: &OpenOptions, said: Option<&Path>) -> Result<Option<Closed>> {
    if options.seal_key.is_none() {
        return Ok(None);
    }
    let run = last.run();
    if let Some(said) = said {
        let text = format!(
            "the end of the record of run {run} is not signed: its checkpoint is not here, and {} says that the record \
             was signed before; `code-deploy verify {run}` names what is not here",
            said.display()
        );
        return Ok(Some((Severity::Medium, text)));
    }
    let is_signed = last.folder.is_signed_to_its_end()?;
    let text = format!(
        "this run signed the end of the record of run {run}, whose process was killed before it did"
    );
    Ok(is_signed.then_some((Severity::Info, text)))
}

pub(super) fn require_earlier(
    options: &OpenOptions,
    runs: &RunsFolder,
    to: &Release,
) -> Result<()> {
    for environment in &options.spec.requires {
        let mut other_file = false;
        let mut found = false;
        for id in runs.list()?.into_iter().rev() {
            let folder = runs.run(&id)?;
            let Some(started) = started(&folder)? else {
                continue;
            };
            let same = started.application == options.spec.application
                && started.environment == *environment
                && started.to == *to;
            if !same || !succeeded(&folder) {
                continue;
            }
            if started.deployment_file == options.spec.digest {
                found = true;
                break;
            }
            other_file = true;
        }
        if !found {
            return Err(required_missing(options, environment, to, other_file));
        }
    }
    Ok(())
}

fn succeeded(folder: &RunFolder) -> bool {
    let state = folder.state();
    state.is_ok_and(|state| {
        state
            .finished
            .is_some_and(|(outcome, ..)| outcome == RunOutcome::Succeeded)
    })
}

fn required_missing(
    options: &OpenOptions,
    environment: &str,
    to: &Release,
    other_file: bool,
) -> Error {
    let own = &options.spec.environment;
    let why = if other_file {
        "it did, but with another deployment file, Compose file or journey than now"
    } else {
        "no such run is recorded here"
    };
    Error::refused(
        "CD0415",
        format!("{own} requires that release {to} succeeded in {environment} before: {why}"),
        format!("Deploy release {to} to {environment} first."),
    )
}

pub(super) fn damaged_name(folder: &RunFolder) -> Error {
    let what = format!(
        "the record in {} has no valid run name",
        folder.path().display()
    );
    Error::refused(
        crate::code::DAMAGED,
        what,
        "Move the folder out of the runs folder.",
    )
}
