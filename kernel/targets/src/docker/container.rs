//! What a container of a service is, from the Compose file.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};

use bollard::models::{
    ContainerCreateBody, DeviceMapping, EndpointIpamConfig, EndpointSettings, HealthConfig,
    HostConfig, HostConfigLogConfig, Mount, NetworkingConfig, PortBinding, ResourcesUlimits,
    RestartPolicy, RestartPolicyNameEnum,
};
use code_deploy_engine::spec::{ComposeService, Restart, Service};
use serde_json::Value;

use crate::keys::{Found, Keys, text};

/// A place of a container in a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The network's name on the engine.
    pub network: String,
    /// The address there; the engine chooses where none is given.
    pub address: Option<Ipv4Addr>,
    /// The names by which others find it there.
    pub aliases: Vec<String>,
}

/// What a container is made from besides the Compose file.
pub struct Given {
    pub image: String,
    pub labels: BTreeMap<String, String>,
    pub environment: BTreeMap<String, String>,
    pub mounts: Vec<Mount>,
    pub places: Vec<Place>,
    /// Where the service's port is published.
    pub published: SocketAddr,
}

/// Returns what the engine is told to make.
///
/// # Errors
/// What of the Compose file cannot be given to a container.
pub fn body(
    service: &Service,
    compose: &ComposeService,
    given: Given,
) -> Found<ContainerCreateBody> {
    let keys = Keys(&compose.keys);
    let port = format!("{}/tcp", service.port);
    let host = HostConfig {
        port_bindings: Some(bindings(&port, given.published)),
        mounts: Some(given.mounts),
        restart_policy: Some(restart(service.restart)),
        network_mode: given.places.first().map(|place| place.network.clone()),
        ..host(keys, service)?
    };
    let environment = given.environment.iter();
    Ok(ContainerCreateBody {
        image: Some(given.image),
        cmd: keys.command("command")?,
        entrypoint: keys.command("entrypoint")?,
        env: Some(
            environment
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
        ),
        labels: Some(given.labels.into_iter().collect()),
        exposed_ports: Some(vec![port]),
        user: keys.text("user"),
        working_dir: keys.text("working_dir"),
        hostname: keys.text("hostname"),
        domainname: keys.text("domainname"),
        tty: keys.switch("tty")?,
        open_stdin: keys.switch("stdin_open")?,
        healthcheck: health(keys.under("healthcheck"))?,
        stop_signal: keys.text("stop_signal"),
        stop_timeout: i64::try_from(service.stop_grace.get().as_secs()).ok(),
        host_config: Some(host),
        networking_config: Some(networking(&given.places)),
        ..ContainerCreateBody::default()
    })
}

/// Returns the ports of the machine at which one of the container is reached.
pub fn bindings(port: &str, at: SocketAddr) -> HashMap<String, Option<Vec<PortBinding>>> {
    let binding = PortBinding {
        host_ip: Some(at.ip().to_string()),
        host_port: Some(at.port().to_string()),
    };
    HashMap::from([(port.to_owned(), Some(vec![binding]))])
}

/// Returns the networks of a container as the engine takes them.
pub fn networking(places: &[Place]) -> NetworkingConfig {
    // Of older engines only the first is taken; the others are joined before the start.
    let first = places.iter().take(1);
    NetworkingConfig {
        endpoints_config: Some(
            first
                .map(|place| (place.network.clone(), endpoint(place)))
                .collect(),
        ),
    }
}

/// Returns a place in a network as the engine takes it.
pub fn endpoint(place: &Place) -> EndpointSettings {
    EndpointSettings {
        aliases: Some(place.aliases.clone()),
        ipam_config: place.address.map(|address| EndpointIpamConfig {
            ipv4_address: Some(address.to_string()),
            ..EndpointIpamConfig::default()
        }),
        ..EndpointSettings::default()
    }
}

fn restart(policy: Restart) -> RestartPolicy {
    let (name, times) = match policy {
        Restart::No => (RestartPolicyNameEnum::NO, None),
        Restart::Always => (RestartPolicyNameEnum::ALWAYS, None),
        Restart::UnlessStopped => (RestartPolicyNameEnum::UNLESS_STOPPED, None),
        Restart::OnFailure(times) => (RestartPolicyNameEnum::ON_FAILURE, times),
    };
    RestartPolicy {
        name: Some(name),
        maximum_retry_count: times.map(i64::from),
    }
}

fn host(keys: Keys<'_>, service: &Service) -> Found<HostConfig> {
    let deploy = keys.under("deploy").under("resources");
    let (limits, reserved) = (deploy.under("limits"), deploy.under("reservations"));
    let reserved = reserved.bytes("memory")?;
    let processes = limits.number("pids")?;
    Ok(HostConfig {
        memory: service
            .memory_limit
            .and_then(|limit| i64::try_from(limit).ok()),
        nano_cpus: service.processor_limit.map(nano_processors),
        memory_reservation: reserved.or(keys.bytes("mem_reservation")?),
        memory_swap: keys.bytes("memswap_limit")?,
        memory_swappiness: keys.number("mem_swappiness")?,
        pids_limit: processes.or(keys.number("pids_limit")?),
        cpu_shares: keys.number("cpu_shares")?,
        cpu_period: keys.number("cpu_period")?,
        cpu_quota: keys.number("cpu_quota")?,
        cpuset_cpus: keys.text("cpuset"),
        cgroup_parent: keys.text("cgroup_parent"),
        oom_score_adj: keys.number("oom_score_adj")?,
        oom_kill_disable: keys.switch("oom_kill_disable")?,
        shm_size: keys.bytes("shm_size")?,
        ulimits: ulimits(keys)?,
        init: keys.switch("init")?,
        privileged: keys.switch("privileged")?,
        readonly_rootfs: keys.switch("read_only")?,
        cap_add: keys.list("cap_add"),
        cap_drop: keys.list("cap_drop"),
        security_opt: keys.list("security_opt"),
        group_add: keys.list("group_add"),
        devices: devices(keys),
        dns: keys.list("dns"),
        dns_options: keys.list("dns_opt"),
        dns_search: keys.list("dns_search"),
        extra_hosts: extra_hosts(keys),
        sysctls: keys.map("sysctls"),
        storage_opt: keys.map("storage_opt"),
        tmpfs: tmpfs(keys),
        ipc_mode: keys.text("ipc"),
        pid_mode: keys.text("pid"),
        userns_mode: keys.text("userns_mode"),
        runtime: keys.text("runtime"),
        log_config: logging(keys.under("logging")),
        ..HostConfig::default()
    })
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the limit was checked when it was read"
)]
fn nano_processors(processors: f64) -> i64 {
    (processors * 1e9).round() as i64
}

fn ulimits(keys: Keys<'_>) -> Found<Option<Vec<ResourcesUlimits>>> {
    let Some(listed) = keys.get("ulimits").and_then(Value::as_object) else {
        return Ok(None);
    };
    let mut limits = Vec::new();
    for (name, value) in listed {
        let both = value.as_i64();
        let part = |part: &str| -> Found<i64> {
            let found = Keys(value).number(part)?.or(both);
            found.ok_or_else(|| format!("`ulimits.{name}` has no `{part}`"))
        };
        limits.push(ResourcesUlimits {
            name: Some(name.clone()),
            soft: Some(part("soft")?),
            hard: Some(part("hard")?),
        });
    }
    Ok(Some(limits))
}

fn devices(keys: Keys<'_>) -> Option<Vec<DeviceMapping>> {
    let devices = keys.list("devices")?.into_iter().map(|written| {
        let mut parts = written.split(':').map(str::to_owned);
        let outside = parts.next();
        DeviceMapping {
            path_in_container: parts.next().or_else(|| outside.clone()),
            path_on_host: outside,
            cgroup_permissions: parts.next().or_else(|| Some("rwm".to_owned())),
        }
    });
    Some(devices.collect())
}

/// Compose takes `name=address`, `name:address` and a mapping; the engine `name:address`.
fn extra_hosts(keys: Keys<'_>) -> Option<Vec<String>> {
    match keys.get("extra_hosts")? {
        Value::Object(map) => {
            let pairs = map.iter();
            Some(
                pairs
                    .map(|(name, value)| format!("{name}:{}", text(value).unwrap_or_default()))
                    .collect(),
            )
        }
        _ => {
            let listed = keys.list("extra_hosts")?.into_iter();
            Some(listed.map(|pair| pair.replacen('=', ":", 1)).collect())
        }
    }
}

fn tmpfs(keys: Keys<'_>) -> Option<HashMap<String, String>> {
    let listed = keys.list("tmpfs")?.into_iter();
    Some(
        listed
            .map(|written| {
                let (path, options) = written.split_once(':').unwrap_or((&written, ""));
                (path.to_owned(), options.to_owned())
            })
            .collect(),
    )
}

fn logging(keys: Keys<'_>) -> Option<HostConfigLogConfig> {
    let driver = keys.text("driver");
    let options = keys.map("options");
    (driver.is_some() || options.is_some()).then(|| HostConfigLogConfig {
        typ: Some(driver.unwrap_or_else(|| "json-file".to_owned())),
        config: options,
    })
}

fn health(keys: Keys<'_>) -> Found<Option<HealthConfig>> {
    if keys.0.is_null() {
        return Ok(None);
    }
    let none = || Some(vec!["NONE".to_owned()]);
    let test = match keys.get("test") {
        _ if keys.switch("disable")? == Some(true) => none(),
        Some(Value::String(shell)) => Some(vec!["CMD-SHELL".to_owned(), shell.clone()]),
        _ => keys.list("test"),
    };
    Ok(Some(HealthConfig {
        test,
        interval: keys.nanoseconds("interval")?,
        timeout: keys.nanoseconds("timeout")?,
        retries: keys.number("retries")?,
        start_period: keys.nanoseconds("start_period")?,
        start_interval: None,
    }))
}
