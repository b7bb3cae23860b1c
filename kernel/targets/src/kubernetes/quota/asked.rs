//! What a pod asks for, as the cluster completes it before it counts.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, LimitRange, LimitRangeItem, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::kubernetes::capacity::amount;

/// Amounts by what they are of: `cpu` in processors, `memory` in bytes.
pub(super) type Amounts = BTreeMap<String, f64>;

/// What is requested, and what is the most.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Asked {
    pub requests: Amounts,
    pub limits: Amounts,
}

/// What a pod and its containers ask for.
#[derive(Debug, Default, PartialEq)]
pub(super) struct AskedPod {
    /// Each of its containers by name, also those that run before the others.
    pub containers: Vec<(String, Asked)>,
    /// What all of it asks for.
    pub whole: Asked,
}

impl AskedPod {
    /// Returns what a pod asks for where those limit ranges give what it does not say.
    pub(super) fn of(pod: &PodSpec, ranges: &[LimitRange]) -> Self {
        let mut asked = Self::default();
        for one in &pod.containers {
            let own = Asked::of(one, ranges);
            asked.whole.add(&own);
            asked.containers.push((one.name.clone(), own));
        }
        // Those that go on beside the others count with them; of those that end first the largest does.
        let before = pod.init_containers.iter().flatten();
        let (beside, first): (Vec<_>, Vec<_>) =
            before.partition(|one| one.restart_policy.as_deref() == Some("Always"));
        for one in beside {
            let own = Asked::of(one, ranges);
            asked.whole.add(&own);
            asked.containers.push((one.name.clone(), own));
        }
        for one in first {
            let own = Asked::of(one, ranges);
            asked.whole.raise_to(&own);
            asked.containers.push((one.name.clone(), own));
        }
        asked
    }

    /// Returns whether the pod asks for no processors and no memory, so that it is the first to go.
    pub(super) fn is_best_effort(&self) -> bool {
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
