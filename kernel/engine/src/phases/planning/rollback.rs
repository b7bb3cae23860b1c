//! How each change is taken back, in the order in which it would be.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Column, PlannedStep, Report};
use serde_json::{Value, json};

use crate::section::{Outline, Section, Seen, Work, step as section_step};
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
        let rows = changes.iter().rev().enumerate().map(|(index, step)| {
            let like = checked_like(step, &changes);
            vec![
                (index + 1).to_string(),
                step.undo.clone().unwrap_or_default(),
                step.step.to_string(),
                like.inside.clone(),
                like.outside.clone(),
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

/// The steps that start and stop the outside client. Each takes back what the other does.
const CLIENT: [&str; 2] = ["provision.outside-client", "finish.outside-client"];

/// Returns the step whose checks are those of the undo of `step`: its own, which look for the state
/// before it by the same methods. To stop the client is checked by its last counts, and to start it
/// by counts that grow, whichever of the two is the undo.
fn checked_like<'a>(step: &'a PlannedStep, changes: &'a [PlannedStep]) -> &'a PlannedStep {
    let name = step.step.as_str();
    if !CLIENT.contains(&name) {
        return step;
    }
    let is_other = |one: &&PlannedStep| {
        let other = one.step.as_str();
        other != name && CLIENT.contains(&other)
    };
    changes.iter().find(is_other).unwrap_or(step)
}

fn changes(context: &Context) -> Vec<PlannedStep> {
    let state = context.state();
    let steps = state.plan.iter().flat_map(|plan| plan.steps.iter());
    steps.filter(|step| step.changes).cloned().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use code_deploy_record::PhaseNumber;

    use super::*;

    fn planned(step: &str, outside: &str) -> PlannedStep {
        PlannedStep {
            step: step.parse().unwrap(),
            title: String::new(),
            phase: PhaseNumber::new(4).unwrap(),
            service: None,
            after: Vec::new(),
            items: Vec::new(),
            undo: Some(String::new()),
            changes: true,
            inside: String::new(),
            outside: outside.to_owned(),
            expected_ms: 1,
        }
    }

    #[test]
    fn the_undo_of_starting_the_client_is_checked_as_stopping_it_is() {
        let steps = [
            planned("provision.outside-client", "the client's own counts grow"),
            planned("release.promotion", "requests through each address"),
            planned("finish.outside-client", "the client's last counts"),
        ];
        let outside: Vec<&str> = steps
            .iter()
            .map(|step| checked_like(step, &steps).outside.as_str())
            .collect();
        assert_eq!(
            outside,
            [
                "the client's last counts",
                "requests through each address",
                "the client's own counts grow"
            ]
        );
    }
}
