//! What the pods of a service are, from the Compose file.

use std::time::Duration;

use code_deploy_engine::Spec;
use code_deploy_engine::spec::{ComposeService, Service};
use serde_json::{Map, Value, json};

use super::{hidden, meaning};
use crate::keys::{Found, Keys, text};

/// The name of the port that is routed: releases may listen on different ones.
pub const PORT: &str = "http";

/// How long a pod that is asked to end goes on before its process is: until then every node knows
/// that it gets no connections any more.
pub const PAUSE: Duration = Duration::from_secs(5);

/// Returns how long the processes of a service are given to end once they were asked to: as long as the Compose file
/// says, and as long as the deployment file has requests in flight waited for.
pub fn grace(service: &Service) -> Duration {
    let drain = service.file.routing.drain.get();
    service.stop_grace.get().max(drain)
}

/// The cluster asks no probe more often.
const SHORTEST: Duration = Duration::from_secs(1);

/// What the template of a Deployment is filled with of a pod's container.
///
/// # Errors
/// What of the Compose file no pod can be given.
pub fn container(
    spec: &Spec,
    service: &Service,
    compose: &ComposeService,
    name: &str,
) -> Found<Value> {
    let keys = Keys(&compose.keys);
    let environment = service.environment.iter();
    let environment: Map<String, Value> = environment
        .map(|(name, value)| (name.clone(), literal(value).into()))
        .collect();
    let image = service.image.as_ref().ok_or("it has no image")?;
    let (_, mut mounts) = volumes(spec, service, compose)?;
    mounts.extend(hidden::volumes(compose, name)?.1);
    Ok(json!({
        "name": service.name,
        "image": image,
        "pull": pull_policy(keys)?,
        "command": words(keys.command("entrypoint")?),
        "arguments": words(keys.command("command")?),
        "folder": keys.text("working_dir"),
        "port": service.port,
        "port_name": PORT,
        "environment": environment,
        "hidden": hidden::variables(compose, name),
        "resources": resources(service, keys)?,
        "security": security(keys)?,
        "probes": probes(spec, service, keys)?,
        "mounts": mounts,
    }))
}

/// Returns the volumes of a pod.
///
/// # Errors
/// As [`container`].
pub fn volumes_of(
    spec: &Spec,
    service: &Service,
    compose: &ComposeService,
    name: &str,
) -> Found<Vec<Value>> {
    let (mut volumes, _) = volumes(spec, service, compose)?;
    volumes.extend(hidden::volumes(compose, name)?.0);
    Ok(volumes)
}

/// Checks that pods can be given what the Compose file says.
///
/// # Errors
/// As [`container`].
pub fn checked(spec: &Spec, service: &Service, compose: &ComposeService) -> Found<()> {
    if service.image.is_none() {
        return Ok(());
    }
    container(spec, service, compose, &service.name).map(|_| ())
}

/// Returns the folders of the node that pods of a service would be given.
pub fn node_folders(spec: &Spec, service: &Service, compose: &ComposeService) -> Vec<String> {
    let volumes = volumes(spec, service, compose).map(|(volumes, _)| volumes);
    let volumes = volumes.unwrap_or_default();
    let paths = volumes.iter();
    paths
        .filter_map(|volume| {
            volume
                .pointer("/hostPath/path")?
                .as_str()
                .map(str::to_owned)
        })
        .collect()
}

/// Returns the claims that pods of a service mount.
pub fn claims(spec: &Spec, service: &Service, compose: &ComposeService) -> Vec<String> {
    let volumes = volumes(spec, service, compose).map(|(volumes, _)| volumes);
    let volumes = volumes.unwrap_or_default();
    let pointer = "/persistentVolumeClaim/claimName";
    let names = volumes.iter().filter_map(|volume| volume.pointer(pointer));
    names
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect()
}

/// Returns whether the Compose file has a health check that can be run.
pub fn has_health_check(compose: &ComposeService) -> bool {
    matches!(check(Keys(&compose.keys).under("healthcheck")), Ok(Some(_)))
}

/// The cluster replaces `$(NAME)` in values; Compose does not.
fn literal(value: &str) -> String {
    value.replace("$(", "$$(")
}

fn words(command: Option<Vec<String>>) -> Option<Vec<String>> {
    command.map(|words| words.iter().map(|word| literal(word)).collect())
}

fn pull_policy(keys: Keys<'_>) -> Found<Option<&'static str>> {
    match keys.text("pull_policy").as_deref() {
        None => Ok(None),
        Some("always") => Ok(Some("Always")),
        Some("missing" | "if_not_present") => Ok(Some("IfNotPresent")),
        Some("never") => Ok(Some("Never")),
        Some(other) => Err(format!(
            "`pull_policy: {other}` has no meaning on a cluster"
        )),
    }
}

fn resources(service: &Service, keys: Keys<'_>) -> Found<Value> {
    let deploy = keys.under("deploy").under("resources");
    let reserved = deploy.under("reservations");
    let (mut limits, mut requests) = (Map::new(), Map::new());
    if let Some(bytes) = service.memory_limit {
        limits.insert("memory".to_owned(), bytes.to_string().into());
    }
    if let Some(processors) = service.processor_limit {
        limits.insert("cpu".to_owned(), millis(processors).into());
    }
    let memory = reserved.bytes("memory")?.or(keys.bytes("mem_reservation")?);
    if let Some(bytes) = memory {
        requests.insert("memory".to_owned(), bytes.to_string().into());
    }
    if let Some(processors) = reserved.text("cpus") {
        let number: f64 = processors
            .parse()
            .map_err(|_| format!("`cpus` is `{processors}`, not a number"))?;
        requests.insert("cpu".to_owned(), millis(number).into());
    }
    // What is not reserved is not: a cluster would take the limit as a reservation.
    for key in ["memory", "cpu"] {
        if limits.contains_key(key) && !requests.contains_key(key) {
            requests.insert(key.to_owned(), "0".into());
        }
    }
    let mut resources = Map::new();
    for (key, amounts) in [("requests", requests), ("limits", limits)] {
        if !amounts.is_empty() {
            resources.insert(key.to_owned(), amounts.into());
        }
    }
    Ok(resources.into())
}

fn millis(processors: f64) -> String {
    format!("{:.0}m", processors * 1000.0)
}

fn security(keys: Keys<'_>) -> Found<Value> {
    let privileged = keys.switch("privileged")?.unwrap_or(false);
    let mut security = Map::new();
    let added = capabilities(keys.list("cap_add"));
    // A process with rights of its own may gain them; the cluster refuses to say otherwise.
    let gains = privileged || added.iter().flatten().any(|name| name == "SYS_ADMIN");
    security.insert("allowPrivilegeEscalation".to_owned(), gains.into());
    if privileged {
        security.insert("privileged".to_owned(), true.into());
    }
    if let Some(read_only) = keys.switch("read_only")? {
        security.insert("readOnlyRootFilesystem".to_owned(), read_only.into());
    }
    let mut rights = Map::new();
    for (key, names) in [
        ("add", added),
        ("drop", capabilities(keys.list("cap_drop"))),
    ] {
        if let Some(names) = names {
            rights.insert(key.to_owned(), names.into());
        }
    }
    if !rights.is_empty() {
        security.insert("capabilities".to_owned(), rights.into());
    }
    if let Some(user) = keys.text("user") {
        let numbers: Option<Vec<i64>> = user.split(':').map(|part| part.parse().ok()).collect();
        match numbers.as_deref() {
            Some([user]) => {
                security.insert("runAsUser".to_owned(), (*user).into());
            }
            Some([user, group]) => {
                security.insert("runAsUser".to_owned(), (*user).into());
                security.insert("runAsGroup".to_owned(), (*group).into());
            }
            _ => return Err(format!("`user` is `{user}`; a cluster takes numbers only")),
        }
    }
    Ok(security.into())
}

/// The cluster names capabilities without the beginning that Linux gives them.
fn capabilities(names: Option<Vec<String>>) -> Option<Vec<String>> {
    let short = |name: String| name.strip_prefix("CAP_").map(str::to_owned).unwrap_or(name);
    names.map(|names| names.into_iter().map(short).collect())
}

/// Probes of the deployment file come first; the Compose file's health check says whether a pod
/// is ready where they do not. A failing health check does not make Compose restart anything, so
/// liveness never comes from it.
fn probes(spec: &Spec, service: &Service, keys: Keys<'_>) -> Found<Value> {
    let (health, policy) = (keys.under("healthcheck"), &spec.strategy.health);
    let check = check(health)?;
    let span = |key: &str, other: Duration| -> Found<u64> {
        let given = health
            .nanoseconds(key)?
            .and_then(|ns| u64::try_from(ns).ok());
        let length = given.map_or(other, Duration::from_nanos);
        Ok(seconds(length))
    };
    let interval = span("interval", policy.interval.get())?;
    let timeout = span("timeout", policy.timeout.get())?;
    let failures = health.number("retries")?.unwrap_or(3).max(1);
    let probe = |handler: Value, failures: Value, interval: u64| {
        let mut probe = json!({
            "periodSeconds": interval, "timeoutSeconds": timeout, "failureThreshold": failures,
        });
        if let (Some(probe), Value::Object(handler)) = (probe.as_object_mut(), handler) {
            probe.extend(handler);
        }
        probe
    };
    let get = |path: &String| json!({ "httpGet": { "path": path, "port": PORT } });
    let mut probes = Map::new();
    let paths = &service.file.probes;
    if let Some(path) = &paths.startup {
        let deadline = seconds(policy.deadline.get());
        probes.insert(
            "startupProbe".to_owned(),
            probe(get(path), deadline.into(), seconds(SHORTEST)),
        );
    }
    let readiness = paths.readiness.as_ref().map(get);
    let run = || check.map(|command| json!({ "exec": { "command": command } }));
    if let Some(handler) = readiness.or_else(run) {
        let often = interval.min(seconds(policy.interval.get()));
        probes.insert(
            "readinessProbe".to_owned(),
            probe(handler, failures.into(), often),
        );
    }
    if let Some(path) = &paths.liveness {
        probes.insert(
            "livenessProbe".to_owned(),
            probe(get(path), failures.into(), interval),
        );
    }
    Ok(probes.into())
}

fn seconds(length: Duration) -> u64 {
    length.max(SHORTEST).as_secs_f64().ceil() as u64
}

/// Returns the command of a health check.
fn check(health: Keys<'_>) -> Found<Option<Vec<String>>> {
    if health.0.is_null() || health.switch("disable")? == Some(true) {
        return Ok(None);
    }
    let shell = |line: &str| vec!["/bin/sh".to_owned(), "-c".to_owned(), line.to_owned()];
    let test = match health.get("test") {
        Some(Value::String(line)) => return Ok(Some(shell(line))),
        _ => health.list("test").unwrap_or_default(),
    };
    match test.split_first() {
        Some((kind, words)) if kind == "CMD" && !words.is_empty() => Ok(Some(words.to_vec())),
        Some((kind, [line])) if kind == "CMD-SHELL" => Ok(Some(shell(line))),
        Some((kind, _)) if kind == "NONE" => Ok(None),
        None => Ok(None),
        Some(_) => Err("`healthcheck.test` is none of CMD, CMD-SHELL and NONE".to_owned()),
    }
}

type Volumes = (Vec<Value>, Vec<Value>);

fn volumes(spec: &Spec, service: &Service, compose: &ComposeService) -> Found<Volumes> {
    let keys = Keys(&compose.keys);
    let (mut volumes, mut mounts) = (Vec::new(), Vec::new());
    let listed = keys.get("volumes").and_then(Value::as_array);
    for (index, item) in listed.into_iter().flatten().enumerate() {
        let mount = crate::docker::mounted(item)?;
        let name = format!("{}-{index}", service.name);
        let source = match (&mount.source, mount.is_memory) {
            (_, true) => json!({ "emptyDir": { "medium": "Memory" } }),
            (Some(source), _) if mount.is_folder => {
                let path = crate::docker::absolute(spec, source);
                let is_file = std::path::Path::new(&path).is_file();
                let kind = if is_file { "File" } else { "DirectoryOrCreate" };
                json!({ "hostPath": { "path": path, "type": kind } })
            }
            (Some(volume), _) => {
                let claim = meaning::claim(spec, volume).ok_or_else(|| {
                    format!(
                        "`volumes` names the volume `{volume}`, and no manifest claims it: with a \
                         PersistentVolumeClaim of that name under `kubernetes.manifests` of the \
                         environment, pods mount that"
                    )
                })?;
                json!({ "persistentVolumeClaim": { "claimName": claim.name } })
            }
            (None, _) => json!({ "emptyDir": {} }),
        };
        push(&mut volumes, &name, source);
        mounts.push(json!({
            "name": name, "mountPath": mount.target, "readOnly": mount.read_only,
        }));
    }
    for (index, written) in keys.list("tmpfs").into_iter().flatten().enumerate() {
        let path = written.split(':').next().unwrap_or_default().to_owned();
        let name = format!("{}-memory-{index}", service.name);
        push(
            &mut volumes,
            &name,
            json!({ "emptyDir": { "medium": "Memory" } }),
        );
        mounts.push(json!({ "name": name, "mountPath": path }));
    }
    Ok((volumes, mounts))
}

fn push(volumes: &mut Vec<Value>, name: &str, mut source: Value) {
    if let Some(source) = source.as_object_mut() {
        source.insert("name".to_owned(), name.into());
    }
    volumes.push(source);
}

/// Returns a value of the Compose file as a text, for a label or annotation.
pub fn annotations(compose: &ComposeService) -> Map<String, Value> {
    let keys = Keys(&compose.keys);
    let given = keys.get("annotations").and_then(Value::as_object);
    let given = given.into_iter().flatten();
    let own = given.filter_map(|(key, value)| Some((key.clone(), text(value)?)));
    let labels = compose.labels.clone().into_iter();
    labels
        .chain(own)
        .filter(|(key, _)| is_key(key))
        .map(|(key, value)| (key, value.into()))
        .collect()
}

/// Returns whether a cluster takes that as the key of an annotation.
fn is_key(key: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let part = |part: &str| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        part.len() <= 63
            && part.chars().all(fits)
            && edge(part.chars().next())
            && edge(part.chars().next_back())
    };
    match key.split_once('/') {
        Some((above, name)) => part(above) && part(name) && above == above.to_lowercase(),
        None => part(key),
    }
}
