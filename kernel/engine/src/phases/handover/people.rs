//! The sections of contacts, escalation, maintenance and known issues: what the deployment file
//! names, held against itself.

use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, EvidenceRef, Report, Severity, contacts};
use serde_json::{Value, json};

use super::VERB;
use super::books::Books;
use crate::phases::look::counted;
use crate::section::{Kept, Outline, Section, Seen, Work};
use crate::spec::{DeployFile, Spec};
use crate::step::StepError;

const fn outline(section: &'static str, title: &'static str, items: &'static str) -> Outline {
    let methods = (
        "kept list held against the deployment file as read",
        "deployment file read again from disk",
    );
    Outline {
        verb: VERB,
        section,
        title,
        items,
        undo: None,
        methods,
        expected: Duration::from_secs(1),
    }
}

pub(super) const CONTACTS: Outline = outline("contacts", "Hand over who answers for what", "");
pub(super) const ESCALATION: Outline =
    outline("escalation", "Hand over who is called when", "10.2.4");
pub(super) const MAINTENANCE: Outline = outline(
    "maintenance",
    "Hand over windows and the guide of maintenance",
    "10.2.5",
);
pub(super) const KNOWN_ISSUES: Outline =
    outline("known-issues", "Hand over what is known not to work", "");

/// Which list is handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Contacts,
    Escalation,
    Maintenance,
    KnownIssues,
}

pub(super) struct People(pub Part);

impl People {
    fn name(&self) -> &'static str {
        match self.0 {
            Part::Contacts => "contacts",
            Part::Escalation => "escalation",
            Part::Maintenance => "maintenance windows",
            Part::KnownIssues => "known issues",
        }
    }

    fn columns(&self) -> Vec<Column> {
        let columns: &[&str] = match self.0 {
            Part::Contacts => &contacts::COLUMNS,
            Part::Escalation => &["after", "who", "reached by"],
            Part::Maintenance => &["when", "what for"],
            Part::KnownIssues => &["what", "whom it affects", "meanwhile", "tracked at"],
        };
        columns.iter().copied().map(Column::text).collect()
    }

    fn rows(&self, file: &DeployFile) -> Vec<Vec<String>> {
        match self.0 {
            Part::Contacts => {
                let row = |one: &crate::spec::Contact| {
                    let all = contacts::ALL_SERVICES.to_owned();
                    let services = if one.services.is_empty() {
                        all
                    } else {
                        one.services.join(", ")
                    };
                    vec![
                        one.name.clone(),
                        one.role.clone(),
                        one.reach.clone(),
                        services,
                    ]
                };
                file.contacts.iter().map(row).collect()
            }
            Part::Escalation => {
                let row = |one: &crate::spec::EscalationStep| {
                    let contact = file
                        .contacts
                        .iter()
                        .find(|contact| contact.name == one.contact);
                    let reach = contact.map_or_else(String::new, |contact| contact.reach.clone());
                    vec![one.after.to_string(), one.contact.clone(), reach]
                };
                file.escalation.iter().map(row).collect()
            }
            Part::Maintenance => file
                .maintenance
                .iter()
                .map(|one| vec![one.when.clone(), one.purpose.clone()])
                .collect(),
            Part::KnownIssues => {
                let row = |one: &crate::spec::KnownIssue| {
                    let tracked = match one.reference.is_empty() {
                        true => "nowhere named".to_owned(),
                        false => one.reference.clone(),
                    };
                    vec![
                        one.title.clone(),
                        one.impact.clone(),
                        one.workaround.clone(),
                        tracked,
                    ]
                };
                file.known_issues.iter().map(row).collect()
            }
        }
    }

    async fn settle(
        &self,
        section: &Section<'_>,
        rows: &[Vec<String>],
        guide: Option<&str>,
        evidence: &[EvidenceRef],
    ) -> Result<(), StepError> {
        let spec = &section.context.spec;
        match self.0 {
            Part::Contacts => self.uncovered(section, spec).await,
            Part::Escalation if rows.is_empty() => {
                section
                    .open("10.2.4", "the deployment file names no escalation")
                    .await
            }
            Part::Escalation => {
                let lost = rows
                    .iter()
                    .filter(|row| row.last().is_none_or(String::is_empty))
                    .count();
                let reason = format!(
                    "{}, {lost} of them to somebody without a contact",
                    counted(rows.len(), "step")
                );
                section
                    .judge("10.2.4", lost == 0, Basis::Performed, reason, evidence)
                    .await
            }
            Part::Maintenance => {
                let lines = guide.map_or(0, |guide| guide.lines().count());
                let windows = counted(rows.len(), "window");
                let reason = format!("a guide of {} and {windows}", counted(lines, "line"));
                section
                    .judge("10.2.5", lines > 0, Basis::Performed, reason, evidence)
                    .await
            }
            Part::KnownIssues => Ok(()),
        }
    }

    async fn uncovered(&self, section: &Section<'_>, spec: &Spec) -> Result<(), StepError> {
        for service in &spec.services {
            let covers = |one: &crate::spec::Contact| {
                one.services.is_empty() || one.services.contains(&service.name)
            };
            if !spec.file.contacts.iter().any(covers) {
                let message = "nobody is named who answers for it".to_owned();
                let cure = "Add a contact to `contacts` of the deployment file.";
                section
                    .find(
                        "handover/contact",
                        Severity::Low,
                        &service.name,
                        (message, cure),
                    )
                    .await?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Work for People {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let mut kept = Kept::default();
        let rows = self.rows(&section.context.spec.file);
        let text = format!("{:#}\n", json!(rows));
        let list = section
            .keep(&mut kept, self.name(), "application/json", text)
            .await?;
        let mut evidence = vec![list];
        let mut report = match rows.is_empty() {
            true => {
                Report::new().with_text(format!("The deployment file names no {}.", self.name()))
            }
            false => Report::new().with_table(self.name(), self.columns(), rows.clone()),
        };
        let mut guide = None;
        if self.0 == Part::Maintenance {
            let text = Books::gather(section).await?.maintenance();
            evidence.push(
                section
                    .keep(
                        &mut kept,
                        "maintenance guide",
                        "text/markdown",
                        text.clone(),
                    )
                    .await?,
            );
            report = report.with_code("maintenance guide", "markdown", text.clone());
            guide = Some(text);
        }
        let mut title = self.name().to_owned();
        if let Some(first) = title.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        evidence.push(section.report(&title, report).await?);
        self.settle(section, &rows, guide.as_deref(), &evidence)
            .await?;
        Ok(kept.into_result(json!({})))
    }

    async fn inside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let Some(digest) = Kept::of(result).digest(self.name()) else {
            return Ok(Seen::new(false, "no list was kept"));
        };
        let text = section.read(digest).await?;
        let kept: Option<Vec<Vec<String>>> = serde_json::from_slice(&text).ok();
        // What is kept is cleaned of known secrets, which a contact's address may look like.
        let own = self.rows(&section.context.spec.file);
        let own = section.context.redactor.clean(&json!(own).to_string());
        let own: Value = serde_json::from_str(&own).unwrap_or_default();
        let entries = counted(kept.as_ref().map_or(0, Vec::len), "entry");
        let detail = format!("{entries} in the kept list");
        Ok(Seen::new(
            kept.is_some_and(|kept| json!(kept) == own),
            detail,
        ))
    }

    async fn outside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let path = section.context.spec.path.clone();
        let own = path.clone();
        let read = tokio::task::spawn_blocking(move || {
            DeployFile::read(&own).map_err(|error| error.to_string())
        });
        let file = read.await.unwrap_or_else(|error| Err(error.to_string()));
        Ok(match file {
            Ok(file) => {
                let (now, then) = (self.rows(&file), self.rows(&section.context.spec.file));
                let detail = format!(
                    "{} in {} now, {} handed over",
                    counted(now.len(), "entry"),
                    path.display(),
                    then.len()
                );
                Seen::new(now == then, detail)
            }
            Err(error) => Seen::new(false, format!("{} cannot be read: {error}", path.display())),
        })
    }
}
