//! Scans of source and artifacts.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, Report, Severity};
use serde_json::{Value, json};

use crate::Step;
use crate::phases::policy;
use crate::phases::work::{Outline, Section, Seen, Work, step as section_step};
use crate::source::Found;
use crate::step::StepError;

/// Returns the step.
pub(super) fn step() -> Option<Arc<dyn Step>> {
    let outline = Outline {
        verb: ("build", 3),
        section: "security",
        title: "analyse the source by the rules of the policy",
        items: "2.4.1 2.4.2 2.4.3 2.4.4 2.4.5 2.4.6",
        undo: None,
        methods: (
            "the rules asked again",
            "the findings as the record holds them",
        ),
        expected: Duration::from_secs(3),
    };
    section_step(&outline, Scans)
}

struct Scans;

#[async_trait]
impl Work for Scans {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let source = policy::check(section.context).await?;
        let asked = source
            .outcomes
            .iter()
            .filter(|one| matches!(one.found, Found::Holds(_) | Found::Broken(_)))
            .count();
        let by = |severity| {
            source
                .breaches()
                .filter(|(rule, _)| rule.severity == severity)
                .count()
        };
        let critical = by(Severity::Critical);
        let levels = [
            (Severity::Critical, "critical"),
            (Severity::High, "high"),
            (Severity::Medium, "medium"),
            (Severity::Low, "low"),
        ];
        let rows = levels
            .map(|(severity, word)| vec![word.to_owned(), by(severity).to_string()])
            .to_vec();
        let text = format!(
            "{asked} rules were asked of {} files. There is no database of advisories on this machine and no scanner of \
             artifacts: known vulnerabilities of dependencies and artifacts were not looked for.",
            source.tree.files.len()
        );
        let columns = vec![Column::text("Severity"), Column::number("Findings")];
        let report =
            Report::new()
                .with_text(text)
                .with_table("Findings in the source", columns, rows);
        let event = section.report("Security scan results", report).await?;
        let (evidence, total) = ([event], source.breaches().count());
        let text = format!(
            "{asked} rules of this program asked of {} source files, {total} findings",
            source.tree.files.len()
        );
        section
            .judge("2.4.1", asked > 0, Basis::Performed, text, &evidence)
            .await?;
        section
            .open(
                "2.4.2",
                "there is no database of advisories on this machine",
            )
            .await?;
        section
            .open("2.4.3", "there is no scanner of artifacts on this machine")
            .await?;
        let secrets = source
            .breaches()
            .filter(|(rule, _)| rule.name == "security/hard-coded-secret")
            .count();
        let text = format!(
            "secrets in the source were looked for ({secrets} found); licences of dependencies are not known to lock files"
        );
        section.open("2.4.4", text).await?;
        section
            .none("2.4.5", "no artifact of the deployment file is signed")
            .await?;
        let text = format!("{critical} critical findings of {total}");
        section
            .judge("2.4.6", critical == 0, Basis::Observed, text, &evidence)
            .await?;
        Ok(json!({ "findings": total }))
    }

    async fn inside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let total = policy::check(section.context).await?.breaches().count();
        Ok(Seen::new(
            json!({ "findings": total }) == *result,
            format!("{total} findings"),
        ))
    }

    async fn outside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let earlier = section.result_of("preflight.security");
        let detail = format!(
            "{} findings before the build, {} now",
            earlier["findings"], result["findings"]
        );
        Ok(Seen::new(earlier["findings"] == result["findings"], detail))
    }
}
