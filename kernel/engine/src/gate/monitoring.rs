//! The monitoring gate: before users reach a release, every service of it is seen.

use std::time::Duration;

use code_deploy_record::{Gate, GateCheck, Release, SampleReader, Source};
use tokio::time::Instant;

use crate::http::HttpClient;
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
/// declares one, a metrics endpoint that answers.
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
    let observed = context.target.observe().await?;
    let mut checks = Vec::new();
    for service in &context.spec.services {
        let own = |one: &&Instance| one.service == service.name && one.release == *release;
        let instances: Vec<_> = observed.instances.iter().filter(own).cloned().collect();
        if !super::probe::probes_of(&service.file.probes).is_empty() {
            checks.push(probes(context, service, release).await?);
        }
        let logs = context.target.logs(&service.name, release).await?;
        checks.push(log(service, logs).await?);
        if let Some(path) = &service.file.metrics {
            checks.push(metrics(service, &instances, path).await);
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
    }
}

async fn probes(
    context: &Context,
    service: &Service,
    release: &Release,
) -> Result<GateCheck, StepError> {
    let folder = context.run.samples_path();
    let (name, release) = (service.name.clone(), release.to_string());
    let counted = blocking(move || {
        let mut probes = 0;
        for sample in SampleReader::open_folder(&folder, Source::Probe.word())? {
            let sample = sample?;
            if sample.service == name && sample.release == release {
                probes += sample.count;
            }
        }
        Ok(probes)
    });
    let counted: u64 = counted.await?;
    let measured = format!("{counted} probes recorded");
    Ok(check(
        service,
        "probes",
        measured,
        "at least 1 probe recorded",
        counted > 0,
    ))
}

async fn log(service: &Service, logs: Vec<InstanceLog>) -> Result<GateCheck, StepError> {
    let sizes = blocking(move || {
        let size = |log: &InstanceLog| std::fs::metadata(&log.path).map_or(0, |file| file.len());
        Ok(logs.iter().map(size).collect::<Vec<_>>())
    });
    let sizes = sizes.await?;
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

async fn metrics(service: &Service, instances: &[Instance], path: &str) -> GateCheck {
    let client = HttpClient::new();
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
    let mut lines = 0;
    for instance in instances {
        let url = format!("http://{}{path}", instance.address);
        match client.get(&url, METRICS_LIMIT).await {
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

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, code_deploy_record::Error> + Send + 'static,
) -> Result<T, StepError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| {
        StepError::permanent(
            crate::code::CUT_OFF,
            format!("reading the record was cut off: {error}"),
            "",
        )
    })?;
    Ok(done?)
}
