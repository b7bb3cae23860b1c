//! What a step has at hand: the specification, the target, the record, and ways to wait.

mod journal;
mod progress;
mod steering;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use code_deploy_record::{
    Basis, Clock, Digest, EventBody, EvidenceRef, Finding, ItemId, PhaseNumber, Redactor, Release,
    Report, RunFolder, RunState, Verdict,
};

pub use journal::{Journal, Notice};
pub use progress::Progress;
pub use steering::Interruption;

use crate::lease::MayAct;
use crate::phases::handover::MakeHandover;
use crate::step::StepError;
use crate::{Spec, Surroundings, Target};

/// What a step has at hand. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// The deployment file as read, for this environment and target.
    pub spec: Arc<Spec>,
    /// The release that ran when the run began; nothing for a first deployment.
    pub from: Option<Release>,
    /// The release that is deployed.
    pub to: Release,
    /// Where to.
    pub target: Arc<dyn Target>,
    /// Whether this process may change anything.
    pub(crate) may_act: MayAct,
    /// The run's folder.
    pub run: RunFolder,
    /// The journal of the run, and the state folded from it.
    pub journal: Journal,
    /// Disk, network and chance.
    pub surroundings: Surroundings,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What a person asked of the run.
    pub interruption: Interruption,
    /// Secret values that must not leave.
    pub redactor: Redactor,
    /// The person who may be asked.
    pub approver: Arc<dyn Approver>,
    /// This program, for helper processes that must outlive it (`internal client`,
    /// `internal router`).
    pub program: PathBuf,
    /// What makes the notebook of the handover, if anything here does.
    pub make_handover: Option<MakeHandover>,
}

/// Asks a person for a decision, in a terminal or a notebook.
#[async_trait]
pub trait Approver: Send + Sync {
    /// Asks for go or no-go with a reason; returns who answered and what, or nothing when nobody
    /// can be asked here (the run then waits for `approve` from elsewhere).
    async fn ask(&self, summary: &str) -> Option<Answer>;
}

/// A person's decision.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Answer {
    /// Who.
    pub by: String,
    /// Whether it is a go.
    pub go: bool,
    /// Why.
    pub reason: String,
}

impl Context {
    /// Returns whether the run goes back from a finished one: what it goes back from may be ill.
    #[must_use]
    pub fn goes_back(&self) -> bool {
        let state = self.state();
        let started = state.started.as_ref();
        started.is_some_and(|started| started.reverts.is_some())
    }

    /// Returns where the run stands: the fold over its journal.
    #[must_use]
    pub fn state(&self) -> Arc<RunState> {
        self.journal.state()
    }

    /// Journals what a section of a phase has to say.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub async fn report(
        &self,
        phase: PhaseNumber,
        section: &str,
        title: &str,
        report: Report,
    ) -> Result<u64, StepError> {
        let (section, title) = (section.to_owned(), title.to_owned());
        let body = EventBody::SectionReported {
            phase,
            section,
            title,
            report,
        };
        Ok(self.journal.append("engine", body).await?.seq)
    }

    /// Journals an item as met, with what shows it.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub async fn met(
        &self,
        item: &ItemId,
        basis: Basis,
        reason: impl Into<String>,
        evidence: Vec<EvidenceRef>,
    ) -> Result<(), StepError> {
        self.settle(item, Verdict::Met { basis }, reason, evidence)
            .await
    }

    /// Journals how an item is settled.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub async fn settle(
        &self,
        item: &ItemId,
        verdict: Verdict,
        reason: impl Into<String>,
        evidence: Vec<EvidenceRef>,
    ) -> Result<(), StepError> {
        let (item, reason) = (item.clone(), reason.into());
        let body = EventBody::ItemSettled {
            item,
            verdict,
            reason,
            evidence,
        };
        self.journal.append("engine", body).await?;
        Ok(())
    }

    /// Journals a finding.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub async fn find(&self, finding: Finding) -> Result<u64, StepError> {
        Ok(self
            .journal
            .append("engine", EventBody::FindingRaised(finding))
            .await?
            .seq)
    }

    /// Keeps content as evidence, cleaned of known secrets, and journals that it is kept.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub async fn keep(
        &self,
        name: &str,
        media_type: &str,
        content: Vec<u8>,
    ) -> Result<Digest, StepError> {
        let content = match String::from_utf8(content) {
            Ok(text) => self.redactor.clean(&text).into_bytes(),
            Err(binary) => binary.into_bytes(),
        };
        let bytes = content.len() as u64;
        let store = self.run.evidence();
        let keep = move || store.keep(&content);
        let what = format!("keeping {name}");
        let digest = self.surroundings.on_disk(&what, keep).await?;
        let (name, media_type) = (name.to_owned(), media_type.to_owned());
        let body = EventBody::EvidenceKept {
            name,
            digest,
            bytes,
            media_type,
        };
        self.journal.append("engine", body).await?;
        Ok(digest)
    }

    /// Tells the faces what is waited for and how long it may take. Not journaled.
    pub fn progress(&self, progress: Progress) {
        self.journal.tell(Notice::Progress(progress));
    }

    /// Returns an error when a person asked the run to stop, pause or go back: this is a place
    /// where it may.
    ///
    /// # Errors
    /// [`StepErrorKind::Steered`](crate::step::StepErrorKind::Steered).
    pub fn safe_point(&self) -> Result<(), StepError> {
        self.interruption.safe_point()
    }
}
