//! The steps of the plan, in order.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Column, Digest, PlannedStep, Report};
use serde_json::{Value, json};

use crate::phases::look::list;
use crate::section::{Outline, Section, Seen, Work, blocking, defect, step as section_step};
use crate::step::StepError;
use crate::{Context, Step};

/// Returns the step.
pub(super) fn step() -> Option<Arc<dyn Step>> {
    let outline = Outline {
        verb: ("plan", 1),
        section: "steps",
        title: "list every step with its items, its undo and its two checks",
        items: "",
        undo: None,
        methods: (
            "every step names two different checks, every change an undo",
            "the plan read back from the evidence by digest",
        ),
        expected: Duration::from_millis(200),
    };
    section_step(&outline, Steps)
}

struct Steps;

#[async_trait]
impl Work for Steps {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let (steps, digest) = planned(section.context)?;
        section
            .report("Deployment steps", report(&steps, digest))
            .await?;
        Ok(json!({ "steps": steps.len(), "digest": digest }))
    }

    async fn inside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let (steps, _) = planned(section.context)?;
        let poor = |step: &&PlannedStep| {
            step.inside.is_empty()
                || step.outside.is_empty()
                || step.inside == step.outside
                || (step.changes && step.undo.is_none())
        };
        let poor: Vec<_> = steps
            .iter()
            .filter(poor)
            .map(|step| step.step.clone())
            .collect();
        let detail = format!(
            "{} steps; without two checks or an undo: {}",
            steps.len(),
            list(&poor)
        );
        Ok(Seen::new(poor.is_empty(), detail))
    }

    async fn outside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let state = section.context.state();
        let Some(plan) = &state.plan else {
            return Ok(Seen::new(false, "the record holds no plan"));
        };
        let (store, evidence) = (section.context.run.evidence(), plan.evidence);
        let text = blocking("reading evidence", move || store.read(&evidence)).await??;
        let document: Value =
            serde_json::from_slice(&text).map_err(code_deploy_record::Error::from)?;
        let kept = document["steps"].as_array().map_or(0, Vec::len);
        let same = kept == plan.steps.len() && document["digest"] == json!(plan.digest);
        Ok(Seen::new(
            same,
            format!("{kept} steps kept with digest {}", plan.digest.short()),
        ))
    }
}

fn planned(context: &Context) -> Result<(Vec<PlannedStep>, Digest), StepError> {
    let state = context.state();
    let plan = state
        .plan
        .as_ref()
        .ok_or_else(|| defect("the record holds no plan".to_owned()))?;
    Ok((plan.steps.clone(), plan.digest))
}

fn report(steps: &[PlannedStep], digest: Digest) -> Report {
    let columns = vec![
        Column::number("Phase"),
        Column::text("Step"),
        Column::text("Does"),
        Column::text("Items"),
        Column::text("Undo"),
        Column::text("Checked inside"),
        Column::text("Checked outside"),
        Column::number("Expected (s)"),
    ];
    let rows = steps.iter().map(|step| {
        let changes = if step.changes {
            "cannot be undone"
        } else {
            "nothing to undo"
        };
        vec![
            step.phase.to_string(),
            step.step.to_string(),
            step.title.clone(),
            list(&step.items),
            step.undo.clone().unwrap_or_else(|| changes.to_owned()),
            step.inside.clone(),
            step.outside.clone(),
            format!("{:.1}", step.expected_ms as f64 / 1000.0),
        ]
    });
    let seconds: u64 = steps.iter().map(|step| step.expected_ms).sum::<u64>() / 1000;
    let text = format!(
        "{} steps, {} of them change something; expected to take at most {seconds} s. Digest of the plan: {digest}.",
        steps.len(),
        steps.iter().filter(|step| step.changes).count()
    );
    Report::new()
        .with_text(text)
        .with_table("Steps in order", columns, rows.collect())
}
