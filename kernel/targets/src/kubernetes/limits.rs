//! What of a deployment a cluster does not honour when this program deploys to it.

mod pauses;
mod shares;

use code_deploy_engine::Spec;
use code_deploy_engine::spec::{ComposeService, Limit, MEANT, NotHonoured, Restart, Service};
use code_deploy_record::{Finding, Role, Severity};

use super::{judged, names, pod};
pub use pauses::findings as without_pause;

/// Keys of a Compose service that pods are not given, each with how serious that is and what it
/// means.
const NOT_GIVEN: &[(&str, Severity, &str)] = &[
    (
        "blkio_config",
        Severity::Medium,
        "the limits of its disk are not set",
    ),
    (
        "cgroup",
        Severity::Critical,
        "pods have control groups of their own",
    ),
    (
        "cgroup_parent",
        Severity::Critical,
        "pods have control groups of their own",
    ),
    (
        "container_name",
        Severity::Info,
        "names follow from service and release",
    ),
    ("cpu_count", Severity::Medium, "it is not set"),
    ("cpu_percent", Severity::Medium, "it is not set"),
    ("cpu_period", Severity::Medium, "it is not set"),
    ("cpu_quota", Severity::Medium, "it is not set"),
    ("cpu_rt_period", Severity::Medium, "it is not set"),
    ("cpu_rt_runtime", Severity::Medium, "it is not set"),
    ("cpu_shares", Severity::Medium, "it is not set"),
    ("cpuset", Severity::Medium, "it is not set"),
    (
        "device_cgroup_rules",
        Severity::Critical,
        "the container would not have its devices",
    ),
    (
        "devices",
        Severity::Critical,
        "the container would not have its devices",
    ),
    ("dns", Severity::Critical, "pods ask the cluster's DNS"),
    ("dns_opt", Severity::Medium, "pods ask the cluster's DNS"),
    ("dns_search", Severity::Medium, "pods ask the cluster's DNS"),
    ("domainname", Severity::Medium, "the cluster names pods"),
    (
        "extra_hosts",
        Severity::Critical,
        "the names would not be found",
    ),
    (
        "gpus",
        Severity::Critical,
        "the container would not have its devices",
    ),
    (
        "group_add",
        Severity::Critical,
        "the process would lack the groups",
    ),
    ("hostname", Severity::Low, "the cluster names pods"),
    ("init", Severity::Low, "the image's own first process runs"),
    (
        "ipc",
        Severity::Critical,
        "a pod shares nothing with others",
    ),
    ("logging", Severity::Low, "logs stay with the cluster"),
    (
        "mac_address",
        Severity::Medium,
        "the cluster gives addresses",
    ),
    ("memswap_limit", Severity::Low, "swap is the node's affair"),
    ("mem_swappiness", Severity::Low, "swap is the node's affair"),
    (
        "network_mode",
        Severity::Critical,
        "pods have networks of their own",
    ),
    (
        "networks",
        Severity::Info,
        "pods of a cluster share one network",
    ),
    (
        "oom_kill_disable",
        Severity::Critical,
        "a cluster ends what exceeds its memory",
    ),
    (
        "oom_score_adj",
        Severity::Low,
        "it follows from requests and limits",
    ),
    (
        "pid",
        Severity::Critical,
        "a pod shares nothing with others",
    ),
    ("pids_limit", Severity::Medium, "it is the node's setting"),
    (
        "platform",
        Severity::Medium,
        "the node's own platform is taken",
    ),
    (
        "runtime",
        Severity::Critical,
        "the cluster's own runtime would be taken",
    ),
    (
        "security_opt",
        Severity::Critical,
        "the restrictions would not hold as written",
    ),
    (
        "shm_size",
        Severity::Critical,
        "the shared memory would be smaller",
    ),
    ("stdin_open", Severity::Low, "the process gets no input"),
    (
        "stop_signal",
        Severity::Medium,
        "the signal that the image names is sent, or SIGTERM",
    ),
    ("storage_opt", Severity::Medium, "it is not set"),
    ("sysctls", Severity::Critical, "they would not be set"),
    ("tty", Severity::Low, "the process gets no terminal"),
    ("ulimits", Severity::Critical, "pods have the node's limits"),
    (
        "use_api_socket",
        Severity::Critical,
        "the container would not have the engine's socket",
    ),
    (
        "userns_mode",
        Severity::Critical,
        "pods have the node's user names",
    ),
    (
        "uts",
        Severity::Critical,
        "a pod shares nothing with others",
    ),
];

/// Returns what is not honoured: one limit each, with service and line. Critical ones refuse a
/// run.
pub fn limits(spec: &Spec) -> Vec<Limit> {
    let file = spec.compose.path.file_name().unwrap_or_default();
    let file = file.to_string_lossy();
    let of_shares = shares::findings(spec).into_iter().map(Limit::from);
    let mut limits: Vec<Limit> = of_shares.collect();
    limits.extend(spec.compose.features.iter().filter_map(|feature| {
        let (_, severity, why) = NOT_GIVEN.iter().find(|(key, ..)| *key == feature.key)?;
        let key = NotHonoured {
            key: feature.key.clone(),
            service: feature.service.clone(),
            place: "on Kubernetes".to_owned(),
            why: (*why).to_owned(),
            meant: *severity != Severity::Critical,
        };
        let cure = match key.meant {
            true => format!("{MEANT}."),
            false => format!("Take `{}` out of the Compose file.", feature.key),
        };
        let rule = format!("compose/{}", feature.key);
        let place = format!("{file}:{} {}", feature.line, feature.service);
        Some(Limit::of_key(key, rule, *severity, place, cure))
    }));
    for service in &spec.services {
        if let Some(compose) = spec.compose.services.get(&service.name) {
            let place = format!("{file}:{} {}", compose.line, service.name);
            let findings = of_service(spec, service, compose, &place);
            limits.extend(findings.into_iter().map(Limit::from));
            limits.extend(of_restart(service, place));
        }
    }
    limits.extend(judged::findings(spec).into_iter().map(Limit::from));
    limits
}

/// A policy of restarting that a Deployment does not have.
fn of_restart(service: &Service, place: String) -> Option<Limit> {
    if !matches!(service.restart, Restart::No | Restart::OnFailure(_)) {
        return None;
    }
    let key = NotHonoured {
        key: "restart".to_owned(),
        service: service.name.clone(),
        place: String::new(),
        why: "a Deployment always starts pods again".to_owned(),
        meant: true,
    };
    let (rule, cure) = ("kubernetes/restart".to_owned(), format!("{MEANT}."));
    Some(Limit::of_key(key, rule, Severity::Medium, place, cure))
}

fn of_service(
    spec: &Spec,
    service: &Service,
    compose: &ComposeService,
    place: &str,
) -> Vec<Finding> {
    let name = &service.name;
    let finding = |rule: &str, severity, message: String, cure: &str| Finding {
        rule: format!("kubernetes/{rule}"),
        severity,
        place: place.to_owned(),
        message,
        cure: cure.to_owned(),
    };
    let mut findings = Vec::new();
    if !names::is_name(name) {
        findings.push(finding(
            "name",
            Severity::Critical,
            format!("`{name}` is no name that a cluster takes for a Service"),
            "Name it with small letters, digits and `-`, beginning with a letter.",
        ));
    }
    if !matches!(service.role, Role::Frontend | Role::Backend) {
        findings.push(finding(
            "store",
            Severity::Critical,
            format!("`{name}` keeps data, and a release of it cannot be replaced side by side"),
            "Run it apart from this application; if it serves HTTP, write \
             `services.NAME.role: backend` in the deployment file.",
        ));
    }
    if service.image.is_none() {
        findings.push(finding(
            "no-image",
            Severity::Critical,
            format!("`{name}` has no image"),
            "Write its `image:` in the Compose file.",
        ));
    }
    if compose.build {
        findings.push(finding(
            "build",
            Severity::Medium,
            format!(
                "`build` of `{name}` is not carried out: nodes must have the image, or pull it"
            ),
            "Build and push it before the run.",
        ));
    }
    if service.file.probes.readiness.is_none() && !pod::has_health_check(compose) {
        findings.push(finding(
            "no-readiness",
            Severity::Critical,
            format!("`{name}` has no readiness probe: traffic would reach pods that are not ready"),
            "Write `services.NAME.probes.readiness` in the deployment file, or a `healthcheck` in the Compose file. A HEALTHCHECK \
             of the image does not count: Kubernetes ignores it.",
        ));
    }
    if service.file.metrics.is_none() {
        findings.push(finding(
            "no-metrics",
            Severity::Medium,
            format!(
                "`{name}` has no metrics: nothing else in a cluster tells its releases apart, so an \
                 analysis of it finds too little and does not pass"
            ),
            "Write `services.NAME.metrics` in the deployment file.",
        ));
    }
    for port in compose.ports.iter().filter(|port| **port != service.port) {
        findings.push(finding(
            "port",
            Severity::Low,
            format!("port {port} of `{name}` is reached at its pods only"),
            "Nothing, if that is meant: one port of a service is routed.",
        ));
    }
    if let Some(port) = service.published.filter(|_| !shares::is_routed(spec, name)) {
        findings.push(finding(
            "published",
            Severity::Low,
            format!("`{name}` is not published at port {port} of anything: it gets a ClusterIP"),
            "Put an Ingress or a Gateway of the cluster in front of its Service.",
        ));
    }
    if service.file.routing.sticky {
        findings.push(finding(
            "sticky",
            Severity::Medium,
            format!("`{name}` is not sticky: a Service chooses a pod for each connection"),
            "Nothing, if that is meant.",
        ));
    }
    if let Err(what) = pod::checked(spec, service, compose) {
        findings.push(finding(
            "value",
            Severity::Critical,
            format!("`{name}`: {what}"),
            "Mend the Compose file, or give it what it lacks.",
        ));
    }
    findings
}

#[cfg(test)]
mod tests;
