//! What the cluster would refuse is refused before a run begins, and nothing is changed.

use std::collections::BTreeMap;

use code_deploy_engine::target::{Heading, Target as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v1::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ResourceQuota, Secret, Service};
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::cluster::{COMPOSE, GRACE, Stage};
use crate::stage::{eventually, release, text, wanted};

pub fn one_of_each() -> BTreeMap<String, u32> {
    ["api", "web"].map(|name| (name.to_owned(), 1)).into()
}

/// Asserts that nothing of the stage's services is there.
async fn nothing_is_there(stage: &Stage) {
    let everything = ListParams::default();
    let services = stage.all::<Service>().list(&everything).await.unwrap();
    assert!(services.items.is_empty(), "{:?}", services.items);
    let deployments = stage.all::<Deployment>().list(&everything).await.unwrap();
    assert!(deployments.items.is_empty(), "{:?}", deployments.items);
    let secrets = stage.all::<Secret>().list(&everything).await.unwrap();
    let own = |secret: &Secret| secret.type_.as_deref() == Some("Opaque");
    assert!(!secrets.items.iter().any(own));
}

/// States something of an object in place of whoever stated it before.
pub async fn apply_as<K>(stage: &Stage, manager: &str, name: &str, object: Value)
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope>
        + serde::de::DeserializeOwned
        + Clone
        + std::fmt::Debug,
    K::DynamicType: Default,
{
    let params = PatchParams::apply(manager).force();
    let (all, patch) = (stage.all::<K>(), Patch::Apply(&object));
    all.patch(name, &params, &patch).await.unwrap();
}

#[tokio::test]
async fn what_can_be_deployed_is_admitted_and_nothing_is_left_of_trying() {
    let compose = COMPOSE.replacen("    expose", "    secrets: [key]\n    expose", 1);
    let stage = Stage::with(&format!("{compose}secrets: {{ key: {{ file: ./key }} }}\n")).await;
    std::fs::write(stage.folder.path().join("key"), "k3y").unwrap();
    let (target, first) = (stage.target(), release("1.0.0"));
    target
        .admit(&first, &one_of_each(), Heading::Forward)
        .await
        .unwrap();
    nothing_is_there(&stage).await;
    // What the cluster's version does not know is told once it has said that.
    let told = target.cannot_honour(&stage.spec("k8s"));
    let rules = told.iter().map(|one| one.finding.rule.as_str());
    let pauses = rules.filter(|rule| *rule == "kubernetes/no-pause");
    let version = stage.client().apiserver_version().await.unwrap();
    let minor: u32 = version.minor.trim_end_matches('+').parse().unwrap();
    assert_eq!(pauses.count(), if minor < 30 { 2 } else { 0 }, "{told:?}");

    let target = stage.opened().await;
    target.start(&wanted("api", "1.0.0", 1)).await.unwrap();
    let version = || async {
        let deployment = stage.all::<Deployment>().get("api-1-0-0").await.unwrap();
        deployment.metadata.generation
    };
    let before = version().await;
    target
        .admit(&first, &one_of_each(), Heading::Forward)
        .await
        .unwrap();
    assert_eq!(version().await, before);
    target.remove_all(GRACE).await.unwrap();
    stage.end().await;
}

#[tokio::test]
async fn a_manifest_that_the_server_finds_invalid_is_refused_with_its_fields() {
    let more =
        "    deploy: { resources: { limits: { cpus: '0.5' }, reservations: { cpus: '1' } } }\n";
    let compose = COMPOSE.replacen("    expose", &format!("{more}    expose"), 1);
    let stage = Stage::with(&compose).await;
    let refused = stage
        .target()
        .admit(&release("1.0.0"), &one_of_each(), Heading::Forward)
        .await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code, "CD0539", "{}", text(&refused));
    for part in [
        "the deployment api-1-0-0",
        "the deployment web-1-0-0",
        "spec.template.spec.containers[0].resources.requests",
        "nothing was changed",
    ] {
        assert!(refused.what.contains(part), "{part}: {}", text(&refused));
    }
    nothing_is_there(&stage).await;
    stage.end().await;
}

#[tokio::test]
async fn a_quota_of_objects_that_is_used_up_is_told_before_a_run() {
    let stage = Stage::new().await;
    let hard = json!({ "count/deployments.apps": "0" });
    let _: ResourceQuota = stage
        .create(json!({ "metadata": { "name": "none" }, "spec": { "hard": hard } }))
        .await;
    let quotas = stage.all::<ResourceQuota>();
    eventually("the quota is counted", || async {
        quotas.get("none").await.ok()?.status?.hard
    })
    .await;
    let refused = stage
        .target()
        .admit(&release("1.0.0"), &one_of_each(), Heading::Forward)
        .await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code, "CD0539", "{}", text(&refused));
    assert!(
        refused.what.contains("exceeded quota"),
        "{}",
        text(&refused)
    );
    assert!(refused.next.contains("larger quota"), "{}", text(&refused));
    nothing_is_there(&stage).await;
    stage.end().await;
}

#[tokio::test]
async fn objects_that_a_quota_takes_one_by_one_and_not_together_are_told_before_a_run() {
    let stage = Stage::new().await;
    let hard = json!({ "count/deployments.apps": "1" });
    let _: ResourceQuota = stage
        .create(json!({ "metadata": { "name": "one" }, "spec": { "hard": hard } }))
        .await;
    let quotas = stage.all::<ResourceQuota>();
    eventually("the quota is counted", || async {
        quotas.get("one").await.ok()?.status?.used
    })
    .await;
    let refused = stage
        .target()
        .admit(&release("1.0.0"), &one_of_each(), Heading::Forward)
        .await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code, "CD0536", "{}", text(&refused));
    let words =
        "the quota one allows 1 of count/deployments.apps, 0 are used, and 2 more are needed";
    assert!(refused.what.contains(words), "{}", text(&refused));
    nothing_is_there(&stage).await;
    stage.end().await;
}

#[tokio::test]
async fn quotas_that_leave_no_room_for_pods_are_told_before_a_run_with_the_tightest_first() {
    let stage = Stage::new().await;
    for (name, allowed) in [("few", "1"), ("none", "0"), ("many", "9")] {
        let hard = json!({ "pods": allowed });
        let _: ResourceQuota = stage
            .create(json!({ "metadata": { "name": name }, "spec": { "hard": hard } }))
            .await;
        let quotas = stage.all::<ResourceQuota>();
        eventually("the quota is counted", || async {
            quotas.get(name).await.ok()?.status?.used
        })
        .await;
    }
    let refused = stage
        .target()
        .admit(&release("1.0.0"), &one_of_each(), Heading::Forward)
        .await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code, "CD0536", "{}", text(&refused));
    let words = "the quota none allows 0 of pods, 0 are used, and 2 more are needed; less tight are: the quota few";
    assert!(refused.what.contains(words), "{}", text(&refused));
    assert!(!refused.what.contains("many"), "{}", text(&refused));
    nothing_is_there(&stage).await;
    stage.end().await;
}

#[tokio::test]
async fn an_autoscaler_of_a_release_is_told_before_a_run_and_stays() {
    let stage = Stage::new().await;
    let scaled = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "api-1-0-0" });
    let _: HorizontalPodAutoscaler = stage
        .create(json!({
            "metadata": { "name": "more" },
            "spec": { "scaleTargetRef": scaled, "minReplicas": 2, "maxReplicas": 5 },
        }))
        .await;
    let refused = stage
        .target()
        .admit(&release("1.0.0"), &one_of_each(), Heading::Forward)
        .await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code, "CD0533", "{}", text(&refused));
    assert!(refused.what.contains("scales the Deployment api-1-0-0"));
    let other = stage
        .target()
        .admit(&release("1.1.0"), &one_of_each(), Heading::Forward)
        .await;
    other.unwrap();
    // Nobody is kept from going back.
    let back = stage
        .target()
        .admit(&release("1.0.0"), &one_of_each(), Heading::Back)
        .await;
    back.unwrap();
    let scalers = stage.all::<HorizontalPodAutoscaler>();
    assert!(scalers.get_opt("more").await.unwrap().is_some());
    nothing_is_there(&stage).await;
    stage.end().await;
}

#[tokio::test]
async fn an_autoscaler_of_the_release_that_is_there_is_told_before_a_run_of_the_next_one() {
    let stage = Stage::new().await;
    let target = stage.opened().await;
    target.start(&wanted("api", "1.0.0", 1)).await.unwrap();
    let scaled = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "api-1-0-0" });
    let _: HorizontalPodAutoscaler = stage
        .create(json!({
            "metadata": { "name": "more" },
            "spec": { "scaleTargetRef": scaled, "minReplicas": 1, "maxReplicas": 5 },
        }))
        .await;
    let deployments = stage.all::<Deployment>();
    let before = deployments.get("api-1-0-0").await.unwrap();
    let next = release("1.1.0");
    let refused = target
        .admit(&next, &one_of_each(), Heading::Forward)
        .await
        .unwrap_err();
    assert_eq!(refused.code, "CD0533", "{}", text(&refused));
    assert!(
        refused.what.contains("scales the Deployment api-1-0-0"),
        "{}",
        text(&refused)
    );
    assert!(refused.next.contains("pause it"), "{}", text(&refused));
    let after = deployments.get("api-1-0-0").await.unwrap();
    assert_eq!(after.metadata.generation, before.metadata.generation);
    let new = deployments.get_opt("api-1-1-0").await.unwrap();
    assert!(new.is_none(), "{new:?}");
    // As the text has it paused.
    let paused = json!({ "spec": { "minReplicas": 1, "maxReplicas": 1 } });
    let (params, paused) = (PatchParams::default(), Patch::Merge(&paused));
    let scalers = stage.all::<HorizontalPodAutoscaler>();
    scalers.patch("more", &params, &paused).await.unwrap();
    target
        .admit(&next, &one_of_each(), Heading::Forward)
        .await
        .unwrap();
    target.remove_all(GRACE).await.unwrap();
    stage.end().await;
}

#[tokio::test]
async fn fields_that_somebody_else_manages_are_told_before_a_run_and_stay() {
    let stage = Stage::new().await;
    let target = stage.opened().await;
    let theirs = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "api", "labels": { "app.kubernetes.io/part-of": "theirs" } },
    });
    apply_as::<Service>(&stage, "theirs", "api", theirs).await;
    let refused = target
        .admit(&release("1.0.0"), &one_of_each(), Heading::Forward)
        .await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code, "CD0533", "{}", text(&refused));
    for part in ["theirs", "app.kubernetes.io/part-of", "the service api"] {
        assert!(refused.what.contains(part), "{part}: {}", text(&refused));
    }
    let service = stage.all::<Service>().get("api").await.unwrap();
    let labels = service.metadata.labels.unwrap();
    assert_eq!(labels["app.kubernetes.io/part-of"], "theirs");
    target.remove_all(GRACE).await.unwrap();
    stage.end().await;
}

#[tokio::test]
async fn a_secret_that_cannot_be_changed_is_told_without_a_value() {
    let compose = COMPOSE.replacen("    expose", "    secrets: [key]\n    expose", 1);
    let stage = Stage::with(&format!("{compose}secrets: {{ key: {{ file: ./key }} }}\n")).await;
    std::fs::write(stage.folder.path().join("key"), "k3y").unwrap();
    let target = stage.opened().await;
    let service = stage.all::<Service>().get("api").await.unwrap();
    let kept = json!({
        "apiVersion": "v1", "kind": "Secret", "immutable": true, "data": { "key": "b3RoZXI=" },
        "metadata": { "name": "api-1-0-0", "labels": service.metadata.labels },
    });
    apply_as::<Secret>(&stage, "code-deploy", "api-1-0-0", kept).await;
    let refused = target
        .admit(&release("1.0.0"), &one_of_each(), Heading::Forward)
        .await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code, "CD0539", "{}", text(&refused));
    assert!(
        refused.what.contains("the secret api-1-0-0"),
        "{}",
        text(&refused)
    );
    assert!(
        refused.next.contains("another release"),
        "{}",
        text(&refused)
    );
    for value in ["k3y", "azN5", "other", "b3RoZXI"] {
        assert!(!refused.what.contains(value), "{value}: {}", text(&refused));
    }
    let secret = stage.all::<Secret>().get("api-1-0-0").await.unwrap();
    assert_eq!(secret.data.unwrap()["key"].0, b"other");
    target.remove_all(GRACE).await.unwrap();
    stage.end().await;
}
