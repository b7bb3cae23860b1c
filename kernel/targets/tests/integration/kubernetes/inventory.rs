//! What the cluster and the namespace have, listed for the record.

use std::sync::Arc;

use code_deploy_engine::target::{Listing, Target as _, Topic};
use code_deploy_targets::KubernetesTarget;
use k8s_openapi::api::autoscaling::v1::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, ResourceQuota, Secret};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use kube::config::Kubeconfig;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::json;

use super::cluster::{GRACE, Stage, variable};
use crate::stage::{eventually, shares, wanted};

/// Of version 1, from `O=Example, CN=Example CA`, until 2036.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----
MIIBOTCB3wIUKSgpJ3+OpQnS6oKXXOFAd+y13zQwCgYIKoZIzj0EAwIwJzEQMA4G
A1UECgwHRXhhbXBsZTETMBEGA1UEAwwKRXhhbXBsZSBDQTAeFw0yNjExMjkwNzA4
MTBaFw0zNjExMjYwNzA4MTBaMBcxFTATBgNVBAMMDHNob3AuZXhhbXBsZTBZMBMG
ByqGSM49AgEGCCqGSM49AwEHA0IABMJrutdY3xm9Ri4UwUM5cqdRX457QOE3TWoF
33GAvHwu6oHLtsb4TF6VcnMTWF+cP0V+3KGXbbBXYlPPPKW1xwowCgYIKoZIzj0E
AwIDSQAwRgIhAKp50P7LcXf54xNrf8JDKvSMs5tSokJkQ0nSl4xxmwIcAiEA8tEi
adREi8L8KlcSAN1/Y+omIYjXn28lyoGX6kBqxgI=
-----END CERTIFICATE-----
";

fn named<'a>(listings: &'a [Listing], title: &str) -> &'a Listing {
    let mut found = listings.iter().filter(|one| one.title == title);
    found.next().unwrap_or_else(|| panic!("{title}"))
}

/// Makes a certificate's Secret. The key is none: nobody looks at it.
async fn keep(stage: &Stage, name: &str, certificate: &str) {
    let _: Secret = stage
        .create(json!({
            "metadata": { "name": name }, "type": "kubernetes.io/tls",
            "stringData": { "tls.crt": certificate, "tls.key": "the-key-itself" },
        }))
        .await;
}

/// Makes a budget by the version of its API that the cluster has.
async fn budget(stage: &Stage) {
    let namespace = stage.spec("k8s").application;
    for version in ["v1", "v1beta1"] {
        let gvk = GroupVersionKind::gvk("policy", version, "PodDisruptionBudget");
        let resource = ApiResource::from_gvk_with_plural(&gvk, "poddisruptionbudgets");
        let client = stage.all::<Secret>().into_client();
        let all: Api<DynamicObject> = Api::namespaced_with(client, &namespace, &resource);
        let object = DynamicObject::new("some", &resource).data(json!({
            "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "shop" } } },
        }));
        if all.create(&PostParams::default(), &object).await.is_ok() {
            return;
        }
    }
    panic!("the cluster takes no budget");
}

async fn furnish(stage: &Stage) {
    let _: ResourceQuota = stage
        .create(json!({ "metadata": { "name": "few" }, "spec": { "hard": { "pods": "9" } } }))
        .await;
    let _: NetworkPolicy = stage
        .create(json!({
            "metadata": { "name": "closed" },
            "spec": {
                "podSelector": { "matchLabels": { "app": "theirs" } }, "policyTypes": ["Ingress"],
            },
        }))
        .await;
    let backend = json!({ "service": { "name": "api", "port": { "number": 8080 } } });
    let path = json!({ "path": "/", "pathType": "Prefix", "backend": backend });
    let _: Ingress = stage
        .create(json!({
            "metadata": { "name": "front" },
            "spec": {
                "rules": [{ "host": "shop.example", "http": { "paths": [path] } }],
                "tls": [{ "hosts": ["shop.example"], "secretName": "shop-tls" }],
            },
        }))
        .await;
    let scaled = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "theirs" });
    let _: HorizontalPodAutoscaler = stage
        .create(json!({
            "metadata": { "name": "more" },
            "spec": { "scaleTargetRef": scaled, "minReplicas": 2, "maxReplicas": 5 },
        }))
        .await;
    let _: PersistentVolumeClaim = stage
        .create(json!({
            "metadata": { "name": "files" },
            "spec": {
                "accessModes": ["ReadWriteOnce"], "storageClassName": "none-such",
                "resources": { "requests": { "storage": "1Gi" } },
            },
        }))
        .await;
    budget(stage).await;
}

/// Makes a class of storage that nobody provides, and returns its name. It is of the whole cluster.
async fn storage_class(stage: &Stage) -> String {
    let name = stage.spec("k8s").application;
    let class: StorageClass = serde_json::from_value(json!({
        "metadata": { "name": name }, "provisioner": "example.org/none", "reclaimPolicy": "Retain",
    }))
    .unwrap();
    let classes: Api<StorageClass> = Api::all(stage.client());
    let params = PostParams::default();
    classes.create(&params, &class).await.unwrap();
    name
}

#[tokio::test]
async fn what_the_namespace_has_is_listed() {
    let stage = Stage::new().await;
    furnish(&stage).await;
    let quotas = stage.all::<ResourceQuota>();
    eventually("the quota is counted", || async {
        quotas.get("few").await.ok()?.status?.used
    })
    .await;
    let target = stage.opened().await;
    target.start(&wanted("api", "1.0.0", 1)).await.unwrap();
    let whole = shares("api", &[("1.0.0", 100)]);
    target.set_traffic(&whole).await.unwrap();
    let class = storage_class(&stage).await;
    let listings = target.inventory().await.unwrap();
    let whole = |one: &&Listing| one.gap.is_none() || one.topic != Topic::Shown;
    assert!(listings.iter().all(|one| whole(&one)), "{listings:?}");
    let node = &named(&listings, "Nodes").rows[0];
    assert!(node[1].starts_with("v1.") && node[2] == "yes", "{node:?}");
    let has = |title: &str, start: &[&str]| {
        let rows = &named(&listings, title).rows;
        let starts = |row: &Vec<String>| row.iter().zip(start).all(|(cell, word)| cell == word);
        assert!(rows.iter().any(starts), "{title}: {start:?} in {rows:?}");
    };
    has("Workloads of the namespace", &["Deployment", "api-1-0-0"]);
    let pod = &named(&listings, "Pods of the namespace").rows[0];
    assert!(pod[0].starts_with("api-1-0-0-"), "{pod:?}");
    let nodes = &named(&listings, "Nodes").rows;
    assert!(nodes.iter().any(|node| node[0] == pod[1]), "{pod:?}");
    assert!(pod[2] == "yes" && pod[3].contains("sha256:"), "{pod:?}");
    let place = target.capacity().await.unwrap().system;
    let own = format!(", namespace {}", stage.spec("k8s").application);
    assert!(place.ends_with(&own), "{place}");
    has("Services of the namespace", &["api", "ClusterIP"]);
    has("Addresses behind Services", &["api", "1", "0", "8080/TCP"]);
    has("Addresses behind Services", &["web", "0", "0", ""]);
    let expected = [class.as_str(), "example.org/none", "no", "Retain"];
    has("Classes of storage", &expected);
    has("Ingresses", &["front", "", "shop.example", "shop-tls"]);
    has("Budgets of disruptions", &["some", "1", ""]);
    has("Autoscalers", &["more", "Deployment theirs", "2", "5"]);
    has("Quotas", &["few", "pods", "9"]);
    has(
        "Claims of volumes",
        &["files", "Pending", "1Gi", "none-such"],
    );
    let policy = ["closed", "pods with app=theirs", "nobody"];
    has("Network policies", &policy);
    let classes: Api<StorageClass> = Api::all(stage.client());
    let params = DeleteParams::default();
    classes.delete(&class, &params).await.unwrap();
    target.remove_all(GRACE).await.unwrap();
    stage.end().await;
}

#[tokio::test]
async fn certificates_are_listed_with_issuer_and_expiry_and_never_with_a_key() {
    let stage = Stage::new().await;
    let target = stage.target();
    let title = "Certificates of the namespace";
    let none = target.inventory().await.unwrap();
    assert_eq!(named(&none, title).rows.len(), 0);
    assert_eq!(named(&none, title).gap, None);

    keep(&stage, "shop-tls", CERTIFICATE).await;
    let listings = target.inventory().await.unwrap();
    let kept = named(&listings, title);
    assert_eq!(kept.topic, Topic::Certificates);
    let issuer = "O=Example, CN=Example CA";
    assert_eq!(
        kept.rows,
        [["shop-tls", "CN=shop.example", issuer, "2036-11-26"]]
    );
    assert_eq!(kept.gap, None);
    assert!(
        kept.summary.contains("that of shop-tls, on 2036-11-26"),
        "{kept:?}"
    );

    keep(&stage, "other-tls", "no certificate").await;
    let listings = target.inventory().await.unwrap();
    let kept = named(&listings, title);
    assert_eq!(kept.rows.len(), 1);
    let gap = kept.gap.as_deref().unwrap();
    assert_eq!(gap, "secrets that could not be read: other-tls");
    let all = format!("{listings:?}");
    assert!(!all.contains("the-key-itself"), "{all}");
    stage.end().await;
}

#[tokio::test]
async fn more_than_one_answer_holds_is_listed_whole() {
    let stage = Stage::new().await;
    for number in 0..60 {
        let _: NetworkPolicy = stage
            .create(json!({
                "metadata": { "name": format!("policy-{number}") },
                "spec": { "podSelector": {}, "policyTypes": ["Egress"] },
            }))
            .await;
    }
    let listings = stage.target().inventory().await.unwrap();
    let policies = named(&listings, "Network policies");
    assert_eq!(policies.topic, Topic::FirewallRules);
    assert_eq!(policies.rows.len(), 60);
    assert!(
        policies.summary.starts_with("60 NetworkPolicies"),
        "{policies:?}"
    );
    stage.end().await;
}

#[tokio::test]
async fn what_the_account_may_not_list_is_said_and_stops_nothing() {
    let stage = Stage::new().await;
    let mut config = Kubeconfig::read_from(variable(super::cluster::CLUSTER)).unwrap();
    for user in &mut config.auth_infos {
        let user = user.auth_info.as_mut().unwrap();
        user.impersonate = Some("nobody".to_owned());
    }
    let path = stage.folder.path().join("kubeconfig");
    std::fs::write(&path, serde_json::to_string(&config).unwrap()).unwrap();
    let path = path.display().to_string();
    let mut settings = stage.settings("k8s");
    settings.lookup = Arc::new(move |name| (name == "KUBECONFIG").then(|| path.clone()));
    let listings = KubernetesTarget::new(settings).inventory().await.unwrap();
    for one in &listings {
        assert!(one.rows.is_empty(), "{one:?}");
        let gap = one.gap.as_deref().unwrap_or_default();
        assert!(gap.contains("the account may not list"), "{one:?}");
    }
    let workloads = named(&listings, "Workloads of the namespace");
    let gap = workloads.gap.as_deref().unwrap_or_default();
    for plural in [
        "deployments",
        "statefulsets",
        "daemonsets",
        "cronjobs",
        "jobs",
    ] {
        assert!(gap.contains(&format!("may not list {plural}")), "{gap}");
    }
    stage.end().await;
}
