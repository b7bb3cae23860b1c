//! The section of integrations: each call from one service to another is seen in a trace.

use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, Report, Verdict};
use serde_json::{Value, json};

use super::VERB;
use crate::phases::observe::{Trace, follow};
use crate::phases::paths;
use crate::section::{Kept, Outline, Section, Seen, Work};
use crate::step::StepError;

pub(super) const OUTLINE: Outline = Outline {
    verb: VERB,
    section: "integration",
    title: "See every declared call between services in a trace",
    items: "9.1.3",
    undo: None,
    methods: (
        "calls counted in the kept traces",
        "calls found in traces of new requests",
    ),
    expected: Duration::from_secs(5),
};

const TRACES: &str = "traces of the integrations";

pub(super) struct Integration;

fn seen(section: &Section<'_>, traces: &[Trace]) -> usize {
    paths::calls(&section.context.spec)
        .iter()
        .filter(|edge| Trace::times(traces, edge) > 0)
        .count()
}

#[async_trait]
impl Work for Integration {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let mut kept = Kept::default();
        let (traces, edges) = (follow(section).await?, paths::calls(&section.context.spec));
        let text = format!("{:#}\n", json!(traces));
        let file = section
            .keep(&mut kept, TRACES, "application/json", text)
            .await?;
        let rows = edges.iter().map(|edge| {
            let times = Trace::times(&traces, edge);
            let state = if times > 0 { "seen" } else { "not seen" }.to_owned();
            vec![edge.0.clone(), edge.1.clone(), times.to_string(), state]
        });
        let columns = vec![
            Column::text("caller"),
            Column::text("called"),
            Column::number("successful requests with the call"),
            Column::text("result"),
        ];
        let report = Report::new().with_table("Calls between services", columns, rows.collect());
        let event = section.report("Integrations", report).await?;
        let evidence = [file, event];
        let (found, all) = (seen(section, &traces), edges.len());
        let reason = format!(
            "{found} of {all} declared calls between services were seen in traces of successful requests"
        );
        if all == 0 {
            let fact = "no service of the inventory needs another".to_owned();
            section
                .settle(
                    "9.1.3",
                    Verdict::NotApplicable { fact: fact.clone() },
                    fact,
                    &evidence,
                )
                .await?;
        } else {
            section
                .judge("9.1.3", found == all, Basis::Performed, reason, &evidence)
                .await?;
        }
        Ok(kept.into_result(json!({ "seen": found })))
    }

    async fn inside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let Some(digest) = Kept::of(result).digest(TRACES) else {
            return Ok(Seen::new(false, "no traces were kept"));
        };
        let text = section.read(digest).await?;
        let traces: Vec<Trace> = serde_json::from_slice(&text).unwrap_or_default();
        let found = seen(section, &traces) as u64;
        let wanted = result.get("seen").and_then(Value::as_u64);
        Ok(Seen::new(
            Some(found) == wanted,
            format!("{found} calls in the kept traces"),
        ))
    }

    async fn outside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let found = seen(section, &follow(section).await?) as u64;
        let wanted = result.get("seen").and_then(Value::as_u64);
        Ok(Seen::new(
            Some(found) == wanted,
            format!("{found} calls in traces of new requests"),
        ))
    }
}
