//! Probes that services lack, as far as files and images tell.

use std::collections::BTreeMap;

use code_deploy_record::Probe;

use super::Ending;
use super::causes::{Cause, failed};
use super::places::Places;
use crate::gate::probe::probes_of;
use crate::spec::{HealthCheck, Service, Spec};

/// By service, whether its image has a health check of its own that the target runs. A service whose image is not there
/// yet is not named.
pub type ImageChecks = BTreeMap<String, bool>;

const KINDS: [(&str, Probe, &str); 3] = [
    ("5.4.2", Probe::Startup, "startup"),
    ("5.4.3", Probe::Readiness, "readiness"),
    ("5.4.4", Probe::Liveness, "liveness"),
];

/// What is known of a health check that a service's image may have of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OfImage {
    Runs,
    NotKnown,
    None,
}

impl OfImage {
    fn of(spec: &Spec, service: &Service, images: &ImageChecks) -> Self {
        let counts = spec.health_check(&service.name) == HealthCheck::Unnamed;
        match images.get(&service.name) {
            _ if !counts || !spec.in_containers() => Self::None,
            Some(true) => Self::Runs,
            Some(false) => Self::None,
            None => Self::NotKnown,
        }
    }
}

/// Returns which services lack a probe that nothing stands for, and which may lack one.
pub(super) fn causes(spec: &Spec, places: &Places, images: &ImageChecks) -> Vec<Cause> {
    let mut causes = Vec::new();
    let (mut doubted, mut items) = (Vec::new(), Vec::new());
    for (item, probe, word) in KINDS {
        let lacking = spec.services.iter().filter(|service| {
            let mut named = probes_of(&service.file.probes).into_iter();
            !named.any(|(known, _)| known == probe) && !spec.runs_health_check(service)
        });
        let (mut missing, mut perhaps) = (Vec::new(), Vec::new());
        for service in lacking {
            match OfImage::of(spec, service, images) {
                OfImage::None => missing.push(service),
                OfImage::NotKnown => perhaps.push(service.name.as_str()),
                OfImage::Runs => {}
            }
        }
        if !missing.is_empty() {
            causes.push(lack(spec, places, item, word, &missing));
        }
        if !perhaps.is_empty() {
            items.push(item);
            doubted.extend(perhaps);
        }
    }
    doubted.sort_unstable();
    doubted.dedup();
    if !doubted.is_empty() {
        causes.push(doubt(places, &items, &doubted));
    }
    causes
}

fn lack(
    spec: &Spec,
    places: &Places,
    item: &'static str,
    word: &str,
    missing: &[&Service],
) -> Cause {
    let names: Vec<_> = missing
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    let cure = format!(
        "Write `probes: {{{word}: /PATH}}` for {}.{}",
        places.services(&names),
        instead(spec, missing)
    );
    failed(
        &[item],
        format!("no {word} probe: {}", names.join(", ")),
        cure,
    )
}

/// Says what may stand for a probe without a path on this target, or why the health check that is there does not.
fn instead(spec: &Spec, missing: &[&Service]) -> &'static str {
    let named = |service: &&Service| spec.health_check(&service.name) == HealthCheck::Named;
    let is_ready_by_path = |service: &&Service| service.file.probes.readiness.is_some();
    match spec.target.as_str() {
        "k8s" if missing.iter().any(is_ready_by_path) => {
            " A health check of the Compose file stands for no probe where a readiness path is named: a pod has one \
             readiness probe."
        }
        "k8s" => {
            " Or give it a `healthcheck` in the Compose file: the kubelet runs that, and it stands for all three probes. \
             A HEALTHCHECK of an image does not count: Kubernetes ignores it."
        }
        "local" if missing.iter().any(named) => {
            " The `healthcheck` of the Compose file does not count here: no engine runs it for processes of this machine."
        }
        _ if spec.in_containers() => {
            " Or give it a `healthcheck` in the Compose file, or its image a HEALTHCHECK: the engine runs that, and it \
             stands for every probe without a path."
        }
        _ => "",
    }
}

fn doubt(places: &Places, items: &[&'static str], names: &[&str]) -> Cause {
    let what = format!(
        "no probes or not all, unless the image has a HEALTHCHECK of its own, which is known once it is there (phase 3 looks): \
         {}",
        names.join(", ")
    );
    let cure = format!(
        "Write `probes: {{startup: /PATH, readiness: /PATH, liveness: /PATH}}` for {}, or a `healthcheck` in the Compose \
         file.",
        places.services(names)
    );
    Cause {
        ending: Ending::Doubtful,
        ..failed(items, what, cure)
    }
}
