//! Steps that each do the work of one section of a phase: look, keep what was seen, report it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{
    Basis, Check, Digest, EvidenceRef, Finding, PhaseNumber, PlannedStep, Report, Severity,
    StepName, Vantage, Verdict,
};
use serde_json::{Value, json};

use crate::phases::look::counted;
use crate::step::StepError;
use crate::target::{Instance, Observed};
use crate::{Context, Step};

/// How long one request of these sections may take.
pub(crate) const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// The name under which a step's result lists what it kept.
const KEPT: &str = "kept";

/// The work of a section. What `apply` returns is given back to the two checks.
#[async_trait]
pub(crate) trait Work: Send + Sync + 'static {
    /// Does it, reports it and settles its items.
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError>;

    /// Checks from inside. Reading back what was kept is checked before.
    async fn inside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError>;

    /// Checks from outside.
    async fn outside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError>;
}

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
}

/// What a section of the plan is called and how it is checked.
pub(crate) struct Outline {
    /// The verb and phase it belongs to.
    pub verb: (&'static str, u8),
    /// The section's short name.
    pub section: &'static str,
    /// What it does, in a few words.
    pub title: &'static str,
    /// The items it settles.
    pub items: &'static [&'static str],
    /// How it is checked from inside and from outside.
    pub methods: (&'static str, &'static str),
    /// How long it is expected to take.
    pub expected: Duration,
}

/// Returns the step of a section, or nothing when a constant of its outline is no valid name,
/// which the tests of each phase rule out.
pub(crate) fn step(outline: &Outline, work: impl Work) -> Option<Arc<dyn Step>> {
    let (verb, phase) = outline.verb;
    let planned = PlannedStep {
        step: format!("{verb}.{}", outline.section).parse().ok()?,
        title: outline.title.to_owned(),
        phase: PhaseNumber::new(phase)?,
        service: None,
        after: Vec::new(),
        items: outline
            .items
            .iter()
            .filter_map(|item| item.parse().ok())
            .collect(),
        undo: None,
        changes: false,
        inside: outline.methods.0.to_owned(),
        outside: outline.methods.1.to_owned(),
        expected_ms: u64::try_from(outline.expected.as_millis()).unwrap_or(u64::MAX),
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
        json!({ "release": context.to, "items": self.planned.items })
    }

    async fn apply(&self, context: &Context) -> Result<Value, StepError> {
        context.safe_point()?;
        self.work.apply(&self.section(context)).await
    }

    async fn verify(&self, context: &Context) -> Result<Check, StepError> {
        let section = self.section(context);
        let result = section.result();
        let kept = section.read_back(&result).await?;
        let mut seen = self.work.inside(&section, &result).await?;
        seen.passed &= kept.passed;
        seen.detail = format!("{}; {}", kept.detail, seen.detail);
        Ok(self.check(Vantage::Inside, seen))
    }

    async fn cross_check(&self, context: &Context) -> Result<Check, StepError> {
        let section = self.section(context);
        let seen = self.work.outside(&section, &section.result()).await?;
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
    /// Returns what `apply` returned, as the journal has it.
    fn result(&self) -> Value {
        let state = self.context.state();
        let step = state.steps.get(&self.planned.step);
        step.map(|step| step.result.clone()).unwrap_or_default()
    }

    /// Journals what the section has to say.
    pub(crate) async fn report(&self, title: &str, report: Report) -> Result<u64, StepError> {
        let name = crate::plan::section_of(&self.planned.step);
        self.context
            .report(self.planned.phase, name, title, report)
            .await
    }

    /// Settles an item that this section has to settle.
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
            return Err(defect(format!(
                "{} settles {item}, which is not its own",
                self.name()
            )));
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
    pub(crate) async fn open(&self, item: &str, reason: &str) -> Result<(), StepError> {
        self.settle(item, Verdict::Open, reason, &[]).await
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

    /// Keeps content as evidence and notes it for the step's result.
    pub(crate) async fn keep(
        &self,
        kept: &mut Kept,
        name: &str,
        media_type: &str,
        content: impl Into<Vec<u8>>,
    ) -> Result<EvidenceRef, StepError> {
        let digest = self.context.keep(name, media_type, content.into()).await?;
        kept.0
            .push((name.to_owned(), media_type.to_owned(), digest));
        Ok(EvidenceRef::File(digest))
    }

    /// Reads a kept file as it stands in the evidence folder; its digest is checked.
    pub(crate) async fn read(&self, digest: Digest) -> Result<Vec<u8>, StepError> {
        let store = self.context.run.evidence();
        let read = tokio::task::spawn_blocking(move || store.read(&digest)).await;
        Ok(read.map_err(|error| defect(format!("reading {digest} was cut off: {error}")))??)
    }

    /// Reads everything back that the step kept, by digest, and parses it as what it claims to be.
    async fn read_back(&self, result: &Value) -> Result<Seen, StepError> {
        let kept = Kept::of(result);
        let mut wrong = Vec::new();
        for (name, media_type, digest) in &kept.0 {
            match self.read(*digest).await {
                Ok(content) => wrong.extend(malformed(name, media_type, &content)),
                Err(error) => wrong.push(format!("{name}: {error}")),
            }
        }
        let count = kept.0.len();
        Ok(match wrong.is_empty() {
            true => Seen::new(
                true,
                format!("{} read back by digest", counted(count, "kept file")),
            ),
            false => Seen::new(false, wrong.join("; ")),
        })
    }

    fn name(&self) -> &StepName {
        &self.planned.step
    }

    /// Returns what runs.
    pub(crate) async fn observe(&self) -> Result<Observed, StepError> {
        Ok(self.context.target.observe().await?)
    }
}

fn malformed(name: &str, media_type: &str, content: &[u8]) -> Option<String> {
    let wrong = match media_type {
        "application/json" => serde_json::from_slice::<Value>(content)
            .err()
            .map(|e| e.to_string()),
        "application/yaml" => {
            let text = String::from_utf8_lossy(content);
            serde_saphyr::from_str::<Value>(&text)
                .err()
                .map(|e| e.to_string())
        }
        _ => content.is_empty().then(|| "it is empty".to_owned()),
    };
    wrong.map(|wrong| format!("{name}: {wrong}"))
}

/// What a step kept: name, media type and digest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Kept(pub Vec<(String, String, Digest)>);

impl Kept {
    /// Returns what a step's result lists.
    pub(crate) fn of(result: &Value) -> Self {
        let listed = result.get(KEPT).cloned().unwrap_or_default();
        Self(serde_json::from_value(listed).unwrap_or_default())
    }

    /// Returns the digest of the kept file of that name.
    pub(crate) fn digest(&self, name: &str) -> Option<Digest> {
        self.0.iter().find(|kept| kept.0 == name).map(|kept| kept.2)
    }

    /// Adds the list to a step's result.
    pub(crate) fn into_result(self, mut result: Value) -> Value {
        if let Some(object) = result.as_object_mut() {
            object.insert(KEPT.to_owned(), json!(self.0));
        }
        result
    }
}

/// Returns the URL where clients reach a service, if it has an address.
pub(crate) fn base_url(observed: &Observed, service: &str) -> Option<String> {
    let address = observed
        .addresses
        .iter()
        .find(|address| address.service == service)?;
    Some(format!("http://{}", address.address))
}

/// Returns the running instances of the release that is deployed.
pub(crate) fn instances<'a>(
    observed: &'a Observed,
    context: &'a Context,
) -> impl Iterator<Item = &'a Instance> {
    let to = &context.to;
    observed
        .instances
        .iter()
        .filter(move |instance| instance.running && instance.release == *to)
}

/// Returns the error of something that only a defect of this program can cause.
pub(crate) fn defect(what: String) -> StepError {
    StepError::permanent(
        crate::code::DEFECT,
        what,
        "This is a defect of the program: report it.",
    )
}

/// Returns an identifier that nothing else has: of a marker, a trace, a request.
pub(crate) fn fresh_id() -> uuid::Uuid {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid()
}
