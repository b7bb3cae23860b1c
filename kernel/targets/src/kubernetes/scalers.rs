//! Autoscalers of the namespace that change how many pods a release has.
//!
//! A share of traffic is a number of pods, and what a run goes back to is a release at its full size. An autoscaler
//! would change both under a run, and the run would be refused the number that it states. One that manifests of the
//! deployment bring is refused where they are read (`meaning.rs`); those that others made are found here.

use std::collections::BTreeMap;

use code_deploy_engine::target::TargetError;
use k8s_openapi::api::autoscaling::v1::HorizontalPodAutoscaler;
use kube::ResourceExt as _;

use super::cluster::Connection;
use super::quota::listed;
use crate::failure::{code, failed};

/// Returns why a run would not have the number of pods to itself: a refusal for each autoscaler of one of those
/// Deployments, which are given with their services. One that the account may not list is not found.
///
/// # Errors
/// What the cluster says.
pub(super) async fn refused(
    connection: &Connection,
    deployments: &BTreeMap<String, String>,
) -> Result<Vec<TargetError>, TargetError> {
    // This version is served by all clusters, whatever the autoscaler was written in.
    let all = listed::<HorizontalPodAutoscaler>(connection, "list autoscalers").await?;
    let refused = all
        .iter()
        .filter_map(|one| scales(one, deployments, &connection.namespace));
    Ok(refused.collect())
}

fn scales(
    scaler: &HorizontalPodAutoscaler,
    deployments: &BTreeMap<String, String>,
    namespace: &str,
) -> Option<TargetError> {
    let target = &scaler.spec.as_ref()?.scale_target_ref;
    let service = deployments.get(&target.name);
    let service = service.filter(|_| target.kind == "Deployment")?;
    let name = scaler.name_any();
    let what = format!(
        "the HorizontalPodAutoscaler {name} scales the Deployment {}, which is a release of this application: this run \
         sets its number of pods, and nobody else may change it meanwhile; nothing was changed",
        target.name
    );
    let next = format!(
        "Remove it (`kubectl -n {namespace} delete horizontalpodautoscaler {name}`), and say how many pods there are as \
         `replicas` of the environment."
    );
    Some(failed(code::CONFLICT, Some(service), what, next))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_scales_a_release_of_the_application_is_refused() {
        let deployments = BTreeMap::from([("api-1-0-0".to_owned(), "api".to_owned())]);
        let refused = |kind: &str, name: &str| {
            let scaler = json!({
                "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler",
                "metadata": { "name": "more" },
                "spec": { "maxReplicas": 5, "scaleTargetRef": { "kind": kind, "name": name } },
            });
            let scaler = serde_json::from_value(scaler).unwrap();
            scales(&scaler, &deployments, "mine")
        };
        let error = refused("Deployment", "api-1-0-0").unwrap();
        assert_eq!(error.code, code::CONFLICT);
        assert_eq!(error.service.as_deref(), Some("api"));
        let command = "kubectl -n mine delete horizontalpodautoscaler more";
        assert!(error.next.contains(command), "{}", error.next);
        assert!(refused("Deployment", "api").is_none());
        assert!(refused("StatefulSet", "api-1-0-0").is_none());
    }
}
