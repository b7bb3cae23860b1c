//! The source policy and secrets, before anything is built or changed: the security gate.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Column, Finding, Gate, GateCheck, Severity};
use serde_json::{Value, json};

use crate::Step;
use crate::gate;
use crate::phases::look::list;
use crate::phases::policy::{self, configured_secrets};
use crate::section::{Outline, Section, Seen, Work, step as section_step};
use crate::step::StepError;

/// Returns the step.
pub(super) fn step() -> Option<Arc<dyn Step>> {
    let outline = Outline {
        verb: ("preflight", 2),
        section: "security",
        title: "ask every rule of the source policy and look for secrets in plain text",
        items: "",
        undo: None,
        methods: (
            "the rules asked again",
            "the record and its evidence searched for known secrets",
        ),
        expected: Duration::from_secs(3),
    };
    section_step(&outline, Security)
}

struct Security;

#[async_trait]
impl Work for Security {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let context = section.context;
        let since = context.clock.now();
        let source = policy::check(context).await?;
        let plain = configured_secrets(&context.spec);
        let mut report = policy::report(&source);
        let rows = plain
            .iter()
            .map(|(place, what)| vec![place.clone(), what.clone()])
            .collect();
        let columns = vec![Column::text("Place"), Column::text("What it looks like")];
        report = report.with_table("Secrets in plain text in the configuration", columns, rows);
        section.report("Security validation", report).await?;
        for (rule, breach) in source.breaches() {
            let finding = Finding {
                rule: rule.name.to_owned(),
                severity: rule.severity,
                place: breach.place.clone(),
                message: breach.message.clone(),
                cure: rule.cure.to_owned(),
            };
            context.find(finding).await?;
        }
        let critical = source
            .breaches()
            .filter(|(rule, _)| rule.severity == Severity::Critical)
            .count();
        let checks = vec![
            check("critical findings in the source", critical),
            check("secrets in plain text in the configuration", plain.len()),
        ];
        let total = source.breaches().count();
        let reason = format!(
            "{critical} critical of {total} findings in the source, {} secrets in plain text in the configuration",
            plain.len()
        );
        let answer = gate::Answer { checks, reason };
        let subject = format!("{} {}", context.spec.application, context.to);
        gate::answer(context, Gate::Security, "CD0455", &subject, since, answer).await?;
        Ok(json!({ "findings": total }))
    }

    async fn inside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let source = policy::check(section.context).await?;
        let total = source.breaches().count();
        let detail = format!("{total} findings in {} files", source.tree.files.len());
        Ok(Seen::new(json!({ "findings": total }) == *result, detail))
    }

    async fn outside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let context = section.context;
        let text = tokio::fs::read_to_string(context.run.journal_path()).await;
        let text = text.map_err(code_deploy_record::Error::io(
            "read",
            &context.run.journal_path(),
        ))?;
        let found = context.redactor.find(&text);
        let detail = format!("{} bytes of the journal hold: {}", text.len(), list(&found));
        Ok(Seen::new(found.is_none(), detail))
    }
}

fn check(name: &str, found: usize) -> GateCheck {
    let (measured, limit) = (found.to_string(), "0".to_owned());
    GateCheck {
        name: name.to_owned(),
        measured,
        limit,
        passed: found == 0,
        used: None,
        unshown: None,
    }
}
