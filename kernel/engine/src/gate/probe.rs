//! Probes: each instance is asked at its own address, or by the health check that the target runs in it.

use std::collections::BTreeMap;
use std::time::Duration;

use code_deploy_record::{EventBody, Probe, Release, Sample, Source};
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::Context;
use crate::http::Request;
use crate::spec::{ProbesFile, Service};
use crate::step::StepError;
use crate::surroundings::Client;
use crate::target::{Health, Instance};

/// Failures in a row after which an instance that was healthy counts as not healthy: one lost
/// answer is not an illness.
const FAILURES: u32 = 2;

/// What a probe gave.
#[derive(Debug, Clone)]
pub struct Probed {
    /// Which.
    pub probe: Probe,
    /// Whether it passed.
    pub passed: bool,
    /// What was seen: a status, an error.
    pub detail: String,
    /// How long the answer took; nothing without one.
    pub elapsed: Option<Duration>,
    /// The class of the error, for samples.
    pub error: Option<&'static str>,
}

/// What answers a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers<'a> {
    /// The instance itself, at that path.
    Path(&'a str),
    /// The health check that the target runs in the instance.
    Check(&'a Health),
}

/// The class under which samples count a health check that has not passed.
const UNHEALTHY: &str = "unhealthy";

/// Returns the three probes in the order in which they matter, with the paths that the deployment file names.
fn paths(file: &ProbesFile) -> [(Probe, Option<&str>); 3] {
    [
        (Probe::Startup, file.startup.as_deref()),
        (Probe::Readiness, file.readiness.as_deref()),
        (Probe::Liveness, file.liveness.as_deref()),
    ]
}

/// Returns the probes of which the deployment file names a path, in the order in which they matter.
#[must_use]
pub fn probes_of(file: &ProbesFile) -> Vec<(Probe, &str)> {
    let named = paths(file).into_iter();
    named
        .filter_map(|(probe, path)| Some((probe, path?)))
        .collect()
}

/// Returns the probes of an instance with what answers each, in the order in which they matter. A path of the deployment
/// file comes first; the one health check that the target runs stands for every probe without a path.
#[must_use]
pub fn answered_by<'a>(file: &'a ProbesFile, instance: &'a Instance) -> Vec<(Probe, Answers<'a>)> {
    let check = instance.health.as_ref().map(Answers::Check);
    let all = paths(file).into_iter();
    all.filter_map(|(probe, path)| Some((probe, path.map(Answers::Path).or(check)?)))
        .collect()
}

/// Returns the instances of a service's release.
///
/// # Errors
/// When the target cannot tell them.
pub async fn instances_of(
    context: &Context,
    service: &Service,
    release: &Release,
) -> Result<Vec<Instance>, StepError> {
    let mut instances = context.target.instances(&service.name).await?;
    instances.retain(|one| one.release == *release);
    Ok(instances)
}

/// Asks an instance all probes of its service, each at the instance's own address; what the target's health check found
/// is as the instance was observed.
pub async fn probe_instance(
    client: &dyn Client,
    service: &Service,
    instance: &Instance,
    timeout: Duration,
) -> Vec<Probed> {
    let probes = answered_by(&service.file.probes, instance);
    join_all(probes.into_iter().map(async |(probe, answers)| {
        if !instance.running {
            let detail = "its process does not run".to_owned();
            return Probed {
                probe,
                passed: false,
                detail,
                elapsed: None,
                error: Some("connect"),
            };
        }
        match answers {
            Answers::Path(path) => ask(client, probe, instance, path, timeout).await,
            Answers::Check(health) => Probed {
                probe,
                passed: health.passed,
                detail: health.detail.clone(),
                elapsed: None,
                error: (!health.passed).then_some(UNHEALTHY),
            },
        }
    }))
    .await
}

async fn ask(
    client: &dyn Client,
    probe: Probe,
    instance: &Instance,
    path: &str,
    timeout: Duration,
) -> Probed {
    let url = format!("http://{}{path}", instance.address);
    match client.send(&Request::get(&url, timeout)).await {
        Ok(answer) => {
            let passed = answer.status.is_success();
            let detail = format!("{path} answered {}", answer.status.as_u16());
            let error = (!passed).then_some("5xx");
            Probed {
                probe,
                passed,
                detail,
                elapsed: Some(answer.elapsed),
                error,
            }
        }
        Err(error) => {
            let (detail, class) = (error.to_string(), error.class());
            Probed {
                probe,
                passed: false,
                detail,
                elapsed: None,
                error: Some(class),
            }
        }
    }
}

/// Journals the health of a probe when it changed or is seen for the first time.
///
/// # Errors
/// When the journal cannot be written.
pub async fn note_health(
    context: &Context,
    instance: &Instance,
    probed: &Probed,
) -> Result<(), StepError> {
    let (service, release) = (instance.service.clone(), instance.release.clone());
    let key = (
        service.clone(),
        release.clone(),
        instance.id.clone(),
        probed.probe,
    );
    if context.state().health.get(&key) == Some(&probed.passed) {
        return Ok(());
    }
    let body = EventBody::HealthChanged {
        service,
        release,
        instance: instance.id.clone(),
        probe: probed.probe,
        healthy: probed.passed,
        detail: probed.detail.clone(),
    };
    context.journal.append("probes", body).await?;
    Ok(())
}

/// Probes everything that runs at the interval of the health policy until `stop`, writes what it
/// measures into the samples, and journals when the health of an instance changes.
pub(crate) async fn keep_probing(context: &Context, stop: CancellationToken) {
    let policy = &context.spec.strategy.health;
    let client = context.surroundings.outside.client();
    let mut ticks = tokio::time::interval(policy.interval.get().max(Duration::from_millis(10)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failures: BTreeMap<(String, Probe), u32> = BTreeMap::new();
    loop {
        // Cancel safe: no tick is lost that mattered, and an answer that nobody records is as if
        // it had not been asked for. What is being recorded is always recorded whole.
        let answers = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            answers = async { ticks.tick().await; ask_all(context, client.as_ref()).await } => answers,
        };
        let recorded = match answers {
            Ok(answers) => record(context, &answers, &mut failures).await,
            Err(error) => Err(error),
        };
        if let Err(error) = recorded {
            tracing::warn!(%error, "a round of probes was not recorded");
        }
    }
}

/// Asks all instances all their probes.
async fn ask_all(
    context: &Context,
    client: &dyn Client,
) -> Result<Vec<(Instance, Vec<Probed>)>, StepError> {
    let observed = context.target.observe().await?;
    let timeout = context.spec.strategy.health.timeout.get();
    let asked = observed.instances.into_iter().filter_map(|instance| {
        let service = context.spec.service(&instance.service)?;
        Some(async move {
            let probed = probe_instance(client, service, &instance, timeout).await;
            (instance, probed)
        })
    });
    Ok(join_all(asked).await)
}

async fn record(
    context: &Context,
    answers: &[(Instance, Vec<Probed>)],
    failures: &mut BTreeMap<(String, Probe), u32>,
) -> Result<(), StepError> {
    let second = context.clock.now().timestamp();
    let mut samples: BTreeMap<(String, Release), Sample> = BTreeMap::new();
    for (instance, probed) in answers {
        let key = (instance.service.clone(), instance.release.clone());
        let (service, release) = (&instance.service, instance.release.as_str());
        let empty = || Sample::empty(second, service, release, Source::Probe);
        let sample = samples.entry(key).or_insert_with(empty);
        for probed in probed {
            count(sample, probed);
            let failed = failures
                .entry((instance.id.clone(), probed.probe))
                .or_default();
            *failed = if probed.passed { 0 } else { *failed + 1 };
            if probed.passed || *failed >= FAILURES {
                note_health(context, instance, probed).await?;
            }
        }
    }
    append(context, samples.into_values().collect()).await
}

fn count(sample: &mut Sample, probed: &Probed) {
    sample.count += 1;
    if let Some(elapsed) = probed.elapsed {
        sample
            .latency
            .count(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX));
    }
    if let Some(class) = probed.error {
        *sample.errors.entry(class.to_owned()).or_default() += 1;
    }
}

async fn append(context: &Context, samples: Vec<Sample>) -> Result<(), StepError> {
    let run = context.run.clone();
    let write = move || run.sample_writer(Source::Probe.word())?.append(&samples);
    context.surroundings.on_disk("writing samples", write).await
}
