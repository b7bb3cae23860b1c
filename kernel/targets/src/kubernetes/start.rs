//! Starting releases, and waiting until their pods are ready.

use std::net::SocketAddr;
use std::time::Duration;

use code_deploy_engine::target::{Instance, TargetError, Wanted};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret as ClusterSecret, Service};
use kube::core::DynamicObject;
use kube::runtime::watcher;
use tokio::net::TcpStream;

use super::KubernetesTarget;
use super::cluster::Connection;
use super::hidden::Kind;
use super::manifest::Manifest;
use super::names::selecting;
use super::prepared::Prepared;
use super::refusal::LARGER_QUOTA;
use super::stated;
use super::store::Known;
use super::told::Told;
use super::trouble;
use super::wait::{Objects, Waited, until};
use crate::failure::{code, failed, transient};
use crate::lock::ChangeLock;

/// How the cluster says that pods are not as the namespace's label wants them, since 1.23
/// (<https://kubernetes.io/docs/concepts/security/pod-security-admission/>). It judges no Deployment so.
const POD_SECURITY: &str = "violates PodSecurity";

/// How long the Service of a release may take until it leads to it.
const REACHED: Duration = Duration::from_secs(30);

/// How long after a connection that was refused the next one is tried.
const AGAIN: Duration = Duration::from_millis(100);

impl KubernetesTarget {
    /// Starts what is missing. When that fails, what this call started is stopped again; what ran
    /// before stays.
    pub(super) async fn start_wanted(&self, wanted: &Wanted) -> Result<Vec<Instance>, TargetError> {
        let (service, release) = (wanted.service.as_str(), &wanted.release);
        let _change = ChangeLock::of_service(&self.root, service).await?;
        let connection = self.cluster.connect().await?;
        let Prepared {
            before,
            replicas,
            hidden,
            manifests,
        } = self.prepare(connection, wanted).await?;
        self.apply_hidden(connection, service, &hidden).await?;
        let way = connection.apply::<Service>(service, &manifests.way).await?;
        let applied = connection
            .apply::<Deployment>(service, &manifests.deployment)
            .await;
        let started = match applied {
            Ok(_) => self.wait_ready(connection, wanted, replicas).await,
            Err(error) => Err(error),
        };
        let started = match (started, self.address(&way)) {
            (Ok(()), Some(way)) => reached(service, way.address).await,
            (started, _) => started,
        };
        match started {
            Ok(()) => {
                let port = self
                    .settings
                    .spec_of(release)?
                    .service(service)
                    .map_or(0, |one| one.port);
                let pods = self.pods_of(service, release).await?;
                let running = pods.iter().filter(|pod| pod.running && !pod.ending);
                let running: Vec<_> = running.filter_map(|pod| pod.describe(port)).collect();
                let (ready, run) = (running.len(), &wanted.run);
                let note = format!(
                    "release {release}: {ready} of {replicas} pods are ready, for run {run}"
                );
                self.tell(service, Told::Started, note).await;
                Ok(running)
            }
            Err(error) => Err(self.take_back(connection, wanted, before, error).await),
        }
    }

    /// States the secrets and configurations of a release.
    async fn apply_hidden(
        &self,
        connection: &Connection,
        service: &str,
        hidden: &[(Kind, Manifest)],
    ) -> Result<(), TargetError> {
        for (kind, manifest) in hidden {
            match kind {
                Kind::Secret => drop(connection.apply::<ClusterSecret>(service, manifest).await?),
                Kind::Config => drop(connection.apply::<ConfigMap>(service, manifest).await?),
            }
        }
        Ok(())
    }

    async fn wait_ready(
        &self,
        connection: &Connection,
        wanted: &Wanted,
        replicas: u32,
    ) -> Result<(), TargetError> {
        let (service, limit) = (wanted.service.as_str(), wanted.start_limit);
        let labels = selecting(&self.names.selector(service, Some(&wanted.release)));
        let pods = until(
            connection.all::<Pod>(),
            watcher::Config::default().labels(&labels),
            limit,
            service,
            |pods| outcome(pods, replicas),
        );
        let name = self.name_of(service, &wanted.release)?;
        let refusals = until(
            connection.all::<Deployment>(),
            watcher::Config::default().fields(&format!("metadata.name={name}")),
            limit + Duration::from_secs(1),
            service,
            |known| known.get(&name).and_then(trouble::refused),
        );
        let waited = tokio::select! {
            waited = pods => waited?,
            refused = refusals => match refused? {
                Waited::Found(why) => return Err(self.not_allowed(service, &why)),
                Waited::TooLong(_) => Waited::TooLong(Objects::new()),
            },
        };
        let failing: Vec<Pod> = match waited {
            Waited::Found(Outcome::Ready) => return Ok(()),
            Waited::Found(Outcome::Failing(pods)) => pods,
            Waited::TooLong(pods) => pods.into_values().filter(|pod| !is_ready(pod)).collect(),
        };
        let clean = |line: &str| self.settings.redactor.clean(line);
        let story = trouble::story(connection, &failing, clean).await;
        let what = format!(
            "{service} {} has not {replicas} ready pods within {limit:?}.\n{story}",
            wanted.release
        );
        let next = "Mend what events and logs say and run again.";
        Err(failed(code::NOT_STARTED, Some(service), what, next))
    }

    fn not_allowed(&self, service: &str, why: &str) -> TargetError {
        let (code, next) = if why.contains("exceeded quota") {
            (code::QUOTA, LARGER_QUOTA)
        } else if why.contains(POD_SECURITY) {
            (
                code::NOT_STARTED,
                "Give its pods what the cluster names, in the Compose file or in a Deployment of the \
                 manifests; or have the label `pod-security.kubernetes.io/enforce` of the namespace changed.",
            )
        } else {
            (
                code::NOT_STARTED,
                "Mend what the cluster says and run again.",
            )
        };
        let what = format!("the cluster refuses its pods: {why}");
        failed(code, Some(service), what, next)
    }

    async fn take_back(
        &self,
        connection: &Connection,
        wanted: &Wanted,
        before: Option<DynamicObject>,
        mut error: TargetError,
    ) -> TargetError {
        let (service, release) = (wanted.service.as_str(), &wanted.release);
        let done = match before {
            None => self
                .end_release(service, release, Duration::ZERO)
                .await
                .map(|_| "What was started was stopped again."),
            Some(before) => {
                match stated::with_replicas(service, &before, stated::replicas(&before)) {
                    Ok(manifest) => connection
                        .apply::<Deployment>(service, &manifest)
                        .await
                        .map(|_| "As many pods are wanted as before."),
                    Err(error) => Err(error),
                }
            }
        };
        let said = match done {
            Ok(said) => said.to_owned(),
            Err(other) => format!("It is left as it is: {other}."),
        };
        error.what.push('\n');
        error.what.push_str(&said);
        error
    }
}

/// Waits until the Service of a release leads to it: nodes learn of its pods a while after they
/// are ready.
async fn reached(service: &str, way: SocketAddr) -> Result<(), TargetError> {
    let end = tokio::time::Instant::now() + REACHED;
    loop {
        match tokio::time::timeout_at(end, TcpStream::connect(way)).await {
            Ok(Ok(_)) => return Ok(()),
            // The API does not say when nodes have followed.
            Ok(Err(_)) => tokio::time::sleep(AGAIN).await,
            Err(_) => {
                let what = format!(
                    "its pods are ready, and the Service that leads to them, at {way}, takes no \
                     connection within {} s",
                    REACHED.as_secs()
                );
                let next = "Look whether kube-proxy, or what stands in its place, is well on this \
                            machine's node.";
                return Err(transient(code::NOT_ROUTED, Some(service), what, next));
            }
        }
    }
}

/// What has become of a start.
enum Outcome {
    Ready,
    Failing(Vec<Pod>),
}

fn outcome(pods: &Objects<Pod>, replicas: u32) -> Option<Outcome> {
    let alive = || {
        pods.values()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none())
    };
    let ready = alive().filter(|pod| is_ready(pod)).count();
    if ready >= replicas as usize {
        return Some(Outcome::Ready);
    }
    let failing = alive().filter(|pod| trouble::hopeless(pod).is_some());
    let failing: Vec<Pod> = failing.cloned().collect();
    (!failing.is_empty()).then_some(Outcome::Failing(failing))
}

fn is_ready(pod: &Pod) -> bool {
    Known::of(pod).is_some_and(|known| known.ready)
}
