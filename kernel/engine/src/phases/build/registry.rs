//! Where artifacts are kept: a local target starts them where they are.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Column, Report};
use serde_json::{Value, json};

use super::artifacts::found;
use crate::Step;
use crate::phases::look::{counted, list};
use crate::section::{Outline, Section, Seen, Work, step as section_step};
use crate::step::StepError;

/// Returns the step.
pub(super) fn step() -> Option<Arc<dyn Step>> {
    let outline = Outline {
        verb: ("build", 3),
        section: "registry",
        title: "say from where artifacts are started",
        items: "",
        undo: None,
        methods: (
            "the artifacts as the record lists them",
            "the images that the Compose file names",
        ),
        expected: Duration::from_millis(100),
    };
    section_step(&outline, Registry)
}

struct Registry;

#[async_trait]
impl Work for Registry {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let spec = &section.context.spec;
        let rows = spec.services.iter().map(|one| {
            let artifacts = found(section)
                .into_iter()
                .filter(|found| found.services.contains(&one.name));
            vec![
                one.name.clone(),
                one.image.clone().unwrap_or_else(|| "none".to_owned()),
                list(artifacts.map(|found| found.path.display().to_string())),
            ]
        });
        let text = match section.context.target.name() {
            "local" => {
                "Services run as processes: artifacts are started where they are, no image is built and no registry is used."
            }
            _ if spec.pushes_images() => {
                "Images that are built are pushed by the section on container images, which names their digests."
            }
            _ => {
                "No image is pushed: `push_images` of the environment would push those that are built."
            }
        };
        let columns = ["Service", "Image of the Compose file", "Started from"]
            .map(Column::text)
            .to_vec();
        let report =
            Report::new()
                .with_text(text)
                .with_table("Registry status", columns, rows.collect());
        section.report("Registry status", report).await?;
        Ok(json!({ "artifacts": found(section).len() }))
    }

    async fn inside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let count = found(section).len();
        Ok(Seen::new(
            json!({ "artifacts": count }) == *result,
            counted(count, "artifact"),
        ))
    }

    async fn outside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let spec = &section.context.spec;
        let same = spec.services.iter().all(|one| {
            spec.compose
                .services
                .get(&one.name)
                .is_some_and(|found| found.image == one.image)
        });
        Ok(Seen::new(
            same,
            format!(
                "{} services with the images of the Compose file",
                spec.services.len()
            ),
        ))
    }
}
