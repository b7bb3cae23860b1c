//! The section of traces: requests with a trace of their own are followed through the logs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, EvidenceRef, Release, Report, Role, Verdict};
use serde_json::{Value, json};

use super::VERB;
use super::logs::files;
use super::reading::log;
use crate::Context;
use crate::journey::{self, JourneyStepResult};
use crate::section::{Kept, Outline, Section, Seen, Work};
use crate::spec::{Journey, JourneyStep};
use crate::step::StepError;

pub(super) const OUTLINE: Outline = Outline {
    verb: VERB,
    section: "traces",
    title: "Follow requests with a trace through the logs of every service",
    items: ITEMS,
    undo: None,
    methods: (
        "kept traces: each request and its spans",
        "a fresh request's trace found in the logs",
    ),
    expected: Duration::from_secs(5),
};

const TRACES: &str = "traces of the journeys";

/// How long the last log line may take to be written.
const SETTLE: Duration = Duration::from_secs(3);

/// One request and where its trace was seen.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Trace {
    pub id: String,
    pub request: String,
    /// The service the request was sent to.
    pub entry: String,
    /// Whether the request was answered as the journey expects.
    pub passed: bool,
    pub spans: Vec<Span>,
}

/// One line of a log with the trace.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Span {
    pub service: String,
    pub id: Option<String>,
    pub parent: Option<String>,
    pub duration_us: Option<u64>,
}

impl Trace {
    pub(crate) fn services(&self) -> BTreeSet<&str> {
        self.spans
            .iter()
            .map(|span| span.service.as_str())
            .collect()
    }

    /// Returns the calls from one service to another that the spans show.
    pub(crate) fn edges(&self) -> BTreeSet<(&str, &str)> {
        let of = |id: &Option<String>| {
            self.spans
                .iter()
                .find(|span| span.id.is_some() && span.id == *id)
        };
        let pairs = self
            .spans
            .iter()
            .filter_map(|span| Some((of(&span.parent)?, span)));
        let pairs = pairs.map(|(caller, span)| (caller.service.as_str(), span.service.as_str()));
        pairs.filter(|(caller, called)| caller != called).collect()
    }

    /// Returns how many successful requests of `traces` made a call.
    pub(crate) fn times(traces: &[Self], (caller, called): &(String, String)) -> usize {
        let edge = (caller.as_str(), called.as_str());
        traces
            .iter()
            .filter(|trace| trace.passed && trace.edges().contains(&edge))
            .count()
    }

    /// Returns how many spans have a parent that is neither the request's nor one of the trace.
    fn orphans(&self) -> usize {
        let known = |parent: &String| {
            *parent == parent_of(&self.id)
                || self
                    .spans
                    .iter()
                    .any(|span| span.id.as_ref() == Some(parent))
        };
        self.spans
            .iter()
            .filter(|span| span.parent.as_ref().is_some_and(|own| !known(own)))
            .count()
    }
}

/// Returns the span identifier under which the request of a trace is sent.
fn parent_of(trace: &str) -> String {
    trace.chars().take(16).collect()
}

/// Returns a journey whose every request begins a trace of its own, and the traces.
fn traced(journey: &Journey) -> (Journey, Vec<String>) {
    let mut journey = journey.clone();
    let mut traces = Vec::new();
    for step in &mut journey.steps {
        let trace = crate::phases::look::fresh_id().simple().to_string();
        let header = format!("00-{trace}-{}-01", parent_of(&trace));
        step.headers.insert("traceparent".to_owned(), header);
        traces.push(trace);
    }
    (journey, traces)
}

/// Returns the journeys, or a request to each frontend's first page when there are none.
fn journeys(section: &Section<'_>) -> Vec<Journey> {
    let spec = &section.context.spec;
    if !spec.journeys.is_empty() {
        return spec.journeys.clone();
    }
    let frontends = spec
        .services
        .iter()
        .filter(|service| service.role == Role::Frontend);
    let page = |service: &crate::spec::Service| Journey {
        name: format!("first page of {}", service.name),
        smoke: false,
        service: service.name.clone(),
        steps: vec![JourneyStep {
            name: "open".to_owned(),
            method: "GET".to_owned(),
            path: "/".to_owned(),
            headers: BTreeMap::new(),
            body: None,
            expect: crate::spec::Expectation {
                status: 200,
                contains: Vec::new(),
                json: BTreeMap::new(),
                within: None,
            },
            save: BTreeMap::new(),
        }],
    };
    frontends.map(page).collect()
}

/// Makes all journeys with traces and finds these in the logs of every service.
pub(crate) async fn follow(section: &Section<'_>) -> Result<Vec<Trace>, StepError> {
    let context = section.context;
    follow_journeys(context, &journeys(section), &context.to).await
}

/// Makes journeys with traces and finds these in the logs of a release of every service.
pub(crate) async fn follow_journeys(
    context: &Context,
    journeys: &[Journey],
    release: &Release,
) -> Result<Vec<Trace>, StepError> {
    let observed = context.target.observe().await?;
    let mut traces = Vec::new();
    for journey in journeys {
        context.safe_point()?;
        let Some(base) = observed.front_url(&journey.service) else {
            continue;
        };
        let (with_traces, ids) = traced(journey);
        let result = journey::run(context, &with_traces, &base, &[]).await;
        let made = |(step, id): (&JourneyStepResult, String)| Trace {
            id,
            request: step.request.clone(),
            entry: journey.service.clone(),
            passed: step.passed,
            spans: Vec::new(),
        };
        traces.extend(result.steps.iter().zip(ids).map(made));
    }
    let began = tokio::time::Instant::now();
    let mut before = usize::MAX;
    loop {
        find(context, release, &mut traces).await?;
        let spans = traces.iter().map(|trace| trace.spans.len()).sum();
        let all = traces.iter().all(|trace| !trace.spans.is_empty());
        if (all && spans == before) || began.elapsed() > SETTLE {
            return Ok(traces);
        }
        before = spans;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn find(context: &Context, release: &Release, traces: &mut [Trace]) -> Result<(), StepError> {
    let ids: Vec<_> = traces.iter().map(|trace| trace.id.clone()).collect();
    traces.iter_mut().for_each(|trace| trace.spans.clear());
    for (service, logs) in files(context, release).await? {
        for file in logs {
            for line in log(file.path, ids.clone()).await?.matching {
                let line: Value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                let held = line.to_string();
                let text = |name: &str| line.get(name).and_then(Value::as_str).map(str::to_owned);
                let span = Span {
                    service: service.clone(),
                    id: text("span_id"),
                    parent: text("parent_span_id"),
                    duration_us: line.get("duration_us").and_then(Value::as_u64),
                };
                let of = traces
                    .iter_mut()
                    .filter(|trace| held.contains(trace.id.as_str()));
                of.for_each(|trace| trace.spans.push(span.clone()));
            }
        }
    }
    Ok(())
}

/// Returns the services that can be reached from those at which requests enter.
fn on_the_path(section: &Section<'_>, traces: &[Trace]) -> BTreeSet<String> {
    let spec = &section.context.spec;
    let mut path: BTreeSet<String> = traces.iter().map(|trace| trace.entry.clone()).collect();
    let mut waiting: Vec<_> = path.iter().cloned().collect();
    while let Some(service) = waiting.pop() {
        let needs = spec
            .service(&service)
            .map(|service| service.needs.clone())
            .unwrap_or_default();
        for need in needs
            .into_iter()
            .filter(|need| spec.service(need).is_some())
        {
            if path.insert(need.clone()) {
                waiting.push(need);
            }
        }
    }
    path
}

pub(super) struct Traces;

#[async_trait]
impl Work for Traces {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let mut kept = Kept::default();
        let traces = follow(section).await?;
        let text = format!("{:#}\n", json!(traces));
        let file = section
            .keep(&mut kept, TRACES, "application/json", text)
            .await?;
        let rows = traces.iter().map(|trace| {
            let services: Vec<_> = trace.services().into_iter().collect();
            let longest = trace.spans.iter().filter_map(|span| span.duration_us).max();
            vec![
                trace.request.clone(),
                trace.id.clone(),
                services.join(", "),
                trace.spans.len().to_string(),
                longest
                    .map(|us| format!("{:.1}", us as f64 / 1000.0))
                    .unwrap_or_default(),
            ]
        });
        let columns = vec![
            Column::text("request"),
            Column::text("trace"),
            Column::text("seen in the logs of"),
            Column::number("spans"),
            Column::number("longest span (ms)"),
        ];
        let report = Report::new().with_table("Traces of the journeys", columns, rows.collect());
        let event = section.report("Distributed traces", report).await?;
        settle(section, &traces, &[file, event]).await?;
        Ok(kept.into_result(json!({ "traces": traces.len() })))
    }

    async fn inside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let Some(digest) = Kept::of(result).digest(TRACES) else {
            return Ok(Seen::new(false, "no traces were kept"));
        };
        let traces = parsed(&section.read(digest).await?);
        let orphans: usize = traces.iter().map(Trace::orphans).sum();
        let spans: usize = traces.iter().map(|trace| trace.spans.len()).sum();
        let all_kept = result["traces"] == json!(traces.len());
        if nothing_traced(&traces) {
            return Ok(Seen::new(all_kept, not_traced(&traces)));
        }
        let detail = format!(
            "{spans} spans of {} traces, {orphans} without their parent",
            traces.len()
        );
        Ok(Seen::new(all_kept, detail))
    }

    async fn outside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let traces = follow(section).await?;
        let before = match Kept::of(result).digest(TRACES) {
            Some(digest) => parsed(&section.read(digest).await?),
            None => return Ok(Seen::new(false, "no traces were kept")),
        };
        let detail = format!(
            "{} of {} new requests are found in the logs, {} of {} before",
            found(&traces),
            traces.len(),
            found(&before),
            before.len()
        );
        // What services do not trace is for the items to judge; the second time is as the first.
        let all = |traces: &[Trace]| found(traces) == traces.len();
        Ok(Seen::new(all(&traces) == all(&before), detail))
    }
}

const ITEMS: &str = "8.3.1 8.3.2 8.3.3 8.3.4 8.3.5 8.3.6";

const NOT_TRACED: &str = "no service writes the traceparent of a request into its log, so that nothing can be said of traces";

const NOT_ASKED: &str = "there is no journey and no frontend, so that there was no request whose trace could be followed";

fn not_traced(traces: &[Trace]) -> &'static str {
    if traces.is_empty() {
        NOT_ASKED
    } else {
        NOT_TRACED
    }
}

/// Returns how many requests are in a log.
fn found(traces: &[Trace]) -> usize {
    let seen = traces.iter().filter(|trace| !trace.spans.is_empty());
    seen.count()
}

fn parsed(text: &[u8]) -> Vec<Trace> {
    serde_json::from_slice(text).unwrap_or_default()
}

/// Whether no service said a word of the traces.
fn nothing_traced(traces: &[Trace]) -> bool {
    traces.iter().all(|trace| trace.spans.is_empty())
}

async fn settle(
    section: &Section<'_>,
    traces: &[Trace],
    evidence: &[EvidenceRef],
) -> Result<(), StepError> {
    if nothing_traced(traces) {
        for item in ITEMS.split_ascii_whitespace() {
            section.open(item, not_traced(traces)).await?;
        }
        return Ok(());
    }
    let count = traces.len();
    let seen = found(traces);
    let reason =
        format!("the spans of {seen} of {count} requests with a traceparent are in the logs");
    let holds = seen == count && count > 0;
    section
        .judge("8.3.1", holds, Basis::Performed, reason, evidence)
        .await?;
    let wanted = section.context.spec.file.monitoring.trace_sampling;
    if wanted >= 100.0 && holds {
        let reason =
            format!("{wanted} % are asked for, and {seen} of {count} requests were traced");
        let met = Verdict::Met {
            basis: Basis::Performed,
        };
        section.settle("8.3.2", met, reason, evidence).await?;
    } else {
        let reason = format!(
            "{wanted} % are asked for; the program has no way to set the sampling of a service"
        );
        section.open("8.3.2", &reason).await?;
    }
    let linked = traces
        .iter()
        .filter(|trace| trace.spans.iter().any(|span| span.id.is_some()))
        .count();
    let reason =
        format!("{linked} of {count} traces are in log lines together with a span identifier");
    section
        .judge(
            "8.3.3",
            linked == count && count > 0,
            Basis::Performed,
            reason,
            evidence,
        )
        .await?;
    section
        .open(
            "8.3.4",
            "nothing on this target draws traces; the table of this section lists them",
        )
        .await?;
    let spans: Vec<_> = traces.iter().flat_map(|trace| &trace.spans).collect();
    let slowest = spans
        .iter()
        .filter_map(|span| Some((span.duration_us?, &span.service)))
        .max();
    match slowest {
        Some((us, service)) => {
            let slowest = us as f64 / 1000.0;
            let reason = format!(
                "{} spans were read; the slowest took {slowest:.1} ms in {service}",
                spans.len()
            );
            section
                .judge("8.3.5", true, Basis::Observed, reason, evidence)
                .await?;
        }
        None => {
            section
                .open("8.3.5", "no span says how long it took")
                .await?
        }
    }
    let path = on_the_path(section, traces);
    let crossed: BTreeSet<_> = traces.iter().flat_map(Trace::services).collect();
    let missing: Vec<_> = path
        .iter()
        .filter(|one| !crossed.contains(one.as_str()))
        .cloned()
        .collect();
    let orphans: usize = traces.iter().map(Trace::orphans).sum();
    let longest = traces
        .iter()
        .map(|trace| trace.services().len())
        .max()
        .unwrap_or_default();
    let reason = match missing.is_empty() && orphans == 0 {
        true => format!(
            "the traces cross all {} services on the way, one request up to {longest}, and no span lacks its parent",
            path.len()
        ),
        false => format!(
            "not in any trace: {}; {orphans} spans lack their parent",
            missing.join(", ")
        ),
    };
    let whole = missing.is_empty() && orphans == 0 && count > 0;
    section
        .judge("8.3.6", whole, Basis::Observed, reason, evidence)
        .await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
    use super::*;

    fn span(service: &str, id: &str, parent: &str) -> Span {
        let (id, parent) = (Some(id.to_owned()), Some(parent.to_owned()));
        Span {
            service: service.to_owned(),
            id,
            parent,
            duration_us: None,
        }
    }

    #[test]
    fn calls_and_lost_parents_follow_from_the_spans() {
        let id = "0123456789abcdef0123456789abcdef".to_owned();
        let spans = vec![
            span("web", "a", "0123456789abcdef"),
            span("orders", "b", "a"),
            span("catalog", "c", "lost"),
        ];
        let trace = Trace {
            id,
            request: String::new(),
            entry: "web".to_owned(),
            passed: true,
            spans,
        };
        assert_eq!(trace.edges(), BTreeSet::from([("web", "orders")]));
        assert_eq!(trace.orphans(), 1);
        assert_eq!(trace.services().len(), 3);
    }
}
