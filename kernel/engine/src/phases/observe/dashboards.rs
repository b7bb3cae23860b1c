//! The section of dashboards: one for Grafana, made of what the services give.

use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, Report};
use serde_json::{Value, json};

use super::VERB;
use super::metrics::names;
use crate::section::{Kept, Outline, Section, Seen, Work};
use crate::step::StepError;

pub(super) const OUTLINE: Outline = Outline {
    verb: VERB,
    section: "dashboards",
    title: "Make a dashboard of every service",
    items: "8.1.3",
    undo: None,
    methods: (
        "kept dashboard parsed, one row a service",
        "metrics of the panels scraped",
    ),
    expected: Duration::from_secs(3),
};

const DASHBOARD: &str = "Grafana dashboard";

pub(super) struct Dashboards;

/// Returns the panels of one service: title, unit and query.
async fn queries(
    section: &Section<'_>,
    service: &str,
) -> Result<Vec<(String, &'static str, String)>, StepError> {
    let names = names(section, service).await?;
    let mut queries = Vec::new();
    if names.answered {
        let query = format!("sum(up{{job=\"{service}\"}})");
        queries.push((format!("{service}: instances up"), "short", query));
    }
    if let Some((requests, status)) = &names.requests {
        let all = format!("sum(rate({requests}{{job=\"{service}\"}}[1m]))");
        let failed = format!("sum(rate({requests}{{job=\"{service}\",{status}=~\"5..\"}}[1m]))");
        queries.push((
            format!("{service}: requests a second"),
            "reqps",
            all.clone(),
        ));
        queries.push((
            format!("{service}: error share"),
            "percentunit",
            format!("{failed} / {all}"),
        ));
    }
    if let Some(duration) = &names.duration {
        let rate = format!("sum by (le) (rate({duration}_bucket{{job=\"{service}\"}}[1m]))");
        let query = format!("histogram_quantile(0.99, {rate})");
        queries.push((format!("{service}: p99"), "s", query));
    }
    Ok(queries)
}

#[async_trait]
impl Work for Dashboards {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let spec = &section.context.spec;
        let (mut kept, mut panels, mut rows, mut bare) =
            (Kept::default(), Vec::new(), Vec::new(), Vec::new());
        for (line, service) in spec.services.iter().enumerate() {
            let queries = queries(section, &service.name).await?;
            if queries.is_empty() {
                bare.push(service.name.clone());
            }
            for (column, (title, unit, query)) in queries.into_iter().enumerate() {
                rows.push(vec![title.clone(), query.clone()]);
                panels.push(
                    json!({ "id": panels.len() + 1, "type": "timeseries", "title": title,
                    "gridPos": { "h": 8, "w": 6, "x": column * 6, "y": line * 8 },
                    "fieldConfig": { "defaults": { "unit": unit }, "overrides": [] },
                    "targets": [{ "expr": query, "refId": "A" }] }),
                );
            }
        }
        let count = panels.len();
        let dashboard = json!({ "title": format!("{} in {}", spec.application, spec.environment),
            "uid": format!("{}-{}", spec.application, spec.environment), "schemaVersion": 39,
            "time": { "from": "now-1h", "to": "now" }, "refresh": "10s", "panels": panels });
        let text = format!("{dashboard:#}\n");
        let file = section
            .keep(&mut kept, DASHBOARD, "application/json", text)
            .await?;
        let columns = vec![Column::text("panel"), Column::text("query")];
        let text = "A live dashboard of this run is System_Health_Dashboard; the one for Grafana is kept as evidence.";
        let report = Report::new()
            .with_text(text)
            .with_table(DASHBOARD, columns, rows);
        let event = section.report("Dashboards", report).await?;
        let reason = match bare.is_empty() {
            true => format!(
                "{count} panels for {} services were written",
                spec.services.len()
            ),
            false => format!("no metrics for a panel of {}", bare.join(", ")),
        };
        section
            .judge(
                "8.1.3",
                bare.is_empty(),
                Basis::Performed,
                reason,
                &[file, event],
            )
            .await?;
        Ok(kept.into_result(json!({ "panels": count })))
    }

    async fn inside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let Some(digest) = Kept::of(result).digest(DASHBOARD) else {
            return Ok(Seen::new(false, "no dashboard was kept"));
        };
        let file: Value = serde_json::from_slice(&section.read(digest).await?).unwrap_or_default();
        let panels = file
            .get("panels")
            .and_then(Value::as_array)
            .map_or(0, Vec::len) as u64;
        let wanted = result
            .get("panels")
            .and_then(Value::as_u64)
            .unwrap_or_default();
        Ok(Seen::new(
            panels == wanted,
            format!("{panels} of {wanted} panels in the kept file"),
        ))
    }

    async fn outside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let mut found = 0;
        for service in &section.context.spec.services {
            found += queries(section, &service.name).await?.len() as u64;
        }
        let wanted = result
            .get("panels")
            .and_then(Value::as_u64)
            .unwrap_or_default();
        let detail = format!("the services give the metrics of {found} of {wanted} panels");
        Ok(Seen::new(found == wanted, detail))
    }
}
