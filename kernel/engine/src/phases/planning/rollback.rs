//! How each change is taken back, in the order in which it would be.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Column, PlannedStep, Report};
use serde_json::{Value, json};

use crate::phases::work::{Outline, Section, Seen, Work, step as section_step};
use crate::step::StepError;
use crate::{Context, Step};

/// Returns the step.
pub(super) fn step() -> Option<Arc<dyn Step>> {
    let outline = Outline {
        verb: ("plan", 1),
        section: "rollback",
        title: "say how each change is taken back",
        items: "",
        undo: None,
        methods: (
            "every change of the plan has an undo",
            "the release to go back to runs",
        ),
        expected: Duration::from_millis(100),
    };
    section_step(&outline, Rollback)
}

struct Rollback;

#[async_trait]
impl Work for Rollback {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let changes = changes(section.context);
        let count = changes.len();
        let rows = changes.into_iter().rev().enumerate().map(|(index, step)| {
            vec![
                (index + 1).to_string(),
                step.undo.unwrap_or_default(),
                step.step.to_string(),
                step.inside,
                step.outside,
            ]
        });
        let columns = vec![
            Column::number("Order"),
            Column::text("What is done"),
            Column::text("Takes back"),
            Column::text("Checked inside"),
            Column::text("Checked outside"),
        ];
        let text = "While this run is under way, `code-deploy rollback` does this from any terminal, \
                    also when the process that deploys has died: it needs nothing but the run's \
                    folder. Each undo is verified twice. After the end of the run, `rollback` begins \
                    a run of its own that deploys the former release, and takes back nothing else.";
        let report =
            Report::new()
                .with_text(text)
                .with_table("The way back", columns, rows.collect());
        section.report("Rollback procedures", report).await?;
        Ok(json!({ "changes": count }))
    }

    async fn inside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let changes = changes(section.context);
        let without = changes.iter().filter(|step| step.undo.is_none()).count();
        let detail = format!("{} changes, {without} without an undo", changes.len());
        Ok(Seen::new(without == 0, detail))
    }

    async fn outside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let Some(from) = &section.context.from else {
            return Ok(Seen::new(
                true,
                "a first deployment: what it starts is stopped",
            ));
        };
        let observed = section.context.target.observe().await?;
        let running = observed
            .instances
            .iter()
            .filter(|one| one.running && one.release == *from)
            .count();
        Ok(Seen::new(
            running > 0,
            format!("{running} instances of {from} run"),
        ))
    }
}

fn changes(context: &Context) -> Vec<PlannedStep> {
    let state = context.state();
    let steps = state.plan.iter().flat_map(|plan| plan.steps.iter());
    steps.filter(|step| step.changes).cloned().collect()
}
