//! Why a pod does not start, in plain words.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use kube::ResourceExt as _;
use kube::api::{ListParams, LogParams};

use super::cluster::Connection;
use super::quota::is_sidecar;

/// How often a process may end before its pod counts as not starting.
const ENDS: i32 = 3;

/// Lines of a log, and events, that an error shows.
const SHOWN: usize = 10;

/// Why a container waits, when waiting longer does not help: with what it means.
const HOPELESS: &[(&str, &str)] = &[
    (
        "ErrImageNeverPull",
        "its image is not on the node, and must not be pulled",
    ),
    ("ImagePullBackOff", "its image cannot be pulled"),
    ("InvalidImageName", "the name of its image is none"),
    (
        "CreateContainerConfigError",
        "its container cannot be configured",
    ),
    ("CreateContainerError", "its container cannot be made"),
    ("RunContainerError", "its container cannot be started"),
];

/// Returns why a pod will not get ready, if that is certain.
pub fn hopeless(pod: &Pod) -> Option<String> {
    let container = container(pod)?;
    let whose = of_container(pod, container);
    if container.restart_count >= ENDS {
        return Some(format!(
            "{whose}its process ended {} times ({})",
            container.restart_count,
            end(container)
        ));
    }
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref()?;
    let (_, meaning) = HOPELESS.iter().find(|(known, _)| *known == reason)?;
    let said = waiting.message.clone().unwrap_or_default();
    Some(format!("{whose}{meaning} ({reason}): {said}"))
}

/// Returns why a pod is not ready now.
pub fn why(pod: &Pod) -> String {
    if let Some(why) = hopeless(pod) {
        return why;
    }
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let mut failed = conditions.filter(|one| one.status != "True");
    if let Some(unscheduled) = failed.clone().find(|one| one.type_ == "PodScheduled") {
        let said = unscheduled.message.clone().unwrap_or_default();
        return format!("no node takes it: {said}");
    }
    if let Some(container) = container(pod) {
        let state = container.state.clone().unwrap_or_default();
        if let Some(waiting) = state.waiting {
            if container.restart_count > 0 {
                let reason = waiting.reason.unwrap_or_default();
                return format!("its process ended ({}): {reason}", end(container));
            }
            let reason = waiting.reason.unwrap_or_default();
            let said = waiting.message.unwrap_or_default();
            return format!("its container waits: {reason} {said}")
                .trim_end()
                .to_owned();
        }
        if state.terminated.is_some() {
            return format!("its process ended ({})", end(container));
        }
        if goes_first(pod, container) {
            let name = &container.name;
            return format!("its container {name} has to end before the others start, and runs");
        }
        if container.started == Some(false) {
            return "its startup probe has not passed".to_owned();
        }
        return "its readiness probe does not pass".to_owned();
    }
    // Of what a node has not come to yet it says no more than that.
    let said = failed.find_map(|one| one.message.clone().filter(|said| !said.is_empty()));
    said.unwrap_or_else(|| "it has not been started yet".to_owned())
}

/// Returns why a Deployment makes no pods, if the cluster refuses them.
pub fn refused(deployment: &Deployment) -> Option<String> {
    let status = deployment.status.as_ref()?;
    let mut conditions = status.conditions.iter().flatten();
    let failure = conditions.find(|one| one.type_ == "ReplicaFailure" && one.status == "True")?;
    failure.message.clone()
}

/// Returns what the cluster and the pods themselves say of pods that are not ready.
pub async fn story(
    connection: &Connection,
    pods: &[Pod],
    clean: impl Fn(&str) -> String,
) -> String {
    let mut parts = Vec::new();
    for pod in pods {
        let name = pod.name_any();
        let mut part = format!("{name}: {}", why(pod));
        for line in events(connection, &name).await {
            part.push_str(&format!("\n  event: {line}"));
        }
        let lines = last_lines(connection, pod).await;
        if !lines.is_empty() {
            part.push_str("\n  the end of its log:");
            for line in lines {
                part.push_str(&format!("\n    {}", clean(&line)));
            }
        }
        parts.push(part);
    }
    parts.join("\n")
}

/// Returns the warnings that the cluster wrote of a pod. That they cannot be read is no failure.
async fn events(connection: &Connection, pod: &str) -> Vec<String> {
    let params = ListParams::default().fields(&format!("involvedObject.name={pod}"));
    let listed = connection.all::<Event>().list(&params).await;
    let events = listed.map(|list| list.items).unwrap_or_default();
    let warnings = events
        .iter()
        .filter(|one| one.type_.as_deref() == Some("Warning"));
    let mut lines: Vec<String> = warnings
        .map(|one| {
            let reason = one.reason.clone().unwrap_or_default();
            let said = one.message.clone().unwrap_or_default();
            match times(one) {
                0 | 1 => format!("{reason}: {said}"),
                times => format!("{reason}, {times} times: {said}"),
            }
        })
        .collect();
    let surplus = lines.len().saturating_sub(SHOWN);
    lines.split_off(surplus)
}

/// Returns how often an event happened. Those of newer components count otherwise.
fn times(event: &Event) -> i32 {
    let series = event.series.as_ref();
    let counted = series.and_then(|series| series.count).or(event.count);
    counted.unwrap_or(1)
}

/// Returns the last lines of a pod's log: those of the process before, when another runs already.
async fn last_lines(connection: &Connection, pod: &Pod) -> Vec<String> {
    let state = container(pod).and_then(|one| one.state.as_ref());
    let again = state.is_some_and(|state| state.running.is_some())
        && container(pod).is_some_and(|one| one.restart_count > 0);
    for previous in [again, !again] {
        let params = LogParams {
            container: container(pod).map(|one| one.name.clone()),
            previous,
            tail_lines: i64::try_from(SHOWN).ok(),
            ..LogParams::default()
        };
        let pods = connection.all::<Pod>();
        // A node keeps the log of one process at least; which, it does not always know.
        let text = pods
            .logs(&pod.name_any(), &params)
            .await
            .unwrap_or_default();
        if !text.is_empty() {
            return text.lines().map(str::to_owned).collect();
        }
    }
    Vec::new()
}

/// Returns the container that keeps a pod from being ready: those that run before the others come first.
fn container(pod: &Pod) -> Option<&ContainerStatus> {
    let status = pod.status.as_ref()?;
    let first = status.init_container_statuses.iter().flatten();
    let others = status.container_statuses.iter().flatten();
    let mut unready = first.chain(others.clone()).filter(|one| !one.ready);
    unready.next().or_else(|| others.clone().next())
}

/// Returns whether a container has to end before others are started. A sidecar is declared beside those that have to,
/// and goes on.
fn goes_first(pod: &Pod, container: &ContainerStatus) -> bool {
    let declared = pod.spec.iter().flat_map(|spec| &spec.init_containers);
    let mut declared = declared.flatten().filter(|one| !is_sidecar(one));
    declared.any(|one| one.name == container.name)
}

/// Returns the container's name where a pod has several.
fn of_container(pod: &Pod, container: &ContainerStatus) -> String {
    let containers = pod.spec.iter().map(|spec| {
        let before = spec.init_containers.as_ref().map_or(0, Vec::len);
        before + spec.containers.len()
    });
    match containers.sum::<usize>() {
        0 | 1 => String::new(),
        _ => format!("in its container {}: ", container.name),
    }
}

fn end(container: &ContainerStatus) -> String {
    let states = [container.state.as_ref(), container.last_state.as_ref()];
    let mut ends = states
        .into_iter()
        .filter_map(|state| state?.terminated.as_ref());
    ends.next().map_or_else(
        || "how is not known".to_owned(),
        |end| {
            let reason = end.reason.clone().unwrap_or_default();
            format!("code {}, {reason}", end.exit_code)
        },
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn pod(status: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": "catalog-1-1-0-x" }, "status": status,
        }))
        .unwrap()
    }

    fn with_container(state: serde_json::Value, restarts: u32) -> Pod {
        pod(json!({ "containerStatuses": [{
            "name": "catalog", "image": "shop:1.1.0", "imageID": "", "ready": false,
            "restartCount": restarts, "state": state,
            "lastState": { "terminated": { "exitCode": 3, "reason": "Error" } },
        }] }))
    }

    #[test]
    fn what_waiting_does_not_mend_is_told_at_once() {
        let waiting =
            json!({ "waiting": { "reason": "ImagePullBackOff", "message": "no such image" } });
        let why = hopeless(&with_container(waiting, 0)).unwrap();
        assert_eq!(
            why,
            "its image cannot be pulled (ImagePullBackOff): no such image"
        );
        let crashing = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
        assert_eq!(hopeless(&with_container(crashing.clone(), 1)), None);
        let why = hopeless(&with_container(crashing, 3)).unwrap();
        assert_eq!(why, "its process ended 3 times (code 3, Error)");
    }

    #[test]
    fn a_pod_that_no_node_takes_may_still_find_one() {
        let pod = pod(json!({ "conditions": [{
            "type": "PodScheduled", "status": "False", "message": "0/1 nodes are available",
        }] }));
        assert_eq!(hopeless(&pod), None);
        assert_eq!(why(&pod), "no node takes it: 0/1 nodes are available");
    }

    /// Returns a pod of a cluster of 1.28 or later: with a sidecar, and with a condition that older ones do not have.
    fn with_sidecar(sidecar: serde_json::Value, own: serde_json::Value) -> Pod {
        let mut pod = pod(json!({
            "conditions": [
                { "type": "PodReadyToStartContainers", "status": "False" },
                { "type": "Ready", "status": "False", "message": "containers with unready status" },
            ],
            "initContainerStatuses": [sidecar], "containerStatuses": [own],
        }));
        let spec = json!({
            "initContainers": [
                { "name": "first" }, { "name": "proxy", "restartPolicy": "Always" },
            ],
            "containers": [{ "name": "catalog" }],
        });
        pod.spec = Some(serde_json::from_value(spec).unwrap());
        pod
    }

    fn of(name: &str, ready: bool, restarts: u32, state: serde_json::Value) -> serde_json::Value {
        json!({
            "name": name, "image": "i", "imageID": "", "ready": ready, "started": ready,
            "restartCount": restarts, "state": state,
        })
    }

    #[test]
    fn a_sidecar_that_runs_is_not_what_a_pod_waits_for() {
        let runs = || json!({ "running": {} });
        // It has ended as often as may be, and is well by now.
        let well = of("proxy", true, 5, runs());
        let pod = with_sidecar(well.clone(), of("catalog", true, 0, runs()));
        assert_eq!(hopeless(&pod), None);
        let crashed = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
        let pod = with_sidecar(well, of("catalog", false, 3, crashed.clone()));
        let told = hopeless(&pod).unwrap();
        assert!(told.starts_with("in its container catalog: "), "{told}");
        let initializing = json!({ "waiting": { "reason": "PodInitializing" } });
        let own = of("catalog", false, 0, initializing);
        let pod = with_sidecar(of("proxy", false, 3, crashed), own.clone());
        let told = hopeless(&pod).unwrap();
        assert!(told.starts_with("in its container proxy: "), "{told}");
        let pod = with_sidecar(of("proxy", false, 0, runs()), own.clone());
        assert_eq!(why(&pod), "its startup probe has not passed");
        let pod = with_sidecar(of("first", false, 0, runs()), own);
        let first = "its container first has to end before the others start, and runs";
        assert_eq!(why(&pod), first);
    }

    #[test]
    fn a_condition_that_says_nothing_does_not_hide_one_that_does() {
        let pod = pod(json!({ "conditions": [
            { "type": "PodReadyToStartContainers", "status": "False" },
            { "type": "ContainersReady", "status": "False", "message": "the sandbox failed" },
        ] }));
        assert_eq!(why(&pod), "the sandbox failed");
    }

    #[test]
    fn events_are_counted_in_either_form() {
        let counted = |event: serde_json::Value| {
            let event: Event = serde_json::from_value(event).unwrap();
            times(&event)
        };
        let about = json!({ "name": "one" });
        let old = json!({ "metadata": about, "involvedObject": about, "count": 4 });
        assert_eq!(counted(old), 4);
        let new = json!({ "metadata": about, "involvedObject": about, "series": { "count": 7 } });
        assert_eq!(counted(new), 7);
        assert_eq!(
            counted(json!({ "metadata": about, "involvedObject": about })),
            1
        );
    }
}
