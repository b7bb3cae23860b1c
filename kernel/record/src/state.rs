//! Where a run stands: a pure fold over its events, and nothing else.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::{
    Check, ClientCounted, Component, Digest, Direction, Event, EventBody, EvidenceRef, Gate,
    ItemId, Outcome, PhaseNumber, Planned, PlannedStep, Probe, Problem, PublicKeys, Release,
    RunOutcome, RunStarted, Steering, StepName, Trigger, Verdict,
};

/// Where a run stands. Its size grows with the plan and the inventory, not with the journal.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunState {
    /// How the run began; nothing before the first event.
    pub started: Option<RunStarted>,
    /// When the run began.
    pub since: Option<DateTime<Utc>>,
    /// The fencing number of the process that carries the run out; 0 before it is known.
    pub fencing: u64,
    /// The components of the inventory.
    pub components: Vec<Component>,
    /// The plan.
    pub plan: Option<Planned>,
    /// The phases that began.
    pub phases: BTreeMap<PhaseNumber, PhaseState>,
    /// The steps that were intended.
    pub steps: BTreeMap<StepName, StepState>,
    /// The order in which steps were applied, for going back.
    pub applied: Vec<StepName>,
    /// The last answer of each gate to each subject, in the order of the first answers.
    pub gates: Vec<GateState>,
    /// The share that each release of each service is served, with its stable release.
    pub traffic: BTreeMap<String, (BTreeMap<Release, u16>, Release)>,
    /// The items that are settled.
    pub items: BTreeMap<ItemId, ItemState>,
    /// The health of each instance's probes, by service, release, instance and probe.
    pub health: BTreeMap<(String, Release, String, Probe), bool>,
    /// The last count of each client.
    pub clients: BTreeMap<String, ClientCounted>,
    /// How long the rehearsed rollback took in microseconds, with the requests failed and
    /// answered meanwhile.
    pub rehearsed: Option<(u64, u64, u64)>,
    /// What set a rollback off and why, when one began.
    pub rollback: Option<(Trigger, String)>,
    /// How the rollback ended.
    pub rollback_outcome: Option<Outcome>,
    /// The last answer to each approval: plan, by whom, go or no-go.
    pub approvals: BTreeMap<String, (Digest, String, bool)>,
    /// The approval that was asked for last and is not answered, with the plan's digest.
    pub approval_asked: Option<(String, Digest)>,
    /// The moment from which a signed approval no longer counts, by what was approved.
    pub approvals_expire: BTreeMap<String, DateTime<Utc>>,
    /// What was asked from outside and is not carried out yet, with who and why.
    pub asked: Option<(Steering, String, String)>,
    /// Whether the run stands still until somebody resumes it.
    pub paused: bool,
    /// Who asked that it stands still and why, while it does and that is known.
    pub paused_by: Option<(String, String)>,
    /// How the run ended, in one sentence, and when.
    pub finished: Option<(RunOutcome, String, DateTime<Utc>)>,
    /// Whether the record is sealed.
    pub sealed: bool,
    /// The key that seals it, as it was named last.
    pub key: Option<PublicKeys>,
    /// How many events were folded.
    pub events: u64,
    /// The time of the last event.
    pub last: Option<DateTime<Utc>>,
}

/// Where a phase stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhaseState {
    /// When it began.
    pub started: DateTime<Utc>,
    /// When and how it ended, if it did.
    pub finished: Option<(DateTime<Utc>, Outcome)>,
    /// Why it did not end well.
    pub reason: String,
}

/// Where a step stands.
#[derive(Debug, Clone, PartialEq)]
pub struct StepState {
    /// Where it stands.
    pub status: StepStatus,
    /// The direction of the last intent.
    pub direction: Direction,
    /// The attempt of the last intent.
    pub attempt: u32,
    /// The last intent forward.
    pub intent: serde_json::Value,
    /// What the last apply forward gave; null before.
    pub result: serde_json::Value,
    /// When it was first intended.
    pub started: DateTime<Utc>,
    /// How long it took, in microseconds, when it ended.
    pub duration_us: Option<u64>,
    /// The checks of the last attempt.
    pub checks: Vec<Check>,
    /// The error it ended with.
    pub problem: Option<Problem>,
    /// Who says that it is dealt with by hand, and why.
    pub skipped: Option<(String, String)>,
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepStatus {
    /// Its intent is on disk; whether it acted is not known.
    Intended,
    /// It acted; the effect is not verified.
    Applied,
    /// Verified.
    Done,
    /// It ended with an error; it may have acted in part.
    Failed,
    /// Its undo is intended; whether that acted is not known.
    Undoing,
    /// It is undone, and that is verified.
    Undone,
    /// Its undo ended with an error.
    UndoFailed,
}

/// A gate's last answer to one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateState {
    /// Which gate.
    pub gate: Gate,
    /// What it was asked of.
    pub subject: String,
    /// Whether it passed.
    pub passed: bool,
    /// The answer in a word or two: a gate that could not compare has let the run go on, and has not passed.
    pub word: &'static str,
    /// Whether something that it looked at was measured to hold by too few requests to show it, and nothing was left
    /// without a measurement.
    pub unshown: bool,
    /// In one sentence.
    pub reason: String,
    /// When it answered.
    pub time: DateTime<Utc>,
}

/// How an item is settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemState {
    /// How.
    pub verdict: Verdict,
    /// In words.
    pub reason: String,
    /// Where the evidence stands.
    pub evidence: Vec<EvidenceRef>,
    /// The event that settled it.
    pub seq: u64,
    /// The phase that was under way then; nothing between phases.
    pub phase: Option<PhaseNumber>,
}

impl RunState {
    /// Returns whether nothing can be done in the run any more. A run that needs a person has an
    /// outcome, too, and goes on when somebody resumes it or takes it back.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let finished = self.finished.as_ref();
        finished.is_some_and(|(outcome, ..)| *outcome != RunOutcome::NeedsPerson)
    }

    /// Folds one event in.
    ///
    /// # Errors
    /// What is wrong, in words, when the event cannot follow from the ones before. The state is
    /// then as it was.
    pub fn apply(&mut self, event: &Event) -> Result<(), String> {
        self.check_order(event)?;
        match &event.body {
            EventBody::RunStarted(started) => {
                self.started = Some((**started).clone());
                self.since = Some(event.time);
            }
            EventBody::LockTaken { fencing, .. } => self.fencing = *fencing,
            EventBody::InventoryTaken(taken) => self.components.clone_from(&taken.components),
            EventBody::Planned(planned) => self.plan = Some(planned.clone()),
            EventBody::PhaseStarted { .. } | EventBody::PhaseFinished { .. } => {
                self.apply_phase(event);
            }
            EventBody::StepIntended { .. }
            | EventBody::StepApplied { .. }
            | EventBody::StepVerified { .. }
            | EventBody::StepSkipped { .. }
            | EventBody::StepFinished { .. } => self.apply_step(event)?,
            EventBody::GateEvaluated(gate) => self.apply_gate(gate, event.time),
            EventBody::HealthChanged {
                service,
                release,
                instance,
                probe,
                healthy,
                ..
            } => {
                let key = (service.clone(), release.clone(), instance.clone(), *probe);
                self.health.insert(key, *healthy);
            }
            EventBody::TrafficShifted {
                service,
                served,
                stable,
                ..
            } => {
                self.traffic
                    .insert(service.clone(), (served.clone(), stable.clone()));
            }
            EventBody::ItemSettled {
                item,
                verdict,
                reason,
                evidence,
            } => {
                let (verdict, reason) = (verdict.clone(), reason.clone());
                let (evidence, seq) = (evidence.clone(), event.seq);
                let phase = self.present_phase();
                self.items.insert(
                    item.clone(),
                    ItemState {
                        verdict,
                        reason,
                        evidence,
                        seq,
                        phase,
                    },
                );
            }
            EventBody::ClientCounted(counted) => {
                self.clients.insert(counted.client.clone(), counted.clone());
            }
            _ => self.apply_course(event),
        }
        self.events = event.seq + 1;
        self.last = Some(event.time);
        Ok(())
    }

    fn check_order(&self, event: &Event) -> Result<(), String> {
        if event.seq != self.events {
            return Err(format!(
                "event {} follows {} events",
                event.seq, self.events
            ));
        }
        let starts = matches!(event.body, EventBody::RunStarted(_));
        if starts != self.started.is_none() {
            return Err("a run starts once, with its first event".to_owned());
        }
        Ok(())
    }

    fn apply_phase(&mut self, event: &Event) {
        match &event.body {
            EventBody::PhaseStarted { phase } => {
                let state = PhaseState {
                    started: event.time,
                    finished: None,
                    reason: String::new(),
                };
                self.phases.insert(*phase, state);
            }
            EventBody::PhaseFinished {
                phase,
                outcome,
                reason,
            } => {
                if let Some(state) = self.phases.get_mut(phase) {
                    state.finished = Some((event.time, *outcome));
                    state.reason.clone_from(reason);
                }
            }
            _ => {}
        }
    }

    fn apply_step(&mut self, event: &Event) -> Result<(), String> {
        if let EventBody::StepIntended {
            step,
            direction,
            attempt,
            intent,
            ..
        } = &event.body
        {
            self.intend(step, *direction, *attempt, intent, event.time);
            return Ok(());
        }
        let (EventBody::StepApplied { step, .. }
        | EventBody::StepVerified { step, .. }
        | EventBody::StepSkipped { step, .. }
        | EventBody::StepFinished { step, .. }) = &event.body
        else {
            return Ok(());
        };
        let Some(state) = self.steps.get_mut(step) else {
            return Err(format!("step {step} acts without an intent"));
        };
        match &event.body {
            EventBody::StepApplied {
                direction: Direction::Apply,
                result,
                ..
            } => {
                state.status = StepStatus::Applied;
                state.result.clone_from(result);
            }
            EventBody::StepVerified { check, .. } => state.checks.push(check.clone()),
            EventBody::StepSkipped { by, reason, .. } => {
                state.status = StepStatus::Undone;
                state.skipped = Some((by.clone(), reason.clone()));
            }
            EventBody::StepFinished {
                direction,
                outcome,
                duration_us,
                problem,
                ..
            } => {
                state.status = ended(*direction, *outcome);
                state.duration_us = Some(*duration_us);
                state.problem.clone_from(problem);
            }
            _ => {}
        }
        Ok(())
    }

    fn intend(
        &mut self,
        step: &StepName,
        direction: Direction,
        attempt: u32,
        intent: &serde_json::Value,
        time: DateTime<Utc>,
    ) {
        let first = !self.steps.contains_key(step);
        let state = self.steps.entry(step.clone()).or_insert_with(|| StepState {
            status: StepStatus::Intended,
            direction,
            attempt,
            intent: serde_json::Value::Null,
            result: serde_json::Value::Null,
            started: time,
            duration_us: None,
            checks: Vec::new(),
            problem: None,
            skipped: None,
        });
        (state.direction, state.attempt) = (direction, attempt);
        state.checks.clear();
        state.duration_us = None;
        state.status = match direction {
            Direction::Apply => StepStatus::Intended,
            Direction::Undo => StepStatus::Undoing,
        };
        if direction == Direction::Apply {
            state.intent.clone_from(intent);
            if first {
                self.applied.push(step.clone());
            }
        }
    }

    fn apply_gate(&mut self, gate: &crate::GateEvaluated, time: DateTime<Utc>) {
        let answer = GateState {
            gate: gate.gate,
            subject: gate.subject.clone(),
            passed: gate.passed,
            word: gate.word(),
            unshown: gate.checks.iter().any(|check| check.unshown.is_some())
                && gate.checks.iter().all(crate::GateCheck::is_measured),
            reason: gate.reason.clone(),
            time,
        };
        let known = self.gates.iter_mut();
        match known
            .into_iter()
            .find(|g| g.gate == answer.gate && g.subject == answer.subject)
        {
            Some(before) => *before = answer,
            None => self.gates.push(answer),
        }
    }

    fn apply_course(&mut self, event: &Event) {
        match &event.body {
            EventBody::ApprovalAsked { gate, plan, .. } => {
                self.approval_asked = Some((gate.clone(), *plan));
                // An answer that had expired does not count again because it is asked anew.
                self.approvals.remove(gate);
                self.approvals_expire.remove(gate);
            }
            EventBody::ApprovalGiven {
                gate, plan, by, go, ..
            } => {
                self.approval_asked = None;
                self.approvals
                    .insert(gate.clone(), (*plan, by.clone(), *go));
            }
            EventBody::ConsentSigned(signed) => {
                if let Ok((consent, _)) = signed.read() {
                    self.approvals_expire.insert(consent.gate, consent.expires);
                }
            }
            // A rollback that was asked for stands until it begins.
            EventBody::SteeringAsked { verb, by, reason }
                if !self.rollback_asked() || *verb == Steering::Rollback =>
            {
                self.asked = Some((*verb, by.clone(), reason.clone()));
            }
            EventBody::Paused { .. } | EventBody::Resumed { .. } => {
                self.paused = matches!(event.body, EventBody::Paused { .. });
                self.paused_by = match &event.body {
                    EventBody::Paused { by, reason, .. } => by.clone().zip(reason.clone()),
                    _ => None,
                };
                if !self.rollback_asked() {
                    self.asked = None;
                }
            }
            EventBody::RollbackStarted { trigger, reason } => {
                self.rollback = Some((*trigger, reason.clone()));
                (self.paused, self.paused_by, self.asked) = (false, None, None);
            }
            EventBody::RollbackFinished { outcome, .. } => self.rollback_outcome = Some(*outcome),
            EventBody::RollbackRehearsed {
                duration_us,
                failed,
                answered,
            } => {
                self.rehearsed = Some((*duration_us, *failed, *answered));
            }
            EventBody::RunFinished { outcome, summary } => {
                self.finished = Some((*outcome, summary.clone(), event.time));
            }
            EventBody::Sealed { .. } => self.sealed = true,
            EventBody::KeyNamed(key) => self.key = Some((**key).clone()),
            _ => {}
        }
    }

    fn rollback_asked(&self) -> bool {
        matches!(self.asked, Some((Steering::Rollback, ..)))
    }

    /// Returns whether a phase ended well.
    #[must_use]
    pub fn phase_done(&self, phase: PhaseNumber) -> bool {
        let finished = self.phases.get(&phase).and_then(|state| state.finished);
        finished.is_some_and(|(_, outcome)| outcome == Outcome::Done)
    }

    /// Returns the phase that began last and has not ended.
    #[must_use]
    pub fn present_phase(&self) -> Option<PhaseNumber> {
        let open = self
            .phases
            .iter()
            .filter(|(_, state)| state.finished.is_none());
        open.max_by_key(|(_, state)| state.started)
            .map(|(phase, _)| *phase)
    }

    /// Returns whether a step is done.
    #[must_use]
    pub fn step_done(&self, step: &StepName) -> bool {
        self.steps
            .get(step)
            .is_some_and(|state| state.status == StepStatus::Done)
    }

    /// Returns the planned step of that name.
    #[must_use]
    pub fn planned(&self, step: &StepName) -> Option<&PlannedStep> {
        self.plan
            .as_ref()
            .and_then(|plan| plan.steps.iter().find(|planned| planned.step == *step))
    }

    /// Returns the steps that may have changed something and are not undone, last first: what a
    /// rollback has to undo, in the order in which it does.
    #[must_use]
    pub fn to_undo(&self) -> Vec<StepName> {
        let planned = self.plan.iter().flat_map(|plan| &plan.steps);
        let changes: BTreeMap<_, _> = planned.map(|step| (&step.step, step.changes)).collect();
        let not_undone = |step: &&StepName| {
            self.steps
                .get(*step)
                .is_some_and(|state| state.status != StepStatus::Undone)
                && changes.get(*step).is_none_or(|changes| *changes)
        };
        self.applied
            .iter()
            .rev()
            .filter(not_undone)
            .cloned()
            .collect()
    }
}

fn ended(direction: Direction, outcome: Outcome) -> StepStatus {
    match (direction, outcome) {
        (Direction::Apply, Outcome::Done) => StepStatus::Done,
        (Direction::Apply, _) => StepStatus::Failed,
        (Direction::Undo, Outcome::Done) => StepStatus::Undone,
        (Direction::Undo, _) => StepStatus::UndoFailed,
    }
}
