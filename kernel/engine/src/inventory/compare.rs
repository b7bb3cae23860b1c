//! What runs against what is declared.

use std::collections::BTreeMap;

use super::Difference;
use crate::spec::Spec;
use crate::target::Observed;

/// Returns where what runs is not what is declared, by component. Nothing running at all is one
/// difference for each service.
pub(super) fn differences(spec: &Spec, observed: &Observed) -> Vec<Difference> {
    let mut found = Vec::new();
    for service in &spec.services {
        let running = releases(observed, &service.name);
        let wanted = service.replicas;
        let matches = running.len() == 1 && running.values().all(|count| *count == wanted);
        if !matches {
            found.push(Difference {
                component: service.name.clone(),
                declared: instances(wanted),
                running: words(&running),
            });
        }
    }
    let mut others: BTreeMap<&str, u32> = BTreeMap::new();
    for instance in observed
        .instances
        .iter()
        .filter(|instance| instance.running)
    {
        if spec.service(&instance.service).is_none() {
            *others.entry(&instance.service).or_default() += 1;
        }
    }
    found.extend(others.into_iter().map(|(service, count)| Difference {
        component: service.to_owned(),
        declared: "nothing".to_owned(),
        running: instances(count),
    }));
    found
}

/// Returns how many instances of each release run.
fn releases(observed: &Observed, service: &str) -> BTreeMap<String, u32> {
    let mut releases = BTreeMap::new();
    let running = observed
        .instances
        .iter()
        .filter(|instance| instance.running);
    for instance in running.filter(|instance| instance.service == service) {
        *releases.entry(instance.release.to_string()).or_default() += 1;
    }
    releases
}

fn instances(count: u32) -> String {
    match count {
        1 => "1 instance".to_owned(),
        count => format!("{count} instances"),
    }
}

fn words(releases: &BTreeMap<String, u32>) -> String {
    if releases.is_empty() {
        return "nothing".to_owned();
    }
    let each = releases
        .iter()
        .map(|(release, count)| format!("{} of {release}", instances(*count)));
    each.collect::<Vec<_>>().join(", ")
}
