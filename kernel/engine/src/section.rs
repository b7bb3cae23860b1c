//! Steps that each do the work of one section of a phase: they look, keep and report what they saw, and settle the
//! items it shows.

mod kept;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{
    Basis, Check, EvidenceRef, Finding, PhaseNumber, PlannedStep, Report, Severity, Vantage,
    Verdict,
};
use serde_json::{Value, json};

pub(crate) use kept::Kept;

use crate::duration::whole_milliseconds;
use crate::step::StepError;
use crate::target::Observed;
use crate::{Context, Step};

/// What a check saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Whether it is as it should be.
    pub passed: bool,
    /// With figures.
    pub detail: String,
}

impl Seen {
    /// Returns what was seen.
    pub(crate) fn new(passed: bool, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { passed, detail }
    }

    /// Returns this with what was seen before, if anything was.
    fn after(self, before: Option<Self>) -> Self {
        match before {
            None => self,
            Some(before) => Self {
                passed: before.passed && self.passed,
                detail: format!("{}; {}", before.detail, self.detail),
            },
        }
    }
}

/// The work of a section. What `apply` returned, as the journal has it, is given to the others.
#[async_trait]
pub(crate) trait Work: Send + Sync + 'static {
    /// Does it, reports it and settles its items.
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError>;

    /// Checks by what the platform says. That what was kept can be read back is checked before.
    async fn inside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError>;

    /// Checks by a method that shares no assumption with the other.
    async fn outside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError>;

    /// Takes it back. Asked only of work whose outline names an undo.
    async fn undo(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let _ = section;
        Ok(Value::Null)
    }

    /// Checks by what the platform says that it is taken back.
    async fn inside_undone(&self, section: &Section<'_>) -> Result<Seen, StepError> {
        let _ = section;
        Ok(Seen::new(false, "there was nothing to take back"))
    }

    /// Checks by another method that it is taken back.
    async fn outside_undone(&self, section: &Section<'_>) -> Result<Seen, StepError> {
        let _ = section;
        Ok(Seen::new(false, "there was nothing to take back"))
    }
}

/// How the step of a section stands in the plan.
pub(crate) struct Outline {
    /// The verb and its phase.
    pub verb: (&'static str, u8),
    /// The section's short name.
    pub section: &'static str,
    /// What it does, in a few words.
    pub title: &'static str,
    /// The items it settles, separated by spaces.
    pub items: &'static str,
    /// What its undo does; nothing when it changes nothing.
    pub undo: Option<&'static str>,
    /// How it is checked from inside and from outside.
    pub methods: (&'static str, &'static str),
    /// How long it is expected to take.
    pub expected: Duration,
}

/// Returns the step of a section; nothing when a constant of its outline is no valid name, which
/// a test rules out.
pub(crate) fn step(outline: &Outline, work: impl Work) -> Option<Arc<dyn Step>> {
    let (verb, phase) = outline.verb;
    let items = outline.items.split_ascii_whitespace();
    let planned = PlannedStep {
        step: format!("{verb}.{}", outline.section).parse().ok()?,
        title: outline.title.to_owned(),
        phase: PhaseNumber::new(phase)?,
        service: None,
        after: Vec::new(),
        items: items.filter_map(|item| item.parse().ok()).collect(),
        undo: outline.undo.map(str::to_owned),
        changes: outline.undo.is_some(),
        inside: outline.methods.0.to_owned(),
        outside: outline.methods.1.to_owned(),
        expected_ms: whole_milliseconds(outline.expected),
    };
    Some(Arc::new(SectionStep { planned, work }))
}

struct SectionStep<W> {
    planned: PlannedStep,
    work: W,
}

impl<W: Work> SectionStep<W> {
    fn section<'a>(&'a self, context: &'a Context) -> Section<'a> {
        Section {
            context,
            planned: &self.planned,
        }
    }

    fn check(&self, vantage: Vantage, seen: Seen) -> Check {
        let method = match vantage {
            Vantage::Inside => self.planned.inside.clone(),
            Vantage::Outside => self.planned.outside.clone(),
        };
        let Seen { passed, detail } = seen;
        Check {
            vantage,
            method,
            passed,
            detail,
        }
    }
}

#[async_trait]
impl<W: Work> Step for SectionStep<W> {
    fn planned(&self) -> &PlannedStep {
        &self.planned
    }

    fn intent(&self, context: &Context) -> Value {
        json!({ "release": context.to })
    }

    async fn apply(&self, context: &Context) -> Result<Value, StepError> {
        context.safe_point()?;
        self.work.apply(&self.section(context)).await
    }

    async fn verify(&self, context: &Context) -> Result<Check, StepError> {
        let section = self.section(context);
        let result = section.result();
        let kept = section.read_back(&result).await?;
        let seen = self.work.inside(&section, &result).await?;
        Ok(self.check(Vantage::Inside, seen.after(kept)))
    }

    async fn cross_check(&self, context: &Context) -> Result<Check, StepError> {
        let section = self.section(context);
        let seen = self.work.outside(&section, &section.result()).await?;
        Ok(self.check(Vantage::Outside, seen))
    }

    async fn undo(&self, context: &Context) -> Result<Value, StepError> {
        self.work.undo(&self.section(context)).await
    }

    async fn verify_undone(&self, context: &Context) -> Result<Check, StepError> {
        let seen = self.work.inside_undone(&self.section(context)).await?;
        Ok(self.check(Vantage::Inside, seen))
    }

    async fn cross_check_undone(&self, context: &Context) -> Result<Check, StepError> {
        let seen = self.work.outside_undone(&self.section(context)).await?;
        Ok(self.check(Vantage::Outside, seen))
    }
}

/// What the work of a section has at hand.
pub(crate) struct Section<'a> {
    /// The context of the step.
    pub context: &'a Context,
    planned: &'a PlannedStep,
}

impl Section<'_> {
    /// Returns what the step's apply returned, as the journal has it.
    pub(crate) fn result(&self) -> Value {
        self.result_of(self.planned.step.as_str())
    }

    /// Returns what another step's apply returned, as the journal has it.
    pub(crate) fn result_of(&self, step: &str) -> Value {
        let state = self.context.state();
        let mut steps = state.steps.iter();
        let found = steps.find(|(name, _)| name.as_str() == step);
        found
            .map(|(_, step)| step.result.clone())
            .unwrap_or_default()
    }

    /// Journals what the section has to say; returns the event as evidence.
    pub(crate) async fn report(
        &self,
        title: &str,
        report: Report,
    ) -> Result<EvidenceRef, StepError> {
        let name = crate::plan::section_of(&self.planned.step);
        let event = self
            .context
            .report(self.planned.phase, name, title, report)
            .await?;
        Ok(EvidenceRef::Event(event))
    }

    /// Settles one of the section's items.
    pub(crate) async fn settle(
        &self,
        item: &str,
        verdict: Verdict,
        reason: impl Into<String>,
        evidence: &[EvidenceRef],
    ) -> Result<(), StepError> {
        let Some(item) = self
            .planned
            .items
            .iter()
            .find(|known| known.as_str() == item)
        else {
            let what = format!("{} settles {item}, which is not its own", self.planned.step);
            return Err(defect(what));
        };
        self.context
            .settle(item, verdict, reason, evidence.to_vec())
            .await
    }

    /// Settles an item as met or failed by what was looked at.
    pub(crate) async fn judge(
        &self,
        item: &str,
        holds: bool,
        basis: Basis,
        reason: impl Into<String>,
        evidence: &[EvidenceRef],
    ) -> Result<(), StepError> {
        let verdict = if holds {
            Verdict::Met { basis }
        } else {
            Verdict::Failed
        };
        self.settle(item, verdict, reason, evidence).await
    }

    /// Settles an item as one that this run cannot establish.
    pub(crate) async fn open(
        &self,
        item: &str,
        reason: impl Into<String>,
    ) -> Result<(), StepError> {
        self.settle(item, Verdict::Open, reason, &[]).await
    }

    /// Settles an item as one that cannot apply, by a fact of the inventory.
    pub(crate) async fn none(&self, item: &str, fact: impl Into<String>) -> Result<(), StepError> {
        let fact = fact.into();
        let reason = format!("does not apply: {fact}");
        self.settle(item, Verdict::NotApplicable { fact }, reason, &[])
            .await
    }

    /// Raises a finding about a place.
    pub(crate) async fn find(
        &self,
        rule: &str,
        severity: Severity,
        place: &str,
        (message, cure): (String, &str),
    ) -> Result<u64, StepError> {
        let (rule, place, cure) = (rule.to_owned(), place.to_owned(), cure.to_owned());
        self.context
            .find(Finding {
                rule,
                severity,
                place,
                message,
                cure,
            })
            .await
    }

    /// Returns what runs.
    pub(crate) async fn observe(&self) -> Result<Observed, StepError> {
        Ok(self.context.target.observe().await?)
    }
}

/// Returns the error of something that only a defect of this program can cause.
pub(crate) fn defect(what: String) -> StepError {
    StepError::permanent(
        crate::code::DEFECT,
        what,
        "This is a defect of the program: report it.",
    )
}

/// Runs work that blocks.
pub(crate) async fn blocking<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StepError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| defect(format!("{what} was cut off: {error}")))
}
