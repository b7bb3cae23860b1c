//! The section of functions: journeys, contracts and requests that must be refused.

use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, EvidenceRef, Report, Severity, Verdict};
use serde_json::{Value, json};

use super::VERB;
use crate::contract::{self, ContractResult};
use crate::http::{HttpClient, Request};
use crate::journey::{self, JourneyResult};
use crate::phases::look::REQUEST_LIMIT;
use crate::section::{Kept, Outline, Section, Seen, Work};
use crate::spec::Spec;
use crate::step::StepError;

pub(super) const OUTLINE: Outline = Outline {
    verb: VERB,
    section: "functional",
    title: "Make every journey, hold every service against its contract, try edge cases",
    items: "9.1.1 9.1.2 9.1.4 9.1.5 9.1.6",
    undo: None,
    methods: ("kept results counted again", "every journey made once more"),
    expected: Duration::from_secs(10),
};

const RESULTS: &str = "functional results";

/// A body larger than any form.
const OVERSIZED: usize = 8 * 1024 * 1024;

pub(super) struct Functional;

/// Makes every journey through the address of its service.
async fn journeys(section: &Section<'_>) -> Result<Vec<JourneyResult>, StepError> {
    let (context, observed) = (section.context, section.observe().await?);
    let mut results = Vec::new();
    for journey in &context.spec.journeys {
        context.safe_point()?;
        let Some(base) = observed.front_url(&journey.service) else {
            let (name, steps) = (journey.name.clone(), Vec::new());
            results.push(JourneyResult {
                name,
                steps,
                passed: false,
            });
            continue;
        };
        results.push(journey::run(context, journey, &base, &[]).await);
    }
    Ok(results)
}

/// One request that must be refused in the right way.
struct Edge {
    service: String,
    what: &'static str,
    expected: &'static str,
    seen: String,
    passed: bool,
}

/// Asks one instance of each service for what it must refuse, at the instance's own address: what comes
/// of that is no failed request of a user's, and must not be counted among them.
async fn edges(section: &Section<'_>) -> Result<Vec<Edge>, StepError> {
    let (client, observed) = (HttpClient::new(), section.observe().await?);
    let (spec, release) = (&section.context.spec, &section.context.to);
    let mut edges = Vec::new();
    for service in &spec.services {
        let mut instances = observed.instances.iter();
        let instance = instances.find(|instance| {
            instance.running && instance.service == service.name && instance.release == *release
        });
        let Some(base) = instance.map(|one| format!("http://{}", one.address)) else {
            continue;
        };
        let known = service.file.probes.liveness.as_deref().or(service
            .file
            .probes
            .readiness
            .as_deref());
        for (what, expected, request) in cases(spec, &service.name, &base, known) {
            let (seen, passed) = match client.send(&request).await {
                Ok(answer) => {
                    let status = answer.status.as_u16();
                    let passed = match expected {
                        "404" => status == 404,
                        "405" => status == 405,
                        _ => (400..500).contains(&status),
                    };
                    (status.to_string(), passed)
                }
                // A server may close the connection on a body that it does not want.
                Err(error) if what == OVERSIZED_BODY && error.class() == "reset" => {
                    (format!("the connection was closed ({error})"), true)
                }
                Err(error) => (error.to_string(), false),
            };
            let service = service.name.clone();
            edges.push(Edge {
                service,
                what,
                expected,
                seen,
                passed,
            });
        }
    }
    Ok(edges)
}

const OVERSIZED_BODY: &str = "oversized body";

type Case = (&'static str, &'static str, Request);

fn cases(spec: &Spec, service: &str, base: &str, known: Option<&str>) -> Vec<Case> {
    let request = |method: &str, path: &str, body: Vec<u8>| Request {
        method: method.to_owned(),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body,
        ..Request::get(format!("{base}{path}"), REQUEST_LIMIT)
    };
    let mut cases = vec![(
        "unknown path",
        "404",
        Request::get(
            format!("{base}/{}", crate::phases::look::fresh_id().simple()),
            REQUEST_LIMIT,
        ),
    )];
    if let Some(path) = known {
        cases.push(("wrong method", "405", request("DELETE", path, Vec::new())));
    }
    // The endpoint that takes a body is known from the journeys, or is the log marker's.
    let journeys = spec
        .journeys
        .iter()
        .filter(|journey| journey.service == service);
    let step = journeys
        .flat_map(|journey| &journey.steps)
        .find(|step| step.method == "POST");
    let marker = spec
        .service(service)
        .and_then(|service| service.file.log_marker.as_deref());
    if let Some(path) = step.map(|step| step.path.as_str()).or(marker) {
        cases.push((
            "malformed body",
            "4xx",
            request("POST", path, b"{\"broken\":".to_vec()),
        ));
        cases.push((
            "body of another shape",
            "4xx",
            request("POST", path, b"[]".to_vec()),
        ));
        cases.push((
            OVERSIZED_BODY,
            "4xx, or the connection closed",
            request("POST", path, vec![b' '; OVERSIZED]),
        ));
    }
    cases
}

#[async_trait]
impl Work for Functional {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let mut kept = Kept::default();
        let journeys = journeys(section).await?;
        let contracts = contract::check_all(section.context, None).await?;
        let edges = edges(section).await?;
        let counted: Vec<_> = edges
            .iter()
            .map(|edge| json!({ "service": edge.service, "what": edge.what, "seen": edge.seen, "passed": edge.passed }))
            .collect();
        let text = json!({ "journeys": journeys, "contracts": contracts, "edges": counted });
        let file = section
            .keep(
                &mut kept,
                RESULTS,
                "application/json",
                format!("{text:#}\n"),
            )
            .await?;
        let report = report(&journeys, &contracts, &edges);
        let event = section.report("Functional results", report).await?;
        let evidence = [file, event];
        settle_journeys(section, &journeys, &evidence).await?;
        settle_contracts(section, &contracts, &evidence).await?;
        let good = edges.iter().filter(|edge| edge.passed).count();
        let wrong: Vec<_> = edges.iter().filter(|edge| !edge.passed).collect();
        for edge in &wrong {
            let message = format!("{}: {} instead of {}", edge.what, edge.seen, edge.expected);
            let cure = "Refuse such a request with a status from 400 to 499.";
            section
                .find(
                    "functional/edge-case",
                    Severity::Medium,
                    &edge.service,
                    (message, cure),
                )
                .await?;
        }
        let reason = format!(
            "{good} of {} requests that must be refused were refused as they should be",
            edges.len()
        );
        section
            .judge(
                "9.1.5",
                wrong.is_empty() && good > 0,
                Basis::Performed,
                reason,
                &evidence,
            )
            .await?;
        let skipped: usize = contracts.iter().map(|(_, one)| one.counts().2).sum();
        let made: usize = journeys.iter().map(|one| one.steps.len()).sum();
        let planned: usize = section
            .context
            .spec
            .journeys
            .iter()
            .map(|one| one.steps.len())
            .sum();
        let reason = format!(
            "{made} of {planned} steps of journeys were made; {skipped} operations of the contracts were not asked"
        );
        match made == planned && skipped == 0 {
            true => {
                section
                    .judge("9.1.6", true, Basis::Observed, reason, &evidence)
                    .await?
            }
            false if made < planned => {
                section
                    .judge("9.1.6", false, Basis::Observed, reason, &evidence)
                    .await?
            }
            false => {
                section
                    .settle("9.1.6", Verdict::Open, reason, &evidence)
                    .await?
            }
        }
        let passed = journeys.iter().filter(|one| one.passed).count();
        Ok(kept.into_result(json!({ "journeys": passed })))
    }

    async fn inside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let Some(digest) = Kept::of(result).digest(RESULTS) else {
            return Ok(Seen::new(false, "no results were kept"));
        };
        let file: Value = serde_json::from_slice(&section.read(digest).await?).unwrap_or_default();
        let kept = file.get("journeys").and_then(Value::as_array);
        let passed = kept
            .into_iter()
            .flatten()
            .filter(|one| one["passed"] == true)
            .count() as u64;
        let wanted = result.get("journeys").and_then(Value::as_u64);
        Ok(Seen::new(
            Some(passed) == wanted,
            format!("{passed} journeys passed by the kept file"),
        ))
    }

    async fn outside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let again = journeys(section).await?;
        let passed = again.iter().filter(|one| one.passed).count() as u64;
        let wanted = result.get("journeys").and_then(Value::as_u64);
        let detail = format!(
            "{passed} of {} journeys pass when made once more",
            again.len()
        );
        Ok(Seen::new(Some(passed) == wanted, detail))
    }
}

fn report(
    journeys: &[JourneyResult],
    contracts: &[(String, ContractResult)],
    edges: &[Edge],
) -> Report {
    let word = |passed: bool| if passed { "passed" } else { "failed" }.to_owned();
    let steps = journeys
        .iter()
        .flat_map(|one| one.steps.iter().map(move |step| (one, step)));
    let steps = steps.map(|(one, step)| {
        let elapsed = format!("{:.1}", step.elapsed.as_secs_f64() * 1000.0);
        let (name, request) = (step.name.clone(), step.request.clone());
        vec![
            one.name.clone(),
            name,
            request,
            elapsed,
            word(step.passed),
            step.detail.clone(),
        ]
    });
    let columns = |names: [&str; 6], number: usize| {
        let column = |(at, name): (usize, &str)| match at == number {
            true => Column::number(name),
            false => Column::text(name),
        };
        names
            .into_iter()
            .enumerate()
            .map(column)
            .collect::<Vec<_>>()
    };
    let operations = contracts.iter().flat_map(|(service, one)| {
        let problem = one.problem.iter().map(move |what| {
            vec![
                service.clone(),
                one.document.clone(),
                String::new(),
                String::new(),
                word(false),
                what.clone(),
            ]
        });
        let asked = one.operations.iter().map(move |own| {
            let status = own
                .status
                .map(|status| status.to_string())
                .unwrap_or_default();
            let state = own.passed.map_or_else(|| "not asked".to_owned(), word);
            let (operation, request) = (own.operation.clone(), own.request.clone());
            vec![
                service.clone(),
                operation,
                request,
                status,
                state,
                own.detail.clone(),
            ]
        });
        problem.chain(asked).collect::<Vec<_>>()
    });
    let edges = edges.iter().map(|edge| {
        let (what, expected) = (edge.what.to_owned(), edge.expected.to_owned());
        vec![
            edge.service.clone(),
            what,
            expected,
            edge.seen.clone(),
            word(edge.passed),
        ]
    });
    let journeys = columns(
        ["journey", "step", "request", "time (ms)", "result", "seen"],
        3,
    );
    let contracts = columns(
        [
            "service",
            "operation",
            "request",
            "status",
            "result",
            "seen",
        ],
        3,
    );
    let refused = ["service", "request", "expected", "seen", "result"]
        .map(Column::text)
        .to_vec();
    Report::new()
        .with_table("User journeys", journeys, steps.collect())
        .with_table(
            "Operations of the OpenAPI documents",
            contracts,
            operations.collect(),
        )
        .with_table("Requests that must be refused", refused, edges.collect())
}

async fn settle_journeys(
    section: &Section<'_>,
    journeys: &[JourneyResult],
    evidence: &[EvidenceRef],
) -> Result<(), StepError> {
    if journeys.is_empty() {
        let reason = "the deployment file names no journey";
        section.open("9.1.1", reason).await?;
        return section.open("9.1.4", reason).await;
    }
    let failed: Vec<_> = journeys
        .iter()
        .filter(|one| !one.passed)
        .map(|one| one.name.as_str())
        .collect();
    let made: usize = journeys.iter().map(|one| one.steps.len()).sum();
    let mut reason = format!(
        "{} of {} journeys passed, {made} requests",
        journeys.len() - failed.len(),
        journeys.len()
    );
    if !failed.is_empty() {
        reason.push_str(&format!("; failed: {}", failed.join(", ")));
    }
    section
        .judge(
            "9.1.1",
            failed.is_empty(),
            Basis::Performed,
            reason,
            evidence,
        )
        .await?;
    let declared = &section.context.spec.journeys;
    let flows = declared.iter().filter(|one| one.steps.len() > 1);
    let flows: Vec<_> = flows.map(|one| one.name.as_str()).collect();
    let wrong: Vec<_> = failed.iter().filter(|name| flows.contains(name)).collect();
    let reason = format!(
        "{} of {} workflows of more than one request passed from end to end",
        flows.len() - wrong.len(),
        flows.len()
    );
    match flows.is_empty() {
        true => {
            section
                .open("9.1.4", "no journey has more than one request")
                .await
        }
        false => {
            section
                .judge(
                    "9.1.4",
                    wrong.is_empty(),
                    Basis::Performed,
                    reason,
                    evidence,
                )
                .await
        }
    }
}

async fn settle_contracts(
    section: &Section<'_>,
    contracts: &[(String, ContractResult)],
    evidence: &[EvidenceRef],
) -> Result<(), StepError> {
    let summary = contract::Summary::of(contracts);
    for (service, result) in contracts {
        let wrong = result
            .operations
            .iter()
            .filter(|one| one.passed == Some(false));
        let wrong = wrong.map(|one| format!("{}: {}", one.operation, one.detail));
        for message in wrong.chain(result.problem.clone()) {
            let cure = "Change the service or its OpenAPI document, so that both say the same.";
            section
                .find(
                    "functional/contract",
                    Severity::High,
                    service,
                    (message, cure),
                )
                .await?;
        }
    }
    let services = &section.context.spec.services;
    let without: Vec<_> = services
        .iter()
        .filter(|service| !contracts.iter().any(|(name, _)| *name == service.name))
        .map(|service| service.name.as_str())
        .collect();
    let broken = contracts.iter().any(|(_, one)| !one.holds());
    let mut reason = summary.to_string();
    if !without.is_empty() {
        reason.push_str(&format!("; no OpenAPI document of {}", without.join(", ")));
    }
    if !broken && (summary.not_asked > 0 || !without.is_empty()) {
        return section
            .settle("9.1.2", Verdict::Open, reason, evidence)
            .await;
    }
    section
        .judge("9.1.2", !broken, Basis::Performed, reason, evidence)
        .await
}
