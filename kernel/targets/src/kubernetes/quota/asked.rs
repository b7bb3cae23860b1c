//! What a pod asks for, as the cluster completes it before it counts.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, LimitRange, LimitRangeItem, PodSpec, ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::kubernetes::capacity::amount;

/// Amounts by what they are of: `cpu` in processors, `memory` in bytes.
pub type Amounts = BTreeMap<String, f64>;

/// What is requested, and what is the most.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Asked {
    pub requests: Amounts,
    pub limits: Amounts,
}

/// What a pod and its containers ask for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AskedPod {
    /// Each of its containers by name, also those that run before the others.
    pub containers: Vec<(String, Asked)>,
    /// What all of it asks for.
    pub whole: Asked,
    /// Whether it is the pod that says so, and its containers need not.
    pub as_one: bool,
}

impl AskedPod {
    /// Returns what a pod asks for where those limit ranges give what it does not say, as the cluster adds it up
    /// (<https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/#resource-sharing-within-containers>).
    pub fn of(pod: &PodSpec, ranges: &[LimitRange]) -> Self {
        let mut asked = Self::default();
        for one in &pod.containers {
            let own = Asked::of(one, ranges);
            asked.whole.add(&own);
            asked.containers.push((one.name.clone(), own));
        }
        // Those that go on beside the others count with them. Of those that end first the largest does, with those
        // that were started before it and go on.
        let (mut beside, mut first) = (Asked::default(), Asked::default());
        for one in pod.init_containers.iter().flatten() {
            let own = Asked::of(one, ranges);
            let mut now = beside.clone();
            now.add(&own);
            first.raise_to(&now);
            if is_sidecar(one) {
                asked.whole.add(&own);
                beside = now;
            }
            asked.containers.push((one.name.clone(), own));
        }
        asked.whole.raise_to(&first);
        if let Some(of_pod) = &pod.resources {
            asked.as_one = true;
            asked.whole.replace(of_pod);
        }
        asked.whole.add_overhead(&amounts(pod.overhead.as_ref()));
        asked
    }

    /// Returns whether the pod asks for no processors and no memory, so that it is the first to go.
    pub(super) fn is_best_effort(&self) -> bool {
        if self.as_one {
            return false;
        }
        let asks = |amounts: &Amounts| {
            let mut main = ["cpu", "memory"]
                .iter()
                .filter_map(|what| amounts.get(*what));
            main.any(|amount| *amount > 0.0)
        };
        let mut containers = self.containers.iter();
        !containers.any(|(_, one)| asks(&one.requests) || asks(&one.limits))
    }
}

impl Asked {
    fn of(container: &Container, ranges: &[LimitRange]) -> Self {
        let given = container.resources.clone().unwrap_or_default();
        let mut asked = Self {
            requests: amounts(given.requests.as_ref()),
            limits: amounts(given.limits.as_ref()),
        };
        // A limit is a request, too, where none is said.
        fill(&mut asked.requests, &asked.limits);
        for item in ranges.iter().flat_map(items) {
            if item.type_ == "Container" {
                fill(&mut asked.limits, &amounts(item.default.as_ref()));
                fill(&mut asked.requests, &amounts(item.default_request.as_ref()));
            }
        }
        asked
    }

    fn add(&mut self, other: &Self) {
        join(&mut self.requests, &other.requests, |one, more| one + more);
        join(&mut self.limits, &other.limits, |one, more| one + more);
    }

    fn raise_to(&mut self, other: &Self) {
        join(&mut self.requests, &other.requests, f64::max);
        join(&mut self.limits, &other.limits, f64::max);
    }

    /// Puts what a pod says as one in place of what its containers do.
    fn replace(&mut self, of_pod: &ResourceRequirements) {
        let (mut requests, limits) = (
            amounts(of_pod.requests.as_ref()),
            amounts(of_pod.limits.as_ref()),
        );
        fill(&mut requests, &limits);
        self.requests.extend(requests);
        self.limits.extend(limits);
    }

    /// Adds what a pod takes beside its containers; to limits only where there are some.
    fn add_overhead(&mut self, overhead: &Amounts) {
        join(&mut self.requests, overhead, |one, more| one + more);
        for (what, limit) in &mut self.limits {
            *limit += overhead.get(what).copied().unwrap_or(0.0);
        }
    }
}

/// Returns whether a container that is declared to run before the others goes on beside them, since 1.28
/// (<https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/>).
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Returns the items of a limit range.
pub(super) fn items(range: &LimitRange) -> impl Iterator<Item = &LimitRangeItem> {
    range.spec.iter().flat_map(|spec| &spec.limits)
}

/// Returns amounts as numbers.
pub(super) fn amounts(given: Option<&BTreeMap<String, Quantity>>) -> Amounts {
    let given = given.into_iter().flatten();
    given
        .map(|(what, quantity)| (what.clone(), amount(quantity)))
        .collect()
}

fn fill(amounts: &mut Amounts, others: &Amounts) {
    for (what, other) in others {
        amounts.entry(what.clone()).or_insert(*other);
    }
}

fn join(amounts: &mut Amounts, others: &Amounts, joined: fn(f64, f64) -> f64) {
    for (what, other) in others {
        let own = amounts.entry(what.clone()).or_insert(0.0);
        *own = joined(*own, *other);
    }
}
