//! What a quota has left, and what pods would take of it.

use std::fmt;

use k8s_openapi::api::core::v1::ResourceQuota;
use kube::ResourceExt as _;

use super::Starting;
use super::asked::{Asked, AskedPod};
use crate::kubernetes::capacity::amount;

/// What a quota counts that each container has to say.
const SAID: [&str; 6] = [
    "cpu",
    "memory",
    "requests.cpu",
    "requests.memory",
    "limits.cpu",
    "limits.memory",
];

/// Amounts that differ by less are the same: they were read from decimals.
const SAME: f64 = 1e-9;

/// Something of which a quota has less left than is needed.
#[derive(Debug)]
pub(super) struct Short {
    quota: String,
    /// What it is of, as the quota calls it.
    pub what: String,
    allowed: String,
    used: String,
    needed: f64,
    /// How much is left, from 0.
    pub left: f64,
}

impl Short {
    /// Returns which share of what is needed is left, from 0.
    pub fn fits(&self) -> f64 {
        self.left / self.needed
    }
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the quota {} allows {} of {}, {} are used, and {} more are needed",
            self.quota,
            self.allowed,
            self.what,
            self.used,
            in_words(&self.what, self.needed)
        )
    }
}

/// Returns what a quota has too little of for pods, in the moment in which most of it is needed. What is not of pods is
/// not judged.
pub(super) fn short(quota: &ResourceQuota, moments: &[&[Starting]]) -> Vec<Short> {
    lacking(quota, |what| {
        let needs = moments.iter().map(|moment| needed(quota, what, moment));
        needs.fold(0.0, f64::max)
    })
}

/// Returns how much more of what a quota counts is needed in a moment: pods that have ended leave room.
fn needed(quota: &ResourceQuota, what: &str, moment: &[Starting]) -> f64 {
    let counted = moment.iter().filter(|one| is_of(quota, &one.pod));
    let amounts = counted.filter_map(|one| {
        let amount = f64::from(one.count) * each(what, &one.pod)?;
        Some(if one.ended { -amount } else { amount })
    });
    amounts.sum()
}

/// Returns what a quota has less of than is needed. What the cluster has not counted yet is not judged.
pub(super) fn lacking(quota: &ResourceQuota, needed: impl Fn(&str) -> f64) -> Vec<Short> {
    let status = quota.status.clone().unwrap_or_default();
    let (hard, used) = (
        status.hard.unwrap_or_default(),
        status.used.unwrap_or_default(),
    );
    let mut short = Vec::new();
    for (what, allowed) in &hard {
        let Some(taken) = used.get(what) else {
            continue;
        };
        let needed = needed(what);
        let left = (amount(allowed) - amount(taken)).max(0.0);
        if is_more(needed, left) {
            short.push(Short {
                quota: quota.name_any(),
                what: what.clone(),
                allowed: allowed.0.clone(),
                used: taken.0.clone(),
                needed,
                left,
            });
        }
    }
    short
}

/// Returns whether something is more than is left.
pub(super) fn is_more(needed: f64, left: f64) -> bool {
    needed > left * (1.0 + SAME) + SAME
}

/// Returns in words what containers would have to say because a quota counts it, and do not.
pub(super) fn unsaid(quota: &ResourceQuota, starting: &[Starting]) -> Vec<String> {
    let hard = quota.spec.clone().unwrap_or_default().hard;
    let hard = hard.unwrap_or_default();
    let counted = SAID.iter().filter(|what| hard.contains_key(**what));
    let mut unsaid = Vec::new();
    for what in counted {
        let judged = |one: &&Starting| is_of(quota, &one.pod) && !one.pod.as_one && !one.ended;
        for one in starting.iter().filter(judged) {
            let silent = |of: &&(String, Asked)| said(what, &of.1).is_none();
            let names = one.pod.containers.iter().filter(silent);
            unsaid.extend(names.map(|(name, _)| {
                format!(
                    "the quota {} counts {what}, and the container {name} of {} does not say it",
                    quota.name_any(),
                    one.service
                )
            }));
        }
    }
    unsaid
}

/// Returns how much of what a quota counts one pod takes; nothing of what is not of pods.
fn each(what: &str, pod: &AskedPod) -> Option<f64> {
    match what {
        "pods" | "count/pods" => Some(1.0),
        // Claims of volumes ask for that, not pods.
        "requests.storage" => None,
        _ => said(what, &pod.whole),
    }
}

fn said(what: &str, asked: &Asked) -> Option<f64> {
    let amounts = match what.split_once('.') {
        Some(("requests", rest)) => asked.requests.get(rest),
        Some(("limits", rest)) => asked.limits.get(rest),
        _ => asked.requests.get(what),
    };
    amounts.copied()
}

/// Returns whether a quota counts such a pod. One that counts by priority or by a selector of scopes is not judged.
fn is_of(quota: &ResourceQuota, pod: &AskedPod) -> bool {
    let spec = quota.spec.clone().unwrap_or_default();
    let scopes = spec.scopes.unwrap_or_default();
    let counts = |scope: &String| match scope.as_str() {
        // A pod of a Deployment never has an end.
        "NotTerminating" => true,
        "BestEffort" => pod.is_best_effort(),
        "NotBestEffort" => !pod.is_best_effort(),
        _ => false,
    };
    spec.scope_selector.is_none() && scopes.iter().all(counts)
}

/// Returns an amount as the cluster writes it: `384Mi`, `0.5`.
pub(super) fn in_words(what: &str, amount: f64) -> String {
    const MEBI: f64 = 1_048_576.0;
    if what.contains("memory") || what.contains("storage") {
        return format!("{:.0}Mi", (amount / MEBI).ceil());
    }
    let text = format!("{amount:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
