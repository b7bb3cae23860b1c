//! What of a deployment a cluster does not honour when this program deploys to it.

use code_deploy_engine::Spec;
use code_deploy_engine::release::instances_at;
use code_deploy_engine::spec::{ComposeService, Restart, Service, StrategyKind};
use code_deploy_record::{Finding, Role, Severity};

use super::{judged, names, pod};

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

/// Returns what is not honoured: one finding each, with service and line. Critical ones refuse a
/// run.
pub fn limits(spec: &Spec) -> Vec<Finding> {
    let file = spec.compose.path.file_name().unwrap_or_default();
    let file = file.to_string_lossy();
    let mut findings = of_strategy(spec);
    findings.extend(spec.compose.features.iter().filter_map(|feature| {
        let found = NOT_GIVEN.iter().find(|(key, ..)| *key == feature.key)?;
        Some(Finding {
            rule: format!("compose/{}", feature.key),
            severity: found.1,
            place: format!("{file}:{} {}", feature.line, feature.service),
            message: format!(
                "`{}` of `{}` is not honoured on Kubernetes: {}",
                feature.key, feature.service, found.2
            ),
            cure: if found.1 == Severity::Critical {
                format!("Take `{}` out of the Compose file.", feature.key)
            } else {
                "Nothing, if that is meant.".to_owned()
            },
        })
    }));
    for service in &spec.services {
        if let Some(compose) = spec.compose.services.get(&service.name) {
            let place = format!("{file}:{} {}", compose.line, service.name);
            findings.extend(of_service(spec, service, compose, &place));
        }
    }
    findings.extend(judged::findings(spec));
    findings
}

fn of_strategy(spec: &Spec) -> Vec<Finding> {
    let file = spec.path.file_name().unwrap_or_default().to_string_lossy();
    let place = format!("{file} environments.{}", spec.environment);
    let mut findings = vec![Finding {
        rule: "kubernetes/no-lease".to_owned(),
        severity: Severity::Low,
        place: place.clone(),
        message: "no process of this program stands in a cluster, so nothing there moves traffic \
                  back by itself: a run that is killed while traffic is split, or between the \
                  switches of two services, leaves it so until it is resumed or rolled back"
            .to_owned(),
        cure: "After a killed run: `code-deploy resume` or `code-deploy rollback`.".to_owned(),
    }];
    match spec.strategy.kind {
        StrategyKind::BlueGreen => {}
        StrategyKind::Canary | StrategyKind::Rolling => findings.extend(of_shares(spec, &place)),
    }
    findings
}

/// Shares that the replicas cannot give: a cluster splits traffic by the number of pods.
fn of_shares<'a>(spec: &'a Spec, place: &'a str) -> impl Iterator<Item = Finding> + 'a {
    let kind = spec.strategy.kind;
    let steps = spec.strategy.steps.iter().map(|step| step.percent);
    let split = steps.filter(|percent| (1..100).contains(percent));
    split.flat_map(move |percent| {
        let services = spec.services.iter();
        let unable = services.filter(move |one| !gives(kind, percent, one.replicas));
        unable.map(move |service| Finding {
            rule: "kubernetes/share".to_owned(),
            severity: Severity::Critical,
            place: place.to_owned(),
            message: format!(
                "{percent} % of `{}` cannot be given: a cluster splits traffic by the number of \
                 pods, and with {} of {} it can give {} %",
                service.name,
                service.replicas,
                among(kind),
                possible(kind, service.replicas)
            ),
            cure: format!(
                "Write one of these shares in `steps`, or more `replicas` ({} of them give {percent} %).",
                enough(kind, percent)
            ),
        })
    })
}

/// Returns whether a step can give a share with so many replicas. A rolling update takes away as
/// many pods of one release as it starts of the other, and all that are wanted are to serve.
fn gives(kind: StrategyKind, percent: u16, replicas: u32) -> bool {
    let (new, old) = match kind {
        StrategyKind::Rolling => instances_at(replicas, percent),
        _ => (replicas, replicas),
    };
    let serving = super::traffic::by_pods(percent, new, old).map(|(one, other)| one + other);
    match kind {
        StrategyKind::Rolling => serving.is_some_and(|serving| serving >= replicas),
        _ => serving.is_some(),
    }
}

/// Returns among which pods traffic is split, in words.
fn among(kind: StrategyKind) -> &'static str {
    match kind {
        StrategyKind::Rolling => "both releases together",
        _ => "each release",
    }
}

/// Returns the shares that so many replicas can give, in words: `33, 50, 67`.
fn possible(kind: StrategyKind, replicas: u32) -> String {
    let able = (1..100).filter(|share| gives(kind, *share, replicas));
    let able: Vec<String> = able.map(|share| share.to_string()).collect();
    able.join(", ")
}

/// Returns how many replicas are needed at least for a share. A hundred give each.
fn enough(kind: StrategyKind, percent: u16) -> u32 {
    let able = |replicas: &u32| gives(kind, percent, *replicas);
    (1..100).find(able).unwrap_or(100)
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
            "Write `services.NAME.probes.readiness` in the deployment file.",
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
    if let Some(port) = service.published {
        findings.push(finding(
            "published",
            Severity::Low,
            format!("`{name}` is not published at port {port} of anything: it gets a ClusterIP"),
            "Put an Ingress or a Gateway of the cluster in front of its Service.",
        ));
    }
    if matches!(service.restart, Restart::No | Restart::OnFailure(_)) {
        findings.push(finding(
            "restart",
            Severity::Medium,
            format!("`restart` of `{name}` is not honoured: a Deployment always starts pods again"),
            "Nothing, if that is meant.",
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
mod tests {
    use super::*;

    #[test]
    fn a_wave_can_give_what_its_pods_are_of_all() {
        let all = [
            (1, "50"),
            (2, "50, 67"),
            (3, "33, 67, 75"),
            (4, "25, 50, 75, 80"),
        ];
        for (replicas, shares) in all {
            assert_eq!(possible(StrategyKind::Rolling, replicas), shares);
        }
        assert_eq!(possible(StrategyKind::Canary, 2), "33, 50, 67");
        assert_eq!(enough(StrategyKind::Rolling, 5), 17);
        for percent in 1..100 {
            assert!(gives(StrategyKind::Rolling, percent, 100), "{percent} %");
        }
    }

    #[test]
    fn a_wave_keeps_as_many_pods_serving_as_are_wanted_while_it_moves() {
        for replicas in 1..30 {
            let mut before = replicas;
            let shares = (1..100).filter(|share| gives(StrategyKind::Rolling, *share, replicas));
            for share in shares {
                let (new, old) = instances_at(replicas, share);
                let moved = super::super::traffic::by_pods(share, new, before);
                let (of_new, of_old) = moved.unwrap_or_default();
                assert!(of_new + of_old >= replicas, "{share} % of {replicas}");
                before = old;
            }
        }
    }
}
