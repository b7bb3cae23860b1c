//! Carrying out verbs: phase by phase, each step after the ones it needs.

use std::collections::BTreeSet;
use std::sync::Arc;

use code_deploy_record::{
    EventBody, Outcome, PhaseNumber, PlannedStep, Problem, Steering, StepName, StepStatus, Trigger,
};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;

use super::ready::Ready;
use super::{Ended, Runner, VerbDone, forward};
use crate::step::{StepError, StepErrorKind};
use crate::{Context, Error, Result, Step, policy, settle};

/// The verbs in the order of the phases.
pub const VERBS: [&str; 10] = [
    "inventory",
    "plan",
    "preflight",
    "build",
    "provision",
    "migrate",
    "release",
    "observe",
    "validate",
    "handover",
];

/// Steps that work side by side at most: more would only compete for the same machine.
const SIDE_BY_SIDE: usize = 8;

/// Steps that mostly wait, side by side at most: a run of many services is not to wait for one after
/// the other.
const WAITING: usize = 1024;

/// From this phase on a failure sends the run back: data or traffic may have changed.
pub(super) const FIRST_CHANGE: u8 = 5;

/// How a series of steps ended.
enum Steps {
    Done(VerbDone),
    Failed(StepError),
    GoBack { by: String, reason: String },
    Left(String),
}

type Running<'a> = FuturesUnordered<BoxFuture<'a, (&'a Arc<dyn Step>, Result<(), StepError>)>>;

/// Begins a step.
fn begin<'a>(context: &'a Context, step: &'a Arc<dyn Step>, running: &Running<'a>) {
    running.push(Box::pin(
        async move { (step, forward(context, step).await) },
    ));
}

impl Runner {
    /// Carries a verb out, whole or one section of it. What is done stays done and is named in
    /// the answer.
    ///
    /// # Errors
    /// [`Error::Refused`], with nothing changed: `CD0419` the run is ended; `CD0420` an earlier
    /// phase is not done; `CD0421` there is no such verb or section; `CD0422` an earlier section
    /// is not done; `CD0423` the run is going back. Any other error means that the record could
    /// not be written.
    pub async fn run_verb(&mut self, verb: &str, section: Option<&str>) -> Result<Ended> {
        let phase = self.refuse_out_of_order(verb, section)?;
        let selection = self.plan.selection(verb, section);
        self.refuse_missing_before(verb, &selection)?;
        if self.state().phase_done(phase) {
            let already = selection
                .iter()
                .map(|step| step.planned().step.clone())
                .collect();
            return Ok(Ended::Done(VerbDone {
                done: Vec::new(),
                already,
            }));
        }
        self.resume_if_paused().await?;
        if let Some(ended) = self.end_empty_before(phase).await? {
            return Ok(ended);
        }
        self.start_phase(phase).await?;
        if phase.get() >= 6 {
            self.live.probe(&self.context);
        }
        match self.run_steps(&selection).await? {
            Steps::Done(done) => self.end_phase(phase, done).await,
            Steps::Failed(error) => self.phase_failed(phase, error).await,
            Steps::GoBack { by, reason } => {
                self.finish_phase(phase, Outcome::Stopped, &reason).await?;
                self.go_back(Trigger::Person, &format!("{by}: {reason}"))
                    .await
            }
            Steps::Left(text) => Ok(Ended::Interrupted(text)),
        }
    }

    /// Carries out all verbs that are not done, and ends the run. A run that was going back goes
    /// on doing so.
    ///
    /// # Errors
    /// When the record could not be written, or the run is ended.
    pub async fn run_all(&mut self) -> Result<Ended> {
        if let Some(ended) = self.go_on_going_back().await? {
            return Ok(ended);
        }
        for verb in VERBS {
            match self.run_verb(verb, None).await? {
                Ended::Done(_) => {}
                Ended::Failed(problem) => return self.give_up(problem).await,
                ended => return Ok(ended),
            }
        }
        match self.finish().await? {
            Ended::Failed(problem) => self.give_up(problem).await,
            ended => Ok(ended),
        }
    }

    /// Goes on with a rollback that was under way when the process before ended, or that a step
    /// which failed then has to lead to.
    async fn go_on_going_back(&mut self) -> Result<Option<Ended>> {
        let state = self.state();
        if let Some((trigger, reason)) = state.rollback.clone() {
            return self.go_back(trigger, &reason).await.map(Some);
        }
        let failed = state.steps.iter().find(|(_, step)| {
            let stopped = step
                .problem
                .as_ref()
                .is_some_and(|problem| problem.code == crate::code::PAUSED);
            step.status == StepStatus::Failed && !stopped
        });
        match failed {
            Some((name, step)) if self.touched() => {
                let what = step
                    .problem
                    .as_ref()
                    .map_or("", |problem| problem.what.as_str());
                let reason = format!("step {name} had failed before the run was joined: {what}");
                self.go_back(Trigger::Failure, &reason).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Returns whether the plan has nothing to do in a phase, which then has no cell either.
    fn is_empty(&self, phase: PhaseNumber) -> bool {
        let steps = self.plan.steps.iter().map(|step| step.planned());
        let mut own = steps.filter(|step| step.phase == phase && !is_final(step));
        own.next().is_none()
    }

    /// Ends the phases before one that have no step and were not asked for by name: their items
    /// are settled all the same. Returns how the run ended if one of them ended it.
    async fn end_empty_before(&mut self, phase: PhaseNumber) -> Result<Option<Ended>> {
        for earlier in PhaseNumber::all().take_while(|earlier| *earlier < phase) {
            if self.state().phase_done(earlier) {
                continue;
            }
            self.start_phase(earlier).await?;
            match self.end_phase(earlier, VerbDone::default()).await? {
                Ended::Done(_) => {}
                ended => return Ok(Some(ended)),
            }
        }
        Ok(None)
    }

    fn refuse_out_of_order(&self, verb: &str, section: Option<&str>) -> Result<PhaseNumber> {
        let state = self.state();
        if state.finished.is_some() && state.rollback.is_none() {
            return Err(self.ended_already());
        }
        if state.rollback.is_some() {
            let what = "the run is going back to the release before";
            let next = "`code-deploy rollback` goes on with it.";
            return Err(Error::refused(crate::code::GOING_BACK, what, next));
        }
        let phase = phase_of(verb)?;
        let earlier = PhaseNumber::all().take_while(|earlier| *earlier < phase);
        if let Some(missing) = earlier
            .into_iter()
            .find(|earlier| !state.phase_done(*earlier) && !self.is_empty(*earlier))
        {
            let word = missing.verb();
            let stands = match state.phases.get(&missing) {
                Some(phase) if phase.finished.is_some() => "did not pass",
                Some(_) => "is not done",
                None => "has not begun",
            };
            let what = format!("{verb} cannot run yet: phase {missing} ({word}) {stands}");
            let next = match word {
                "plan" => "Carry out `code-deploy inventory`, then `code-deploy plan`.".to_owned(),
                word => format!("Carry out `code-deploy {word}` first."),
            };
            return Err(Error::refused(crate::code::PHASE_NOT_DONE, what, next));
        }
        let sections = self.plan.sections(verb);
        match section {
            Some(wanted) if !sections.iter().any(|known| known == wanted) => {
                let known = if sections.is_empty() {
                    "none".into()
                } else {
                    sections.join(", ")
                };
                let what = format!("{verb} has no section `{wanted}` in this plan");
                let next = format!("Its sections are: {known}.");
                Err(Error::refused(crate::code::NO_SUCH_SECTION, what, next))
            }
            _ => Ok(phase),
        }
    }

    pub(crate) fn ended_already(&self) -> Error {
        let state = self.state();
        let run = state
            .started
            .as_ref()
            .map(|s| s.run.to_string())
            .unwrap_or_default();
        let how = state
            .finished
            .as_ref()
            .map_or("ended", |(outcome, ..)| outcome.words());
        let what = format!("run {run} is ended: {how}");
        Error::refused(
            "CD0419",
            what,
            "Begin another run by `code-deploy ENV TARGET`.",
        )
    }

    fn refuse_missing_before(&self, verb: &str, selection: &[Arc<dyn Step>]) -> Result<()> {
        let state = self.state();
        let chosen: BTreeSet<_> = selection.iter().map(|step| &step.planned().step).collect();
        // `plan` shares its phase with `inventory`, which has to be done whole before.
        let inventory = self
            .plan
            .of_verb("inventory")
            .map(|step| step.planned().step.clone());
        let inventory = inventory.filter(|_| verb == "plan");
        let before = selection
            .iter()
            .flat_map(|step| self.plan.before(step.planned()));
        let missing = before
            .chain(inventory)
            .find(|name| !chosen.contains(name) && !state.step_done(name));
        let Some(missing) = missing else {
            return Ok(());
        };
        let what = format!("step {missing} has to be done before, and is not");
        let (verb, section) = (
            crate::plan::verb_of(&missing),
            crate::plan::section_of(&missing),
        );
        Err(Error::refused(
            "CD0422",
            what,
            format!("Carry out `code-deploy {verb} {section}` first."),
        ))
    }

    /// A run that an interrupt left standing goes on when a verb is asked of it.
    async fn resume_if_paused(&self) -> Result<()> {
        if self.state().paused && self.context.safe_point().is_ok() {
            let found = "asked to go on in the same process".to_owned();
            self.context
                .journal
                .append("engine", EventBody::Resumed { found })
                .await?;
        }
        Ok(())
    }

    async fn start_phase(&self, phase: PhaseNumber) -> Result<()> {
        let state = self.state();
        let open = state
            .phases
            .get(&phase)
            .is_some_and(|phase| phase.finished.is_none());
        if !open {
            self.context
                .journal
                .append("engine", EventBody::PhaseStarted { phase })
                .await?;
        }
        Ok(())
    }

    pub(super) async fn finish_phase(
        &self,
        phase: PhaseNumber,
        outcome: Outcome,
        reason: &str,
    ) -> Result<()> {
        let reason = reason.to_owned();
        let body = EventBody::PhaseFinished {
            phase,
            outcome,
            reason,
        };
        self.context.journal.append("engine", body).await?;
        Ok(())
    }

    /// Ends a phase when all its steps are done, as the environment's policy says.
    async fn end_phase(&mut self, phase: PhaseNumber, done: VerbDone) -> Result<Ended> {
        let state = self.state();
        let steps = self.plan.steps.iter().map(|step| step.planned());
        let mut steps = steps.filter(|step| step.phase == phase && !is_final(step));
        let verb_pending = phase.get() == 1 && self.inventory_only(&done);
        if verb_pending || !steps.all(|step| state.step_done(&step.step)) {
            return Ok(Ended::Done(done));
        }
        settle::settle_rest(
            &self.context,
            &self.inputs,
            self.item_facts,
            self.catalog,
            Some(phase),
        )
        .await?;
        let stops = policy::stops(
            &self.context.spec.policy,
            self.catalog,
            &self.state(),
            phase,
        );
        if stops.is_empty() {
            self.finish_phase(phase, Outcome::Done, "").await?;
            return Ok(Ended::Done(done));
        }
        // What does not hold is no reason to stay with what the run goes back from.
        if self.context.goes_back() {
            let reason = format!(
                "the run goes back, so it is not stopped by: {}",
                stops.reason()
            );
            self.finish_phase(phase, Outcome::Done, &reason).await?;
            return Ok(Ended::Done(done));
        }
        let environment = &self.context.spec.environment;
        let what = format!(
            "phase {phase} stops by the policy of {environment}: {}",
            stops.reason()
        );
        self.finish_phase(phase, Outcome::Failed, &what).await?;
        let verb = phase.verb();
        let next = match stops.is_of_another_phase {
            true => "Roll back by `code-deploy rollback`: the step that found it is done and does not look again"
                .to_owned(),
            false => format!("Mend what is named and run {verb} again, or roll back"),
        };
        let next = format!(
            "{next}; what is accepted stands under `waivers` of the deployment file before a run begins."
        );
        self.stopped_by_policy(&stops, what, next).await
    }

    /// A plan without steps of its own for `plan` ends its phase with `plan`, not before.
    fn inventory_only(&self, done: &VerbDone) -> bool {
        let mut names = done.done.iter().chain(&done.already).peekable();
        names.peek().is_some() && names.all(|name| crate::plan::verb_of(name) == "inventory")
    }

    async fn phase_failed(&mut self, phase: PhaseNumber, error: StepError) -> Result<Ended> {
        if crate::code::is_of_the_record(&error.problem.code) {
            return Err(error.into());
        }
        let what = error.problem.what.clone();
        self.finish_phase(phase, Outcome::Failed, &what).await?;
        if self.touched() {
            let trigger = match error.kind {
                StepErrorKind::Gate => Trigger::Gate,
                _ => Trigger::Failure,
            };
            return self.go_back(trigger, &what).await;
        }
        let mut problem = error.problem;
        problem.state = "No data and no traffic was touched; the run is not ended.".to_owned();
        Ok(Ended::Failed(problem))
    }

    pub(super) fn problem(&self, code: &str, what: String, next: String) -> Problem {
        let state = if self.touched() {
            "The new release may have been started; the run is not ended."
        } else {
            "No data and no traffic was touched; the run is not ended."
        };
        Problem {
            code: code.to_owned(),
            what,
            state: state.to_owned(),
            next,
        }
    }

    /// Returns whether a step may have acted that changes data or what runs.
    pub(crate) fn touched(&self) -> bool {
        let state = self.state();
        state.applied.iter().any(|name| {
            let planned = self.plan.step(name).map(|step| step.planned());
            planned.is_some_and(|step| step.changes && step.phase.get() >= FIRST_CHANGE)
        })
    }

    pub(super) fn traffic_moved(&self) -> bool {
        let state = self.state();
        let moved = |served: &std::collections::BTreeMap<_, u16>| {
            served.get(&self.context.to).is_some_and(|share| *share > 0)
        };
        state.traffic.values().any(|(served, _)| moved(served))
    }

    /// Runs the steps that are not done, each after the ones it needs, independent ones side by
    /// side. After a failure no further step is begun; those under way end first.
    async fn run_steps(&self, selection: &[Arc<dyn Step>]) -> Result<Steps> {
        let mut ended = VerbDone::default();
        let state = self.state();
        for step in selection
            .iter()
            .filter(|step| state.step_done(&step.planned().step))
        {
            ended.already.push(step.planned().step.clone());
        }
        let mut running: Running<'_> = FuturesUnordered::new();
        let mut waiting = 0;
        let mut ready = Ready::of(&self.plan, selection, &state);
        drop(state);
        let mut failure: Option<StepError> = None;
        loop {
            let may_begin = failure.is_none() && self.context.safe_point().is_ok();
            while may_begin && running.len() - waiting < SIDE_BY_SIDE {
                let Some(step) = ready.take(false) else { break };
                begin(&self.context, step, &running);
            }
            while may_begin && waiting < WAITING {
                let Some(step) = ready.take(true) else { break };
                waiting += 1;
                begin(&self.context, step, &running);
            }
            let Some((step, result)) = running.next().await else {
                if let Some(error) = failure {
                    return Ok(Steps::Failed(error));
                }
                if self.context.safe_point().is_ok() {
                    return Ok(Steps::Done(ended));
                }
                match self.wait_at_safe_point(ended.done.last()).await? {
                    None => continue,
                    Some(steered) => return Ok(steered),
                }
            };
            waiting -= usize::from(step.mostly_waits());
            let name = &step.planned().step;
            match result {
                Ok(()) => {
                    ready.done(name);
                    ended.done.push(name.clone());
                }
                Err(error) if error.kind == StepErrorKind::Steered => ready.give_back(name),
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
        }
    }

    /// Stands still until somebody resumes the run or sends it back. Returns nothing when it
    /// goes on.
    async fn wait_at_safe_point(&self, after: Option<&StepName>) -> Result<Option<Steps>> {
        let context = &self.context;
        loop {
            let asked = tokio::select! {
                biased;
                asked = context.interruption.wait() => asked,
                // Cancel safe: nothing is taken from the token.
                () = self.leave.cancelled() => {
                    (Steering::Pause, self.person.name.clone(), "interrupted".to_owned())
                }
                // A run that stands still is not to wait for ever on a disk that took nothing.
                error = context.journal.failed() => return Err(error.into()),
            };
            let (verb, by, reason) = asked.clone();
            match verb {
                Steering::Rollback => return Ok(Some(Steps::GoBack { by, reason })),
                Steering::Pause => {
                    if !self.state().paused {
                        let body = EventBody::Paused {
                            after: after.cloned(),
                            by: Some(by),
                            reason: Some(reason),
                        };
                        context.journal.append("engine", body).await?;
                    }
                    if self.leave.is_cancelled() {
                        return Ok(Some(Steps::Left(self.where_it_stands(after))));
                    }
                    context.interruption.carried_out(&asked);
                }
                Steering::Resume | Steering::Approve => {
                    let found = format!("{by} resumed it: {reason}");
                    context
                        .journal
                        .append("engine", EventBody::Resumed { found })
                        .await?;
                    context.interruption.carried_out(&asked);
                    return Ok(None);
                }
            }
        }
    }

    /// Says behind which step the run stands, and which one is next.
    fn where_it_stands(&self, after: Option<&StepName>) -> String {
        let state = self.state();
        let mut open = self.plan.steps.iter().map(|step| &step.planned().step);
        let next = open.find(|step| !state.step_done(step));
        let mut text = "the run stands at a safe point".to_owned();
        if let Some(after) = after {
            text.push_str(&format!(", behind {after}"));
        }
        if let Some(next) = next {
            text.push_str(&format!("; it goes on with {next}"));
        }
        text
    }

    /// Carries out the steps that end a run.
    pub(super) async fn run_final_steps(&mut self) -> Result<Option<Ended>> {
        let selection: Vec<_> = self.plan.of_verb("finish").cloned().collect();
        match self.run_steps(&selection).await? {
            Steps::Done(_) => Ok(None),
            Steps::Failed(error) if crate::code::is_of_the_record(&error.problem.code) => {
                Err(error.into())
            }
            Steps::Failed(error) => {
                let reason = error.problem.what;
                self.go_back(Trigger::Failure, &reason).await.map(Some)
            }
            Steps::GoBack { by, reason } => self
                .go_back(Trigger::Person, &format!("{by}: {reason}"))
                .await
                .map(Some),
            Steps::Left(text) => Ok(Some(Ended::Interrupted(text))),
        }
    }
}

fn is_final(step: &PlannedStep) -> bool {
    crate::plan::verb_of(&step.step) == "finish"
}

/// Returns the phase that a verb belongs to.
///
/// # Errors
/// [`Error::Refused`] (`CD0421`) when there is no such verb.
pub fn phase_of(verb: &str) -> Result<PhaseNumber> {
    let named =
        |phase: &PhaseNumber| phase.verb() == verb || (verb == "inventory" && phase.get() == 1);
    PhaseNumber::all().find(named).ok_or_else(|| {
        let next = format!("The verbs are: {}.", VERBS.join(", "));
        Error::refused(
            crate::code::NO_SUCH_SECTION,
            format!("there is no verb `{verb}`"),
            next,
        )
    })
}
