//! Autoscalers of the namespace that change how many pods a release has.
//!
//! A share of traffic is a number of pods, and what a run goes back to is a release at its full size. An autoscaler
//! would change both under a run: the release before would be made smaller just when its traffic leaves it, and the run
//! would be refused the number that it states. One that manifests of the deployment bring is refused where they are read
//! (`meaning.rs`); those that others made are found here. One that is set to the number of pods that the run counts on
//! changes nothing.

use std::collections::BTreeMap;

use code_deploy_engine::spec::StrategyKind;
use code_deploy_engine::target::TargetError;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v1::{HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec};
use kube::ResourceExt as _;
use serde_json::json;

use super::KubernetesTarget;
use super::cluster::Connection;
use super::manifest::Manifest;
use super::names;
use super::quota::listed;
use super::stop::asked_for;
use super::store::labelled;
use crate::failure::{code, failed};

/// What a run counts on of a Deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Counted {
    service: String,
    /// How many pods it has for as long as the run works; nothing where the run itself changes that.
    pods: Option<u32>,
}

impl KubernetesTarget {
    /// Returns why a run would not have the numbers of pods to itself: a refusal for each autoscaler of a release that
    /// is there or comes. One that the account may not list is not found.
    ///
    /// # Errors
    /// What the cluster says.
    pub(super) async fn refused_scalers(
        &self,
        connection: &Connection,
        deployments: &[(&str, &Manifest)],
        running: &[Deployment],
    ) -> Result<Vec<TargetError>, TargetError> {
        let counted = self.counted_on(deployments, running);
        // This version is served by all clusters, whatever the autoscaler was written in.
        let all = listed::<HorizontalPodAutoscaler>(connection, "list autoscalers").await?;
        let refused = all
            .iter()
            .filter_map(|one| scales(one, &counted, &connection.namespace));
        Ok(refused.collect())
    }

    /// Returns the Deployments of all releases that are there or come, by name.
    fn counted_on(
        &self,
        deployments: &[(&str, &Manifest)],
        running: &[Deployment],
    ) -> BTreeMap<String, Counted> {
        let spec = &self.settings.spec;
        let is_fixed = spec.strategy.kind != StrategyKind::Rolling;
        let counted = |service: String, pods: u32| Counted {
            service,
            pods: is_fixed.then_some(pods),
        };
        let there = running.iter().filter_map(|one| {
            let service = labelled(&one.metadata, names::SERVICE)?;
            // A way back starts what is missing of it.
            let wanted = spec.service(&service).map_or(0, |one| one.replicas);
            let pods = asked_for(one).max(wanted);
            Some((one.name_any(), counted(service, pods)))
        });
        let coming = deployments.iter().map(|(service, manifest)| {
            let pods = manifest.replicas();
            (manifest.name.clone(), counted((*service).to_owned(), pods))
        });
        there.chain(coming).collect()
    }
}

fn scales(
    scaler: &HorizontalPodAutoscaler,
    deployments: &BTreeMap<String, Counted>,
    namespace: &str,
) -> Option<TargetError> {
    let spec = scaler.spec.as_ref()?;
    let target = &spec.scale_target_ref;
    let counted = deployments.get(&target.name);
    let counted = counted.filter(|_| target.kind == "Deployment")?;
    if counted.pods.is_some_and(|pods| holds_still(spec, pods)) {
        return None;
    }
    let name = scaler.name_any();
    let what = format!(
        "the HorizontalPodAutoscaler {name} scales the Deployment {}, which is a release of this application: a run \
         counts on its number of pods, also for the way back, and nobody else may change it meanwhile; nothing was \
         changed",
        target.name
    );
    let paused = match counted.pods {
        None => String::new(),
        Some(pods) => {
            let patch = json!({ "spec": { "minReplicas": pods, "maxReplicas": pods } });
            let named = format!("patch horizontalpodautoscaler {name}");
            let command = format!("kubectl -n {namespace} {named} --type merge -p '{patch}'");
            format!(", or pause it until the run has ended (`{command}`)")
        }
    };
    let next = format!(
        "Remove it (`kubectl -n {namespace} delete horizontalpodautoscaler {name}`){paused}. How many pods there are \
         says `replicas` of the environment."
    );
    Some(failed(code::CONFLICT, Some(&counted.service), what, next))
}

/// Returns whether an autoscaler keeps a Deployment at so many pods.
fn holds_still(spec: &HorizontalPodAutoscalerSpec, pods: u32) -> bool {
    let least = spec.min_replicas.unwrap_or(1);
    [least, spec.max_replicas]
        .iter()
        .all(|bound| u32::try_from(*bound) == Ok(pods))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn scaler(kind: &str, name: &str, (least, most): (u32, u32)) -> HorizontalPodAutoscaler {
        let scaler = json!({
            "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler",
            "metadata": { "name": "more" },
            "spec": {
                "minReplicas": least, "maxReplicas": most, "scaleTargetRef": { "kind": kind, "name": name },
            },
        });
        serde_json::from_value(scaler).unwrap()
    }

    fn refused(scaler: &HorizontalPodAutoscaler, pods: Option<u32>) -> Option<TargetError> {
        let counted = Counted {
            service: "api".to_owned(),
            pods,
        };
        let deployments = BTreeMap::from([("api-1-0-0".to_owned(), counted)]);
        scales(scaler, &deployments, "mine")
    }

    #[test]
    fn only_what_scales_a_release_of_the_application_is_refused() {
        let error = refused(&scaler("Deployment", "api-1-0-0", (1, 5)), Some(2)).unwrap();
        assert_eq!(error.code, code::CONFLICT);
        assert_eq!(error.service.as_deref(), Some("api"));
        for part in [
            "kubectl -n mine delete horizontalpodautoscaler more",
            "pause it",
            "\"minReplicas\":2",
            "\"maxReplicas\":2",
        ] {
            assert!(error.next.contains(part), "{part}: {}", error.next);
        }
        for (kind, name) in [("Deployment", "api"), ("StatefulSet", "api-1-0-0")] {
            assert!(refused(&scaler(kind, name, (1, 5)), Some(2)).is_none());
        }
    }

    #[test]
    fn one_that_is_paused_at_the_number_that_a_run_counts_on_is_none() {
        let paused = scaler("Deployment", "api-1-0-0", (2, 2));
        assert!(refused(&paused, Some(2)).is_none());
        assert!(refused(&paused, Some(3)).is_some());
        // Waves change the number of pods.
        let error = refused(&paused, None).unwrap();
        assert!(!error.next.contains("pause"), "{}", error.next);
    }
}
