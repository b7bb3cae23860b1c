//! What the pages say of a run, gathered in one pass over its journal.

use std::collections::BTreeMap;

use chrono::{DateTime, Timelike as _, Utc};
use code_deploy_record::{
    ClientCounted, Digest, Direction, Error as RecordError, Event, EventBody, Finding, Gate,
    GateEvaluated, LoadTested, Outcome, PhaseNumber, Probe, Problem, Release, Report, RunFolder,
    RunStarted, RunState, Standstills, StepName, Tree, TreeHead, Trigger,
};

use crate::Result;
use crate::approval::{Answers, Approval};

/// Entries of one kind that are kept; a record with more (flapping probes, say) is shown in part
/// and the pages say so. It bounds memory, whatever the length of the journal.
const MOST: usize = 10_000;

/// The name of the run's own outside client; load tests have others.
pub(crate) const OUTSIDE: &str = "client";

/// Something of the journal with its place.
#[derive(Debug, Clone)]
pub struct At<T> {
    /// The event's number.
    pub seq: u64,
    /// When.
    pub time: DateTime<Utc>,
    /// The phase under way.
    pub phase: Option<PhaseNumber>,
    /// The step that began last and was still under way.
    pub step: Option<StepName>,
    /// What.
    pub what: T,
}

/// A section's report.
#[derive(Debug, Clone)]
pub struct Section {
    /// Its short name.
    pub name: String,
    /// Its heading.
    pub title: String,
    /// Its content.
    pub report: Report,
}

/// A step's end.
#[derive(Debug, Clone)]
pub struct StepEnd {
    /// Which.
    pub step: StepName,
    /// Forward or back.
    pub direction: Direction,
    /// How.
    pub outcome: Outcome,
    /// From its first intent, in microseconds.
    pub duration_us: u64,
    /// The attempts it took.
    pub attempts: u32,
    /// The error, when it did not end well.
    pub problem: Option<Problem>,
}

/// A change of health.
#[derive(Debug, Clone)]
pub struct HealthNote {
    /// The service.
    pub service: String,
    /// The release.
    pub release: Release,
    /// The instance.
    pub instance: String,
    /// Which probe.
    pub probe: Probe,
    /// Whether it passes.
    pub healthy: bool,
    /// What was seen.
    pub detail: String,
}

/// A move of traffic.
#[derive(Debug, Clone)]
pub struct Shift {
    /// The service.
    pub service: String,
    /// Percent by release, as read back.
    pub served: BTreeMap<Release, u16>,
    /// The stable release.
    pub stable: Release,
    /// Why.
    pub reason: String,
}

/// A migration, forward or back.
#[derive(Debug, Clone)]
pub struct Migration {
    /// The database.
    pub database: String,
    /// The migration's version.
    pub version: i64,
    /// Its description.
    pub description: String,
    /// Forward or back.
    pub direction: Direction,
    /// In microseconds.
    pub duration_us: u64,
    /// Rows when it began.
    pub rows: u64,
}

/// A rehearsal of the rollback.
#[derive(Debug, Clone, Copy)]
pub struct Rehearsal {
    /// In microseconds.
    pub duration_us: u64,
    /// Failed requests meanwhile.
    pub failed: u64,
    /// Answered requests meanwhile.
    pub answered: u64,
}

/// Where a run stood still, and where it went on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Halt {
    /// It stands still on purpose.
    Paused,
    /// Another process carries it on.
    TakenOver,
    /// It goes on.
    Resumed,
}

/// A file of the evidence.
#[derive(Debug, Clone)]
pub struct Kept {
    /// What it is.
    pub name: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size.
    pub bytes: u64,
    /// Its media type.
    pub media_type: String,
}

/// Everything that pages show of a run, apart from its samples.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Where the record is.
    pub folder: RunFolder,
    /// How it began.
    pub started: RunStarted,
    /// The fold.
    pub state: RunState,
    /// When the run waited for a person, and when no process carried it out.
    pub standstills: Standstills,
    /// The digest of the journal's last line.
    pub head: Digest,
    /// Size and root of the tree over journal, samples and evidence.
    pub tree: TreeHead,
    /// The last report of each section, in the order of the first ones.
    pub sections: Vec<At<Section>>,
    /// Steps that ended, in order.
    pub steps: Vec<At<StepEnd>>,
    /// Answers of gates.
    pub gates: Vec<At<GateEvaluated>>,
    /// Changes of health.
    pub health: Vec<At<HealthNote>>,
    /// Moves of traffic.
    pub shifts: Vec<At<Shift>>,
    /// Migrations.
    pub migrations: Vec<At<Migration>>,
    /// Load tests.
    pub loads: Vec<At<LoadTested>>,
    /// Findings.
    pub findings: Vec<At<Finding>>,
    /// The clients' sums.
    pub counts: Vec<At<ClientCounted>>,
    /// Rehearsals.
    pub rehearsals: Vec<At<Rehearsal>>,
    /// Rollbacks: what set each off and why.
    pub rollbacks: Vec<At<(Trigger, String)>>,
    /// Ends of rollbacks, with their durations in microseconds.
    pub rollback_ends: Vec<At<(Outcome, u64)>>,
    /// Where the run stood still, and where it went on.
    pub halts: Vec<At<Halt>>,
    /// Files of the evidence.
    pub evidence: Vec<At<Kept>>,
    /// Answers to approvals.
    pub approvals: Vec<At<Approval>>,
    /// The URL that the run's outside client asked last, where it began to send.
    pub asked: Option<String>,
    /// The event with which the run ended.
    pub finished: Option<u64>,
    /// Entries that were left out because there were too many.
    pub left_out: u64,
    attempts: BTreeMap<StepName, u32>,
    under_way: Vec<StepName>,
    answers: Answers,
    begun: bool,
    /// Whether the process that took the lock last did so between two steps of a run that went on.
    handed_over: bool,
}

fn add<T>(list: &mut Vec<At<T>>, left_out: &mut u64, entry: At<T>) {
    if list.len() < MOST {
        list.push(entry);
    } else {
        *left_out += 1;
    }
}

impl Facts {
    /// Reads the journal of a run, verifying it line by line.
    ///
    /// # Errors
    /// [`crate::Error::Record`] when the record does not verify or cannot be read.
    pub fn read(folder: &RunFolder) -> Result<Self> {
        let mut facts = Self {
            folder: folder.clone(),
            started: folder.started()?,
            state: RunState::default(),
            standstills: Standstills::default(),
            head: Digest::ZERO,
            tree: Tree::default().head(),
            sections: Vec::new(),
            steps: Vec::new(),
            gates: Vec::new(),
            health: Vec::new(),
            shifts: Vec::new(),
            migrations: Vec::new(),
            loads: Vec::new(),
            findings: Vec::new(),
            counts: Vec::new(),
            rehearsals: Vec::new(),
            rollbacks: Vec::new(),
            rollback_ends: Vec::new(),
            halts: Vec::new(),
            evidence: Vec::new(),
            approvals: Vec::new(),
            asked: None,
            finished: None,
            left_out: 0,
            attempts: BTreeMap::new(),
            under_way: Vec::new(),
            answers: Answers::default(),
            begun: false,
            handed_over: false,
        };
        let mut reader = folder.events()?;
        while let Some(event) = reader.next_event()? {
            facts
                .state
                .apply(&event)
                .map_err(|what| RecordError::Broken {
                    path: folder.journal_path(),
                    event: event.seq,
                    what,
                })?;
            facts.standstills.note(&event);
            facts.gather(event);
        }
        (facts.head, facts.tree) = (reader.head(), reader.tree());
        Ok(facts)
    }

    fn gather(&mut self, event: Event) {
        let phase = self.state.present_phase();
        let step = self.under_way.last().cloned();
        let (seq, time) = (event.seq, event.time);
        let plan = self.state.plan.as_ref().map(|plan| plan.digest);
        let run = self.state.started.as_ref().map(|started| &started.run);
        let approval = self.answers.note(&event, (run, plan.as_ref()));
        macro_rules! keep {
            ($list:ident, $what:expr) => {{
                let entry = At {
                    seq,
                    time,
                    phase,
                    step,
                    what: $what,
                };
                add(&mut self.$list, &mut self.left_out, entry);
            }};
        }
        match event.body {
            EventBody::SectionReported {
                phase,
                section,
                title,
                report,
            } => self.report(
                (seq, time, phase),
                Section {
                    name: section,
                    title,
                    report,
                },
            ),
            EventBody::StepIntended { step, attempt, .. } => {
                let most = self.attempts.entry(step.clone()).or_default();
                *most = attempt.max(*most);
                self.under_way.retain(|other| *other != step);
                self.under_way.push(step);
            }
            EventBody::StepFinished {
                step: ended,
                direction,
                outcome,
                duration_us,
                problem,
            } => {
                self.under_way.retain(|other| *other != ended);
                let attempts = self.attempts.remove(&ended).unwrap_or(1);
                let what = StepEnd {
                    step: ended,
                    direction,
                    outcome,
                    duration_us,
                    attempts,
                    problem,
                };
                keep!(steps, what);
            }
            EventBody::GateEvaluated(gate) => keep!(gates, gate),
            EventBody::HealthChanged {
                service,
                release,
                instance,
                probe,
                healthy,
                detail,
            } => keep!(
                health,
                HealthNote {
                    service,
                    release,
                    instance,
                    probe,
                    healthy,
                    detail
                }
            ),
            EventBody::TrafficShifted {
                service,
                served,
                stable,
                reason,
            } => keep!(
                shifts,
                Shift {
                    service,
                    served,
                    stable,
                    reason
                }
            ),
            EventBody::Migrated {
                database,
                version,
                description,
                direction,
                duration_us,
                rows,
            } => keep!(
                migrations,
                Migration {
                    database,
                    version,
                    description,
                    direction,
                    duration_us,
                    rows
                }
            ),
            EventBody::LoadTested(load) => keep!(loads, load),
            EventBody::FindingRaised(finding) => keep!(findings, finding),
            EventBody::ClientStarted { client, url, .. } if client == OUTSIDE => {
                self.asked = Some(url);
            }
            EventBody::RunFinished { .. } => self.finished = Some(seq),
            EventBody::ClientCounted(counted) => keep!(counts, counted),
            EventBody::RollbackRehearsed {
                duration_us,
                failed,
                answered,
            } => keep!(
                rehearsals,
                Rehearsal {
                    duration_us,
                    failed,
                    answered
                }
            ),
            EventBody::RollbackStarted { trigger, reason } => keep!(rollbacks, (trigger, reason)),
            EventBody::RollbackFinished {
                outcome,
                duration_us,
            } => keep!(rollback_ends, (outcome, duration_us)),
            EventBody::Paused { .. } => keep!(halts, Halt::Paused),
            EventBody::Resumed { .. } => {
                let handed_over = std::mem::take(&mut self.handed_over);
                if !handed_over {
                    keep!(halts, Halt::Resumed);
                }
            }
            // The first process that takes the lock begins the run. A further one takes it over; between two steps,
            // where cells of a notebook hand it over, that is nothing to mark.
            EventBody::LockTaken { .. } if !self.begun => self.begun = true,
            EventBody::LockTaken { .. } => {
                let last = self.halts.last().map(|halt| halt.what);
                if self.under_way.is_empty() && last != Some(Halt::Paused) {
                    self.handed_over = true;
                } else {
                    keep!(halts, Halt::TakenOver);
                }
            }
            EventBody::EvidenceKept {
                name,
                digest,
                bytes,
                media_type,
            } => keep!(
                evidence,
                Kept {
                    name,
                    digest,
                    bytes,
                    media_type
                }
            ),
            EventBody::ApprovalGiven { .. } => {
                if let Some(approval) = approval {
                    keep!(approvals, approval);
                }
            }
            _ => {}
        }
    }

    fn report(&mut self, (seq, time, phase): (u64, DateTime<Utc>, PhaseNumber), section: Section) {
        let known = self
            .sections
            .iter_mut()
            .find(|known| known.phase == Some(phase) && known.what.name == section.name);
        let entry = At {
            seq,
            time,
            phase: Some(phase),
            step: None,
            what: section,
        };
        match known {
            Some(known) => *known = entry,
            None => add(&mut self.sections, &mut self.left_out, entry),
        }
    }

    /// Returns when the run began.
    #[must_use]
    pub fn since(&self) -> DateTime<Utc> {
        self.state.since.unwrap_or_default()
    }

    /// Returns where the axis of time of every chart begins: the second in which the run began,
    /// because what was measured is kept by whole seconds.
    #[must_use]
    pub fn axis_start(&self) -> DateTime<Utc> {
        let since = self.since();
        since.with_nanosecond(0).unwrap_or(since)
    }

    /// Returns when the run ended, or the time of its last event while it goes on.
    #[must_use]
    pub fn until(&self) -> DateTime<Utc> {
        match &self.state.finished {
            Some((_, _, time)) => *time,
            None => self.state.last.unwrap_or_default(),
        }
    }

    /// Returns the last answer of a gate to each of its subjects, in the order of the first ones.
    #[must_use]
    pub fn last_answers(&self, gate: Gate) -> Vec<&At<GateEvaluated>> {
        let mut last: Vec<&At<GateEvaluated>> = Vec::new();
        for answer in self.gates.iter().filter(|answer| answer.what.gate == gate) {
            let same = |known: &&mut &At<GateEvaluated>| known.what.subject == answer.what.subject;
            match last.iter_mut().find(same) {
                Some(known) => *known = answer,
                None => last.push(answer),
            }
        }
        last
    }

    /// Returns the releases of the run in the order of their colours: the one before, then the
    /// one that is deployed.
    #[must_use]
    pub fn releases(&self) -> Vec<String> {
        let from = self.started.from.iter().map(Release::to_string);
        from.chain([self.started.to.to_string()]).collect()
    }

    /// Returns the release on which everything runs at the end, if the run reached one.
    #[must_use]
    pub fn final_release(&self) -> Option<&Release> {
        use code_deploy_record::RunOutcome as O;
        match self.state.finished.as_ref().map(|(outcome, ..)| *outcome)? {
            O::Succeeded => Some(&self.started.to),
            O::RolledBack | O::Refused => self.started.from.as_ref(),
            _ => None,
        }
    }
}
