//! The section of logs: a marker that each instance writes is found again.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, EvidenceRef, Release, Report, Verdict};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::VERB;
use super::reading::{LogFacts, log};
use crate::Context;
use crate::http::{HttpClient, Request};
use crate::phases::look::{REQUEST_LIMIT, instances};
use crate::section::{Outline, Section, Seen, Work};
use crate::step::StepError;
use crate::target::InstanceLog;

pub(super) const OUTLINE: Outline = Outline {
    verb: VERB,
    section: "logs",
    title: "Write markers through every instance and find them in its log",
    items: "8.2.1 8.2.2 8.2.3 8.2.4 8.2.5 8.2.6",
    undo: None,
    methods: (
        "logs read again: the markers are still there once",
        "a new marker through each service's address, found in one log",
    ),
    expected: Duration::from_secs(5),
};

/// How many markers each instance writes: enough that a gap shows.
const MARKERS: usize = 5;

/// How long a marker may take until it stands in the log.
const WAIT: Duration = Duration::from_secs(5);

pub(super) struct Logs;

struct Looked {
    service: String,
    instance: String,
    file: std::path::PathBuf,
    markers: Vec<String>,
    posted: usize,
    facts: LogFacts,
}

impl Looked {
    fn found(&self) -> usize {
        self.facts
            .found
            .values()
            .filter(|count| **count == 1)
            .count()
    }

    fn whole(&self) -> bool {
        self.found() == MARKERS && self.posted == MARKERS && self.facts.bytes >= self.facts.length
    }
}

async fn post(client: &HttpClient, url: &str, marker: &str) -> bool {
    let request = Request {
        method: "POST".to_owned(),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: json!({ "id": marker }).to_string().into_bytes(),
        ..Request::get(url, REQUEST_LIMIT)
    };
    client
        .send(&request)
        .await
        .is_ok_and(|answer| answer.status.is_success())
}

/// Reads a log until all markers are in it, or for as long as that may take.
async fn wait_for(file: &InstanceLog, markers: &[String]) -> Result<LogFacts, StepError> {
    let began = Instant::now();
    loop {
        let facts = log(file.path.clone(), markers.to_vec()).await?;
        if facts.found.values().all(|count| *count > 0) || began.elapsed() > WAIT {
            return Ok(facts);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Returns the log files of a release of all services.
pub(super) async fn files(
    context: &Context,
    release: &Release,
) -> Result<BTreeMap<String, Vec<InstanceLog>>, StepError> {
    let mut files = BTreeMap::new();
    for service in &context.spec.services {
        let logs = context.target.logs(&service.name, release).await?;
        files.insert(service.name.clone(), logs);
    }
    Ok(files)
}

async fn look(section: &Section<'_>) -> Result<(Vec<Looked>, Vec<String>), StepError> {
    let (context, client) = (section.context, HttpClient::new());
    let (observed, files) = (section.observe().await?, files(context, &context.to).await?);
    let (mut looked, mut missing) = (Vec::new(), Vec::new());
    for instance in instances(&observed, context) {
        context.safe_point()?;
        let service = context.spec.service(&instance.service);
        let path = service.and_then(|service| service.file.log_marker.clone());
        let own = files.get(&instance.service).into_iter().flatten();
        let file = own.into_iter().find(|log| log.instance == instance.id);
        let (Some(path), Some(file)) = (path, file) else {
            missing.push(instance.id.clone());
            continue;
        };
        let markers: Vec<_> = (0..MARKERS)
            .map(|_| format!("marker-{}", crate::phases::look::fresh_id()))
            .collect();
        let mut posted = 0;
        for marker in &markers {
            let url = format!("http://{}{path}", instance.address);
            posted += usize::from(post(&client, &url, marker).await);
        }
        let facts = wait_for(file, &markers).await?;
        let (service, instance) = (instance.service.clone(), instance.id.clone());
        let file = file.path.clone();
        looked.push(Looked {
            service,
            instance,
            file,
            markers,
            posted,
            facts,
        });
    }
    Ok((looked, missing))
}

#[async_trait]
impl Work for Logs {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let (looked, missing) = look(section).await?;
        let rows = looked.iter().map(|one| {
            let facts = &one.facts;
            let found = format!("{} of {}", one.found(), one.posted);
            let (bytes, length) = (facts.bytes.to_string(), facts.length.to_string());
            let own = one.file.display().to_string();
            let counts = [
                facts.lines.to_string(),
                facts.json.to_string(),
                facts.traced.to_string(),
            ];
            let mut row = vec![one.instance.clone(), own, found];
            row.extend(counts);
            row.extend([bytes, length]);
            row
        });
        let columns = vec![
            Column::text("instance"),
            Column::text("log"),
            Column::text("markers found once"),
            Column::number("lines"),
            Column::number("JSON"),
            Column::number("with trace"),
            Column::number("bytes read"),
            Column::number("length when opened"),
        ];
        let mut report = Report::new().with_table("Logs of the instances", columns, rows.collect());
        if !missing.is_empty() {
            let missing = missing.join(", ");
            report = report.with_text(format!("Without a marker endpoint or a log: {missing}."));
        }
        let event = section.report("Log aggregation", report).await?;
        settle(section, &looked, &missing, event).await?;
        let logs = looked.iter().map(|one| {
            json!({ "service": one.service, "instance": one.instance,
            "path": one.file, "markers": one.markers, "lines": one.facts.lines })
        });
        Ok(json!({ "logs": logs.collect::<Vec<_>>() }))
    }

    async fn inside(&self, _: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let (mut markers, mut once, mut shrunk) = (0, 0, 0);
        for one in result
            .get("logs")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let path = one["path"].as_str().unwrap_or_default();
            let wanted: Vec<String> =
                serde_json::from_value(one["markers"].clone()).unwrap_or_default();
            let facts = log(path.into(), wanted).await?;
            markers += facts.found.len();
            once += facts.found.values().filter(|count| **count == 1).count();
            shrunk += usize::from(facts.lines < one["lines"].as_u64().unwrap_or_default());
        }
        let detail =
            format!("{once} of {markers} markers found once, {shrunk} logs became shorter");
        Ok(Seen::new(once == markers && shrunk == 0, detail))
    }

    async fn outside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let (client, observed) = (HttpClient::new(), section.observe().await?);
        let files = files(section.context, &section.context.to).await?;
        let (mut sent, mut found) = (0, 0);
        for service in &section.context.spec.services {
            let (Some(path), Some(base)) = (
                &service.file.log_marker,
                observed.address_url(&service.name),
            ) else {
                continue;
            };
            let marker = format!("marker-{}", crate::phases::look::fresh_id());
            sent += 1;
            if !post(&client, &format!("{base}{path}"), &marker).await {
                continue;
            }
            let (began, mut seen) = (Instant::now(), 0);
            while seen == 0 && began.elapsed() < WAIT {
                for file in files.get(&service.name).into_iter().flatten() {
                    let facts = log(file.path.clone(), vec![marker.clone()]).await?;
                    seen += facts.found.values().sum::<u64>();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            found += u64::from(seen == 1);
        }
        Ok(Seen::new(
            found == sent,
            format!("{found} of {sent} markers stand once in the logs"),
        ))
    }
}

async fn settle(
    section: &Section<'_>,
    looked: &[Looked],
    missing: &[String],
    event: EvidenceRef,
) -> Result<(), StepError> {
    let sum = |of: fn(&Looked) -> u64| looked.iter().map(of).sum::<u64>();
    let (found, sent) = (
        sum(|one| one.found() as u64),
        (looked.len() * MARKERS) as u64,
    );
    let (lines, json) = (sum(|one| one.facts.lines), sum(|one| one.facts.json));
    let complete = missing.is_empty() && !looked.is_empty();
    let arrived = looked.iter().filter(|one| one.found() > 0).count();

    let mut reason = format!(
        "the output of {arrived} of {} instances arrives in a log file of its own",
        looked.len() + missing.len()
    );
    section
        .judge(
            "8.2.1",
            complete && arrived == looked.len(),
            Basis::Performed,
            reason,
            &[event],
        )
        .await?;
    reason = format!("{json} of {lines} lines were parsed as a JSON object");
    if json == lines && lines > 0 {
        let met = Verdict::Met {
            basis: Basis::Performed,
        };
        section.settle("8.2.2", met, reason, &[event]).await?;
    } else {
        reason.push_str("; for the others there is no parsing rule");
        section
            .settle("8.2.2", Verdict::Open, reason, &[event])
            .await?;
    }
    let days = section
        .context
        .spec
        .file
        .monitoring
        .log_retention
        .get()
        .as_secs()
        / 86_400;
    let reason =
        format!("the deployment file asks for {days} days; nothing on this target enforces it");
    section.open("8.2.3", &reason).await?;
    let reason = format!("{found} of {sent} markers were found by a search of the logs");
    section
        .judge(
            "8.2.4",
            found == sent && sent > 0,
            Basis::Observed,
            reason,
            &[event],
        )
        .await?;
    section
        .open(
            "8.2.5",
            "nothing on this target evaluates log lines after the run",
        )
        .await?;
    let whole = looked.iter().filter(|one| one.whole()).count();
    let reason = format!(
        "{found} of {sent} markers were found exactly once, and {whole} of {} logs were read to their full length ({lines} lines)",
        looked.len()
    );
    section
        .judge(
            "8.2.6",
            complete && whole == looked.len(),
            Basis::Observed,
            reason,
            &[event],
        )
        .await
}
