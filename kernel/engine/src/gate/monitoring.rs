//! The monitoring gate: before users reach a release, every service of it is seen.

use std::collections::BTreeMap;
use std::time::Duration;

use code_deploy_record::{Gate, GateCheck, Release, Source};
use tokio::time::Instant;

use crate::exposition::Exposition;
use crate::http::Request;
use crate::spec::Service;
use crate::step::StepError;
use crate::target::{Instance, InstanceLog};
use crate::{Context, Progress, gate};

/// How long it may take until every service is seen, beyond two intervals of the probes.
const SLACK: Duration = Duration::from_secs(10);

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// How long a metrics endpoint may take.
const METRICS_LIMIT: Duration = Duration::from_secs(5);

/// Waits until every service of a release gives probe samples, has a log with lines and, where it
/// declares one, a metrics endpoint that answers: where releases are judged by what their instances
/// count, with what they are judged by.
///
/// # Errors
/// `CD0452` when that is not so within two intervals of the probes and ten seconds; that somebody
/// asked the run to stop; that the target cannot be observed or the journal written.
pub async fn pass(context: &Context, release: &Release) -> Result<(), StepError> {
    let (since, began) = (context.clock.now(), Instant::now());
    let limit = context.spec.strategy.health.interval.get() * 2 + SLACK;
    loop {
        context.safe_point()?;
        let checks = look(context, release).await?;
        let seen = checks.iter().filter(|check| check.passed).count();
        if seen == checks.len() || began.elapsed() >= limit {
            let reason = reason(&checks);
            let subject = format!("{} {release}", context.spec.application);
            let answer = gate::Answer { checks, reason };
            return gate::answer(context, Gate::Monitoring, "CD0452", &subject, since, answer)
                .await;
        }
        context.progress(Progress {
            what: format!("monitoring: {seen} of {} signals seen", checks.len()),
            elapsed: began.elapsed(),
            limit: Some(limit),
            share: None,
        });
        tokio::time::sleep(PAUSE).await;
    }
}

fn reason(checks: &[GateCheck]) -> String {
    let missing: Vec<_> = checks.iter().filter(|check| !check.passed).collect();
    if missing.is_empty() {
        return format!("all {} signals of all services are seen", checks.len());
    }
    let texts = missing
        .iter()
        .map(|check| format!("{}: {}", check.name, check.measured));
    format!(
        "{} of {} signals are missing: {}",
        missing.len(),
        checks.len(),
        texts.collect::<Vec<_>>().join("; ")
    )
}

async fn look(context: &Context, release: &Release) -> Result<Vec<GateCheck>, StepError> {
    let mut observed: BTreeMap<String, Vec<Instance>> = BTreeMap::new();
    for one in context.target.observe().await?.instances {
        if one.release == *release {
            observed.entry(one.service.clone()).or_default().push(one);
        }
    }
    let counted = probes(context, release).await?;
    let mut checks = Vec::new();
    for service in &context.spec.services {
        let instances = observed.remove(&service.name).unwrap_or_default();
        let is_checked = instances.iter().any(|one| one.health.is_some());
        if is_checked || !super::probe::probes_of(&service.file.probes).is_empty() {
            let number = counted.get(&service.name).copied().unwrap_or(0);
            let measured = format!("{number} probes recorded");
            let limit = "at least 1 probe recorded";
            checks.push(check(service, "probes", measured, limit, number > 0));
        }
        let logs = context.target.logs(&service.name, release).await?;
        checks.push(log(context, service, logs).await?);
        if let Some(path) = &service.file.metrics {
            checks.push(metrics(context, service, &instances, path).await);
        }
    }
    Ok(checks)
}

fn check(
    service: &Service,
    signal: &str,
    measured: String,
    limit: &str,
    passed: bool,
) -> GateCheck {
    let (name, limit) = (format!("{} {signal}", service.name), limit.to_owned());
    GateCheck {
        name,
        measured,
        limit,
        passed,
        used: None,
        unshown: None,
    }
}

/// Counts the probes of a release that are recorded, by service.
async fn probes(context: &Context, release: &Release) -> Result<BTreeMap<String, u64>, StepError> {
    let (run, release) = (context.run.clone(), release.to_string());
    let count = move || -> Result<_, code_deploy_record::Error> {
        let mut probes: BTreeMap<String, u64> = BTreeMap::new();
        for sample in run.samples(Source::Probe.word())? {
            let sample = sample?;
            if sample.release == release {
                *probes.entry(sample.service).or_default() += sample.count;
            }
        }
        Ok(probes)
    };
    let surroundings = &context.surroundings;
    surroundings.on_disk("reading samples", count).await
}

async fn log(
    context: &Context,
    service: &Service,
    logs: Vec<InstanceLog>,
) -> Result<GateCheck, StepError> {
    let disk = std::sync::Arc::clone(&context.surroundings.disk);
    let measure = move || -> Result<Vec<u64>, StepError> {
        let size = |log: &InstanceLog| disk.read(&log.path).and_then(|file| file.length());
        Ok(logs.iter().map(|log| size(log).unwrap_or(0)).collect())
    };
    let surroundings = &context.surroundings;
    let sizes = surroundings.on_disk("reading logs", measure).await?;
    let bytes: u64 = sizes.iter().sum();
    let passed = !sizes.is_empty() && sizes.iter().all(|size| *size > 0);
    let measured = format!("{} log files with {bytes} bytes", sizes.len());
    Ok(check(
        service,
        "logs",
        measured,
        "every log file has lines",
        passed,
    ))
}

async fn metrics(
    context: &Context,
    service: &Service,
    instances: &[Instance],
    path: &str,
) -> GateCheck {
    let client = context.surroundings.outside.client();
    let limit = "every instance answers with samples";
    if instances.is_empty() {
        return check(
            service,
            "metrics",
            "no instance runs".to_owned(),
            limit,
            false,
        );
    }
    let judged = context.target.counted_by() == Source::Instance;
    let mut lines = 0;
    for instance in instances {
        let url = format!("http://{}{path}", instance.address);
        match client.send(&Request::get(&url, METRICS_LIMIT)).await {
            Ok(answer) if answer.status.is_success() => {
                let text = answer.text();
                let given = text
                    .lines()
                    .filter(|line| !line.is_empty() && !line.starts_with('#'));
                let given = given.count();
                if given == 0 {
                    let what = format!("{} gives no samples", instance.id);
                    return check(service, "metrics", what, limit, false);
                }
                if judged && let Err(what) = counts(&text) {
                    let what = format!("{} {what}", instance.id);
                    return check(service, "metrics", what, limit, false);
                }
                lines += given;
            }
            Ok(answer) => {
                let what = format!("{} answered {}", instance.id, answer.status.as_u16());
                return check(service, "metrics", what, limit, false);
            }
            Err(error) => return check(service, "metrics", error.to_string(), limit, false),
        }
    }
    check(
        service,
        "metrics",
        format!("{lines} samples given"),
        limit,
        true,
    )
}

/// Returns what metrics lack by which a release is judged: how many requests there were, and how long
/// they took.
fn counts(text: &str) -> Result<(), String> {
    let read =
        Exposition::parse(text).map_err(|what| format!("gives what is no metric: {what}"))?;
    for (kind, end) in [("counter", "requests_total"), ("histogram", "seconds")] {
        if read.family(kind, end).is_none() {
            return Err(format!(
                "has no {kind} whose name ends in `{end}`, by which releases are judged here"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::counts;

    #[test]
    fn what_releases_are_judged_by_has_to_be_counted() {
        let requests = "# TYPE http_requests_total counter\nhttp_requests_total 1\n";
        let durations = "# TYPE http_request_duration_seconds histogram\n";
        assert_eq!(counts(&format!("{requests}{durations}")), Ok(()));
        let missing = counts(requests).unwrap_err();
        assert!(missing.contains("no histogram whose name ends in `seconds`"));
        let missing = counts(durations).unwrap_err();
        assert!(missing.contains("no counter"));
        assert!(counts("1").is_err());
    }
}
