//! The section of metrics: every instance is scraped, and every service gives samples.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, EvidenceRef, Report, Verdict};
use serde_json::{Value, json};

use super::VERB;
use super::reading::{Coverage, coverage};
use crate::exposition::Exposition;
use crate::http::HttpClient;
use crate::phases::look::{REQUEST_LIMIT, instances};
use crate::section::{Kept, Outline, Section, Seen, Work};
use crate::step::StepError;

pub(super) const OUTLINE: Outline = Outline {
    verb: VERB,
    section: "metrics",
    title: "Scrape every instance and see that every service gives samples",
    items: "8.1.1 8.1.2 8.1.6",
    undo: None,
    methods: (
        "kept scrapes parsed again",
        "each service scraped again at its address",
    ),
    expected: Duration::from_secs(5),
};

const CONFIG: &str = "Prometheus scrape configuration";

pub(super) struct Metrics;

/// One scrape of one instance.
struct Scraped {
    service: String,
    instance: String,
    address: String,
    path: String,
    read: Result<Exposition, String>,
    evidence: Option<EvidenceRef>,
}

/// Scrapes one URL.
async fn scrape(client: &HttpClient, url: &str) -> Result<(String, Exposition), String> {
    let answer = client
        .get(url, REQUEST_LIMIT)
        .await
        .map_err(|error| error.to_string())?;
    if !answer.status.is_success() {
        return Err(format!("{url} answers {}", answer.status));
    }
    let text = answer.text().into_owned();
    let read = Exposition::parse(&text).map_err(|wrong| format!("{url}: {wrong}"))?;
    match read.series.is_empty() {
        true => Err(format!("{url} gives no series")),
        false => Ok((text, read)),
    }
}

/// The metrics of a service that alerts and dashboards are made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// Whether its metrics endpoint answers.
    pub answered: bool,
    /// The counter of requests and its label with the status.
    pub requests: Option<(String, String)>,
    /// The histogram of durations in seconds.
    pub duration: Option<String>,
}

/// Finds out by a scrape what a service gives.
pub(super) async fn names(section: &Section<'_>, service: &str) -> Result<Names, StepError> {
    let observed = section.observe().await?;
    let declared = section.context.spec.service(service);
    let path = declared.and_then(|service| service.file.metrics.as_ref());
    let (Some(path), Some(base)) = (path, observed.address_url(service)) else {
        return Ok(Names::default());
    };
    let Ok((_, read)) = scrape(&HttpClient::new(), &format!("{base}{path}")).await else {
        return Ok(Names::default());
    };
    let status = |name: &str| {
        const LABELS: [&str; 4] = ["status", "code", "status_code", "http_response_status_code"];
        let mut labels = read
            .series
            .iter()
            .filter(|one| one.name == name)
            .map(|one| &one.labels);
        let labels = labels.next()?;
        LABELS
            .into_iter()
            .find(|label| labels.contains_key(*label))
            .map(str::to_owned)
    };
    let counter = read
        .family("counter", "requests_total")
        .filter(|name| read.sum(name) > 0.0);
    let requests = counter.and_then(|name| Some((name.to_owned(), status(name)?)));
    let duration = read.family("histogram", "seconds").map(str::to_owned);
    Ok(Names {
        answered: true,
        requests,
        duration,
    })
}

async fn scrape_all(section: &Section<'_>, kept: &mut Kept) -> Result<Vec<Scraped>, StepError> {
    let (context, client) = (section.context, HttpClient::new());
    let observed = section.observe().await?;
    let mut all = Vec::new();
    for instance in instances(&observed, context) {
        let service = context.spec.service(&instance.service);
        let Some(path) = service.and_then(|service| service.file.metrics.clone()) else {
            continue;
        };
        let address = instance.address.to_string();
        let (read, text) = match scrape(&client, &format!("http://{address}{path}")).await {
            Ok((text, read)) => (Ok(read), Some(text)),
            Err(wrong) => (Err(wrong), None),
        };
        let name = format!("metrics of {}", instance.id);
        let evidence = match text {
            Some(text) => Some(section.keep(kept, &name, "text/plain", text).await?),
            None => None,
        };
        let (service, instance) = (instance.service.clone(), instance.id.clone());
        all.push(Scraped {
            service,
            instance,
            address,
            path,
            read,
            evidence,
        });
    }
    Ok(all)
}

/// Returns the scrape configuration of what runs.
fn configuration(section: &Section<'_>, scraped: &[Scraped]) -> String {
    let spec = &section.context.spec;
    let mut jobs: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for one in scraped {
        jobs.entry((&one.service, &one.path))
            .or_default()
            .push(&one.address);
    }
    let scrapes = jobs.iter().map(|((service, path), addresses)| {
        let labels = json!({ "application": spec.application, "environment": spec.environment });
        json!({ "job_name": service, "metrics_path": path,
            "static_configs": [{ "targets": addresses, "labels": labels }] })
    });
    let interval = format!(
        "{}s",
        spec.file.monitoring.scrape_interval.get().as_secs().max(1)
    );
    crate::phases::fill(
        include_str!("../../../../../templates/monitoring/prometheus.yaml"),
        &[
            ("application", &spec.application),
            ("environment", &spec.environment),
            ("release", section.context.to.as_str()),
            ("interval", &interval),
            // JSON is YAML.
            ("scrapes", &Value::Array(scrapes.collect()).to_string()),
        ],
    )
}

#[async_trait]
impl Work for Metrics {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let mut kept = Kept::default();
        let scraped = scrape_all(section, &mut kept).await?;
        let samples = coverage(section.context).await?;
        let config = configuration(section, &scraped);
        let config_kept = section
            .keep(&mut kept, CONFIG, "application/yaml", config.clone())
            .await?;
        let report = report(section, &scraped, &samples, &config);
        let event = section.report("Metrics", report).await?;
        settle(section, &scraped, &samples, [config_kept, event]).await?;
        Ok(kept.into_result(json!({ "scraped": scraped.len() })))
    }

    async fn inside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let kept = Kept::of(result);
        let (mut series, mut files) = (0, 0);
        for (name, media_type, digest) in &kept.0 {
            if media_type != "text/plain" {
                continue;
            }
            let text = section.read(*digest).await?;
            match Exposition::parse(&String::from_utf8_lossy(&text)) {
                Ok(read) => series += read.series.len(),
                Err(wrong) => return Ok(Seen::new(false, format!("{name}: {wrong}"))),
            }
            files += 1;
        }
        let wanted = result
            .get("scraped")
            .and_then(Value::as_u64)
            .unwrap_or_default();
        let detail = format!("{series} series in {files} of {wanted} scrapes");
        Ok(Seen::new(files == wanted, detail))
    }

    async fn outside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let (client, observed) = (HttpClient::new(), section.observe().await?);
        let (mut seen, mut wrong) = (0, Vec::new());
        for service in &section.context.spec.services {
            let (Some(path), Some(base)) =
                (&service.file.metrics, observed.address_url(&service.name))
            else {
                continue;
            };
            match scrape(&client, &format!("{base}{path}")).await {
                Ok(_) => seen += 1,
                Err(error) => wrong.push(error),
            }
        }
        let text = format!("{seen} services answer with metrics {}", wrong.join("; "));
        Ok(Seen::new(wrong.is_empty(), text.trim_end()))
    }
}

fn report(
    section: &Section<'_>,
    scraped: &[Scraped],
    samples: &BTreeMap<String, Coverage>,
    config: &str,
) -> Report {
    let rows = scraped.iter().map(|one| {
        let (families, series, state) = match &one.read {
            Ok(read) => (
                read.kinds.len().to_string(),
                read.series.len().to_string(),
                "scraped".to_owned(),
            ),
            Err(wrong) => (String::new(), String::new(), wrong.clone()),
        };
        vec![
            one.instance.clone(),
            format!("{}{}", one.address, one.path),
            families,
            series,
            state,
        ]
    });
    let columns = vec![
        Column::text("instance"),
        Column::text("endpoint"),
        Column::number("families"),
        Column::number("series"),
        Column::text("state"),
    ];
    let covered = section.context.spec.services.iter().map(|service| {
        let seen = samples.get(&service.name).copied().unwrap_or_default();
        let own = seen.routed.to_string();
        vec![
            service.name.clone(),
            own,
            seen.probed.to_string(),
            seen.seconds.to_string(),
        ]
    });
    let sampled = vec![
        Column::text("service"),
        Column::number("requests routed"),
        Column::number("probes"),
        Column::number("samples"),
    ];
    Report::new()
        .with_table(
            "Metrics endpoints of the instances",
            columns,
            rows.collect(),
        )
        .with_table(
            "Samples of the deployed release in this run",
            sampled,
            covered.collect(),
        )
        .with_code(CONFIG, "yaml", config)
}

async fn settle(
    section: &Section<'_>,
    scraped: &[Scraped],
    samples: &BTreeMap<String, Coverage>,
    [config, event]: [EvidenceRef; 2],
) -> Result<(), StepError> {
    let services = &section.context.spec.services;
    let good = scraped.iter().filter(|one| one.read.is_ok()).count();
    let without: Vec<_> = services
        .iter()
        .filter(|one| one.file.metrics.is_none())
        .collect();
    let names: Vec<_> = without.iter().map(|one| one.name.as_str()).collect();
    let unscraped: Vec<_> = services
        .iter()
        .filter(|one| {
            !scraped
                .iter()
                .any(|own| own.service == one.name && own.read.is_ok())
        })
        .map(|one| one.name.as_str())
        .collect();
    let mut reason = format!(
        "{good} of {} instances were scraped, and a scrape configuration that names them was written",
        scraped.len()
    );
    if !names.is_empty() {
        reason.push_str(&format!(
            "; no metrics endpoint is declared for {}",
            names.join(", ")
        ));
    }
    let holds = unscraped.is_empty() && good == scraped.len();
    section
        .judge("8.1.1", holds, Basis::Performed, reason, &[config, event])
        .await?;

    let own = |one: &&Scraped| one.read.as_ref().is_ok_and(|read| !custom(read).is_empty());
    let with_own: Vec<_> = scraped.iter().filter(own).collect();
    match with_own.first() {
        Some(first) => {
            let names = first.read.as_ref().map(custom).unwrap_or_default();
            let evidence: Vec<_> = with_own.iter().filter_map(|one| one.evidence).collect();
            let reason = format!(
                "{} instances give metrics of the application itself, such as {}",
                with_own.len(),
                names.first().cloned().unwrap_or_default()
            );
            let met = Verdict::Met {
                basis: Basis::Performed,
            };
            section.settle("8.1.2", met, reason, &evidence).await?;
        }
        None => {
            section
                .open(
                    "8.1.2",
                    "no instance gives metrics of the application itself",
                )
                .await?
        }
    }

    let silent: Vec<_> = services
        .iter()
        .filter(|one| {
            samples
                .get(&one.name)
                .is_none_or(|seen| seen.routed + seen.probed == 0)
        })
        .map(|one| one.name.as_str())
        .collect();
    let reason = match silent.is_empty() {
        true => format!("all {} services gave samples in this run", services.len()),
        false => format!("no samples of {}", silent.join(", ")),
    };
    section
        .judge(
            "8.1.6",
            silent.is_empty(),
            Basis::Observed,
            reason,
            &[event],
        )
        .await
}

/// Returns the families that are not those of a runtime or an exporter.
fn custom(read: &Exposition) -> Vec<String> {
    const GENERAL: [&str; 6] = ["process_", "go_", "python_", "jvm_", "nodejs_", "scrape_"];
    let own = |name: &&String| !GENERAL.iter().any(|general| name.starts_with(general));
    read.kinds.keys().filter(own).cloned().collect()
}
