//! What events speak of.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{Digest, ItemId, PhaseNumber, Release, RunId, StepName, TreeHead};

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

impl Component {
    /// Returns the name of a component whose own name another one has: with what it is, `orders (database)`.
    #[must_use]
    pub fn name_beside(name: &str, role: Role) -> String {
        format!("{name} ({})", role.word())
    }

    /// Returns the name as the deployment file has it, for places that say what the component is.
    #[must_use]
    pub fn own_name(&self) -> &str {
        let kind = format!(" ({})", self.role.word());
        self.name.strip_suffix(&kind).unwrap_or(&self.name)
    }
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

impl Role {
    /// Returns the word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Frontend => "frontend",
            Self::Backend => "backend",
            Self::Database => "database",
            Self::Cache => "cache",
            Self::Queue => "queue",
        }
    }
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
    /// How near it came to its limit: less than 1 is within it, 1 the limit itself, more is beyond. Nothing where no
    /// figure tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<f64>,
    /// For an objective that holds by what was measured, where so few requests do not exclude that it is missed.
    /// Nothing where they do, and where no share of requests is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unshown: Option<Unshown>,
}

/// A sample that is too small to show that an objective is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unshown {
    /// How many requests were measured.
    pub requests: u64,
    /// How many in all would show it if none of those to come missed it. Nothing where no number would, because no
    /// miss at all is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enough: Option<u64>,
}

impl std::fmt::Display for Unshown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let noun = if self.requests == 1 {
            "request"
        } else {
            "requests"
        };
        write!(f, "not shown by {} {noun}; ", self.requests)?;
        match self.enough {
            Some(enough) => write!(f, "{enough} without a further miss would do"),
            None => f.write_str("no number of them would do, because no miss is allowed"),
        }
    }
}

impl GateCheck {
    /// What stands as [`measured`](Self::measured) where nothing was measured.
    pub const NOT_MEASURED: &'static str = "none";

    /// Returns whether anything was measured. What was not neither holds nor is missed.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        self.measured != Self::NOT_MEASURED
    }

    /// Returns a check of which no figure tells how near it came to its limit, and whose sample is large enough.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        measured: impl Into<String>,
        limit: impl Into<String>,
        passed: bool,
    ) -> Self {
        Self {
            name: name.into(),
            measured: measured.into(),
            limit: limit.into(),
            passed,
            used: None,
            unshown: None,
        }
    }

    /// Returns how it stands, in words: `met`, `not met`, or that the sample is too small to show it, with how many
    /// requests would. The gate itself decides by [`GateCheck::passed`].
    #[must_use]
    pub fn standing(&self) -> String {
        match (self.passed, self.unshown) {
            (false, _) => "not met".to_owned(),
            (true, Some(unshown)) => unshown.to_string(),
            (true, None) => "met".to_owned(),
        }
    }

    /// Returns whether it holds, and what was measured is enough to show it.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.passed && self.unshown.is_none()
    }

    /// Says how near it came to its limit: what was measured as a part of the most that is allowed, or the least that is
    /// asked for as a part of what was measured.
    #[must_use]
    pub fn with_used(mut self, part: f64, whole: f64) -> Self {
        let used = (part / whole * 1000.0).round() / 1000.0;
        self.used = (whole > 0.0 && used.is_finite()).then_some(used);
        self
    }
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
