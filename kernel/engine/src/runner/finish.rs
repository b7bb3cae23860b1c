//! Ending a run: the last steps, the last look, what no step settled, the seal.

use code_deploy_record::{
    Digest, EventBody, Outcome, PhaseNumber, RunFolder, RunOutcome, StepStatus,
};

use super::{Ended, Runner, VerbDone};
use crate::{Context, Error, Result, settle};

/// How often the target is asked what runs, when it does not say.
const LOOKS: u32 = 4;

/// The pause before it is asked again; it doubles with each.
const LOOK: std::time::Duration = std::time::Duration::from_millis(500);

impl Runner {
    /// Ends a run whose phases are all done: stops the old release and the outside client, looks
    /// once more at what runs, settles what no step settled, and seals the record. A run does not succeed while an item
    /// does not hold that its policy stops at.
    ///
    /// # Errors
    /// [`Error::Refused`]: `CD0420` a phase is not done; `CD0419` the run is ended; `CD0423` it is
    /// going back. Any other error means that the record could not be written.
    pub async fn finish(&mut self) -> Result<Ended> {
        let state = self.state();
        if state.finished.is_some() && state.rollback.is_none() {
            return Err(self.ended_already());
        }
        if state.rollback.is_some() {
            let next = "`code-deploy rollback` goes on with it.";
            return Err(Error::refused(
                crate::code::GOING_BACK,
                "the run is going back",
                next,
            ));
        }
        if let Some(missing) = PhaseNumber::all().find(|phase| !state.phase_done(*phase)) {
            let verb = missing.verb();
            let what = format!("the run cannot be ended: phase {missing} ({verb}) is not done");
            return Err(Error::refused(
                crate::code::PHASE_NOT_DONE,
                what,
                format!("Carry out `code-deploy {verb}` first."),
            ));
        }
        // While going back is a matter of moving traffic.
        if let Some(ended) = self.stopped_by_failed().await? {
            return Ok(ended);
        }
        if let Some(ended) = self.run_final_steps().await? {
            return Ok(ended);
        }
        if let Err(what) = self.all_on(&self.context.to).await {
            let reason = format!("at the end not everything is on the new release: {what}");
            return self
                .go_back(code_deploy_record::Trigger::Failure, &reason)
                .await;
        }
        if !self.context.interruption.close() {
            return self.go_back_as_asked().await;
        }
        settle::search_record_again(&self.context).await?;
        if let Some(ended) = self.stopped_by_failed().await? {
            return Ok(ended);
        }
        let summary = self.success_summary();
        self.conclude(RunOutcome::Succeeded, summary).await?;
        Ok(Ended::Done(VerbDone::default()))
    }

    /// Goes back because somebody asked for that at the last moment.
    async fn go_back_as_asked(&mut self) -> Result<Ended> {
        let asked = self.context.interruption.asked();
        let (by, reason) = asked.map_or_else(
            || {
                (
                    self.person.name.clone(),
                    "asked at the last moment".to_owned(),
                )
            },
            |(_, by, reason)| (by, reason),
        );
        let trigger = code_deploy_record::Trigger::Person;
        self.go_back(trigger, &format!("{by}: {reason}")).await
    }

    /// Asks the target what runs; one answer that fails is no answer.
    pub(crate) async fn look(&self) -> Result<crate::target::Observed, String> {
        let mut pause = LOOK;
        for _ in 1..LOOKS {
            match self.context.target.observe().await {
                Ok(observed) => return Ok(observed),
                Err(error) => tracing::warn!(%error, "the target did not say what runs"),
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        let last = self.context.target.observe().await;
        last.map_err(|error| error.to_string())
    }

    fn success_summary(&self) -> String {
        let state = self.state();
        let (to, services) = (&self.context.to, self.context.spec.services.len());
        let client = state.clients.get("client").map_or_else(
            || "no outside client was asked for".to_owned(),
            |client| {
                format!(
                    "the outside client sent {} requests, {} failed",
                    client.sent, client.failed
                )
            },
        );
        let services = match services {
            1 => "1 service".to_owned(),
            more => format!("{more} services"),
        };
        format!("release {to} has all traffic of {services}; {client}")
    }

    /// Checks by what the target says that all services are on a release and nothing else is
    /// served. Returns what is not so.
    pub(crate) async fn all_on(&self, release: &code_deploy_record::Release) -> Result<(), String> {
        let observed = self.look().await?;
        if observed.stable.as_ref() != Some(release) {
            let stable = observed
                .stable
                .map_or_else(|| "no release".to_owned(), |r| r.to_string());
            return Err(format!("{stable} has all traffic, not {release}"));
        }
        for service in &self.context.spec.services {
            let running = observed.instances.iter().filter(|instance| {
                instance.running && instance.service == service.name && instance.release == *release
            });
            let (running, wanted) = (running.count(), service.replicas as usize);
            if running < wanted {
                let name = &service.name;
                return Err(format!(
                    "{name} has {running} of {wanted} instances of {release}"
                ));
            }
        }
        Ok(())
    }

    /// Gives a run up that could not pass a phase: takes back what was prepared, and ends it.
    pub(super) async fn give_up(&mut self, problem: code_deploy_record::Problem) -> Result<Ended> {
        let problem = ended_problem(problem, &self.context);
        if self.state().to_undo().is_empty() {
            let summary = format!("nothing was changed: {}", problem.what);
            self.conclude(RunOutcome::Refused, summary).await?;
            return Ok(Ended::Refused(problem));
        }
        match self
            .go_back(code_deploy_record::Trigger::Failure, &problem.what)
            .await?
        {
            Ended::Refused(_) => Ok(Ended::Refused(problem)),
            ended => Ok(ended),
        }
    }

    /// Writes the end of a run into its record. A run that needs a person is not sealed: it goes
    /// on when somebody resumes it or rolls it back.
    pub(crate) async fn conclude(&mut self, outcome: RunOutcome, summary: String) -> Result<()> {
        self.live.stop_probing().await;
        if outcome != RunOutcome::NeedsPerson {
            self.live.stop_watching().await;
            settle::settle_rest(
                &self.context,
                &self.inputs,
                self.item_facts,
                self.catalog,
                None,
            )
            .await?;
            // Before a run succeeds this is done while it can still be stopped.
            if outcome != RunOutcome::Succeeded {
                settle::search_record_again(&self.context).await?;
            }
            self.end_open_phase().await?;
            self.close_samples().await?;
        }
        let body = EventBody::RunFinished { outcome, summary };
        let journal = &self.context.journal;
        journal.append("engine", body).await?;
        if outcome != RunOutcome::NeedsPerson {
            let events = self.state().events;
            journal
                .append("engine", EventBody::Sealed { events })
                .await?;
        }
        Ok(())
    }

    async fn end_open_phase(&self) -> Result<()> {
        let Some(phase) = self.state().present_phase() else {
            return Ok(());
        };
        self.finish_phase(phase, Outcome::Stopped, "the run ended")
            .await
    }

    async fn close_samples(&self) -> Result<()> {
        if let Err(error) = self.context.target.sample_into(None).await {
            tracing::warn!(%error, "the target goes on writing samples");
        }
        let folder = self.context.run.clone();
        let surroundings = &self.context.surroundings;
        let read = move || digests(&folder);
        let closed = surroundings.on_disk("reading the samples", read).await?;
        for (file, digest, samples) in closed {
            let body = EventBody::SamplesClosed {
                file,
                digest,
                samples,
            };
            self.context.journal.append("engine", body).await?;
        }
        Ok(())
    }

    /// Returns the step that stands in the way, for the text that a person gets.
    pub(crate) fn stuck_step(&self) -> Option<String> {
        let state = self.state();
        let stuck = state
            .steps
            .iter()
            .find(|(_, step)| step.status == StepStatus::UndoFailed);
        stuck.map(|(name, _)| name.to_string())
    }
}

/// Returns each samples file with its digest and its number of lines.
fn digests(run: &RunFolder) -> Result<Vec<(String, Digest, u64)>, code_deploy_record::Error> {
    let folder = run.samples_path();
    let entries = match run.disk().entries(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unread(&folder, error)),
    };
    let mut files = Vec::new();
    for path in entries {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default()
            .to_owned();
        if !name.ends_with(".jsonl") {
            continue;
        }
        let content = run.disk().read(&path);
        let content = content.map_err(|error| unread(&path, error))?;
        let mut counted = CountLines {
            inner: content,
            lines: 0,
        };
        let digest = Digest::of_reader(&mut counted).map_err(|error| unread(&path, error))?;
        files.push((name, digest, counted.lines));
    }
    files.sort();
    Ok(files)
}

fn unread(path: &std::path::Path, error: std::io::Error) -> code_deploy_record::Error {
    code_deploy_record::Error::io("read", path)(error)
}

struct CountLines {
    inner: Box<dyn code_deploy_record::disk::ReadFile>,
    lines: u64,
}

impl std::io::Read for CountLines {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let part = buffer.get(..read).unwrap_or_default();
        self.lines += part.iter().filter(|byte| **byte == b'\n').count() as u64;
        Ok(read)
    }
}

/// Returns a problem that ends the whole run: what it said of a run that goes on is no longer so.
fn ended_problem(
    mut problem: code_deploy_record::Problem,
    context: &Context,
) -> code_deploy_record::Problem {
    problem.state = "What runs is as before the run, which is ended.".to_owned();
    if problem.code == crate::code::STOPPED_BY_POLICY {
        problem.next =
            "Mend what is named, or accept it under `waivers` of the deployment file, and deploy again; the notebooks of \
             the run have the details."
                .to_owned();
        if context.from.is_some() {
            let (environment, target) = (&context.spec.environment, &context.spec.target);
            problem.next.push_str(&format!(
                " Where the release that runs is ill, `code-deploy rollback --environment {environment} \
                 --target {target}` leaves it without judging it."
            ));
        }
    }
    problem
}
