//! What became of pods on its own, told by comparing with what was seen before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use code_deploy_engine::target::TargetEvent;
use code_deploy_record::{Clock as _, Severity, SystemClock};

use super::store::Known;

/// The pods as they were last seen.
#[derive(Default)]
pub struct Happenings {
    seen: Mutex<BTreeMap<String, Known>>,
    /// The pods that are ended on purpose: they stand on the cluster until they have ended.
    asked: Mutex<BTreeSet<String>>,
}

impl Happenings {
    /// Takes note that pods are about to be ended on purpose.
    pub fn are_asked_to_end(&self, pods: &[Known]) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.extend(pods.iter().map(|pod| pod.name.clone()));
    }

    /// Takes note that a pod is not ended on purpose after all.
    pub fn is_kept(&self, pod: &str) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.remove(pod);
    }

    /// Returns what happened to pods since the last call. Those that are ended on purpose are not
    /// told of.
    pub fn since_last(&self, pods: &[Known]) -> Vec<TargetEvent> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let now: BTreeMap<String, Known> = pods
            .iter()
            .filter(|pod| !asked.contains(&pod.name))
            .map(|pod| (pod.name.clone(), pod.clone()))
            .collect();
        let mut events = Vec::new();
        for (name, was) in seen.iter().filter(|(name, _)| !asked.contains(*name)) {
            events.extend(told(was, now.get(name)).map(|text| TargetEvent {
                time: SystemClock.now(),
                service: Some(was.service.clone()),
                severity: Severity::Medium,
                text,
            }));
        }
        *seen = now;
        events
    }
}

fn told(was: &Known, is: Option<&Known>) -> Option<String> {
    let name = &was.name;
    // One that never ran was made in place of one that was ended on purpose, and is taken back.
    let ran = was.running || was.restarts > 0;
    let Some(is) = is else {
        return ran.then(|| format!("pod {name} is gone: somebody else or the cluster removed it"));
    };
    let end = is.end.as_deref().unwrap_or("how is not known");
    if was.restarts < is.restarts {
        let restarts = is.restarts;
        return Some(format!(
            "the process of pod {name} ended ({end}) and was started again by the cluster, restart \
             {restarts}"
        ));
    }
    let why = is.disrupted.as_ref();
    let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
    if ran && !was.ending && is.ending {
        return Some(format!(
            "pod {name} is ended by somebody else or the cluster{why}"
        ));
    }
    (was.ready && !is.ready).then(|| format!("pod {name} is not ready any more{why}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use super::*;
    use crate::kubernetes::names;

    /// Returns a pod of a newer cluster, which has more conditions, with one more of them.
    fn pod(ready: &str, deleted: Value, more: Value) -> Known {
        pod_that(json!({ "running": {} }), ready, deleted, more)
    }

    /// Returns one whose process is in that state.
    fn pod_that(state: Value, ready: &str, deleted: Value, more: Value) -> Known {
        let condition = |kind: &str, status: &str| json!({ "type": kind, "status": status });
        let pod = json!({
            "metadata": {
                "name": "api-1-0-0-abc", "labels": { names::SERVICE: "api" },
                "annotations": { names::RELEASE: "1.0.0" }, "deletionTimestamp": deleted,
            },
            "status": {
                "conditions": [
                    condition("PodReadyToStartContainers", "True"), condition("Ready", ready), more,
                ],
                "containerStatuses": [{
                    "name": "api", "image": "i", "imageID": "", "ready": ready == "True",
                    "restartCount": 0, "state": state,
                }],
            },
        });
        Known::of(&serde_json::from_value::<Pod>(pod).unwrap()).unwrap()
    }

    #[test]
    fn a_pod_that_never_ran_and_is_taken_back_is_nobodys_doing() {
        let nothing = || json!({ "type": "PodResizePending", "status": "False" });
        let starting = |deleted: Value| {
            let waiting = json!({ "waiting": { "reason": "ContainerCreating" } });
            pod_that(waiting, "False", deleted, nothing())
        };
        let (made, taken_back) = (
            starting(Value::Null),
            starting(json!("2026-01-01T00:00:00Z")),
        );
        assert_eq!(told(&made, Some(&taken_back)), None);
        assert_eq!(told(&made, None), None);
        let ran = pod("True", Value::Null, nothing());
        assert!(told(&ran, Some(&taken_back)).is_some());
    }

    #[test]
    fn a_pod_that_the_cluster_ends_is_told_with_the_reason() {
        let nothing = json!({ "type": "PodResizePending", "status": "False" });
        let well = pod("True", Value::Null, nothing);
        assert_eq!(told(&well, Some(&well)), None);
        let because = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting",
        });
        let going = pod("True", json!("2026-01-01T00:00:00Z"), because);
        assert_eq!(
            told(&well, Some(&going)).unwrap(),
            "pod api-1-0-0-abc is ended by somebody else or the cluster (EvictionByEvictionAPI: Eviction API: \
             evicting)"
        );
        let evicted = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet",
        });
        let evicted = pod("False", Value::Null, evicted);
        assert_eq!(
            told(&well, Some(&evicted)).unwrap(),
            "pod api-1-0-0-abc is not ready any more (TerminationByKubelet)"
        );
    }
}
