//! The balancer: what it is told for each service, and whether it does so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, EvidenceRef, Report};
use serde_json::{Value, json};

use crate::gate;
use crate::http::HttpClient;
use crate::phases;
use crate::phases::look::{self, LIMIT, list};
use crate::section::{Outline, Section, Seen, Work, step as section_step};
use crate::step::StepError;
use crate::target::{Balancing, Observed};
use crate::{Context, Step};

/// Requests to each service whose answering release is looked at.
const ASKED: u32 = 40;

/// Returns the step.
pub(super) fn step() -> Option<Arc<dyn Step>> {
    let outline = Outline {
        verb: ("provision", 4),
        section: "load-balancer",
        title: "check timeouts, retries, stickiness and breakers, and the split that is served",
        items: "3.3.1 3.4.5 6.2.1 6.2.2 6.2.3 6.2.4 6.2.5 6.2.6",
        undo: None,
        methods: (
            "the shares as the balancer serves them",
            "the releases that answer requests",
        ),
        expected: Duration::from_secs(1),
    };
    section_step(&outline, Balancer)
}

struct Balancer;

#[async_trait]
impl Work for Balancer {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let context = section.context;
        let observed = context.target.observe().await?;
        let answered = answered(context).await?;
        let columns = [
            "Service",
            "Address",
            "Algorithm",
            "Timeout",
            "Retries",
            "Sticky",
            "Breaker after",
            "Drain",
        ];
        let algorithm = algorithm(context.target.balancing());
        let rows = observed.addresses.iter().map(|place| {
            let routing = &place.routing;
            vec![
                place.service.clone(),
                place.address.to_string(),
                algorithm.to_owned(),
                routing.timeout.to_string(),
                routing.retries.to_string(),
                if routing.sticky { "yes" } else { "no" }.to_owned(),
                format!("{} failures", routing.breaker_failures),
                routing.drain.to_string(),
            ]
        });
        let split = answered.iter().map(|(service, releases)| {
            let shares = observed.traffic.get(service).map(|shares| {
                list(
                    shares
                        .iter()
                        .map(|(release, share)| format!("{release} {share} %")),
                )
            });
            vec![
                service.clone(),
                shares.unwrap_or_default(),
                list(
                    releases
                        .iter()
                        .map(|(release, count)| format!("{release} {count}")),
                ),
            ]
        });
        let report = Report::new()
            .with_table(
                "What the balancer is told",
                columns.map(Column::text).to_vec(),
                rows.collect(),
            )
            .with_table(
                format!("Answers of {ASKED} requests each"),
                ["Service", "Shares served", "Answers by release"]
                    .map(Column::text)
                    .to_vec(),
                split.collect(),
            );
        let event = section.report("Load balancer", report).await?;
        settle(section, &observed, &answered, event).await?;
        Ok(json!({ "services": observed.addresses.len() }))
    }

    async fn inside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let served = section.context.target.traffic().await?;
        let whole = served
            .values()
            .filter(|shares| !shares.is_empty())
            .all(|shares| shares.values().map(|share| u32::from(*share)).sum::<u32>() == 100);
        Ok(Seen::new(
            whole,
            format!(
                "{} services have shares, each adds up to 100 %",
                served.len()
            ),
        ))
    }

    async fn outside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let context = section.context;
        if context.goes_back() {
            let observed = context.target.observe().await?;
            let reached = look::reach_all(context, &observed).await;
            return Ok(Seen::new(reached.failed.is_none(), reached.text()));
        }
        let answered = answered(context).await?;
        let wrong = wrong(context, &answered);
        let total: u32 = answered.values().flat_map(BTreeMap::values).sum();
        Ok(Seen::new(
            wrong.is_empty(),
            format!("{total} answers; from another release: {}", list(&wrong)),
        ))
    }
}

type Answered = BTreeMap<String, BTreeMap<String, u32>>;

/// Asks every service; returns how often each release answered. Nothing in a first deployment, nor in
/// a run that goes back, which does not wait for the answers of what it leaves.
async fn answered(context: &Context) -> Result<Answered, StepError> {
    let mut all = Answered::new();
    if context.from.is_none() || context.goes_back() {
        return Ok(all);
    }
    let (urls, client) = (gate::base_urls(context).await?, HttpClient::new());
    for service in &context.spec.services {
        let path = service
            .file
            .probes
            .liveness
            .as_ref()
            .or(service.file.probes.readiness.as_ref());
        let (Some(url), Some(path)) = (urls.get(&service.name), path) else {
            continue;
        };
        let releases = all.entry(service.name.clone()).or_default();
        for _ in 0..ASKED {
            let word = match client.get(&format!("{url}{path}"), LIMIT).await {
                Ok(answer) if answer.status.is_success() => {
                    answer.header("x-release").unwrap_or("not named").to_owned()
                }
                Ok(answer) => answer.status.to_string(),
                Err(error) => error.class().to_owned(),
            };
            *releases.entry(word).or_default() += 1;
        }
    }
    Ok(all)
}

/// Returns the services of which another than the running release answered.
fn wrong(context: &Context, answered: &Answered) -> Vec<String> {
    let from = context
        .from
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    let other = |releases: &BTreeMap<String, u32>| {
        releases
            .keys()
            .any(|name| *name != from && name != "not named")
    };
    answered
        .iter()
        .filter(|(_, releases)| other(releases))
        .map(|(service, _)| service.clone())
        .collect()
}

/// Returns how the balancer chooses, in words.
fn algorithm(balancing: Balancing) -> &'static str {
    match balancing {
        Balancing::Requests => "weights of releases, then the less loaded of two instances",
        Balancing::Connections => "the platform chooses an instance for each connection",
    }
}

/// A balancer of connections knows no requests: what is said of them is not done.
async fn settle_connections(section: &Section<'_>) -> Result<(), StepError> {
    let text =
        "the platform balances connections: what `routing` says of requests is not done there";
    for item in ["6.2.2", "6.2.3", "6.2.4", "6.2.5"] {
        section.open(item, text).await?;
    }
    Ok(())
}

async fn settle_requests(
    section: &Section<'_>,
    observed: &Observed,
    complete: bool,
    evidence: &[EvidenceRef],
) -> Result<(), StepError> {
    let performed = Basis::Performed;
    let sticky: Vec<_> = observed
        .addresses
        .iter()
        .filter(|one| one.routing.sticky)
        .map(|one| &one.service)
        .collect();
    if sticky.is_empty() {
        section
            .none(
                "6.2.2",
                "no service of the deployment file asks for sticky sessions",
            )
            .await?;
    } else {
        section
            .judge(
                "6.2.2",
                true,
                performed,
                format!("sticky: {}", list(sticky.iter())),
                evidence,
            )
            .await?;
    }
    let each = |say: &dyn Fn(&crate::spec::Routing) -> String| {
        list(
            observed
                .addresses
                .iter()
                .map(|one| format!("{} {}", one.service, say(&one.routing))),
        )
    };
    let timeouts = format!(
        "until the first byte: {}",
        each(&|routing| routing.timeout.to_string())
    );
    section
        .judge("6.2.3", complete, performed, timeouts, evidence)
        .await?;
    let retries = format!(
        "of idempotent requests: {}",
        each(&|routing| routing.retries.to_string())
    );
    section
        .judge("6.2.4", complete, performed, retries, evidence)
        .await?;
    let without: Vec<_> = observed
        .addresses
        .iter()
        .filter(|one| one.routing.breaker_failures == 0)
        .map(|one| &one.service)
        .collect();
    let breakers = format!(
        "open after failures in a row: {}",
        each(&|routing| routing.breaker_failures.to_string())
    );
    section
        .judge("6.2.5", without.is_empty(), performed, breakers, evidence)
        .await
}

async fn settle(
    section: &Section<'_>,
    observed: &Observed,
    answered: &Answered,
    event: EvidenceRef,
) -> Result<(), StepError> {
    let (evidence, performed) = ([event], Basis::Performed);
    let context = section.context;
    let count = observed.addresses.len();
    let complete = count >= context.spec.services.len();
    let text = format!(
        "the balancer has {count} addresses for {} services",
        context.spec.services.len()
    );
    section
        .judge("3.3.1", complete, performed, text, &evidence)
        .await?;
    let text = format!(
        "{}, for {count} services",
        algorithm(context.target.balancing())
    );
    section
        .judge("6.2.1", complete, performed, text, &evidence)
        .await?;
    if context.target.balancing() == Balancing::Connections {
        settle_connections(section).await?;
    } else {
        settle_requests(section, observed, complete, &evidence).await?;
    }
    let single: Vec<_> = context
        .spec
        .services
        .iter()
        .filter(|one| one.replicas < 2)
        .map(|one| &one.name)
        .collect();
    let text = format!(
        "services with one instance behind the balancer: {}",
        list(single.iter())
    );
    section
        .judge("6.2.6", single.is_empty(), Basis::Observed, text, &evidence)
        .await?;
    if context.goes_back() {
        return section.open("3.4.5", phases::NOT_JUDGED).await;
    }
    if answered.is_empty() {
        return section
            .none(
                "3.4.5",
                "a first deployment: nothing runs behind the balancer yet",
            )
            .await;
    }
    let wrong = wrong(context, answered);
    let total: u32 = answered.values().flat_map(BTreeMap::values).sum();
    let text = format!(
        "before the rollout: {total} answers of {} services, all of which one release serves alone; \
         from another release: {}. Shares between two releases are counted in phase 6",
        answered.len(),
        list(&wrong)
    );
    section
        .judge("3.4.5", wrong.is_empty(), Basis::Observed, text, &evidence)
        .await
}
