//! Services, from Compose file and deployment file together, each after those it needs.

use std::collections::{BTreeMap, BTreeSet};

use super::compose::{Compose, ComposeService};
use super::document::Document;
use super::error::{SpecError, code};
use super::model::{DeployFile, EnvironmentFile, Restart, Service};
use super::nearest::did_you_mean;
use super::role;
use crate::duration::Span;

/// How long Compose waits for a service to end when nothing else is said.
const STOP_GRACE: Span = Span::from_secs(10);

/// Returns the services in an order in which each comes after those it needs.
pub(super) fn services(
    document: &Document,
    file: &DeployFile,
    environment: &EnvironmentFile,
    compose: &Compose,
) -> Result<Vec<Service>, Box<SpecError>> {
    for name in file.services.keys() {
        known(document, compose, name, &["services", name])?;
    }
    let mut all = BTreeMap::new();
    for (name, found) in &compose.facts.services {
        let service = service(document, file, environment, name, found)?;
        all.insert(name.as_str(), service);
    }
    ordered(compose, all)
}

/// Checks that the Compose file has a service that the deployment file names.
pub(super) fn known(
    document: &Document,
    compose: &Compose,
    name: &str,
    path: &[&str],
) -> Result<(), Box<SpecError>> {
    if compose.facts.services.contains_key(name) {
        return Ok(());
    }
    let file = compose
        .facts
        .path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    if compose.profiled.contains(name) {
        let what = format!("the service `{name}` belongs to profiles of {file}, which are not run");
        let help = "Take `profiles` out of the Compose file, or the service out of this one.";
        return Err(document.error_at_key(code::UNKNOWN_SERVICE, path, what, help));
    }
    let names = compose.facts.services.keys().map(String::as_str);
    let help = did_you_mean(name, "services there", names);
    let what = format!("{file} has no service `{name}`");
    Err(document.error_at_key(code::UNKNOWN_SERVICE, path, what, help))
}

fn service(
    document: &Document,
    file: &DeployFile,
    environment: &EnvironmentFile,
    name: &str,
    found: &ComposeService,
) -> Result<Service, Box<SpecError>> {
    let given = file.services.get(name).cloned().unwrap_or_default();
    let port = given.port.or_else(|| found.ports.first().copied());
    let Some(port) = port.filter(|port| *port > 0) else {
        return Err(document.error(
            code::MISSING_KEY,
            &["services", name, "port"],
            format!("nothing says on which port `{name}` listens"),
            format!("Write `services.{name}.port`, or `expose` or `ports` in the Compose file."),
        ));
    };
    let replicas = environment.replicas.get(name).copied();
    Ok(Service {
        name: name.to_owned(),
        role: given
            .role
            .unwrap_or_else(|| role::guess(name, found.image.as_deref(), &found.ports)),
        owner: given
            .owner
            .clone()
            .or_else(|| found.labels.get("code-deploy.owner").cloned()),
        image: found.image.clone(),
        needs: found.depends_on.clone(),
        port,
        published: found.published.get(&port).copied(),
        replicas: replicas.or(found.replicas).unwrap_or(1),
        environment: found.environment.clone(),
        restart: found.restart.unwrap_or(Restart::No),
        stop_grace: found.stop_grace.unwrap_or(STOP_GRACE),
        memory_limit: found.memory_limit,
        processor_limit: found.processor_limit,
        file: given,
    })
}

fn ordered(
    compose: &Compose,
    mut waiting: BTreeMap<&str, Service>,
) -> Result<Vec<Service>, Box<SpecError>> {
    let mut done = BTreeSet::new();
    let mut order = Vec::new();
    while !waiting.is_empty() {
        let next = waiting
            .iter()
            .find(|(_, service)| service.needs.iter().all(|need| done.contains(need)))
            .map(|(name, _)| *name);
        let Some(service) = next.and_then(|name| waiting.remove(name)) else {
            return Err(circle(compose, &waiting));
        };
        done.insert(service.name.clone());
        order.push(service);
    }
    Ok(order)
}

fn circle(compose: &Compose, waiting: &BTreeMap<&str, Service>) -> Box<SpecError> {
    let needs = |name: &str| {
        waiting
            .get(name)
            .map(|service| service.needs.clone())
            .unwrap_or_default()
    };
    let path = find_cycle(waiting.keys().map(|name| (*name).to_owned()), &needs);
    let first = path.first().map(String::as_str).unwrap_or_default();
    compose.document.error_at_key(
        code::CYCLE,
        &["services", first, "depends_on"],
        format!(
            "services need each other in a circle: {}",
            path.join(" -> ")
        ),
        "Take one of these dependencies out: none of them could be started first.",
    )
}

/// Returns the names along a circle, the first again at the end; nothing when there is none.
pub(super) fn find_cycle(
    names: impl Iterator<Item = String>,
    needs: &dyn Fn(&str) -> Vec<String>,
) -> Vec<String> {
    for start in names {
        // Each name leads to the first of its needs that was not left as a dead end.
        let mut path = vec![start];
        let mut dead = BTreeSet::new();
        while let Some(last) = path.last().cloned() {
            let next = needs(&last).into_iter().find(|need| !dead.contains(need));
            match next {
                Some(next) => {
                    let seen = path.iter().position(|name| *name == next);
                    path.push(next);
                    if let Some(seen) = seen {
                        return path.split_off(seen);
                    }
                }
                None => {
                    dead.insert(last);
                    path.pop();
                }
            }
        }
    }
    Vec::new()
}
