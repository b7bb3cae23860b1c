//! Whom the Services lead to.

use std::collections::BTreeMap;
use std::time::Duration;

use code_deploy_engine::target::{Shares, TargetError};
use code_deploy_record::Release;
use k8s_openapi::api::core::v1::{Endpoints, Service};
use kube::runtime::watcher;

use super::KubernetesTarget;
use super::manifest;
use super::store::{Known, counted};
use super::wait::{Waited, until};
use crate::failure::{code, failed, transient};
use crate::lock::ChangeLock;

/// How long the endpoints of a Service may take to follow its selector.
const FOLLOWED: Duration = Duration::from_secs(60);

/// How long every node may take to follow the endpoints: the API says nothing of that. Nodes
/// gather changes for up to a second.
const NODES: Duration = Duration::from_secs(3);

impl KubernetesTarget {
    /// Leads the Services to the releases that get all, and returns when their endpoints are those
    /// pods and nodes had time to follow. What cannot be done is refused before any is changed.
    pub(super) async fn lead(&self, shares: &BTreeMap<String, Shares>) -> Result<(), TargetError> {
        let _change = ChangeLock::of(&self.root, "traffic", "traffic.lock").await?;
        let pods = self.pods().await?;
        let mut wanted = Vec::new();
        for (service, shares) in shares {
            let release = whole(service, shares)?;
            if let Some(release) = release {
                has_ready(service, release, &pods)?;
            }
            wanted.push((service.as_str(), release));
        }
        let connection = self.cluster.connect().await?;
        for (service, _) in &wanted {
            connection
                .ours::<Service>(&self.names, service, service)
                .await?;
        }
        for (service, release) in &wanted {
            let declared = self.service(service)?;
            let manifest = manifest::stable(&self.names, declared, *release);
            let manifest = manifest.map_err(|what| self.cannot(service, &what))?;
            connection.apply::<Service>(service, &manifest).await?;
        }
        for (service, release) in &wanted {
            self.followed(service, *release).await?;
        }
        tokio::time::sleep(NODES).await;
        Ok(())
    }

    /// Waits until a Service leads to all ready pods of a release and to no others.
    async fn followed(&self, service: &str, release: Option<&Release>) -> Result<(), TargetError> {
        let connection = self.cluster.connect().await?;
        let pods = self.pods().await?;
        let ready = ready_of(service, release, &pods);
        let config = watcher::Config::default().fields(&format!("metadata.name={service}"));
        let all = connection.all::<Endpoints>();
        let waited = until(all, config, FOLLOWED, service, |known| {
            let counts = known.get(service).map(|one| counted(one, &pods));
            holds(&counts.unwrap_or_default(), release, ready).then_some(())
        });
        match waited.await? {
            Waited::Found(()) => Ok(()),
            Waited::TooLong(last) => {
                let counts = last.get(service).map(|one| counted(one, &pods));
                let what = format!(
                    "its Service does not lead to {} within {} s: it leads to {}",
                    release.map_or_else(|| "nobody".to_owned(), |one| format!("release {one}")),
                    FOLLOWED.as_secs(),
                    text(&counts.unwrap_or_default())
                );
                let next = format!(
                    "Look at it: `kubectl -n {} describe endpoints {service}`.",
                    connection.namespace
                );
                Err(transient(code::NOT_SERVED, Some(service), what, next))
            }
        }
    }
}

/// Returns the release that gets all, or nobody.
fn whole<'a>(service: &str, shares: &'a Shares) -> Result<Option<&'a Release>, TargetError> {
    let mut some = shares.iter().filter(|(_, share)| **share > 0);
    match (some.next(), some.next()) {
        (None, _) => Ok(None),
        (Some((release, 100)), None) => Ok(Some(release)),
        _ => {
            let what = "its traffic cannot be split on a cluster: this version moves all of it; \
                        nothing was changed";
            let next = "Use the strategy `blue-green` for this environment.";
            Err(failed(code::NO_SPLIT, Some(service), what, next))
        }
    }
}

fn ready_of(service: &str, release: Option<&Release>, pods: &[Known]) -> usize {
    let own = pods.iter().filter(|pod| {
        pod.service == service && Some(&pod.release) == release && pod.ready && !pod.ending
    });
    own.count()
}

fn has_ready(service: &str, release: &Release, pods: &[Known]) -> Result<(), TargetError> {
    if ready_of(service, Some(release), pods) > 0 {
        return Ok(());
    }
    let what = format!("release {release} has no pod that is ready; traffic was not changed");
    let next = "Look at its pods (`kubectl describe pod`), and run again.";
    Err(transient(code::NOT_SERVED, Some(service), what, next))
}

fn holds(counts: &BTreeMap<Release, u32>, release: Option<&Release>, ready: usize) -> bool {
    match release {
        None => counts.is_empty(),
        Some(release) => {
            let count = counts.get(release).copied().unwrap_or(0);
            counts.len() == 1 && count > 0 && count as usize >= ready
        }
    }
}

fn text(counts: &BTreeMap<Release, u32>) -> String {
    let parts = counts
        .iter()
        .map(|(release, count)| format!("{count} of {release}"));
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() {
        "nobody".to_owned()
    } else {
        parts.join(", ")
    }
}
