//! Taking pods of a release away by name, as far as budgets of disruptions let them go
//! (<https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/>).
//!
//! A pod that is evicted ends as one that is removed does, with the grace that it has. A budget counts the pods that
//! the Deployment is asked for: it lets the next one go once one less is.

use std::time::Duration;

use code_deploy_engine::target::TargetError;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::core::{DynamicObject, Status};
use kube::runtime::watcher;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::KubernetesTarget;
use super::budgets::{self, Budget};
use super::cluster::Connection;
use super::manifest::Manifest;
use super::names::Labels;
use super::stated;
use super::store::Known;
use super::wait::{Waited, until_of};
use crate::failure::{code, failed, transient};

/// The pause before a pod is tried again that its budget, as the cluster told it last, lets go.
const AGAIN: Duration = Duration::from_millis(500);

/// What a refusal calls a budget as its cause.
const CAUSE: &str = "DisruptionBudget";

/// The pods of a release that are to go.
pub(super) struct Going<'a> {
    pub service: &'a str,
    /// The release's Deployment as it is.
    pub deployment: &'a DynamicObject,
    pub pods: &'a [Known],
    /// How many are left in the end.
    pub replicas: u32,
    /// What has the Deployment be asked for as many.
    pub last: &'a Manifest,
}

impl Going<'_> {
    /// Returns the labels of the pods.
    fn labels(&self) -> Labels {
        let labels = self
            .deployment
            .data
            .pointer("/spec/template/metadata/labels");
        let labels = labels.and_then(Value::as_object).into_iter().flatten();
        let texts =
            labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
        texts.collect()
    }
}

impl KubernetesTarget {
    /// Takes pods away one after the other, and asks for one less each time: what the controller has made in a pod's
    /// place meanwhile is not ready, and is what it takes back.
    ///
    /// # Errors
    /// `CD0516` where a budget lets one not go within the limit: those before it have gone, and it runs on.
    pub(super) async fn evict(
        &self,
        going: &Going<'_>,
        limit: Duration,
    ) -> Result<(), TargetError> {
        let connection = self.cluster.connect().await?;
        let (service, end) = (going.service, Instant::now() + limit);
        let mut asked = stated::replicas(going.deployment);
        for pod in going.pods {
            self.happenings.are_asked_to_end(std::slice::from_ref(pod));
            if let Err(error) = evict_one(connection, going, pod, (limit, end)).await {
                if error.code == code::NOT_STOPPED {
                    self.happenings.is_kept(&pod.name);
                }
                return Err(error);
            }
            asked = asked.saturating_sub(1).max(going.replicas);
            let manifest = stated::with_replicas(service, going.deployment, asked)?;
            connection.apply::<Deployment>(service, &manifest).await?;
        }
        if asked > going.replicas {
            connection.apply::<Deployment>(service, going.last).await?;
        }
        Ok(())
    }
}

/// Evicts a pod. While a budget does not let it go, that is waited for.
async fn evict_one(
    connection: &Connection,
    going: &Going<'_>,
    pod: &Known,
    (limit, end): (Duration, Instant),
) -> Result<(), TargetError> {
    let labels = going.labels();
    loop {
        let Some(refused) = try_evict(connection, going.service, &pod.name).await? else {
            return Ok(());
        };
        let left = end.saturating_duration_since(Instant::now());
        if let Some(budgets) = kept_by(connection, going.service, &labels, left).await? {
            let why = (&budgets[..], &*refused);
            return Err(kept(connection, going.service, (pod, limit), why));
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Asks for a pod to be evicted. Returns what the cluster says where a budget does not let it go.
async fn try_evict(
    connection: &Connection,
    service: &str,
    pod: &str,
) -> Result<Option<Box<Status>>, TargetError> {
    let all = connection.all::<Pod>();
    // Without a version it is one of that which the cluster has.
    let eviction = json!({ "metadata": { "name": pod } });
    let params = PostParams::default();
    let evict = || async {
        let evicted = all.create_subresource::<_, Status>("eviction", pod, &params, &eviction);
        match evicted.await.and_then(done) {
            Err(kube::Error::Api(status)) if is_of_budget(&status) => Ok(Some(status)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            evicted => evicted.map(|()| None),
        }
    };
    let action = format!("evict the pod {pod}");
    connection.ask(&action, Some(service), evict).await
}

/// Some refusals are told as what was made.
fn done(status: Status) -> kube::Result<()> {
    match status.is_failure() {
        true => Err(kube::Error::Api(status.boxed())),
        false => Ok(()),
    }
}

/// Returns whether a budget is why a pod was not evicted: one that does not let it go now, or one beside another.
fn is_of_budget(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let mut causes = causes.map(|cause| cause.reason.as_str());
    let is_kept = status.code == 429
        && (causes.any(|cause| cause == CAUSE) || status.message.contains("disruption budget"));
    is_kept || governed_twice(status)
}

fn governed_twice(status: &Status) -> bool {
    status.code == 500 && status.message.contains("more than one PodDisruptionBudget")
}

/// Waits until the budgets of pods with those labels let one go. Returns their names where they do not within the time
/// that is left.
async fn kept_by(
    connection: &Connection,
    service: &str,
    labels: &Labels,
    left: Duration,
) -> Result<Option<Vec<String>>, TargetError> {
    let Some(there) = budgets::there(connection).await? else {
        return Ok(None);
    };
    let own = there.budgets.iter().filter(|one| one.selects(labels));
    let names: Vec<String> = own.map(|one| one.name.clone()).collect();
    let (config, version) = (watcher::Config::default(), there.version);
    let waited = until_of(budgets::PLURAL, there.all, config, left, service, |known| {
        let all = known
            .values()
            .map(|one: &DynamicObject| Budget::of(one, version));
        let own: Vec<Budget> = all.filter(|one| one.selects(labels)).collect();
        (own.len() < 2 && own.iter().all(|one| one.lets_one_go)).then_some(())
    });
    Ok(match waited.await? {
        Waited::Found(()) => None,
        Waited::TooLong(_) => Some(names),
    })
}

/// Returns what it means that a budget keeps a pod.
fn kept(
    connection: &Connection,
    service: &str,
    (pod, limit): (&Known, Duration),
    (budgets, refused): (&[String], &Status),
) -> TargetError {
    let causes = refused.details.iter().flat_map(|details| &details.causes);
    let causes: String = causes.map(|cause| format!(" {}", cause.message)).collect();
    let names = budgets.join(" and ");
    let what = format!(
        "the PodDisruptionBudget {names} does not let the pod {} of release {} go within {limit:?}: {}{causes}; it runs \
         on",
        pod.name, pod.release, refused.message
    );
    let namespace = &connection.namespace;
    let look = format!("kubectl -n {namespace} describe poddisruptionbudget {names}");
    let next = format!(
        "Look which of its pods are not ready (`{look}`), or have it let one go, and run again."
    );
    match governed_twice(refused) {
        true => failed(code::NOT_STOPPED, Some(service), what, next),
        false => transient(code::NOT_STOPPED, Some(service), what, next),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn status(code: u16, message: &str, reason: &str) -> Status {
        let details = json!({ "causes": [{ "reason": reason, "message": "it needs 2" }] });
        serde_json::from_value(json!({ "code": code, "message": message, "details": details }))
            .unwrap()
    }

    #[test]
    fn a_budget_that_keeps_a_pod_is_told_from_a_server_that_has_too_much_to_do() {
        let violates = "Cannot evict pod as it would violate the pod's disruption budget.";
        assert!(is_of_budget(&status(429, violates, CAUSE)));
        assert!(is_of_budget(&status(429, violates, "")));
        assert!(is_of_budget(&status(429, "", CAUSE)));
        assert!(!is_of_budget(&status(429, "Too many requests", "")));
        assert!(!is_of_budget(&status(403, violates, CAUSE)));
        let twice = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        assert!(is_of_budget(&status(500, twice, "")));
        assert!(!is_of_budget(&status(
            500,
            "etcdserver: leader changed",
            ""
        )));
    }
}
