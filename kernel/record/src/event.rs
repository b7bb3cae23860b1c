//! The events of a run, as they stand in its journal.
//!
//! An event is written once and never changed. Fields are added, never renamed or given another
//! meaning, so that a record stays readable for as long as it is kept.

mod line;
mod parts;

use std::borrow::Cow;
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    ClientCounted, Digest, EvidenceRef, ItemId, LoadTested, PhaseNumber, PublicKeys, Release,
    Report, SignedConsent, StepName, Verdict,
};

pub use parts::*;

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
        /// Who asked for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
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

#[cfg(test)]
mod tests;
