//! What of a deployment a Docker engine does not honour when this program deploys to it.

use code_deploy_engine::Spec;
use code_deploy_engine::spec::{ComposeService, Limit, MEANT, NotHonoured, Service};
use code_deploy_record::{Finding, Role, Severity};

use crate::keys::Keys;

/// Keys of a Compose service that containers are not given, each with how serious that is and what
/// it means.
const NOT_GIVEN: &[(&str, Severity, &str)] = &[
    (
        "annotations",
        Severity::Low,
        "they are not written on the container",
    ),
    (
        "blkio_config",
        Severity::Medium,
        "the limits of its disk are not set",
    ),
    (
        "cgroup",
        Severity::Medium,
        "the engine's own choice of control group holds",
    ),
    (
        "container_name",
        Severity::Info,
        "names follow from service, release and number",
    ),
    ("cpu_count", Severity::Medium, "it is not set"),
    ("cpu_percent", Severity::Medium, "it is not set"),
    ("cpu_rt_period", Severity::Medium, "it is not set"),
    ("cpu_rt_runtime", Severity::Medium, "it is not set"),
    (
        "device_cgroup_rules",
        Severity::Critical,
        "the container would not have its devices",
    ),
    (
        "gpus",
        Severity::Critical,
        "the container would not have its devices",
    ),
    (
        "mac_address",
        Severity::Medium,
        "several instances cannot share one",
    ),
    (
        "network_mode",
        Severity::Critical,
        "services are reached through routers, which need networks of their own",
    ),
    (
        "platform",
        Severity::Medium,
        "the engine's own platform is taken",
    ),
    (
        "use_api_socket",
        Severity::Critical,
        "the container would not have the engine's socket",
    ),
    (
        "uts",
        Severity::Medium,
        "the container has names of its own",
    ),
];

/// Keys of a `build` section that the engine's builder is not given, as above.
const NOT_BUILT: &[(&str, Severity, &str)] = &[
    (
        "additional_contexts",
        Severity::Critical,
        "one context is sent to the builder",
    ),
    (
        "secrets",
        Severity::Critical,
        "the engine's own builder takes none",
    ),
    (
        "ssh",
        Severity::Critical,
        "the engine's own builder takes none",
    ),
    (
        "platforms",
        Severity::Critical,
        "an image is built for the engine's own platform",
    ),
    ("entitlements", Severity::Medium, "none is given"),
    ("isolation", Severity::Medium, "the engine's own holds"),
    ("privileged", Severity::Medium, "it is built without"),
    ("shm_size", Severity::Medium, "the engine's own holds"),
    ("ulimits", Severity::Medium, "the engine's own hold"),
    (
        "cache_from",
        Severity::Low,
        "the engine's own cache is used",
    ),
    ("cache_to", Severity::Low, "the engine's own cache is used"),
    ("provenance", Severity::Low, "no attestation is made"),
    ("sbom", Severity::Low, "no attestation is made"),
];

/// Returns what is not honoured: one limit each, with service and line. Critical ones refuse a
/// run.
pub fn limits(spec: &Spec) -> Vec<Limit> {
    let file = spec.compose.path.file_name().unwrap_or_default();
    let file = file.to_string_lossy();
    let keys = spec.compose.features.iter().filter_map(|feature| {
        let (_, severity, why) = NOT_GIVEN.iter().find(|(key, ..)| *key == feature.key)?;
        let key = NotHonoured {
            key: feature.key.clone(),
            service: feature.service.clone(),
            place: "on Docker".to_owned(),
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
    });
    let mut limits: Vec<Limit> = keys.collect();
    for service in &spec.services {
        if let Some(compose) = spec.compose.services.get(&service.name) {
            let place = format!("{file}:{} {}", compose.line, service.name);
            let findings = of_service(service, compose, &place);
            limits.extend(findings.into_iter().map(Limit::from));
            if spec.pushes_images() && compose.build && service.image.is_none() {
                limits.push(Limit::from(Finding {
                    rule: "docker/push".to_owned(),
                    severity: Severity::Critical,
                    place,
                    message: format!(
                        "`{}` is to be pushed, and has no `image:` that names its registry",
                        service.name
                    ),
                    cure:
                        "Write `image: REGISTRY/NAME:${CODE_DEPLOY_RELEASE}` beside its `build:`."
                            .to_owned(),
                }));
            }
        }
    }
    limits
}

fn of_service(service: &Service, compose: &ComposeService, place: &str) -> Vec<Finding> {
    let name = &service.name;
    let finding = |rule: &str, severity, message: String, cure: &str| Finding {
        rule: format!("docker/{rule}"),
        severity,
        place: place.to_owned(),
        message,
        cure: cure.to_owned(),
    };
    let mut findings = Vec::new();
    if !matches!(service.role, Role::Frontend | Role::Backend) {
        findings.push(finding(
            "store",
            Severity::Critical,
            format!("`{name}` keeps data, and a release of it cannot be replaced side by side"),
            "Run it as a Compose project of its own and reach it through an external network; \
             if it serves HTTP, write `services.NAME.role: backend` in the deployment file.",
        ));
    }
    if service.image.is_none() && !compose.build {
        findings.push(finding(
            "no-image",
            Severity::Critical,
            format!("`{name}` has no image"),
            "Write its `image:` or `build:` in the Compose file.",
        ));
    }
    let build = Keys(&compose.keys).under("build");
    for (key, severity, why) in NOT_BUILT {
        if build.get(key).is_some() {
            findings.push(finding(
                "build",
                *severity,
                format!("`build.{key}` of `{name}` is not honoured: {why}"),
                "Build the image yourself, push or load it, and name it by `image:` alone.",
            ));
        }
    }
    let context = compose.keys.get("build").and_then(|build| build.as_str());
    let context = context.map(str::to_owned).or_else(|| build.text("context"));
    if context.is_some_and(|context| context.contains("://") || context.starts_with("git@")) {
        findings.push(finding(
            "build",
            Severity::Critical,
            format!("the context of `build` of `{name}` is an address: what is built is a folder of this machine"),
            "Fetch the sources first and name their folder.",
        ));
    }
    for port in compose.ports.iter().filter(|port| **port != service.port) {
        findings.push(finding(
            "port",
            Severity::Low,
            format!("port {port} of `{name}` is reached at its instances only"),
            "Nothing, if that is meant: one port of a service is routed.",
        ));
    }
    if let Some(port) = service.published {
        findings.push(finding(
            "loopback",
            Severity::Low,
            format!("`{name}` is published at 127.0.0.1:{port} only, whatever `ports` says"),
            "Put a proxy of yours in front of it for requests of other machines.",
        ));
    }
    for secret in compose.secret_variables.keys() {
        findings.push(finding(
            "secret-variable",
            Severity::Medium,
            format!("`{secret}` of `{name}` is a secret that `docker inspect` shows"),
            "Give it as a file: `secrets:` of the Compose file.",
        ));
    }
    let restart = Keys(&compose.keys).under("deploy").under("restart_policy");
    for key in ["delay", "window"] {
        if restart.get(key).is_some() {
            findings.push(finding(
                "restart",
                Severity::Low,
                format!("`deploy.restart_policy.{key}` of `{name}` is not honoured"),
                "Nothing: the engine waits longer before each restart by itself.",
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests;
