//! What of ours there is on the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use chrono::{DateTime, Utc};
use code_deploy_engine::target::{Health, Instance, Shares, TargetError};
use code_deploy_record::Release;
use k8s_openapi::api::core::v1::{Container, Pod, PodCondition, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::ResourceExt;
use kube::api::ListParams;

use super::KubernetesTarget;
use super::names::{self, Part, selecting};

/// A pod of ours.
#[derive(Debug, Clone)]
pub struct Known {
    pub name: String,
    pub service: String,
    pub release: Release,
    /// Its own address, once it has one.
    pub address: Option<IpAddr>,
    pub started: DateTime<Utc>,
    pub running: bool,
    pub ready: bool,
    /// Whether it was asked to end.
    pub ending: bool,
    pub restarts: u32,
    /// How long its processes go on after it was asked to end, at least.
    pub pause: Duration,
    /// Whether it is among those that split traffic goes to.
    pub marked: bool,
    /// How its process ended last.
    pub end: Option<String>,
    /// Why the cluster itself ends it, if it does and says so.
    pub disrupted: Option<String>,
    /// What the kubelet found last by the health check of the Compose file; nothing where it runs another probe or none.
    pub health: Option<Health>,
}

impl Known {
    /// Returns a pod of ours, if it is one.
    pub fn of(pod: &Pod) -> Option<Self> {
        let meta = &pod.metadata;
        let status = pod.status.clone().unwrap_or_default();
        let containers = status.container_statuses.unwrap_or_default();
        let service = labelled(meta, names::SERVICE)?;
        // Beside it there may be others, which the user's own manifest brings.
        let own = containers.iter().find(|one| one.name == service);
        let container = own.or(containers.first());
        let state = container.and_then(|one| one.state.as_ref());
        let last = container.and_then(|one| one.last_state.as_ref());
        let ended = [state, last].into_iter().flatten();
        let ended = ended.filter_map(|state| state.terminated.as_ref()).next();
        let conditions = status.conditions.unwrap_or_default();
        let holds = |kind: &str| {
            let mut held = conditions.iter().filter(|one| one.status == "True");
            held.find(|one| one.type_ == kind)
        };
        let restarts = container.map_or(0, |one| one.restart_count);
        let is_ready = holds("Ready").is_some();
        let health = has_health_check(pod, &service).then(|| health(&conditions, is_ready));
        Some(Self {
            name: pod.name_any(),
            service,
            release: release_of(meta)?,
            address: status.pod_ip.and_then(|address| address.parse().ok()),
            started: time(
                status
                    .start_time
                    .as_ref()
                    .or(meta.creation_timestamp.as_ref()),
            ),
            running: state.is_some_and(|state| state.running.is_some()),
            ready: is_ready,
            ending: meta.deletion_timestamp.is_some(),
            restarts: u32::try_from(restarts).unwrap_or(0),
            pause: pause_of(pod),
            marked: labelled(meta, names::SPLIT).is_some(),
            end: ended.map(|end| {
                let reason = end.reason.clone().unwrap_or_default();
                format!("code {}, {reason}", end.exit_code)
            }),
            disrupted: holds("DisruptionTarget").map(in_words),
            health,
        })
    }

    /// Returns whether the pod is one still: its object stays for a while after its process has ended.
    pub fn counts(&self) -> bool {
        self.running || !self.ending
    }

    /// Returns the pod as the engine knows instances; one without an address is none yet.
    pub fn describe(&self, port: u16) -> Option<Instance> {
        Some(Instance {
            id: self.name.clone(),
            service: self.service.clone(),
            release: self.release.clone(),
            address: SocketAddr::new(self.address?, port),
            pid: None,
            started: self.started,
            running: self.running,
            restarts: self.restarts,
            health: self.health.clone(),
        })
    }
}

/// Returns whether a pod is ready by a command: paths of the deployment file are asked over the network, and the only
/// command that pods are given for it is the health check of the Compose file.
fn has_health_check(pod: &Pod, service: &str) -> bool {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut own = containers.filter(|one| one.name == service);
    let probe = own.next().and_then(|own| own.readiness_probe.as_ref());
    probe.is_some_and(|probe| probe.exec.is_some())
}

fn health(conditions: &[PodCondition], is_ready: bool) -> Health {
    if is_ready {
        return Health {
            passed: true,
            detail: "its pod is ready by its health check".to_owned(),
        };
    }
    let told = conditions.iter().find(|one| one.type_ == "Ready");
    let why = told.map(in_words).filter(|why| !why.is_empty());
    let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
    Health {
        passed: false,
        detail: format!("its pod is not ready: its health check has not passed{why}"),
    }
}

/// Returns why something holds of a pod.
fn in_words(condition: &PodCondition) -> String {
    let (reason, said) = (&condition.reason, &condition.message);
    match (reason.as_deref().unwrap_or_default(), said.as_deref()) {
        (reason, Some(said)) if !said.is_empty() => format!("{reason}: {said}"),
        (reason, _) => reason.to_owned(),
    }
}

/// Returns how long each process of a pod goes on after it was asked to end, as its `preStop` says. A cluster cuts
/// that short where the pod's own grace is shorter.
fn pause_of(pod: &Pod) -> Duration {
    let Some(spec) = &pod.spec else {
        return Duration::ZERO;
    };
    let of_container = |one: &Container| {
        let before = one.lifecycle.as_ref()?.pre_stop.as_ref()?;
        Some(before.sleep.as_ref()?.seconds)
    };
    let pauses = spec
        .containers
        .iter()
        .map(|one| of_container(one).unwrap_or(0));
    let grace = spec.termination_grace_period_seconds.unwrap_or(0);
    let seconds = pauses.min().unwrap_or(0).min(grace);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// Returns the release that an object belongs to, as it was written.
pub fn release_of(meta: &ObjectMeta) -> Option<Release> {
    let annotations = meta.annotations.as_ref()?;
    annotations.get(names::RELEASE)?.parse().ok()
}

/// Returns the value of a label.
pub fn labelled(meta: &ObjectMeta, key: &str) -> Option<String> {
    meta.labels.as_ref()?.get(key).cloned()
}

fn time(given: Option<&Time>) -> DateTime<Utc> {
    let milliseconds = given.map(|time| time.0.as_millisecond());
    milliseconds
        .and_then(DateTime::from_timestamp_millis)
        .unwrap_or(DateTime::UNIX_EPOCH)
}

impl KubernetesTarget {
    /// Returns all pods of ours.
    pub(super) async fn pods(&self) -> Result<Vec<Known>, TargetError> {
        self.pods_with(&selecting(&self.names.everything())).await
    }

    /// Returns the pods of a service's release.
    pub(super) async fn pods_of(
        &self,
        service: &str,
        release: &Release,
    ) -> Result<Vec<Known>, TargetError> {
        let selector = self.names.selector(service, Some(release));
        self.pods_with(&selecting(&selector)).await
    }

    async fn pods_with(&self, labels: &str) -> Result<Vec<Known>, TargetError> {
        let connection = self.cluster.connect().await?;
        let params = ListParams::default().labels(labels);
        let all = connection.all::<Pod>();
        let list = || all.list(&params);
        let listed = connection.ask("list pods", None, list).await?;
        let known = listed.iter().filter_map(Known::of);
        Ok(known.filter(Known::counts).collect())
    }

    /// Returns the Services of ours that are of that kind, by service.
    pub(super) async fn services(&self, part: Part) -> Result<Vec<Service>, TargetError> {
        let connection = self.cluster.connect().await?;
        let mut labels = self.names.everything();
        labels.insert(names::PART.to_owned(), part.word().to_owned());
        let params = ListParams::default().labels(&selecting(&labels));
        let all = connection.all::<Service>();
        let list = || all.list(&params);
        let listed = connection.ask("list services", None, list).await?;
        let ours = listed.items.into_iter();
        Ok(ours
            .filter(|one| self.names.are_ours(one.metadata.labels.as_ref()))
            .collect())
    }

    /// Reads from the endpoints of the Services, which every node follows, whom they lead to (`leading.rs`).
    pub(super) async fn served(
        &self,
        services: &[Service],
        pods: &[Known],
    ) -> Result<BTreeMap<String, Shares>, TargetError> {
        let names: Vec<String> = services.iter().map(ResourceExt::name_any).collect();
        let led = self.led(&names).await?;
        let served = names.into_iter().map(|name| {
            let counts = led.get(&name).map(|led| count(led, pods));
            (name, shares(&counts.unwrap_or_default()))
        });
        Ok(served.collect())
    }
}

/// Returns how many of these pods are of each release.
pub fn count(names: &BTreeSet<String>, pods: &[Known]) -> BTreeMap<Release, u32> {
    let mut counts = BTreeMap::new();
    for pod in pods.iter().filter(|pod| names.contains(&pod.name)) {
        *counts.entry(pod.release.clone()).or_default() += 1;
    }
    counts
}

/// Returns numbers of pods as shares in percent that sum to 100: a Service chooses among its
/// endpoints evenly.
pub fn shares(counts: &BTreeMap<Release, u32>) -> Shares {
    let all: u32 = counts.values().sum();
    if all == 0 {
        return Shares::new();
    }
    let whole = |count: u32| u16::try_from(count * 100 / all).unwrap_or(100);
    let mut shares: Shares = counts
        .iter()
        .map(|(release, count)| (release.clone(), whole(*count)))
        .collect();
    let left = 100u16.saturating_sub(shares.values().sum());
    let most = counts.iter().max_by_key(|(_, count)| **count);
    if let Some(share) = most.and_then(|(release, _)| shares.get_mut(release)) {
        *share += left;
    }
    shares
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_pod_pauses_for_as_long_as_each_of_its_containers_and_its_grace_let_it() {
        let sleep = |seconds: u64| json!({ "preStop": { "sleep": { "seconds": seconds } } });
        let pause = |grace: u64, lifecycles: &[Value]| {
            let containers = lifecycles.iter();
            let containers: Vec<Value> = containers
                .map(|lifecycle| json!({ "name": "one", "lifecycle": lifecycle }))
                .collect();
            let pod = json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "one" },
                "spec": { "terminationGracePeriodSeconds": grace, "containers": containers },
            });
            pause_of(&serde_json::from_value(pod).unwrap()).as_secs()
        };
        let by_a_program = json!({ "preStop": { "exec": { "command": ["sleep", "5"] } } });
        assert_eq!(pause(30, &[sleep(5)]), 5);
        assert_eq!(pause(2, &[sleep(5)]), 2);
        assert_eq!(pause(30, &[sleep(5), json!({})]), 0);
        assert_eq!(pause(30, &[by_a_program]), 0);
        assert_eq!(pause_of(&Pod::default()), Duration::ZERO);
    }

    #[test]
    fn a_pod_is_healthy_as_the_kubelet_judges_by_the_health_check() {
        let pod = |probe: Value, ready: &str| {
            let pod = json!({
                "metadata": {
                    "name": "one", "labels": { names::SERVICE: "api" },
                    "annotations": { names::RELEASE: "1.0.0" },
                },
                "spec": { "containers": [
                    { "name": "other" }, { "name": "api", "readinessProbe": probe },
                ] },
                "status": { "conditions": [{
                    "type": "Ready", "status": ready, "reason": "ContainersNotReady",
                }] },
            });
            Known::of(&serde_json::from_value(pod).unwrap()).unwrap()
        };
        let command = json!({ "exec": { "command": ["is-well"] } });
        let health = |probe: &Value, ready| pod(probe.clone(), ready).health;
        assert!(health(&command, "True").unwrap().passed);
        let ill = health(&command, "False").unwrap();
        assert!(
            !ill.passed && ill.detail.contains("ContainersNotReady"),
            "{ill:?}"
        );
        let path = json!({ "httpGet": { "path": "/readyz", "port": 80 } });
        assert_eq!(health(&path, "True"), None);
        assert_eq!(health(&Value::Null, "True"), None);
    }

    #[test]
    fn shares_follow_the_number_of_pods_and_sum_to_a_hundred() {
        let count = |pairs: &[(&str, u32)]| -> BTreeMap<Release, u32> {
            pairs
                .iter()
                .map(|(release, n)| (release.parse().unwrap(), *n))
                .collect()
        };
        let shares =
            |pairs: &[(&str, u32)]| -> Vec<u16> { shares(&count(pairs)).into_values().collect() };
        assert_eq!(shares(&[("1.0.0", 3)]), [100]);
        assert_eq!(shares(&[("1.0.0", 3), ("1.1.0", 1)]), [75, 25]);
        assert_eq!(shares(&[("1.0.0", 2), ("1.1.0", 1)]), [67, 33]);
        assert_eq!(shares(&[]), [0u16; 0]);
    }
}
