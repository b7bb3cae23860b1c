//! Whether everything that the application calls can be reached.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, Report};
use serde_json::{Value, json};

use crate::Step;
use crate::phases::look::{self, list};
use crate::phases::paths::{self, Path};
use crate::section::{Outline, Section, Seen, Work, step as section_step};
use crate::step::StepError;

/// Returns the step.
pub(super) fn step() -> Option<Arc<dyn Step>> {
    let outline = Outline {
        verb: ("preflight", 2),
        section: "dependencies",
        title: "reach everything that the application calls",
        items: "1.4.5",
        undo: None,
        methods: (
            "every connection of the map made again",
            "the addresses that the balancer gives",
        ),
        expected: Duration::from_secs(1),
    };
    section_step(&outline, Dependencies)
}

struct Dependencies;

#[async_trait]
impl Work for Dependencies {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let reached = paths::try_all(section.context).await?;
        let rows = reached
            .iter()
            .map(|path| vec![path.from.clone(), path.to.clone(), path.answer.clone()]);
        let columns = ["From", "To", "Answer"].map(Column::text).to_vec();
        let report =
            Report::new().with_table("Connections of the network map", columns, rows.collect());
        let event = section.report("Dependency checks", report).await?;
        let asked = paths::tried(&reached);
        if asked == 0 {
            let fact = "a first deployment: nothing that the application calls runs outside of it";
            section.none("1.4.5", fact).await?;
        } else {
            let bad: Vec<_> = paths::lost(&reached).map(Path::name).collect();
            let text = format!(
                "{asked} of {} connections made; not reached: {}",
                reached.len(),
                list(&bad)
            );
            section
                .judge("1.4.5", bad.is_empty(), Basis::Observed, text, &[event])
                .await?;
        }
        Ok(json!({ "asked": asked }))
    }

    async fn inside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let reached = paths::try_all(section.context).await?;
        let bad: Vec<_> = paths::lost(&reached).map(Path::name).collect();
        Ok(Seen::new(
            bad.is_empty(),
            format!(
                "{} of {} connections made again, not reached: {}",
                paths::tried(&reached),
                reached.len(),
                list(&bad)
            ),
        ))
    }

    async fn outside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let observed = section.context.target.observe().await?;
        let reached = look::reach_all(section.context, &observed).await;
        Ok(Seen::new(reached.failed.is_none(), reached.text()))
    }
}
