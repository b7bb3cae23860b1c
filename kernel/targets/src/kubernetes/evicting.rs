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
use super::wait::until_of;
use crate::failure::{code, failed, transient};

/// The pause before a pod is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// How long what budgets say is waited for before a pod is tried again whatever they say: one that is not ready may go
/// although they let none go, and what they say may be out of date.
const LOOK: Duration = Duration::from_secs(5);

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
    /// `CD0516` where a budget lets one not go within the limit, which each has for itself: those before it have gone,
    /// and it runs on.
    pub(super) async fn evict(
        &self,
        going: &Going<'_>,
        limit: Duration,
    ) -> Result<(), TargetError> {
        let connection = self.cluster.connect().await?;
        let (service, labels) = (going.service, going.labels());
        let mut asked = stated::replicas(going.deployment);
        for pod in going.pods {
            self.happenings.are_asked_to_end(std::slice::from_ref(pod));
            if let Err(error) = evict_one(connection, &labels, pod, limit).await {
                // It was refused: the pod does not end.
                if [code::NOT_STOPPED, code::ACCESS].contains(&error.code) {
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

/// Evicts a pod with those labels. While a budget does not let it go, it is tried again.
async fn evict_one(
    connection: &Connection,
    labels: &Labels,
    pod: &Known,
    limit: Duration,
) -> Result<(), TargetError> {
    let (service, end) = (pod.service.as_str(), Instant::now() + limit);
    let left = || end.saturating_duration_since(Instant::now());
    let mut budgets: Vec<String> = Vec::new();
    loop {
        let Some(refused) = try_evict(connection, service, &pod.name).await? else {
            return Ok(());
        };
        if left().is_zero() {
            let why = (&budgets[..], &*refused);
            return Err(kept(&connection.namespace, (pod, limit), why));
        }
        let look = left().min(LOOK);
        until_let_go(connection, service, labels, look, &mut budgets).await?;
        tokio::time::sleep(AGAIN.min(left())).await;
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

/// Waits until the budgets of pods with those labels let one go, but no longer than that. `names` become those of the
/// budgets, where the cluster tells them. Whether a pod may go is the cluster's to say, when it is tried.
///
/// # Errors
/// That the account may not look.
async fn until_let_go(
    connection: &Connection,
    service: &str,
    labels: &Labels,
    limit: Duration,
    names: &mut Vec<String>,
) -> Result<(), TargetError> {
    let let_go = let_go(connection, service, labels, limit, names);
    match tokio::time::timeout(limit, let_go).await {
        Ok(Err(error)) if !error.transient => Err(error),
        Ok(Ok(()) | Err(_)) | Err(_) => Ok(()),
    }
}

async fn let_go(
    connection: &Connection,
    service: &str,
    labels: &Labels,
    limit: Duration,
    names: &mut Vec<String>,
) -> Result<(), TargetError> {
    let Some(there) = budgets::there(connection).await? else {
        return Ok(());
    };
    let own = there.budgets.iter().filter(|one| one.selects(labels));
    *names = own.map(|one| one.name.clone()).collect();
    let (config, version) = (watcher::Config::default(), there.version);
    let waited = until_of(
        budgets::PLURAL,
        there.all,
        config,
        limit,
        service,
        |known| {
            let all = known
                .values()
                .map(|one: &DynamicObject| Budget::of(one, version));
            let own: Vec<Budget> = all.filter(|one| one.selects(labels)).collect();
            (own.len() < 2 && own.iter().all(|one| one.lets_one_go)).then_some(())
        },
    );
    waited.await.map(drop)
}

/// Returns what it means that a budget keeps a pod. The cluster may not have told which.
fn kept(
    namespace: &str,
    (pod, limit): (&Known, Duration),
    (budgets, refused): (&[String], &Status),
) -> TargetError {
    let causes = refused.details.iter().flat_map(|details| &details.causes);
    let causes: String = causes.map(|cause| format!(" {}", cause.message)).collect();
    let (who, look) = match budgets {
        [] => (
            "a PodDisruptionBudget".to_owned(),
            "get poddisruptionbudgets".to_owned(),
        ),
        names => (
            format!("the PodDisruptionBudget {}", names.join(" and ")),
            format!("describe poddisruptionbudget {}", names.join(" ")),
        ),
    };
    let what = format!(
        "{who} does not let the pod {} of release {} go within {limit:?}: {}{causes}; it runs on",
        pod.name, pod.release, refused.message
    );
    let next = format!(
        "Look which of its pods are not ready (`kubectl -n {namespace} {look}`), or have it let one go, and run again."
    );
    let service = Some(pod.service.as_str());
    match governed_twice(refused) {
        true => failed(code::NOT_STOPPED, service, what, next),
        false => transient(code::NOT_STOPPED, service, what, next),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::kubernetes::cluster::tests::Stage;
    use crate::kubernetes::cluster::tests::played::{self, Played, Says};
    use crate::kubernetes::names;

    const VIOLATES: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

    /// A cluster that refuses the first evictions, and says of budgets what `budgets` has.
    async fn refusing(times: usize, budgets: fn(&str) -> Says) -> (Played, Connection) {
        let left = Arc::new(AtomicUsize::new(times));
        let one_less = |left: usize| left.checked_sub(1);
        let played = Played::new(move |head| {
            if head.contains("/apis/policy/") {
                return budgets(head);
            }
            if !head.contains("/pods/one/eviction") {
                return played::version(head);
            }
            let refused = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
            let (code, said) = match refused {
                Ok(_) => (
                    429,
                    json!({ "status": "Failure", "code": 429, "message": VIOLATES }),
                ),
                Err(_) => (201, json!({ "status": "Success" })),
            };
            Says::Answer(code, said.to_string())
        });
        let played = played.await;
        let stage = Stage::of(&played.url(), None, &json!({}));
        let connection = stage.connected().await;
        (played, connection)
    }

    fn untold(_: &str) -> Says {
        Says::Answer(404, "404 page not found".to_owned())
    }

    /// Says of a budget of the pod that it lets none go, and that this does not change.
    fn none_allowed(head: &str) -> Says {
        let labels = json!({ "matchLabels": { "app": "api" } });
        let budget = json!({
            "metadata": { "name": "kept", "generation": 1 },
            "spec": { "minAvailable": 1, "selector": labels },
            "status": { "observedGeneration": 1, "disruptionsAllowed": 0 },
        });
        let said = match head {
            head if head.contains("watch=true") => return Says::Nothing,
            head if head.contains("/namespaces/") => json!({
                "kind": "PodDisruptionBudgetList", "apiVersion": "policy/v1",
                "metadata": { "resourceVersion": "1" }, "items": [budget],
            }),
            _ => json!({
                "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "policy/v1", "resources": [{
                    "name": "poddisruptionbudgets", "singularName": "", "namespaced": true,
                    "kind": "PodDisruptionBudget", "verbs": ["list", "watch"],
                }],
            }),
        };
        Says::Answer(200, said.to_string())
    }

    fn pod() -> Known {
        let pod: Pod = serde_json::from_value(json!({ "metadata": {
            "name": "one", "labels": { names::SERVICE: "api" },
            "annotations": { names::RELEASE: "1.0.0" },
        } }))
        .unwrap();
        Known::of(&pod).unwrap()
    }

    fn labels() -> Labels {
        Labels::from([("app".to_owned(), "api".to_owned())])
    }

    fn tried(played: &Played) -> usize {
        let heads = played.heads();
        heads
            .iter()
            .filter(|head| head.contains("/eviction"))
            .count()
    }

    #[tokio::test]
    async fn a_pod_goes_once_the_cluster_lets_it_where_nothing_is_told_of_budgets() {
        let (played, connection) = refusing(1, untold).await;
        let limit = Duration::from_secs(600);
        evict_one(&connection, &labels(), &pod(), limit)
            .await
            .unwrap();
        assert_eq!(tried(&played), 2);
    }

    #[tokio::test]
    async fn a_pod_is_tried_again_although_its_budget_lets_none_go() {
        let (played, connection) = refusing(1, none_allowed).await;
        let limit = Duration::from_millis(200);
        evict_one(&connection, &labels(), &pod(), limit)
            .await
            .unwrap();
        assert_eq!(tried(&played), 2);
    }

    #[tokio::test]
    async fn a_pod_that_is_kept_to_the_end_is_told_with_who_keeps_it() {
        let (_played, connection) = refusing(usize::MAX, untold).await;
        let error = evict_one(&connection, &labels(), &pod(), Duration::ZERO).await;
        let error = error.unwrap_err();
        assert_eq!(error.code, code::NOT_STOPPED, "{error}");
        let words = "a PodDisruptionBudget does not let the pod one of release 1.0.0 go within 0ns";
        assert!(error.what.contains(words), "{error}");
        assert!(
            error.next.contains("get poddisruptionbudgets"),
            "{}",
            error.next
        );

        let named = ["kept".to_owned(), "more".to_owned()];
        let why = (&named[..], &status(429, VIOLATES, CAUSE));
        let error = kept("shop", (&pod(), Duration::from_secs(35)), why);
        let words = "the PodDisruptionBudget kept and more does not let the pod one";
        assert!(error.what.starts_with(words), "{error}");
        let look = "`kubectl -n shop describe poddisruptionbudget kept more`";
        assert!(error.next.contains(look), "{}", error.next);
    }

    fn status(code: u16, message: &str, reason: &str) -> Status {
        let details = json!({ "causes": [{ "reason": reason, "message": "it needs 2" }] });
        serde_json::from_value(json!({ "code": code, "message": message, "details": details }))
            .unwrap()
    }

    #[test]
    fn a_budget_that_keeps_a_pod_is_told_from_a_server_that_has_too_much_to_do() {
        assert!(is_of_budget(&status(429, VIOLATES, CAUSE)));
        assert!(is_of_budget(&status(429, VIOLATES, "")));
        assert!(is_of_budget(&status(429, "", CAUSE)));
        assert!(!is_of_budget(&status(429, "Too many requests", "")));
        assert!(!is_of_budget(&status(403, VIOLATES, CAUSE)));
        let twice = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        assert!(is_of_budget(&status(500, twice, "")));
        assert!(!is_of_budget(&status(
            500,
            "etcdserver: leader changed",
            ""
        )));
    }
}
