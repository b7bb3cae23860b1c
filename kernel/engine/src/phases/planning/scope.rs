//! What is deployed where, and how traffic moves.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Column, Report};
use serde_json::{Value, json};

use super::limits;
use crate::foresight::Outlook;
use crate::phases::look::list;
use crate::section::{Kept, Outline, Section, Seen, Work, step as section_step};
use crate::spec::{Policy, Reaction};
use crate::step::StepError;
use crate::{Context, Step};

/// Returns the step.
pub(super) fn step() -> Option<Arc<dyn Step>> {
    let outline = Outline {
        verb: ("plan", 1),
        section: "scope",
        title: "say what is deployed where and by which strategy",
        items: "",
        undo: None,
        methods: (
            "the digest of the files read anew",
            "the release that the target serves",
        ),
        expected: Duration::from_millis(200),
    };
    section_step(&outline, Scope)
}

struct Scope;

/// The name of the evidence that says what changes in the cluster, field by field.
const CHANGES: &str = "changes-in-the-cluster";

#[async_trait]
impl Work for Scope {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let (context, mut kept) = (section.context, Kept::default());
        let outlook = outlook(context).await;
        let mut report = outlook.tell(report(context));
        let result = json!({ "digest": context.spec.digest });
        if outlook.changes.is_empty() {
            section.report("Scope and strategy", report).await?;
            return Ok(result);
        }
        let document = format!("{:#}", json!(outlook));
        section
            .keep(&mut kept, CHANGES, "application/json", document)
            .await?;
        let text = format!("Every field that differs is in the evidence `{CHANGES}`.");
        report = report.with_text(text);
        section.report("Scope and strategy", report).await?;
        Ok(kept.into_result(result))
    }

    async fn inside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let spec = &section.context.spec;
        for path in &spec.files {
            if let Err(error) = tokio::fs::metadata(path).await {
                return Ok(Seen::new(false, format!("{}: {error}", path.display())));
            }
        }
        Ok(Seen::new(
            true,
            format!("{} files, digest {}", spec.files.len(), spec.digest.short()),
        ))
    }

    async fn outside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let observed = section.context.target.observe().await?;
        let (found, from) = (observed.stable, section.context.from.clone());
        let word = |release: &Option<_>| {
            release
                .as_ref()
                .map_or("none".to_owned(), |r: &code_deploy_record::Release| {
                    r.to_string()
                })
        };
        let detail = format!(
            "stable release {}, planned from {}",
            word(&found),
            word(&from)
        );
        Ok(Seen::new(found == from, detail))
    }
}

/// Asks the target what the run changes of the objects that it holds.
async fn outlook(context: &Context) -> Outlook {
    let from = context.from.as_ref();
    Outlook::of(context.target.as_ref(), &context.spec, from, &context.to).await
}

fn report(context: &Context) -> Report {
    let spec = &context.spec;
    let strategy = &spec.strategy;
    let steps = strategy
        .steps
        .iter()
        .map(|step| format!("{} % for {}", step.percent, step.soak));
    let from = context.from.as_ref().map_or_else(
        || "nothing: a first deployment".to_owned(),
        ToString::to_string,
    );
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let rows = vec![
        row("Application", spec.application.clone()),
        row("From release", from),
        row("To release", context.to.to_string()),
        row(
            "Environment and target",
            format!("{} on {}", spec.environment, spec.target),
        ),
        row(
            "Services",
            list(
                spec.services
                    .iter()
                    .map(|one| format!("{} x {}", one.replicas, one.name)),
            ),
        ),
        row("Databases", list(spec.file.databases.keys())),
        row("Strategy", strategy.kind.word().to_owned()),
        row("Traffic steps", list(steps)),
        row(
            "Rollback rehearsed",
            if strategy.rehearse_rollback {
                "yes"
            } else {
                "no"
            }
            .to_owned(),
        ),
        row("Files digest", spec.digest.to_string()),
    ];
    let mut report = Report::new()
        .with_table(
            "Scope",
            vec![Column::text("What"), Column::text("Value")],
            rows,
        )
        .with_table(
            "Policy",
            vec![Column::text("About"), Column::text("Rule")],
            policy(&spec.policy),
        );
    for note in &spec.compose_notes {
        report = report.with_text(format!("Of the Compose file: {note}"));
    }
    limits::told(report, &context.target.cannot_honour(spec))
}

fn policy(policy: &Policy) -> Vec<Vec<String>> {
    let word = |reaction| {
        if reaction == Reaction::Stop {
            "stops the phase"
        } else {
            "is noted"
        }
    };
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    vec![
        row("An item that does not hold", word(policy.failed).to_owned()),
        row(
            "An item nobody attested",
            word(policy.unattested).to_owned(),
        ),
        row(
            "An item that cannot be established",
            word(policy.open).to_owned(),
        ),
        row("Uncommitted changes", word(policy.uncommitted).to_owned()),
        row(
            "An image without a digest, and without a tag or with `latest`",
            match policy.unpinned_images {
                Reaction::Stop => "refuses the run".to_owned(),
                Reaction::Note => word(Reaction::Note).to_owned(),
            },
        ),
        row("Approval", format!("{:?}", policy.approval).to_lowercase()),
    ]
}
