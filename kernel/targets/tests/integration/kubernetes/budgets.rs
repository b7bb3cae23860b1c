//! Budgets of disruptions, which the waves of a rolling update keep.

use std::collections::BTreeMap;

use code_deploy_engine::target::{Heading, Target as _};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};

use super::cluster::{GRACE, Stage};
use crate::stage::{eventually, release, text, wanted};

/// Returns the budgets of a stage and how they are described, by the version of their API that the cluster has.
async fn budgets(stage: &Stage) -> (Api<DynamicObject>, ApiResource) {
    let client = stage.client();
    let version = match client.list_api_group_resources("policy/v1").await {
        Ok(_) => "v1",
        Err(_) => "v1beta1",
    };
    let gvk = GroupVersionKind::gvk("policy", version, "PodDisruptionBudget");
    let resource = ApiResource::from_gvk_with_plural(&gvk, "poddisruptionbudgets");
    let namespace = stage.spec("k8s").application;
    let all = Api::namespaced_with(stage.client(), &namespace, &resource);
    (all, resource)
}

/// Makes the budget `kept` of the pods of the service `api`, and waits until the cluster has counted so many of them.
async fn keep(stage: &Stage, keeps: Value, pods: i64) -> Api<DynamicObject> {
    let (all, resource) = budgets(stage).await;
    let mut spec = keeps;
    spec["selector"] = json!({ "matchLabels": { "app.kubernetes.io/name": "api" } });
    let budget = DynamicObject::new("kept", &resource).data(json!({ "spec": spec }));
    all.create(&PostParams::default(), &budget).await.unwrap();
    eventually("the budget is counted", || async {
        let budget = all.get("kept").await.ok()?;
        let healthy = budget.data.pointer("/status/currentHealthy")?.as_i64()?;
        (healthy == pods).then_some(())
    })
    .await;
    all
}

async fn pods(stage: &Stage) -> Vec<String> {
    let listed = stage.all::<Pod>().list(&ListParams::default()).await;
    let alive = listed.unwrap().items.into_iter();
    let alive = alive.filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let mut names: Vec<String> = alive.filter_map(|pod| pod.metadata.name).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_budget_that_waves_cannot_keep_refuses_a_run_before_it_begins() {
    let stage = Stage::new().await;
    let file = stage.folder.path().join("deploy.yaml");
    let said = std::fs::read_to_string(&file).unwrap();
    let waves = "kind: rolling\n  steps: [{ percent: 50, soak: 1s }, { percent: 100, soak: 1s }]";
    std::fs::write(&file, said.replace("kind: blue-green", waves)).unwrap();
    let target = stage.opened().await;
    target.start(&wanted("api", "1.0.0", 2)).await.unwrap();
    let before = pods(&stage).await;
    let all = keep(&stage, json!({ "minAvailable": "100%" }), 2).await;
    let replicas = BTreeMap::from([("api".to_owned(), 2), ("web".to_owned(), 1)]);
    let next = release("1.1.0");
    let refused = target
        .admit(&next, &replicas, Heading::Forward)
        .await
        .unwrap_err();
    assert_eq!(refused.code, "CD0539", "{}", text(&refused));
    let words = "the PodDisruptionBudget kept (minAvailable 100%) lets no pod of the release before go in the wave of 50 %";
    assert!(refused.what.contains(words), "{}", text(&refused));
    assert_eq!(pods(&stage).await, before);
    // As many as are wanted can be kept.
    let two = json!({ "spec": { "minAvailable": 2 } });
    let params = PatchParams::default();
    all.patch("kept", &params, &Patch::Merge(&two))
        .await
        .unwrap();
    target
        .admit(&next, &replicas, Heading::Forward)
        .await
        .unwrap();
    target.remove_all(GRACE).await.unwrap();
    stage.end().await;
}

#[tokio::test]
async fn a_pod_that_its_budget_keeps_stays_and_goes_once_the_budget_lets_it() {
    let stage = Stage::new().await;
    let target = stage.opened().await;
    target.start(&wanted("api", "1.0.0", 2)).await.unwrap();
    let before = pods(&stage).await;
    let all = keep(&stage, json!({ "minAvailable": 2 }), 2).await;
    let old = release("1.0.0");
    let kept = target.scale_down("api", &old, 1, GRACE).await.unwrap_err();
    assert_eq!(kept.code, "CD0516", "{}", text(&kept));
    assert!(
        kept.what.contains("the PodDisruptionBudget kept does not"),
        "{}",
        text(&kept)
    );
    assert_eq!(pods(&stage).await, before);
    let one = json!({ "spec": { "minAvailable": 1 } });
    let params = PatchParams::default();
    all.patch("kept", &params, &Patch::Merge(&one))
        .await
        .unwrap();
    let stopped = target.scale_down("api", &old, 1, GRACE).await.unwrap();
    assert_eq!((stopped.ended, stopped.forced), (1, 0));
    let left = pods(&stage).await;
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(before.contains(&left[0]), "{left:?}");
    target.remove_all(GRACE).await.unwrap();
    stage.end().await;
}

#[tokio::test]
async fn pods_go_one_after_the_other_where_a_budget_lets_one_go_at_a_time() {
    let stage = Stage::new().await;
    let target = stage.opened().await;
    target.start(&wanted("api", "1.0.0", 3)).await.unwrap();
    let before = pods(&stage).await;
    keep(&stage, json!({ "maxUnavailable": 1 }), 3).await;
    let stopped = target
        .scale_down("api", &release("1.0.0"), 1, GRACE)
        .await
        .unwrap();
    assert_eq!((stopped.ended, stopped.forced), (2, 0));
    let left = pods(&stage).await;
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(before.contains(&left[0]), "{left:?}");
    target.remove_all(GRACE).await.unwrap();
    stage.end().await;
}
