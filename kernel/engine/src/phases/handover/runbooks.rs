//! The section of runbooks: one a service, one an alert, and the guides.

use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, EvidenceRef, Report};
use serde_json::{Value, json};

use super::VERB;
use super::books::Books;
use crate::http::HttpClient;
use crate::phases::look::{REQUEST_LIMIT, counted};
use crate::phases::observe::alerts_with_rules;
use crate::section::{Kept, Outline, Section, Seen, Work};
use crate::step::StepError;

pub(super) const OUTLINE: Outline = Outline {
    verb: VERB,
    section: "runbooks",
    title: "Write a runbook of every service and every alert, and the guides",
    items: "10.1.1 10.1.2 10.1.3 10.1.4 10.1.5 10.2.1 10.2.2 10.2.3 10.2.6",
    undo: None,
    methods: (
        "a kept runbook for every service and alert, without a gap",
        "the addresses that the runbooks name answer",
    ),
    expected: Duration::from_secs(2),
};

/// What stands in a text where something was not known.
const GAP: &str = "not known";

pub(super) struct Runbooks;

/// Returns all texts: name, language and content.
async fn texts(section: &Section<'_>) -> Result<Vec<(String, &'static str, String)>, StepError> {
    let (books, spec) = (Books::gather(section).await?, &section.context.spec);
    let mut texts = Vec::new();
    for service in &spec.services {
        texts.push((
            of_service(&service.name),
            "markdown",
            books.service(service),
        ));
    }
    for alert in alerts_with_rules(section.context) {
        if let Some(text) = books.alert(&alert) {
            texts.push((of_alert(&alert.name), "markdown", text));
        }
    }
    texts.push((
        "troubleshooting guide".to_owned(),
        "markdown",
        books.troubleshooting(),
    ));
    texts.push((
        "recovery procedures".to_owned(),
        "markdown",
        books.recovery(),
    ));
    texts.push((
        "monitoring guide".to_owned(),
        "markdown",
        books.monitoring(),
    ));
    texts.push((
        "configuration".to_owned(),
        "markdown",
        books.configuration(),
    ));
    texts.push((
        "diagram of the services".to_owned(),
        "mermaid",
        books.diagram(),
    ));
    Ok(texts)
}

fn of_service(name: &str) -> String {
    format!("runbook of service {name}")
}

fn of_alert(name: &str) -> String {
    format!("runbook of alert {name}")
}

/// Returns the texts that must be there and are not, or that have a gap.
fn missing(section: &Section<'_>, texts: &[(String, String)]) -> Vec<String> {
    let spec = &section.context.spec;
    let services = spec
        .services
        .iter()
        .map(|service| of_service(&service.name));
    let alerts = alerts_with_rules(section.context).into_iter();
    let alerts = alerts.map(|alert| of_alert(&alert.name));
    let whole = |name: &String| {
        texts
            .iter()
            .any(|(own, text)| own == name && !text.is_empty() && !text.contains(GAP))
    };
    services.chain(alerts).filter(|name| !whole(name)).collect()
}

#[async_trait]
impl Work for Runbooks {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let (mut kept, texts) = (Kept::default(), texts(section).await?);
        let mut report = Report::new();
        let (mut rows, mut evidence) = (Vec::new(), Vec::new());
        for (name, language, text) in &texts {
            let file = section
                .keep(&mut kept, name, "text/markdown", text.clone())
                .await?;
            let digest = kept
                .digest(name)
                .map(|digest| digest.short())
                .unwrap_or_default();
            rows.push(vec![name.clone(), text.lines().count().to_string(), digest]);
            evidence.push((name.clone(), file));
            report = report.with_code(name, *language, text);
        }
        let columns = vec![
            Column::text("document"),
            Column::number("lines"),
            Column::text("evidence"),
        ];
        let mut whole = Report::new().with_table("Runbooks and guides", columns, rows);
        whole.blocks.extend(report.blocks);
        let event = section.report("Runbooks", whole).await?;
        let plain: Vec<_> = texts
            .into_iter()
            .map(|(name, _, text)| (name, text))
            .collect();
        settle(section, &plain, &evidence, event).await?;
        Ok(kept.into_result(json!({})))
    }

    async fn inside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let mut texts = Vec::new();
        for (name, _, digest) in Kept::of(result).0 {
            let text = String::from_utf8_lossy(&section.read(digest).await?).into_owned();
            texts.push((name, text));
        }
        let missing = missing(section, &texts);
        let detail = match missing.is_empty() {
            true => format!("{} runbooks and guides, none missing", texts.len()),
            false => format!("missing or with a gap: {}", missing.join(", ")),
        };
        Ok(Seen::new(missing.is_empty(), detail))
    }

    async fn outside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let (kept, observed, client) = (
            Kept::of(result),
            section.observe().await?,
            HttpClient::new(),
        );
        let (mut named, mut answer) = (0, 0);
        for service in &section.context.spec.services {
            let (Some(base), Some(path)) = (
                observed.address_url(&service.name),
                &service.file.probes.readiness,
            ) else {
                continue;
            };
            let Some(digest) = kept.digest(&of_service(&service.name)) else {
                continue;
            };
            let url = format!("{base}{path}");
            let text = section.read(digest).await?;
            named += usize::from(String::from_utf8_lossy(&text).contains(&url));
            let got = client.get(&url, REQUEST_LIMIT).await;
            answer += usize::from(got.is_ok_and(|got| got.status.is_success()));
        }
        let detail = format!("{named} addresses are named as they are, {answer} answer");
        Ok(Seen::new(named == answer, detail))
    }
}

async fn settle(
    section: &Section<'_>,
    texts: &[(String, String)],
    evidence: &[(String, EvidenceRef)],
    event: EvidenceRef,
) -> Result<(), StepError> {
    let missing = missing(section, texts);
    let of = |part: &str| -> Vec<EvidenceRef> {
        let own = evidence.iter().filter(|(name, _)| name.starts_with(part));
        own.map(|(_, file)| *file).chain([event]).collect()
    };
    let absent = if missing.is_empty() {
        "none is missing".to_owned()
    } else {
        format!("missing: {}", missing.join(", "))
    };
    let count = |part: &str| {
        evidence
            .iter()
            .filter(|(name, _)| name.starts_with(part))
            .count()
    };
    let (services, alerts) = (count("runbook of service"), count("runbook of alert"));
    let all = missing.is_empty();
    let by = Basis::Performed;
    let reason = format!(
        "written: {} of services, {alerts} of alerts, and {}; {absent}",
        counted(services, "runbook"),
        counted(evidence.len() - services - alerts, "guide")
    );
    section.judge("10.1.1", all, by, &reason, &of("")).await?;
    let reason = format!(
        "written: {} of services and {alerts} of alerts; {absent}",
        counted(services, "runbook")
    );
    section
        .judge("10.1.2", all, by, &reason, &of("runbook"))
        .await?;
    section
        .judge("10.2.6", all, Basis::Observed, &reason, &of("runbook"))
        .await?;
    let with_rules = alerts_with_rules(section.context).len();
    let reason = format!(
        "{} for {} that a rule stands for",
        counted(alerts, "response"),
        counted(with_rules, "alert")
    );
    section
        .judge(
            "10.2.2",
            alerts == with_rules,
            by,
            reason,
            &of("runbook of alert"),
        )
        .await?;
    for (item, name) in [
        ("10.1.3", "troubleshooting guide"),
        ("10.1.4", "configuration"),
        ("10.1.5", "diagram of the services"),
        ("10.2.1", "monitoring guide"),
        ("10.2.3", "recovery procedures"),
    ] {
        let text = texts
            .iter()
            .find(|(own, _)| own == name)
            .map_or("", |(_, text)| text.as_str());
        let whole = !text.is_empty() && !text.contains(GAP);
        let lines = counted(text.lines().count(), "line");
        let reason = format!("{name}: {lines} written");
        section.judge(item, whole, by, reason, &of(name)).await?;
    }
    Ok(())
}
