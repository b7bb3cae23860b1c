//! Stopping releases, so that nothing of them runs on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use code_deploy_engine::target::{Stopped, TargetError};
use code_deploy_record::Release;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, ContainerStatus, Pod, Secret, Service};
use kube::ResourceExt as _;
use kube::api::ListParams;
use kube::runtime::watcher;

use super::KubernetesTarget;
use super::cluster::Connection;
use super::evicting::Going;
use super::names::{self, Part, selecting};
use super::stated;
use super::store::{Known, labelled, release_of};
use super::told::Told;
use super::traffic::{Serving, kept};
use super::wait::{Waited, until};
use super::{overlay, pod};
use crate::failure::{code, transient};
use crate::lock::ChangeLock;

/// How long a node may take with a pod beyond the grace that the pod has.
const SLACK: Duration = Duration::from_secs(60);

/// How long a budget may keep a pod beyond the grace of those that went before, which it counts until they are gone.
const LET_GO: Duration = Duration::from_secs(20);

/// The code of a process that was made to end.
const KILLED: i32 = 137;

impl KubernetesTarget {
    /// Stops a release. Its pods are taken out of the endpoints by the cluster as they are asked to
    /// end; each has its own grace.
    pub(super) async fn stop_release(
        &self,
        service: &str,
        release: &Release,
        grace: Duration,
    ) -> Result<Stopped, TargetError> {
        let _change = ChangeLock::of_service(&self.root, service).await?;
        let pods = self.pods_of(service, release).await.unwrap_or_default();
        self.keep_logs_of(service, release, &pods).await;
        self.end_release(service, release, grace).await
    }

    /// Stops a release that no Service leads to any more, once every node has followed that.
    pub(super) async fn stop_left(
        &self,
        service: &str,
        release: &Release,
        grace: Duration,
    ) -> Result<Stopped, TargetError> {
        let going = self.pods_of(service, release).await?;
        self.until_followed(service, &going).await;
        let stopped = self.stop_release(service, release, grace).await?;
        self.clear_marks().await;
        Ok(stopped)
    }

    /// Ends pods of a release until so many are left. Nobody is led to those that go by the time that their
    /// processes are asked to end.
    ///
    /// Which pods go when a Deployment is asked for fewer its controller alone decides, and may
    /// decide for those that serve. So they are taken away by name (`evicting.rs`), as far as budgets of
    /// disruptions let them go.
    pub(super) async fn scale_release_down(
        &self,
        service: &str,
        release: &Release,
        replicas: u32,
        grace: Duration,
    ) -> Result<Stopped, TargetError> {
        if replicas == 0 {
            return self.stop_left(service, release, grace).await;
        }
        let _change = ChangeLock::of_service(&self.root, service).await?;
        let connection = self.cluster.connect().await?;
        let name = self.name_of(service, release)?;
        let deployment = connection
            .described(&stated::whole())
            .ours(&self.names, Some(service), &name)
            .await?;
        let Some(deployment) = deployment.filter(|one| stated::replicas(one) > replicas) else {
            return self.ended(service, release, replicas, grace, 0).await;
        };
        let last = stated::with_replicas(service, &deployment, replicas)?;
        let (serving, mut going) = self.followed_by_all(service, release, replicas).await?;
        let staying = kept(service, (release, replicas), &serving.pods, &going);
        going.retain(|pod| !pod.ending && !staying.contains(&pod.name));
        self.keep_logs_of(service, release, &going).await;
        let limit = self.longest_grace(service, grace) + LET_GO;
        let pods = Going {
            service,
            deployment: &deployment,
            pods: &going,
            replicas,
            last: &last,
        };
        self.evict(&pods, limit).await?;
        let stopped = self.ended(service, release, replicas, grace, going.len());
        let stopped = stopped.await?;
        self.lead_to_all(service, release).await?;
        Ok(stopped)
    }

    /// Leads the Service to no more than so many pods of a release, and returns these with all pods of the release, as
    /// they are once nodes have followed.
    ///
    /// One that serves may end or fall ill while nodes follow. Then another that is ready is led to once more, before any
    /// is removed: else what is left may be nobody whom the Service leads to.
    async fn followed_by_all(
        &self,
        service: &str,
        release: &Release,
        replicas: u32,
    ) -> Result<(Serving, Vec<Known>), TargetError> {
        let serving = self.lead_to_fewer(service, release, replicas).await?;
        let known = self.pods_of(service, release).await?;
        self.until_followed(service, &known).await;
        let others = self.lead_past_ill(service, &serving, (release, replicas));
        let others = others.await?;
        if others.is_some() {
            self.until_followed(service, &known).await;
        }
        let known = self.pods_of(service, release).await?;
        Ok((others.unwrap_or(serving), known))
    }

    /// Waits until no more than so many pods of a release are left.
    async fn ended(
        &self,
        service: &str,
        release: &Release,
        replicas: u32,
        grace: Duration,
        going: usize,
    ) -> Result<Stopped, TargetError> {
        let forced = self.wait_gone(service, release, replicas, grace).await?;
        let going = u32::try_from(going).unwrap_or(u32::MAX);
        Ok(Stopped {
            service: service.to_owned(),
            release: release.clone(),
            ended: going.saturating_sub(forced),
            forced,
            // Nothing of ours stands where requests pass: whether one was cut off, the outside
            // client says.
            cut: 0,
        })
    }

    /// As [`stop_release`](Self::stop_release), for who holds the lock.
    pub(super) async fn end_release(
        &self,
        service: &str,
        release: &Release,
        grace: Duration,
    ) -> Result<Stopped, TargetError> {
        let connection = self.cluster.connect().await?;
        let name = self.name_of(service, release)?;
        let known = self.pods_of(service, release).await?;
        self.happenings.are_asked_to_end(&known);
        let way = connection
            .ours::<Service>(&self.names, service, &name)
            .await?;
        let deployment = connection
            .ours::<Deployment>(&self.names, service, &name)
            .await?;
        if deployment.is_some() {
            connection.remove::<Deployment>(service, &name).await?;
        }
        let stopped = self.ended(service, release, 0, grace, known.len()).await?;
        // What a proxy still leads to by an old route is there for as long as its pods are.
        if way.is_some() {
            connection.remove::<Service>(service, &name).await?;
        }
        self.remove_hidden(connection, service, &name).await?;
        if deployment.is_some() {
            let note = format!("release {release} was stopped");
            self.tell(service, Told::Stopped, note).await;
        }
        Ok(stopped)
    }

    /// Removes the secrets and configurations of a release. An account that was never asked to
    /// have rights on them made none.
    async fn remove_hidden(
        &self,
        connection: &Connection,
        service: &str,
        name: &str,
    ) -> Result<(), TargetError> {
        let there = without_rights(connection.ours::<Secret>(&self.names, service, name).await)?;
        if there.is_some() {
            connection.remove::<Secret>(service, name).await?;
        }
        let there = connection.ours::<ConfigMap>(&self.names, service, name);
        if without_rights(there.await)?.is_some() {
            connection.remove::<ConfigMap>(service, name).await?;
        }
        Ok(())
    }

    /// Returns the longest time that pods of a service are given to end.
    fn longest_grace(&self, service: &str, grace: Duration) -> Duration {
        let declared = self.settings.spec.service(service);
        let own = declared.map_or(Duration::ZERO, pod::grace);
        let given = overlay::grace(&self.settings.spec, service).unwrap_or(0);
        own.max(Duration::from_secs(given)).max(grace) + pod::PAUSE
    }

    /// Waits until no more than so many pods of a release run on; returns how many were made to end.
    /// The objects of pods whose processes have ended go a while later by themselves.
    async fn wait_gone(
        &self,
        service: &str,
        release: &Release,
        replicas: u32,
        grace: Duration,
    ) -> Result<u32, TargetError> {
        let connection = self.cluster.connect().await?;
        let limit = self.longest_grace(service, grace) + SLACK;
        let labels = selecting(&self.names.selector(service, Some(release)));
        let mut forced = BTreeSet::new();
        let waited = until(
            connection.all::<Pod>(),
            watcher::Config::default().labels(&labels),
            limit,
            service,
            |pods| {
                let killed = pods.values().filter(|pod| was_killed(pod));
                forced.extend(killed.map(|pod| pod.name_any()));
                let alive = pods.values().filter(|pod| !is_ending(pod)).count();
                let mut ending = pods.values().filter(|pod| is_ending(pod));
                (alive <= replicas as usize && ending.all(has_ended)).then_some(())
            },
        );
        match waited.await? {
            Waited::Found(()) => Ok(u32::try_from(forced.len()).unwrap_or(u32::MAX)),
            Waited::TooLong(pods) => {
                let left = pods.iter().filter(|(_, pod)| !has_ended(pod));
                let left: Vec<&str> = left.map(|(name, _)| name.as_str()).collect();
                let what = format!(
                    "pods of release {release} did not end within {limit:?} until {replicas} were \
                     left: there are {}",
                    left.join(", ")
                );
                let next = "Look at their node (`kubectl describe pod`), and stop again.";
                Err(transient(code::NOT_STOPPED, Some(service), what, next))
            }
        }
    }

    /// Stops everything that is ours, where no runner of another machine works on it. Services go last:
    /// whoever asks is refused, not misled.
    pub(super) async fn stop_everything(
        &self,
        grace: Duration,
    ) -> Result<Vec<Stopped>, TargetError> {
        let connection = self.cluster.connect().await?;
        let mut ways: BTreeMap<(String, Release), ()> = BTreeMap::new();
        let params = ListParams::default().labels(&selecting(&self.names.everything()));
        let all = connection.all::<Deployment>();
        let list = || all.list(&params);
        let listed = connection.ask("list deployments", None, list).await?;
        let deployments = listed.items.iter().map(|one| &one.metadata);
        let services = self.services(Part::Way).await?;
        self.refuse_if_held_elsewhere().await?;
        let metas = deployments.chain(services.iter().map(|one| &one.metadata));
        for meta in metas.filter(|meta| self.names.are_ours(meta.labels.as_ref())) {
            if let (Some(service), Some(release)) =
                (labelled(meta, names::SERVICE), release_of(meta))
            {
                ways.insert((service, release), ());
            }
        }
        let stops = ways
            .keys()
            .map(|(service, release)| self.stop_release(service, release, grace));
        let stopped = futures::future::try_join_all(stops).await?;
        self.remove_services().await?;
        self.remove_brought(connection).await?;
        Ok(stopped)
    }

    /// Removes the Services that traffic goes through, and what leads users to them.
    pub(super) async fn remove_services(&self) -> Result<(), TargetError> {
        self.remove_routes().await?;
        let connection = self.cluster.connect().await?;
        for service in self.services(Part::Service).await? {
            let name = service.name_any();
            connection.remove::<Service>(&name, &name).await?;
        }
        Ok(())
    }
}

/// Returns how many pods a Deployment is asked for.
pub(super) fn asked_for(deployment: &Deployment) -> u32 {
    let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas);
    u32::try_from(replicas.unwrap_or(1)).unwrap_or(0)
}

fn is_ending(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Returns whether a pod was asked to end and no process of it is left. Containers that run beside the others from
/// before them (sidecars) are asked to end after all others.
fn has_ended(pod: &Pod) -> bool {
    let status = pod.status.clone().unwrap_or_default();
    let before = status.init_container_statuses.into_iter().flatten();
    let mut containers = before.chain(status.container_statuses.into_iter().flatten());
    let is_over = |one: &ContainerStatus| {
        let state = one.state.as_ref();
        state.is_none_or(|state| state.running.is_none())
    };
    is_ending(pod) && containers.all(|one| is_over(&one))
}

/// What may not be looked at is not there; what is somebody else's is left alone.
pub(super) fn without_rights<K>(
    there: Result<Option<K>, TargetError>,
) -> Result<Option<K>, TargetError> {
    match there {
        Err(error) if [code::ACCESS, code::FOREIGN].contains(&error.code) => Ok(None),
        there => there,
    }
}

/// Returns whether a process of a pod was made to end. How a sidecar ends says nothing: what is left of the grace may be
/// too short for it.
fn was_killed(pod: &Pod) -> bool {
    let statuses = pod.status.iter().flat_map(|status| {
        let containers = status.container_statuses.iter().flatten();
        containers.filter_map(|one| one.state.as_ref()?.terminated.as_ref())
    });
    statuses.into_iter().any(|end| end.exit_code == KILLED)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::*;

    /// Returns a pod that was asked to end, with its own container and a sidecar in those states.
    fn ending(own: Value, beside: Value) -> Pod {
        let container = |name: &str, state: Value| {
            json!({
                "name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                "state": state,
            })
        };
        serde_json::from_value(json!({
            "metadata": { "name": "api-1-0-0-abc", "deletionTimestamp": "2026-01-01T00:00:00Z" },
            "status": {
                "containerStatuses": [container("api", own)],
                "initContainerStatuses": [
                    container("first", json!({ "terminated": { "exitCode": 0 } })),
                    container("proxy", beside),
                ],
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_pod_has_ended_when_its_sidecars_have() {
        let over = |code: i32| json!({ "terminated": { "exitCode": code } });
        let runs = || json!({ "running": {} });
        assert!(!has_ended(&ending(runs(), runs())));
        assert!(!has_ended(&ending(over(0), runs())));
        let ended = ending(over(0), over(KILLED));
        assert!(has_ended(&ended));
        assert!(!was_killed(&ended));
        assert!(was_killed(&ending(over(KILLED), over(0))));
    }
}
