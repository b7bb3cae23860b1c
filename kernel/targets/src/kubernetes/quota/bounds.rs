//! What a limit range does not let a pod ask for.

use k8s_openapi::api::core::v1::{LimitRange, LimitRangeItem};
use kube::ResourceExt as _;

use super::asked::{Amounts, Asked, AskedPod, amounts, items};
use super::room::in_words;

/// Returns in words how a pod is outside of a limit range.
pub(super) fn outside(pod: &AskedPod, range: &LimitRange) -> Vec<String> {
    let name = range.name_any();
    let mut outside = Vec::new();
    for item in items(range) {
        let judged: Vec<(String, &Asked)> = match item.type_.as_str() {
            "Container" => {
                let containers = pod.containers.iter();
                containers
                    .map(|(name, asked)| (format!("the container {name}"), asked))
                    .collect()
            }
            "Pod" => vec![("a pod".to_owned(), &pod.whole)],
            _ => Vec::new(),
        };
        for (who, asked) in judged {
            let faults = of_item(item, asked).into_iter();
            outside.extend(
                faults.map(|fault| {
                    format!("the limit range {name} {fault}, which {who} does not keep")
                }),
            );
        }
    }
    outside
}

/// Returns the rules of an item that are not kept.
fn of_item(item: &LimitRangeItem, asked: &Asked) -> Vec<String> {
    let mut faults = Vec::new();
    for (what, least) in amounts(item.min.as_ref()) {
        let kept = asked.requests.get(&what).is_some_and(|own| *own >= least)
            && asked.limits.get(&what).is_none_or(|own| *own >= least);
        if !kept {
            faults.push(format!(
                "wants {} of {what} at least",
                in_words(&what, least)
            ));
        }
    }
    for (what, most) in amounts(item.max.as_ref()) {
        let kept = asked.limits.get(&what).is_some_and(|own| *own <= most)
            && asked.requests.get(&what).is_none_or(|own| *own <= most);
        if !kept {
            faults.push(format!(
                "allows {} of {what} at most, said as a limit",
                in_words(&what, most)
            ));
        }
    }
    for (what, most) in amounts(item.max_limit_request_ratio.as_ref()) {
        let some = |of: &Amounts| of.get(&what).copied().filter(|own| *own > 0.0);
        let kept = match (some(&asked.requests), some(&asked.limits)) {
            (Some(request), Some(limit)) => limit / request <= most,
            _ => false,
        };
        if !kept {
            faults.push(format!(
                "allows a limit of {what} of {most} times what is reserved"
            ));
        }
    }
    faults
}
