//! The smoke gate: the critical paths, against the release on purpose, before users reach it.

use code_deploy_record::{Gate, GateCheck, Release};

use super::probe::instances_of;
use crate::journey;
use crate::phases::look::counted;
use crate::spec::{Journey, Service};
use crate::step::StepError;
use crate::{Context, Progress, gate};

/// Walks every journey that is a critical path against `release`, reached on purpose whatever its
/// share of traffic. A deployment file without any gets one request to each service's readiness
/// path in their place; of a service that names none, what the target's own health check found counts. The first failure
/// stops it. `other` says that what runs is not what was made ready, where that is so: then the gate does not pass, and no
/// path is walked.
///
/// # Errors
/// `CD0451` when a path does not pass, or what runs is something else; that somebody asked the run to stop; that the target cannot
/// be observed or the journal written.
pub async fn pass(
    context: &Context,
    release: &Release,
    other: Option<String>,
) -> Result<(), StepError> {
    let since = context.clock.now();
    let answer = match other {
        Some(other) => something_else(other),
        None => walked(context, release).await?,
    };
    let subject = format!("{} {release}", context.spec.application);
    gate::answer(context, Gate::Smoke, "CD0451", &subject, since, answer).await
}

/// Walks the critical paths up to the first that does not pass.
async fn walked(context: &Context, release: &Release) -> Result<gate::Answer, StepError> {
    let journeys = critical_paths(context);
    let urls = gate::urls_of(context, release).await?;
    let reach = context.target.reach(release);
    let mut checks = Vec::new();
    for (index, journey) in journeys.iter().enumerate() {
        context.safe_point()?;
        context.progress(Progress {
            what: format!("smoke: {}", journey.name),
            elapsed: std::time::Duration::ZERO,
            limit: None,
            share: Some(index as f64 / journeys.len() as f64),
        });
        let walked = match urls.get(&journey.service) {
            Some(url) => journey::run(context, journey, url, &reach).await.outcome(),
            None => Err(format!("service {} has no address", journey.service)),
        };
        let passed = walked.is_ok();
        let measured =
            walked.map_or_else(|what| what, |steps| format!("{steps} requests as expected"));
        let limit = format!("{} requests as expected", journey.steps.len());
        checks.push(GateCheck {
            name: journey.name.clone(),
            measured,
            limit,
            passed,
            used: None,
            unshown: None,
        });
        if !passed {
            break;
        }
    }
    let by_paths = checks.iter().all(|check| check.passed);
    if by_paths && !is_marked(context) {
        for service in &context.spec.services {
            checks.extend(by_health_check(context, service, release).await?);
        }
    }
    let reason = reason(&checks, journeys.len());
    Ok(gate::Answer { checks, reason })
}

/// Returns whether a journey is marked as a critical path.
fn is_marked(context: &Context) -> bool {
    context.spec.journeys.iter().any(|journey| journey.smoke)
}

/// Looks at the health check that the target runs in the instances of a service that names no readiness path.
async fn by_health_check(
    context: &Context,
    service: &Service,
    release: &Release,
) -> Result<Option<GateCheck>, StepError> {
    if service.file.probes.readiness.is_some() {
        return Ok(None);
    }
    let mut instances = instances_of(context, service, release).await?;
    instances.retain(|one| one.running);
    let known: Vec<_> = instances
        .iter()
        .filter_map(|one| one.health.as_ref())
        .collect();
    if known.is_empty() {
        return Ok(None);
    }
    let well = known.iter().filter(|health| health.passed).count();
    let all = instances.len();
    let ill = known.iter().find(|health| !health.passed);
    let ill = ill.map_or_else(String::new, |health| format!("; {}", health.detail));
    Ok(Some(GateCheck {
        name: format!("the health check of {}", service.name),
        measured: format!("{well} of {all} instances pass it{ill}"),
        limit: "every instance passes it".to_owned(),
        passed: well == all,
        used: None,
        unshown: None,
    }))
}

/// Returns the answer where what runs is not what was made ready.
fn something_else(other: String) -> gate::Answer {
    let reason = format!("what runs is not what was made ready: {other}");
    let check = GateCheck {
        name: "images of the instances".to_owned(),
        measured: other,
        limit: "as recorded".to_owned(),
        passed: false,
        used: None,
        unshown: None,
    };
    gate::Answer {
        checks: vec![check],
        reason,
    }
}

fn reason(checks: &[GateCheck], paths: usize) -> String {
    let failed = checks.iter().enumerate().find(|(_, check)| !check.passed);
    match failed {
        Some((place, failed)) if place < paths => {
            return format!("path `{}`: {}", failed.name, failed.measured);
        }
        Some((_, failed)) => return format!("{}: {}", failed.name, failed.measured),
        None => {}
    }
    let walked = counted(paths, "critical path");
    match checks.len().saturating_sub(paths) {
        0 => format!("{walked} passed"),
        checked => format!("{walked} and {} passed", counted(checked, "health check")),
    }
}

/// Returns the journeys marked as critical paths, or one built from each service's readiness path.
fn critical_paths(context: &Context) -> Vec<Journey> {
    let spec = &context.spec;
    let marked: Vec<_> = spec
        .journeys
        .iter()
        .filter(|journey| journey.smoke)
        .cloned()
        .collect();
    if !marked.is_empty() {
        return marked;
    }
    let ready = spec.services.iter().filter_map(|service| {
        let path = service.file.probes.readiness.clone()?;
        let step = serde_json::json!({
            "name": "is ready", "path": path, "expect": { "status": 200 }
        });
        let steps = vec![serde_json::from_value(step).ok()?];
        let name = format!("{} answers through its address", service.name);
        Some(Journey {
            name,
            smoke: true,
            service: service.name.clone(),
            steps,
        })
    });
    ready.collect()
}
