//! The events of a run, as they stand in its journal.
//!
//! An event is written once and never changed. Fields are added, never renamed or given another
//! meaning, so that a record stays readable for as long as it is kept.

mod line;

use std::borrow::Cow;
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    ClientCounted, Digest, EvidenceRef, ItemId, LoadTested, PhaseNumber, PublicKeys, Release,
    Report, RunId, SignedConsent, StepName, TreeHead, Verdict,
};

/// One line of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The position in the journal, from 0.
    pub seq: u64,
    /// When it was written, in UTC, to the microsecond. Never earlier than the event before.
    pub time: DateTime<Utc>,
    /// Who wrote it: a person (`person:anna`) or a part of the program (`engine`, `router`).
    pub actor: String,
    /// The SHA-256 of the line before, without its line end; [`Digest::ZERO`] for the first.
    pub prev: Digest,
    /// What happened.
    #[serde(flatten)]
    pub body: EventBody,
}

impl Event {
    /// Reads a line of a journal, without its line end.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_line(line: &[u8]) -> serde_json::Result<Self> {
        let Head {
            seq,
            time,
            actor,
            prev,
            kind,
        } = serde_json::from_slice(line)?;
        let body = OfKind::deserialize(line::Line { kind: &kind, line })?;
        Ok(Self {
            seq,
            time,
            actor: actor.into_owned(),
            prev,
            body,
        })
    }
}

/// What every line has.
#[derive(Deserialize)]
struct Head<'a> {
    seq: u64,
    time: DateTime<Utc>,
    #[serde(borrow)]
    actor: Cow<'a, str>,
    prev: Digest,
    #[serde(borrow)]
    kind: Cow<'a, str>,
}

/// Defines the kinds of events, and a second time how their fields are read when the kind is known
/// already: a record of a million lines is read without holding each line as a tree first.
macro_rules! kinds {
    ($($kinds:tt)*) => {
        /// What happened.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind", rename_all = "snake_case")]
        pub enum EventBody {
            $($kinds)*
        }

        #[derive(Deserialize)]
        #[serde(remote = "EventBody", rename_all = "snake_case")]
        enum OfKind {
            $($kinds)*
        }
    };
}

kinds! {
    /// The run began. Always the first event.
    RunStarted(Box<RunStarted>),
    /// A process took the lock of application and environment, and carries the run out from here
    /// on; what an earlier one still tries is refused.
    LockTaken {
        /// The fencing number, which grows with each holder.
        fencing: u64,
        /// The machine.
        host: String,
        /// The process.
        pid: u32,
        /// The program's version.
        program: String,
    },
    /// The inventory was taken.
    InventoryTaken(InventoryTaken),
    /// The plan was made.
    Planned(Planned),
    /// A phase began.
    PhaseStarted {
        /// Which.
        phase: PhaseNumber,
    },
    /// A phase ended.
    PhaseFinished {
        /// Which.
        phase: PhaseNumber,
        /// How.
        outcome: Outcome,
        /// Why, when it did not end well.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// A section of a phase has something to say.
    SectionReported {
        /// The phase whose notebook shows it.
        phase: PhaseNumber,
        /// The section's short name, unique in its phase: `resource-availability`.
        section: String,
        /// The heading.
        title: String,
        /// The content.
        report: Report,
    },
    /// A step is about to act. On disk before the effect.
    StepIntended {
        /// Which.
        step: StepName,
        /// Forward or back.
        direction: Direction,
        /// The attempt, from 1.
        attempt: u32,
        /// What it is going to do; enough to do it, find it or undo it after a crash.
        intent: serde_json::Value,
        /// How long it may take and how often it is tried.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limits: Option<StepLimits>,
    },
    /// An attempt of a step failed in a way that may pass; the next one follows after a pause.
    StepRetried {
        /// Which.
        step: StepName,
        /// Forward or back.
        direction: Direction,
        /// The attempt that failed.
        attempt: u32,
        /// The pause before the next one, in milliseconds.
        pause_ms: u64,
        /// Why it failed.
        problem: Problem,
    },
    /// A step acted; its effect is not verified yet.
    StepApplied {
        /// Which.
        step: StepName,
        /// Forward or back.
        direction: Direction,
        /// What came of it, as later steps and the undo need it.
        result: serde_json::Value,
    },
    /// The effect of a step was checked by one method.
    StepVerified {
        /// Which.
        step: StepName,
        /// Forward or back.
        direction: Direction,
        /// The check.
        check: Check,
    },
    /// A step ended.
    StepFinished {
        /// Which.
        step: StepName,
        /// Forward or back.
        direction: Direction,
        /// How.
        outcome: Outcome,
        /// How long it took, in microseconds, from its first intent.
        duration_us: u64,
        /// The error, when it did not end well.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        problem: Option<Problem>,
    },
    /// A person says that what a step may have left behind is dealt with by hand: a rollback that
    /// could not undo it goes on without it.
    StepSkipped {
        /// Which.
        step: StepName,
        /// Who.
        by: String,
        /// Why, and what was done instead.
        reason: String,
    },
    /// A gate was asked and answered.
    GateEvaluated(GateEvaluated),
    /// The health of an instance changed, or was seen for the first time.
    HealthChanged {
        /// The service.
        service: String,
        /// The release.
        release: Release,
        /// The instance, as the target names it.
        instance: String,
        /// Which of the three probes.
        probe: Probe,
        /// Whether it passes now.
        healthy: bool,
        /// What was seen: a status, an error.
        detail: String,
    },
    /// Traffic was moved, and the share was read back where it is served.
    TrafficShifted {
        /// The service.
        service: String,
        /// The share of each release in percent, as read back.
        served: BTreeMap<Release, u16>,
        /// The release that counts as stable.
        stable: Release,
        /// Why: `canary 25 %`, `rehearsal`, `rollback`, `promotion`.
        reason: String,
    },
    /// An approval is needed before the run goes on.
    ApprovalAsked {
        /// What is to be approved: `go/no-go`.
        gate: String,
        /// The plan's digest.
        plan: Digest,
        /// What the person is shown.
        summary: String,
        /// Whether the policy wants another person than the one who runs the deployment.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        two_persons: bool,
        /// The public keys of those who may, by name; anybody's where none is named.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        signers: BTreeMap<String, String>,
    },
    /// A person signed what is approved next.
    ConsentSigned(SignedConsent),
    /// A person answered.
    ApprovalGiven {
        /// What was to be approved.
        gate: String,
        /// The plan's digest as the person saw it.
        plan: Digest,
        /// Who.
        by: String,
        /// Whether it is a go.
        go: bool,
        /// Why.
        reason: String,
    },
    /// An item of the catalogue was settled. A later one for the same item replaces it.
    ItemSettled {
        /// Which.
        item: ItemId,
        /// How.
        #[serde(flatten)]
        verdict: Verdict,
        /// In words, with the figures it rests on.
        reason: String,
        /// Where the evidence stands.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        evidence: Vec<EvidenceRef>,
    },
    /// Something was found that a person should know.
    FindingRaised(Finding),
    /// A file was kept as evidence.
    EvidenceKept {
        /// What it is: `backup of orders`, `catalog 1.1.0 log`.
        name: String,
        /// Its digest, which is also its name in the evidence folder.
        digest: Digest,
        /// Its size.
        bytes: u64,
        /// Its media type.
        media_type: String,
    },
    /// The key whose signatures seal the record from here on.
    KeyNamed(Box<PublicKeys>),
    /// Somebody steered the run from outside.
    SteeringAsked {
        /// What was asked.
        verb: Steering,
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// The run stands still at a safe point until somebody resumes it or rolls it back.
    Paused {
        /// The last step that is done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<StepName>,
    },
    /// The run goes on; also when another process took it over.
    Resumed {
        /// What was found out about the step that was under way.
        found: String,
    },
    /// The run begins to go back.
    RollbackStarted {
        /// What set it off.
        trigger: Trigger,
        /// Why.
        reason: String,
    },
    /// The run has gone back, or could not.
    RollbackFinished {
        /// How.
        outcome: Outcome,
        /// How long it took, in microseconds.
        duration_us: u64,
    },
    /// The rollback was rehearsed: traffic went back to the stable release on purpose.
    RollbackRehearsed {
        /// From the decision until all traffic was read back on the stable release, microseconds.
        duration_us: u64,
        /// The outside client's requests that failed meanwhile.
        failed: u64,
        /// The outside client's requests answered meanwhile.
        answered: u64,
    },
    /// A database migration was carried out or taken back.
    Migrated {
        /// The database, as the deployment file names it.
        database: String,
        /// The migration's version.
        version: i64,
        /// Its description.
        description: String,
        /// Forward or back.
        direction: Direction,
        /// How long it took, in microseconds.
        duration_us: u64,
        /// Rows of the database when it began.
        rows: u64,
    },
    /// The outside client began to send.
    ClientStarted {
        /// What it is asked to do: `client` for the run's own, otherwise the load test's name.
        client: String,
        /// Requests a second.
        rate: u32,
        /// Where to.
        url: String,
    },
    /// The outside client's sums, when it ended or at a marked point.
    ClientCounted(ClientCounted),
    /// A load test ended.
    LoadTested(LoadTested),
    /// A samples file is complete.
    SamplesClosed {
        /// The file's name in the samples folder.
        file: String,
        /// Its digest.
        digest: Digest,
        /// How many samples it holds.
        samples: u64,
    },
    /// Something worth noting that is none of the above.
    Noted {
        /// How serious.
        severity: Severity,
        /// The text.
        text: String,
    },
    /// The run ended.
    RunFinished {
        /// How.
        outcome: RunOutcome,
        /// In one sentence.
        summary: String,
    },
    /// The record is complete: the number of lines before this one, which the chain covers.
    Sealed {
        /// The number of events before this one.
        events: u64,
    },
}

/// How a run began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunStarted {
    /// The run's name.
    pub run: RunId,
    /// The application.
    pub application: String,
    /// The environment: `dev`, `test`, `staging`, `prod` or another of the deployment file.
    pub environment: String,
    /// The target: `local`, `docker-desktop`, `k8s`, `cloud-aws`.
    pub target: String,
    /// The strategy: `canary`, `blue-green`, `rolling`.
    pub strategy: String,
    /// Whether no release ran before, so that there is nothing to go back to.
    pub initial: bool,
    /// The release that runs before, if any.
    pub from: Option<Release>,
    /// The release to deploy.
    pub to: Release,
    /// This program's version.
    pub program: String,
    /// The machine.
    pub host: String,
    /// The system's user who runs it.
    pub user: String,
    /// The deployment file's digest.
    pub deployment_file: Digest,
    /// The run before of the same application and environment: its name and its last line's
    /// digest.
    pub previous: Option<PreviousRun>,
    /// What was chosen on purpose to go wrong, in a demonstration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planted_fault: Option<String>,
    /// For a run that goes back from a finished run: that run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverts: Option<RunId>,
}

/// The run before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousRun {
    /// Its name.
    pub run: RunId,
    /// The digest of its journal's last line.
    pub head: Digest,
    /// What its last checkpoint says; nothing where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<TreeHead>,
}

/// What the inventory found, as far as other parts of the record refer to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InventoryTaken {
    /// The whole inventory as JSON in the evidence folder.
    pub evidence: Digest,
    /// The components.
    pub components: Vec<Component>,
}

/// A component of the application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// The name.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Who answers for it, if anybody is named.
    pub owner: Option<String>,
    /// The components it calls or stores data in.
    pub needs: Vec<String>,
    /// The ports it listens on inside its network.
    pub ports: Vec<u16>,
    /// How many instances are wanted.
    pub replicas: u32,
    /// How many endpoints its documents declare, if it has any.
    pub endpoints: Option<u32>,
}

/// What a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Serves pages to people.
    Frontend,
    /// Serves other components or programs.
    Backend,
    /// Stores data.
    Database,
    /// Keeps copies of data for speed.
    Cache,
    /// Passes messages on.
    Queue,
}

/// The plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    /// The plan's digest: same inputs, same digest.
    pub digest: Digest,
    /// The whole plan as JSON in the evidence folder.
    pub evidence: Digest,
    /// The steps in order.
    pub steps: Vec<PlannedStep>,
}

/// A step as planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// Its name.
    pub step: StepName,
    /// What it does, in a few words.
    pub title: String,
    /// The phase it belongs to.
    pub phase: PhaseNumber,
    /// The service it is done for, if it is for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The steps that must be done before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<StepName>,
    /// The items it helps to settle.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<ItemId>,
    /// What its undo does; nothing when it changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<String>,
    /// Whether it changes anything outside the record.
    pub changes: bool,
    /// How it is verified from inside: what the platform says.
    pub inside: String,
    /// How it is verified from outside: what a client sees.
    pub outside: String,
    /// How long it is expected to take, in milliseconds.
    pub expected_ms: u64,
}

/// How long an attempt of a step may take, and how often it is tried by one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepLimits {
    /// The longest that an attempt may act, in milliseconds; each check has a limit of its own.
    pub timeout_ms: u64,
    /// Attempts, when those before failed in a way that may pass.
    pub attempts: u32,
    /// The pause before the second attempt, in milliseconds; it doubles with each.
    pub pause_ms: u64,
}

/// The direction of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Towards the new release.
    Apply,
    /// Back.
    Undo,
}

/// How a step, a phase or a rollback ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As intended.
    Done,
    /// Not as intended.
    Failed,
    /// Stopped at a safe point before its end.
    Stopped,
}

/// One check of a step's effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// From where it was made.
    pub vantage: Vantage,
    /// The method, in a few words: `process table and start time`, `GET / through the router`.
    pub method: String,
    /// Whether it passed.
    pub passed: bool,
    /// What was seen, with figures.
    pub detail: String,
}

/// From where a check is made. The two share no assumption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vantage {
    /// What the platform says of itself.
    Inside,
    /// What a client outside sees.
    Outside,
}

/// An error as a person reads it: what, where, what the state is now, what to do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The stable code: `CD0412`.
    pub code: String,
    /// What went wrong and where.
    pub what: String,
    /// What the state is now.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub next: String,
}

/// A gate's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateEvaluated {
    /// Which gate.
    pub gate: Gate,
    /// What it was asked of: `catalog 1.1.0`, `canary at 25 %`.
    pub subject: String,
    /// Whether it lets the run go on.
    pub passed: bool,
    /// When it began to look.
    pub since: DateTime<Utc>,
    /// What it looked at.
    pub checks: Vec<GateCheck>,
    /// Whether checks among them hold one release against another. What a baseline says of the
    /// release replaced rests on it; other gates do not look at it.
    #[serde(default)]
    pub compared: bool,
    /// The reason in one sentence.
    pub reason: String,
}

impl GateEvaluated {
    /// Returns how the gate answered, in words. A baseline that nothing was compared with has not
    /// passed, though it lets the run go on.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self.passed {
            false => "did not pass",
            true if self.gate == Gate::Baseline && !self.compared => "not compared",
            true => "passed",
        }
    }
}

/// The gates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// Liveness, readiness and startup, several passes in a row.
    Health,
    /// The critical paths.
    Smoke,
    /// New against stable release while traffic flows.
    Analysis,
    /// Every service gives samples, logs and probes.
    Monitoring,
    /// No critical finding, nothing secret in plain text.
    Security,
    /// Objectives met, and not worse than the release replaced.
    Baseline,
    /// A named person says go.
    Approval,
}

impl Gate {
    /// Returns the gate's name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Smoke => "smoke",
            Self::Analysis => "analysis",
            Self::Monitoring => "monitoring",
            Self::Security => "security",
            Self::Baseline => "baseline",
            Self::Approval => "approval",
        }
    }
}

/// One thing a gate looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateCheck {
    /// What: `error share of 1.1.0`.
    pub name: String,
    /// What was measured, with its unit; `none` when nothing was.
    pub measured: String,
    /// What is asked for, with its unit.
    pub limit: String,
    /// Whether it holds.
    pub passed: bool,
}

/// The three probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// Has it started?
    Startup,
    /// May it get requests?
    Readiness,
    /// Is it alive?
    Liveness,
}

/// Something that a person should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The rule's name: `hygiene/shell-script`.
    pub rule: String,
    /// How serious.
    pub severity: Severity,
    /// Where: file and line, service, step.
    pub place: String,
    /// What was found.
    pub message: String,
    /// What to do about it.
    pub cure: String,
}

/// How serious something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// For information.
    Info,
    /// Worth a look.
    Low,
    /// Should be mended.
    Medium,
    /// Must be mended soon.
    High,
    /// Stops a deployment.
    Critical,
}

/// What may be asked of a run from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Steering {
    /// Stop at the next safe point and wait.
    Pause,
    /// Go on.
    Resume,
    /// Go back.
    Rollback,
    /// Say go or no-go.
    Approve,
}

/// What set a rollback off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// A gate did not pass.
    Gate,
    /// A step failed.
    Failure,
    /// A person asked for it.
    Person,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunOutcome {
    /// Everything is on the new release and verified.
    Succeeded,
    /// Everything is on the old release and verified.
    RolledBack,
    /// Nothing was changed: a check before the first change did not pass.
    Refused,
    /// Neither could be reached: a person must decide.
    NeedsPerson,
    /// A person ended a run that needed one, and answers for what runs.
    Abandoned,
}

impl RunOutcome {
    /// Returns the words that every face uses for it.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::RolledBack => "rolled back",
            Self::Refused => "refused",
            Self::NeedsPerson => "needs a person",
            Self::Abandoned => "abandoned",
        }
    }
}

#[cfg(test)]
mod tests;
