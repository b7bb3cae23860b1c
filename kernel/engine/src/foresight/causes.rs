//! What the files tell, cause by cause, whatever the policy makes of it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use code_deploy_record::PhaseNumber;
use serde_json::Value;

use super::places::Places;
use super::{Ending, ImageChecks, artifacts, probes};
use crate::phases::look::list;
use crate::phases::policy::configured_secrets;
use crate::plan::Inputs;
use crate::source::{self, Found};
use crate::spec::{Reaction, Service, Spec};
use crate::{Error, Result};

/// Something that the files tell.
pub(super) struct Cause {
    /// The items that it decides.
    pub items: Vec<&'static str>,
    /// How they end.
    pub ending: Ending,
    /// The phase, where it is not that of the items.
    pub phase: Option<PhaseNumber>,
    /// What is not as it should be.
    pub what: String,
    /// What mends it, and where.
    pub cure: String,
    /// Whether it is worth a word only where it stops the run: nothing can be done about it.
    pub quiet: bool,
}

pub(super) fn failed(items: &[&'static str], what: String, cure: String) -> Cause {
    Cause {
        items: items.to_vec(),
        ending: Ending::Failed,
        phase: None,
        what,
        cure,
        quiet: false,
    }
}

fn open(items: &[&'static str], what: impl Into<String>, cure: impl Into<String>) -> Cause {
    Cause {
        ending: Ending::Open,
        ..failed(items, what.into(), cure.into())
    }
}

/// Returns everything that the files tell.
///
/// # Errors
/// When the deployment file can no longer be read.
pub(super) fn of_files(
    inputs: &Inputs,
    program: &Path,
    images: &ImageChecks,
) -> Result<Vec<Cause>> {
    let spec = &inputs.spec;
    let places = Places::read(spec)?;
    let mut causes = Vec::new();
    causes.extend(owners(spec, &places));
    causes.extend(of_inventory(&inputs.inventory.document));
    causes.extend(of_source(spec)?);
    causes.extend(of_artifacts(inputs, program));
    causes.extend(secrets(spec));
    causes.extend(replicas(spec, &places));
    causes.extend(breakers(spec, &places));
    causes.extend(probes::causes(spec, &places, images));
    causes.extend(signals(spec, &places));
    causes.extend(journeys(inputs, &places));
    causes.extend(promises(spec, &places));
    causes.extend(few_requests(inputs, &places));
    causes.extend(of_one_machine(spec));
    Ok(causes)
}

fn lacking(spec: &Spec, lacks: impl Fn(&Service) -> bool) -> Vec<&str> {
    let services = spec.services.iter().filter(|service| lacks(service));
    services.map(|service| service.name.as_str()).collect()
}

fn owners(spec: &Spec, places: &Places) -> Option<Cause> {
    let names = lacking(spec, |service| service.owner.is_none());
    (!names.is_empty()).then(|| {
        let cure = format!("Write `owner:` for {}.", places.services(&names));
        failed(&["1.1.4"], format!("no owner: {}", names.join(", ")), cure)
    })
}

fn replicas(spec: &Spec, places: &Places) -> Option<Cause> {
    let names = lacking(spec, |service| service.replicas < 2);
    (!names.is_empty()).then(|| {
        let environment = &spec.environment;
        let wanted: Vec<_> = names.iter().map(|name| format!("{name}: 2")).collect();
        let what = format!(
            "one instance only, so that nobody answers while it is gone: {}",
            names.join(", ")
        );
        let cure = format!(
            "Write `replicas: {{{}}}` under `environments.{environment}` ({}), or `deploy.replicas` \
             in the Compose file.",
            wanted.join(", "),
            places.of(&["environments", environment])
        );
        failed(&["3.1.6", "6.2.6"], what, cure)
    })
}

fn breakers(spec: &Spec, places: &Places) -> Option<Cause> {
    let names = lacking(spec, |service| service.file.routing.breaker_failures == 0);
    (!names.is_empty()).then(|| {
        let what = format!("the circuit breaker is off: {}", names.join(", "));
        let cure = format!(
            "Write another `routing.breaker_failures` than 0 for {}.",
            places.services(&names)
        );
        failed(&["6.2.5"], what, cure)
    })
}

/// Metrics, and log output that can be collected.
fn signals(spec: &Spec, places: &Places) -> Vec<Cause> {
    let mut causes = Vec::new();
    let names = lacking(spec, |service| service.file.metrics.is_none());
    if !names.is_empty() {
        let what = format!("no metrics that can be read: {}", names.join(", "));
        let cure = format!(
            "Write `metrics: /PATH` (Prometheus text format) for {}.",
            places.services(&names)
        );
        causes.push(failed(&["8.1.1", "8.1.3"], what, cure));
    }
    let names = lacking(spec, |service| service.file.log_marker.is_none());
    if !names.is_empty() {
        let mut items = vec!["8.2.1", "8.2.6"];
        if names.len() == spec.services.len() {
            items.push("8.2.4");
        }
        let what = format!(
            "no way to see that log output arrives: {}",
            names.join(", ")
        );
        let cure = format!(
            "Write `log_marker: /PATH`, a POST endpoint that writes the given `id` to the log, for \
             {}.",
            places.services(&names)
        );
        causes.push(failed(&items, what, cure));
    }
    causes
}

fn of_inventory(document: &Value) -> Vec<Cause> {
    let texts = |key: &str| -> Vec<String> {
        let values = document.get(key).and_then(Value::as_array);
        let texts = values.into_iter().flatten().filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    };
    let mut causes = Vec::new();
    let unread = texts("unread");
    if !unread.is_empty() {
        let what = format!("files that cannot be read: {}", unread.join("; "));
        let cure = "Mend or remove them.".to_owned();
        causes.push(failed(&["1.1.8"], what, cure));
    }
    let locks = document.get("dependencies").and_then(Value::as_array);
    let unpinned = locks.into_iter().flatten().filter_map(|lock| {
        let count = lock.get("unpinned")?.as_u64().filter(|count| *count > 0)?;
        Some(format!("{count} in {}", lock.get("file")?.as_str()?))
    });
    let unpinned: Vec<_> = unpinned.collect();
    if !unpinned.is_empty() {
        let what = format!("packages without an exact version: {}", unpinned.join(", "));
        let cure = "Pin them in these files.".to_owned();
        causes.push(failed(&["1.1.5", "2.1.4"], what, cure));
    }
    causes
}

fn of_source(spec: &Spec) -> Result<Vec<Cause>> {
    let security = &spec.file.security;
    let folder = security
        .source
        .as_ref()
        .map_or_else(|| spec.project.clone(), |below| spec.project.join(below));
    let branch = security.development_branch.as_deref();
    let checked = source::check(&folder, branch, &security.rules_off).map_err(|what| {
        let next = "Set `security.source` to the folder of the source.";
        Error::refused("CD0439", what, next)
    })?;
    let mut causes = Vec::new();
    if checked.repository.is_some() {
        let broken = checked.outcomes.iter().filter(|outcome| {
            outcome.rule.name.starts_with("branch/") && matches!(outcome.found, Found::Broken(_))
        });
        let broken: Vec<_> = broken.map(|outcome| &outcome.rule).collect();
        if !broken.is_empty() {
            let what = format!(
                "rules about branches are broken: {}",
                list(broken.iter().map(|rule| rule.name))
            );
            let cures = broken.iter().map(|rule| rule.cure);
            let cure = format!(
                "{} Or name the rule under `security.rules_off`.",
                cures.collect::<Vec<_>>().join(" ")
            );
            causes.push(failed(&["2.1.2"], what, cure));
        }
        causes.push(Cause {
            quiet: true,
            ..open(
                &["2.1.1"],
                "whether a remote has a later commit is not asked",
                "Accept 2.1.1 under `waivers`.",
            )
        });
    }
    let changed = checked
        .repository
        .map_or_else(Vec::new, |repository| repository.changed);
    if !changed.is_empty() {
        let what = format!(
            "{} files changed and not committed: {}",
            changed.len(),
            list(changed.iter().take(5))
        );
        let cure = "Commit them.".to_owned();
        causes.push(match spec.policy.uncommitted {
            Reaction::Stop => failed(&["2.1.6"], what, cure),
            Reaction::Note => open(&["2.1.6"], what, cure),
        });
    }
    Ok(causes)
}

fn of_artifacts(inputs: &Inputs, program: &Path) -> Vec<Cause> {
    let spec = &inputs.spec;
    let (mut missing, mut writable) = (Vec::new(), Vec::new());
    // What a command builds is not decided by what is there now.
    let made = |service: &&Service| {
        let build = service.file.build.as_ref();
        build.is_some_and(|build| build.command.is_empty())
    };
    for service in spec.services.iter().filter(made) {
        for path in artifacts(inputs, service, program) {
            match std::fs::metadata(&path) {
                Err(_) => missing.push(path.display().to_string()),
                Ok(found) if found.permissions().mode() & 0o6002 != 0 => {
                    writable.push(path.display().to_string());
                }
                Ok(_) => {}
            }
        }
    }
    missing.dedup();
    writable.dedup();
    let mut causes = Vec::new();
    if !missing.is_empty() {
        causes.push(Cause {
            ending: Ending::Broken,
            phase: PhaseNumber::new(3),
            ..failed(
                &[],
                format!("artifacts that are not there: {}", missing.join(", ")),
                "Build them, give `build.command`, or correct `build.artifacts`.".to_owned(),
            )
        });
    }
    if !writable.is_empty() {
        let what = format!(
            "artifacts that everybody may write or that are setuid: {}",
            writable.join(", ")
        );
        causes.push(failed(
            &["2.5.2"],
            what,
            "Take these permissions away.".to_owned(),
        ));
    }
    let undeclared = lacking(spec, |service| service.file.build.is_none());
    if !undeclared.is_empty() {
        causes.push(open(
            &["2.3.6"],
            format!("no artifact is declared: {}", undeclared.join(", ")),
            "Write `build: {artifacts: [PATH]}` for them.",
        ));
    }
    causes
}

fn secrets(spec: &Spec) -> Option<Cause> {
    let found = configured_secrets(spec);
    (!found.is_empty()).then(|| {
        let told = found
            .iter()
            .map(|(place, kind)| format!("{place} ({kind})"));
        let what = format!(
            "values of the configuration look like secrets: {}",
            told.collect::<Vec<_>>().join(", ")
        );
        let cure = "Give them by reference: `process.secrets: {NAME: env:NAME}`.".to_owned();
        failed(&["3.3.6", "7.3.4", "7.3.6"], what, cure)
    })
}

fn journeys(inputs: &Inputs, places: &Places) -> Vec<Cause> {
    let spec = &inputs.spec;
    if spec.journeys.is_empty() {
        let cure = format!(
            "Write a journey in a file and name it under `journeys` of {}.",
            places.of(&["journeys"])
        );
        return vec![open(
            &["9.1.1", "9.1.4", "5.2.4", "2.5.5"],
            "no journey: nobody walks through the application as a user does",
            cure,
        )];
    }
    let mut causes = Vec::new();
    if !spec.journeys.iter().any(|journey| journey.smoke) {
        causes.push(open(
            &["5.2.4"],
            "no journey is marked as a critical path",
            "Write `smoke: true` in a journey that has to work before any user comes.",
        ));
    }
    let unknown = unknown_paths(inputs);
    if !unknown.is_empty() {
        causes.push(open(
            &["9.1.1"],
            format!(
                "paths that no OpenAPI document names: {}",
                unknown.join(", ")
            ),
            "Correct the journey, or the document of the service.",
        ));
    }
    causes
}

/// Returns the paths of journeys that are not in the OpenAPI document of their service, where a
/// file of the project declares one.
fn unknown_paths(inputs: &Inputs) -> Vec<String> {
    let endpoints = inputs.inventory.document.get("endpoints");
    let endpoints: Vec<crate::inventory::Endpoint> = endpoints
        .and_then(|list| serde_json::from_value(list.clone()).ok())
        .unwrap_or_default();
    let mut unknown = Vec::new();
    for journey in &inputs.spec.journeys {
        let own: Vec<_> = endpoints
            .iter()
            .filter(|one| one.service.as_deref() == Some(&journey.service))
            .collect();
        for step in journey.steps.iter().filter(|_| !own.is_empty()) {
            let path = step.path.split(['?', '#']).next().unwrap_or_default();
            if !own.iter().any(|one| fits(&one.path, path)) {
                unknown.push(format!(
                    "{} {path} of {} (journey `{}`)",
                    step.method, journey.service, journey.name
                ));
            }
        }
    }
    unknown
}

/// Returns whether a path is one that a template (`/products/{id}`) stands for.
fn fits(template: &str, path: &str) -> bool {
    let (mut own, mut other) = (template.split('/'), path.split('/'));
    loop {
        match (own.next(), other.next()) {
            (None, None) => return true,
            (Some(own), Some(other)) => {
                let word = |text: &str| text.contains('{');
                if own != other && !word(own) && !word(other) {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

/// What the deployment file has to promise so that a run can hold it to that.
fn promises(spec: &Spec, places: &Places) -> Vec<Cause> {
    let file = &spec.file;
    let mut causes = Vec::new();
    if file.objectives.is_empty() {
        let cure = format!("Write `objectives` into {}.", places.of(&["objectives"]));
        causes.push(open(&["8.1.5", "9.2.5"], "no objective", cure));
    }
    if file.load.is_none() {
        let cure = format!("Write `load` into {}.", places.of(&["load"]));
        let items = ["9.2.1", "9.2.2", "9.2.3", "9.2.4"];
        causes.push(open(&items, "no load test", cure));
    }
    if file.escalation.is_empty() {
        let cure = format!("Write `escalation` into {}.", places.of(&["escalation"]));
        causes.push(open(
            &["10.2.4"],
            "nobody is called when something breaks",
            cure,
        ));
    }
    let without = lacking(spec, |service| service.file.openapi.is_none());
    if !without.is_empty() {
        let cure = format!("Write `openapi: /PATH` for {}.", places.services(&without));
        let what = format!("no OpenAPI document: {}", without.join(", "));
        causes.push(open(&["9.1.2"], what, cure));
    }
    causes
}

/// Steps of the strategy that are too short for what the outside client sends. Others may send
/// more, so that this stops nothing.
fn few_requests(inputs: &Inputs, places: &Places) -> Option<Cause> {
    let (spec, least) = (&inputs.spec, inputs.spec.strategy.analysis.min_requests);
    let client = spec.file.client.as_ref()?;
    let judged = inputs.from.is_some() && inputs.reverts.is_none();
    let steps = spec.strategy.steps.iter().filter(|step| {
        let other = if step.percent < 100 {
            100 - step.percent
        } else {
            100
        };
        let smaller = f64::from(step.percent.min(other)) / 100.0;
        let seen = f64::from(client.rate) * smaller * step.soak.get().as_secs_f64();
        judged && !step.soak.get().is_zero() && seen < least as f64
    });
    let short: Vec<_> = steps
        .map(|step| format!("{} % for {}", step.percent, step.soak))
        .collect();
    (!short.is_empty()).then(|| Cause {
        ending: Ending::Doubtful,
        phase: PhaseNumber::new(6),
        ..failed(
            &[],
            format!(
                "the {} requests a second of the client alone are too few to judge a release by \
                 ({least} of each): {}",
                client.rate,
                short.join(", ")
            ),
            format!(
                "Raise `client.rate` ({}), or watch these steps for longer, unless others send \
                 requests, too.",
                places.of(&["client", "rate"])
            ),
        )
    })
}

/// What no run on one machine can establish.
fn of_one_machine(spec: &Spec) -> Option<Cause> {
    spec.on_this_machine().then(|| Cause {
        quiet: true,
        ..open(
            &["8.2.3", "8.2.5", "8.3.4"],
            format!(
                "nothing on a {} target keeps logs for their time, watches them after the run or \
                 draws traces",
                spec.target
            ),
            "Accept these items under `waivers`.",
        )
    })
}
