//! Starting the new release beside the old one, with no share of traffic.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Check, PlannedStep, RunId, StepName, Vantage};
use serde_json::{Value, json};

use super::items;
use super::planned::{Draft, step_name};
use crate::plan::Inputs;
use crate::spec::{Service, StrategyKind};
use crate::step::StepError;
use crate::target::{Instance, Wanted};
use crate::{Context, Step};

/// How long connecting to an instance may take.
const CONNECT: Duration = Duration::from_secs(3);

/// What starting an instance is expected to take.
const EXPECTED: Duration = Duration::from_secs(5);

/// The end of each log of a release that went back which is kept as evidence, in bytes.
const LOG_END: u64 = 2 * 1024 * 1024;

/// Starts the new release of one service beside the old one.
///
/// # Flow
/// Asks the target for the wanted instances, without a share of traffic; verified by the target's
/// own status of them and by a connection to each. Undone: keeps the end of each instance's log as
/// evidence, takes away what traffic a first deployment gave it, and stops the instances.
///
/// # Guarantees
/// Instances that run already are kept, so a second apply after half of a first one adds only what
/// is missing. An undo that finds nothing to stop is done.
///
/// # Assumptions
/// The target finds instances again by service and release, whichever process started them.
///
/// # Caveats
/// A log that cannot be read does not stop the undo; the record says that it is missing.
///
/// # Errors
/// What the target says, for instance that an instance did not get ready; `CD0430`, `CD0431`.
struct Green {
    planned: PlannedStep,
    service: String,
    replicas: u32,
}

/// Returns one step a service, each after those of the services it needs.
pub(super) fn steps(inputs: &Inputs) -> Vec<Arc<dyn Step>> {
    let services = inputs.spec.services.iter();
    services
        .map(|service| Arc::new(Green::new(inputs, service)) as Arc<dyn Step>)
        .collect()
}

/// Returns the name of the step that starts a service.
pub(super) fn name(service: &str) -> StepName {
    step_name(&format!("release.green.{service}"))
}

impl Green {
    fn new(inputs: &Inputs, service: &Service) -> Self {
        let needs = service
            .needs
            .iter()
            .filter(|need| inputs.spec.service(need).is_some());
        let needs: Vec<_> = needs.map(|need| name(need)).collect();
        let rolling = inputs.spec.strategy.kind == StrategyKind::Rolling;
        // A rolling update replaces instance by instance; it begins with one.
        let slow = rolling && !inputs.initial && inputs.reverts.is_none();
        let replicas = if slow { 1 } else { service.replicas };
        let planned = Draft::new(
            name(&service.name).as_str(),
            format!(
                "start {replicas} of {} {} without traffic",
                service.name, inputs.to
            ),
        )
        .service(&service.name)
        .after(&needs)
        .items(&items::GREEN)
        .undo(format!(
            "keep the logs of {} {} and stop it",
            service.name, inputs.to
        ))
        .verified(
            "the platform's own status of the instances",
            "a connection to each instance",
        )
        .expected(EXPECTED)
        .build();
        Self {
            planned,
            service: service.name.clone(),
            replicas,
        }
    }

    fn addresses(&self, context: &Context) -> Vec<SocketAddr> {
        let state = context.state();
        let result = state
            .steps
            .get(&self.planned.step)
            .map(|step| step.result.clone());
        let result = result.unwrap_or_default();
        let listed = result.get("addresses").cloned().unwrap_or_default();
        serde_json::from_value(listed).unwrap_or_default()
    }
}

pub(super) fn run_id(context: &Context) -> Result<RunId, StepError> {
    let state = context.state();
    state
        .started
        .as_ref()
        .map(|started| started.run.clone())
        .ok_or_else(|| {
            StepError::permanent(
                "CD0406",
                "the run has no name: its journal has no beginning",
                "",
            )
        })
}

pub(super) fn wanted(
    context: &Context,
    service: &str,
    release: &code_deploy_record::Release,
    replicas: u32,
) -> Result<Wanted, StepError> {
    Ok(Wanted {
        run: run_id(context)?,
        service: service.to_owned(),
        release: release.clone(),
        replicas,
        start_limit: context.spec.strategy.health.deadline.get(),
    })
}

pub(super) async fn running(
    context: &Context,
    service: &str,
    release: &code_deploy_record::Release,
) -> Result<Vec<Instance>, StepError> {
    let mut instances = context.target.instances(service).await?;
    instances.retain(|one| one.running && one.release == *release);
    Ok(instances)
}

pub(super) fn grace(context: &Context, service: &str) -> Duration {
    let service = context.spec.service(service);
    service.map_or(Duration::from_secs(10), |service| {
        service
            .stop_grace
            .get()
            .max(service.file.routing.drain.get())
    })
}

pub(super) async fn count_check(
    context: &Context,
    service: &str,
    release: &code_deploy_record::Release,
    holds: impl Fn(usize) -> bool,
) -> Result<Check, StepError> {
    let running = running(context, service, release).await?;
    let names: Vec<_> = running.iter().map(|one| one.id.as_str()).collect();
    let mut detail = format!("{} of {service} {release} run", running.len());
    if !names.is_empty() {
        detail.push_str(&format!(": {}", names.join(", ")));
    }
    let method = "the platform's own status of the instances".to_owned();
    Ok(Check {
        vantage: Vantage::Inside,
        method,
        passed: holds(running.len()),
        detail,
    })
}

/// Tries to connect to addresses; says how many answer.
pub(super) async fn connect_check(
    context: &Context,
    addresses: &[SocketAddr],
    wanted: bool,
) -> Check {
    let mut answered = 0;
    for address in addresses {
        let outside = &context.surroundings.outside;
        answered += usize::from(outside.connects(*address, CONNECT).await);
    }
    let all = addresses.len();
    let passed = if wanted {
        answered == all && all > 0
    } else {
        answered == 0
    };
    let detail = format!("{answered} of {all} addresses accept a connection");
    let method = "a connection to each instance's address".to_owned();
    Check {
        vantage: Vantage::Outside,
        method,
        passed,
        detail,
    }
}

#[async_trait]
impl Step for Green {
    fn planned(&self) -> &PlannedStep {
        &self.planned
    }

    fn intent(&self, context: &Context) -> Value {
        json!({ "service": self.service, "release": context.to, "replicas": self.replicas })
    }

    async fn apply(&self, context: &Context) -> Result<Value, StepError> {
        context
            .target
            .sample_into(Some(context.run.samples_path()))
            .await?;
        let wanted = wanted(context, &self.service, &context.to, self.replicas)?;
        for (name, text) in context.target.manifests(&wanted).await? {
            context
                .keep(&name, "application/yaml", text.into_bytes())
                .await?;
        }
        let instances = context.target.start(&wanted).await?;
        let addresses: Vec<_> = instances.iter().map(|one| one.address).collect();
        Ok(json!({ "addresses": addresses, "instances": instances }))
    }

    async fn verify(&self, context: &Context) -> Result<Check, StepError> {
        let wanted = self.replicas as usize;
        count_check(context, &self.service, &context.to, |running| {
            running >= wanted
        })
        .await
    }

    async fn cross_check(&self, context: &Context) -> Result<Check, StepError> {
        let addresses = self.addresses(context);
        Ok(connect_check(context, &addresses, true).await)
    }

    async fn undo(&self, context: &Context) -> Result<Value, StepError> {
        keep_logs(context, &self.service).await?;
        let grace = grace(context, &self.service);
        if context.from.is_none() {
            super::traffic::unserve(context, Some(&self.service)).await?;
        } else if context.goes_back() {
            super::relief::take_back(context, &self.service).await?;
        }
        let stopped = context
            .target
            .stop(&self.service, &context.to, grace)
            .await?;
        Ok(json!({ "ended": stopped.ended, "forced": stopped.forced, "cut": stopped.cut }))
    }

    async fn verify_undone(&self, context: &Context) -> Result<Check, StepError> {
        count_check(context, &self.service, &context.to, |running| running == 0).await
    }

    async fn cross_check_undone(&self, context: &Context) -> Result<Check, StepError> {
        let addresses = self.addresses(context);
        Ok(connect_check(context, &addresses, false).await)
    }
}

/// Keeps the logs of the new release before its instances are stopped: they say why it went back.
async fn keep_logs(context: &Context, service: &str) -> Result<(), StepError> {
    let logs = match context.target.logs(service, &context.to).await {
        Ok(logs) => logs,
        Err(error) => return note_missing(context, service, &error.to_string()).await,
    };
    for log in logs {
        let (path, disk) = (log.path.clone(), context.surroundings.disk.clone());
        let read = move || {
            let end = end_of(disk.as_ref(), &path);
            end.map_err(|error| StepError::permanent(crate::code::CUT_OFF, error.to_string(), ""))
        };
        match context.surroundings.on_disk("reading a log", read).await {
            Ok(content) if content.is_empty() => {}
            Ok(content) => {
                let name = format!("log of {} before it was stopped", log.instance);
                context.keep(&name, "text/plain", content).await?;
            }
            Err(error) => note_missing(context, &log.instance, &error.to_string()).await?,
        }
    }
    Ok(())
}

/// A log that cannot be read does not stop a rollback.
async fn note_missing(context: &Context, instance: &str, why: &str) -> Result<(), StepError> {
    let severity = code_deploy_record::Severity::Medium;
    let text = format!("the log of {instance} could not be kept: {why}");
    let body = code_deploy_record::EventBody::Noted { severity, text };
    context.journal.append("engine", body).await?;
    Ok(())
}

fn end_of(disk: &dyn code_deploy_record::Disk, path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut file = disk.read(path)?;
    let length = file.length()?;
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_END)))?;
    let mut content = Vec::new();
    file.take(LOG_END).read_to_end(&mut content)?;
    Ok(content)
}
