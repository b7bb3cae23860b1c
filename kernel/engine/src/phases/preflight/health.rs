//! Health of what runs before anything is deployed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, EvidenceRef, Report, Verdict};
use serde_json::{Value, json};

use crate::gate;
use crate::gate::probe::{Answers, answered_by};
use crate::http::HttpClient;
use crate::inventory::Endpoint;
use crate::phases::look::{self, LIMIT, list};
use crate::phases::migrate::{Sqlite, path_of};
use crate::phases::observe::{Trace, follow_journeys};
use crate::phases::paths;
use crate::section::{Outline, Section, Seen, Work, step as section_step};
use crate::spec::Journey;
use crate::step::StepError;
use crate::target::Observed;
use crate::{Context, Step};

/// Returns the step.
pub(super) fn step() -> Option<Arc<dyn Step>> {
    let outline = Outline {
        verb: ("preflight", 2),
        section: "health",
        title: "ask every instance, database and endpoint of what runs",
        items: "1.4.1 1.4.2 1.4.3 1.4.4",
        undo: None,
        methods: (
            "every probe of every instance asked again",
            "every service asked through its address",
        ),
        expected: Duration::from_secs(2),
    };
    section_step(&outline, Health)
}

struct Health;

/// Rows of a table, and what of them is not well.
#[derive(Default)]
struct Looked {
    rows: Vec<Vec<String>>,
    bad: Vec<String>,
}

impl Looked {
    fn add(&mut self, row: Vec<String>, well: bool) {
        if !well {
            self.bad.push(row.join(" "));
        }
        self.rows.push(row);
    }
}

/// The endpoints that were asked, and those that were not.
struct Asked {
    looked: Looked,
    left: Vec<String>,
}

/// Requests through what runs, and the declared calls between services that they made.
#[derive(Default)]
struct Walked {
    looked: Looked,
    seen: usize,
    left: Vec<String>,
}

#[async_trait]
impl Work for Health {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let context = section.context;
        let observed = context.target.observe().await?;
        let probes = probes(context, &observed).await;
        let databases = databases(context).await;
        let endpoints = endpoints(context).await?;
        let journeys = journeys(context, &observed).await?;
        let table = |titles: &[&str]| {
            titles
                .iter()
                .map(|title| Column::text(*title))
                .collect::<Vec<_>>()
        };
        let report = Report::new()
            .with_table(
                "Probes of every running instance",
                table(&["Instance", "Probe", "Answer"]),
                probes.rows.clone(),
            )
            .with_table(
                "Databases",
                table(&["Database", "Answer"]),
                databases.rows.clone(),
            )
            .with_table(
                "Endpoints that can be asked without parameters",
                table(&["Service", "Path", "Answer"]),
                endpoints.looked.rows.clone(),
            )
            .with_table(
                "Requests of the journeys that only read",
                table(&["Request", "Answer", "Seen in the logs of"]),
                journeys.looked.rows.clone(),
            );
        let event = section.report("System health", report).await?;
        settle(section, &probes, &endpoints, event).await?;
        settle_rest(section, &databases, &journeys, event).await?;
        Ok(json!({ "asked": probes.rows.len() + endpoints.looked.rows.len() }))
    }

    async fn inside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let observed = section.context.target.observe().await?;
        let looked = probes(section.context, &observed).await;
        let detail = format!(
            "{} probes asked, not well: {}",
            looked.rows.len(),
            list(&looked.bad)
        );
        Ok(Seen::new(looked.bad.is_empty(), detail))
    }

    async fn outside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let context = section.context;
        let urls = gate::base_urls(context).await?;
        let (client, mut asked) = (HttpClient::new(), 0);
        if context.from.is_none() {
            return Ok(Seen::new(true, "a first deployment: nothing is served yet"));
        }
        for service in &context.spec.services {
            let (Some(url), Some(path)) = (urls.get(&service.name), &service.file.probes.readiness)
            else {
                continue;
            };
            let answer = client.get(&format!("{url}{path}"), LIMIT).await;
            match answer {
                Ok(answer) if answer.status.is_success() => asked += 1,
                Ok(answer) => {
                    return Ok(Seen::new(
                        false,
                        format!("{}: {}", service.name, answer.status),
                    ));
                }
                Err(error) => return Ok(Seen::new(false, error.to_string())),
            }
        }
        Ok(Seen::new(
            true,
            format!("{asked} services are ready through their addresses"),
        ))
    }
}

async fn probes(context: &Context, observed: &Observed) -> Looked {
    let (client, mut looked) = (HttpClient::new(), Looked::default());
    for instance in &observed.instances {
        let Some(service) = context.spec.service(&instance.service) else {
            continue;
        };
        if !instance.running {
            looked.add(
                vec![
                    instance.id.clone(),
                    "process".to_owned(),
                    "does not run".to_owned(),
                ],
                false,
            );
            continue;
        }
        for (probe, answers) in answered_by(&service.file.probes, instance) {
            let (text, well) = match answers {
                Answers::Path(path) => {
                    let url = format!("http://{}{path}", instance.address);
                    let limit = context.spec.strategy.health.timeout.get();
                    match client.get(&url, limit).await {
                        Ok(answer) => (answer.status.to_string(), answer.status.is_success()),
                        Err(error) => (error.to_string(), false),
                    }
                }
                Answers::Check(health) => (health.detail.clone(), health.passed),
            };
            looked.add(
                vec![
                    instance.id.clone(),
                    format!("{probe:?}").to_lowercase(),
                    text,
                ],
                well,
            );
        }
    }
    looked
}

async fn databases(context: &Context) -> Looked {
    let mut looked = Looked::default();
    for (name, database) in &context.spec.file.databases {
        let Some(path) = path_of(&context.spec, database) else {
            looked.add(
                vec![name.clone(), "given by reference: not asked".to_owned()],
                false,
            );
            continue;
        };
        if !path.exists() {
            looked
                .rows
                .push(vec![name.clone(), "not there yet".to_owned()]);
            continue;
        }
        let asked = async {
            let mut opened = Sqlite::read(name, &path).await?;
            let version = opened.version().await?;
            let whole = opened
                .value("SELECT quick_check FROM pragma_quick_check LIMIT 1")
                .await?;
            opened.close().await?;
            Ok::<_, StepError>((version, whole))
        };
        match asked.await {
            Ok((version, whole)) => {
                looked.add(
                    vec![
                        name.clone(),
                        format!("version {version}, quick check {whole}"),
                    ],
                    whole == "ok",
                );
            }
            Err(error) => looked.add(vec![name.clone(), error.to_string()], false),
        }
    }
    looked
}

/// Asks every GET endpoint without parameters. An answer that says "not for you" is an answer.
async fn endpoints(context: &Context) -> Result<Asked, StepError> {
    let (inventory, observed) = look::inventory(context).await?;
    let (addresses, client) = (look::addresses(&observed), HttpClient::new());
    let (mut looked, mut left) = (Looked::default(), Vec::new());
    for one in &inventory.endpoints {
        let service = one.service.as_deref().unwrap_or_default();
        let address = addresses.get(service).filter(|_| can_be_asked(one));
        let Some(address) = address else {
            left.push(format!("{service} {} {}", one.method, one.path));
            continue;
        };
        let (text, well) = match client
            .get(&format!("http://{address}{}", one.path), LIMIT)
            .await
        {
            Ok(answer) => {
                let wrong =
                    answer.status.is_server_error() || matches!(answer.status.as_u16(), 404 | 405);
                (
                    format!(
                        "{} in {:.1} ms",
                        answer.status,
                        answer.elapsed.as_secs_f64() * 1000.0
                    ),
                    !wrong,
                )
            }
            Err(error) => (error.to_string(), false),
        };
        looked.add(vec![service.to_owned(), one.path.clone(), text], well);
    }
    Ok(Asked { looked, left })
}

/// Returns whether asking it changes nothing and needs nothing that only its users know.
fn can_be_asked(endpoint: &Endpoint) -> bool {
    endpoint.live == Some(true) && endpoint.method == "GET" && !endpoint.path.contains('{')
}

fn only_reads(journey: &Journey) -> bool {
    journey
        .steps
        .iter()
        .all(|step| matches!(step.method.as_str(), "GET" | "HEAD"))
}

/// Walks the journeys that only read through what runs, each request with a trace of its own.
async fn journeys(context: &Context, observed: &Observed) -> Result<Walked, StepError> {
    let mut walked = Walked::default();
    let Some(running) = &context.from else {
        return Ok(walked);
    };
    if !observed.instances.iter().any(|one| one.running) {
        return Ok(walked);
    }
    let reading: Vec<_> = context
        .spec
        .journeys
        .iter()
        .filter(|journey| only_reads(journey))
        .cloned()
        .collect();
    let traces = follow_journeys(context, &reading, running).await?;
    for trace in &traces {
        let answer = if trace.passed {
            "as expected"
        } else {
            "not as expected"
        };
        let services: Vec<_> = trace.services().into_iter().collect();
        let row = vec![
            trace.request.clone(),
            answer.to_owned(),
            services.join(", "),
        ];
        walked.looked.add(row, trace.passed);
    }
    let calls = paths::calls(&context.spec);
    let (seen, left) = calls
        .iter()
        .partition::<Vec<_>, _>(|call| Trace::times(&traces, call) > 0);
    walked.seen = seen.len();
    walked.left = left
        .iter()
        .map(|(from, to)| format!("{from} -> {to}"))
        .collect();
    Ok(walked)
}

async fn settle(
    section: &Section<'_>,
    probes: &Looked,
    endpoints: &Asked,
    event: EvidenceRef,
) -> Result<(), StepError> {
    let evidence = [event];
    if probes.rows.is_empty() {
        let fact = "a first deployment: nothing of the application runs";
        section.none("1.4.1", fact).await?;
        return section.none("1.4.3", fact).await;
    }
    let text = format!(
        "{} probes asked; not well: {}",
        probes.rows.len(),
        list(&probes.bad)
    );
    section
        .judge(
            "1.4.1",
            probes.bad.is_empty(),
            Basis::Observed,
            text,
            &evidence,
        )
        .await?;
    settle_endpoints(section, endpoints, &evidence).await
}

/// An endpoint that needs a parameter or a body cannot be asked here without changing what users
/// see: the item is met only when there is none.
async fn settle_endpoints(
    section: &Section<'_>,
    endpoints: &Asked,
    evidence: &[EvidenceRef],
) -> Result<(), StepError> {
    let Asked { looked, left } = endpoints;
    if looked.rows.is_empty() {
        let why = "no service declares endpoints that can be asked without parameters";
        return section.open("1.4.3", why).await;
    }
    let text = format!(
        "{} of {} endpoints asked; not well: {}",
        looked.rows.len(),
        looked.rows.len() + left.len(),
        list(&looked.bad)
    );
    if looked.bad.is_empty() && !left.is_empty() {
        let text = format!(
            "{text}; not asked, because they need a parameter or a body or do not run: {}",
            list(left)
        );
        return section.settle("1.4.3", Verdict::Open, text, evidence).await;
    }
    let well = looked.bad.is_empty();
    section
        .judge("1.4.3", well, Basis::Observed, text, evidence)
        .await
}

async fn settle_rest(
    section: &Section<'_>,
    databases: &Looked,
    journeys: &Walked,
    event: EvidenceRef,
) -> Result<(), StepError> {
    let evidence = [event];
    let there = databases
        .rows
        .iter()
        .filter(|row| row.get(1).is_none_or(|text| text != "not there yet"))
        .count();
    if databases.rows.is_empty() {
        section
            .none("1.4.2", "no database in the inventory")
            .await?;
    } else if there == 0 {
        section
            .none("1.4.2", "no database is there before this run")
            .await?;
    } else {
        let text = format!(
            "databases that answered: {there}; not well: {}",
            list(&databases.bad)
        );
        section
            .judge(
                "1.4.2",
                databases.bad.is_empty(),
                Basis::Observed,
                text,
                &evidence,
            )
            .await?;
    }
    if section.context.from.is_none() {
        return section
            .none(
                "1.4.4",
                "a first deployment: nothing of the application runs",
            )
            .await;
    }
    settle_integrations(section, journeys, &evidence).await
}

/// A journey that would write cannot be walked before the run: the item is met only when those
/// that read make every declared call between services.
async fn settle_integrations(
    section: &Section<'_>,
    journeys: &Walked,
    evidence: &[EvidenceRef],
) -> Result<(), StepError> {
    let Walked { looked, seen, left } = journeys;
    if seen + left.len() == 0 {
        let fact = "no service of the inventory needs another";
        return section.none("1.4.4", fact).await;
    }
    let text = format!(
        "{seen} of {} declared calls between services were seen in traces of {} requests that only \
         read; not as expected: {}",
        seen + left.len(),
        looked.rows.len(),
        list(&looked.bad)
    );
    if looked.bad.is_empty() && !left.is_empty() {
        let text = format!("{text}; not seen: {}", list(left));
        return section.settle("1.4.4", Verdict::Open, text, evidence).await;
    }
    section
        .judge(
            "1.4.4",
            looked.bad.is_empty(),
            Basis::Observed,
            text,
            evidence,
        )
        .await
}
