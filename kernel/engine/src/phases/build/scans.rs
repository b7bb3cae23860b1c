//! Scans of source and artifacts.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, EvidenceRef, Finding, Report, Severity};
use serde_json::{Value, json};

use super::advisories;
use crate::Step;
use crate::inventory::Ecosystem;
use crate::phases::look;
use crate::phases::policy;
use crate::section::{Outline, Section, Seen, Work, step as section_step};
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

/// What was learnt about known advisories of dependencies.
#[derive(Default)]
struct Advised {
    /// Whether every lock file was looked up.
    complete: bool,
    text: String,
    rows: Vec<Vec<String>>,
    evidence: Vec<EvidenceRef>,
}

/// Looks every lock file up, as far as there is a tool for it, and raises what applies.
async fn advise(section: &Section<'_>) -> Result<Advised, StepError> {
    let context = section.context;
    let (inventory, _) = look::inventory(context).await?;
    let (mut advised, mut texts) = (Advised::default(), Vec::new());
    advised.complete = !inventory.dependencies.is_empty();
    for lock in &inventory.dependencies {
        let name = lock.file.display();
        let asked = match lock.ecosystem {
            Ecosystem::Cargo => advisories::ask(&context.spec.project.join(&lock.file)).await,
            other => Err(format!("this program asks no tool about {other:?}")),
        };
        let audit = match asked {
            Ok(audit) => audit,
            Err(why) => {
                advised.complete = false;
                texts.push(format!("{name} was not looked up: {why}"));
                continue;
            }
        };
        let (pinned, known, found) = (audit.dependencies, audit.known, audit.found.len());
        texts.push(format!(
            "{name}: {found} of {known} known advisories apply to {pinned} packages"
        ));
        let kept = format!("advisories of {name}");
        let digest = context
            .keep(&kept, "application/json", audit.answer)
            .await?;
        advised.evidence.push(EvidenceRef::File(digest));
        for [id, package, title] in audit.found {
            let finding = Finding {
                rule: "dependency/advisory".to_owned(),
                severity: Severity::High,
                place: format!("{name} {package}"),
                message: format!("{id}: {title}"),
                cure: "Update the package, or say why it does not apply.".to_owned(),
            };
            context.find(finding).await?;
            advised.rows.push(vec![id, package, title]);
        }
    }
    if texts.is_empty() {
        texts.push("there is no lock file whose packages could be looked up".to_owned());
    }
    advised.text = texts.join("; ");
    Ok(advised)
}

#[async_trait]
impl Work for Scans {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let source = policy::check(section.context).await?;
        let advised = advise(section).await?;
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
            "{asked} rules were asked of {} files. Advisories: {}. This program drives no scanner of \
             artifacts: known vulnerabilities inside artifacts were not looked for.",
            source.tree.files.len(),
            advised.text
        );
        let columns = vec![Column::text("Severity"), Column::number("Findings")];
        let report =
            Report::new()
                .with_text(text)
                .with_table("Findings in the source", columns, rows);
        let columns = ["Advisory", "Package", "Title"].map(Column::text).to_vec();
        let report = match advised.rows.is_empty() {
            true => report,
            false => report.with_table("Known advisories", columns, advised.rows.clone()),
        };
        let event = section.report("Security scan results", report).await?;
        let (evidence, total) = ([event], source.breaches().count());
        let text = format!(
            "{asked} rules of this program asked of {} source files, {total} findings",
            source.tree.files.len()
        );
        section
            .judge("2.4.1", asked > 0, Basis::Performed, text, &evidence)
            .await?;
        if advised.complete {
            let evidence = [evidence.as_slice(), &advised.evidence].concat();
            section
                .judge("2.4.2", true, Basis::Performed, advised.text, &evidence)
                .await?;
        } else {
            section.open("2.4.2", advised.text).await?;
        }
        section
            .open("2.4.3", "this program drives no scanner of artifacts")
            .await?;
        let secrets = source
            .breaches()
            .filter(|(rule, _)| rule.name == "security/hard-coded-secret")
            .count();
        let text = format!(
            "secrets in the source were looked for ({secrets} found); the licences of dependencies are not known: no lock file holds them"
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
