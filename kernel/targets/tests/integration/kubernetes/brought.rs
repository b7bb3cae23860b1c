//! Manifests of the user's own beside the Compose file.

use std::sync::Arc;

use code_deploy_engine::target::{Heading, Target as _};
use code_deploy_targets::KubernetesTarget;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{
    PersistentVolume, PersistentVolumeClaim, Pod, Secret, ServiceAccount,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::config::Kubeconfig;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::admission::{apply_as, one_of_each};
use super::cluster::{CLUSTER, COMPOSE, GRACE, Stage, variable};
use crate::stage::{get, release, text, wanted};

/// What is laid over the service `api`: a container that comes before its own in the order of names, and more.
const OVERLAY: &str = "apiVersion: apps/v1
kind: Deployment
metadata: { name: api }
spec:
  template:
    metadata:
      annotations: { example.org/team: web }
    spec:
      serviceAccountName: api
      tolerations: [{ key: dedicated, operator: Exists }]
      containers:
      - name: a-side
        image: IMAGE
        command: ['/bin/code-deploy', 'serve']
        env: [{ name: PORT, value: '8081' }, { name: BIND, value: 0.0.0.0 }, { name: RELEASE, value: side }]
";

const ACCOUNT: &str = "apiVersion: v1
kind: ServiceAccount
metadata: { name: api }
";

const POLICY: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: open }
spec:
  podSelector: { matchLabels: { app.kubernetes.io/name: api } }
  policyTypes: [Ingress]
  ingress: [{}]
";

const BUDGET: &str = "apiVersion: VERSION
kind: PodDisruptionBudget
metadata: { name: api }
spec:
  minAvailable: 1
  selector: { matchLabels: { app.kubernetes.io/name: api } }
";

const CLAIM: &str = "apiVersion: v1
kind: PersistentVolumeClaim
metadata: { name: data }
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: ''
  volumeName: VOLUME
  resources: { requests: { storage: 1Mi } }
";

/// Returns budgets by the version of their API that the cluster has.
async fn budgets(stage: &Stage) -> (Api<DynamicObject>, String) {
    let (client, namespace) = (
        stage.all::<Secret>().into_client(),
        stage.spec("k8s").application,
    );
    let version = match client.list_api_group_resources("policy/v1").await {
        Ok(_) => "v1",
        Err(_) => "v1beta1",
    };
    let gvk = GroupVersionKind::gvk("policy", version, "PodDisruptionBudget");
    let resource = ApiResource::from_gvk_with_plural(&gvk, "poddisruptionbudgets");
    let all = Api::namespaced_with(client, &namespace, &resource);
    (all, gvk.api_version())
}

/// Makes a volume of a folder of the node, and writes a file there.
async fn volume(stage: &Stage) -> Api<PersistentVolume> {
    let folder = stage.folder.path().join("kept");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("note"), "kept for years").unwrap();
    let volumes: Api<PersistentVolume> = Api::all(stage.all::<Secret>().into_client());
    let volume = serde_json::from_value(json!({
        "metadata": { "name": stage.spec("k8s").application },
        "spec": {
            "capacity": { "storage": "1Mi" }, "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "",
            "hostPath": { "path": folder },
        },
    }));
    let (params, volume) = (PostParams::default(), volume.unwrap());
    volumes.create(&params, &volume).await.unwrap();
    volumes
}

#[tokio::test]
async fn manifests_are_applied_and_laid_over_releases_and_go_but_for_claims() {
    let compose = COMPOSE.replacen("    expose", "    volumes: ['data:/data']\n    expose", 1);
    let stage = Stage::with(&compose).await;
    let application = stage.spec("k8s").application;
    let (budgets, version) = budgets(&stage).await;
    let volumes = volume(&stage).await;
    let own = [OVERLAY, ACCOUNT, POLICY, BUDGET, CLAIM].join("---\n");
    let own = own.replace("VERSION", &version);
    stage.bring(&own.replace("VOLUME", &application));
    let target = stage.target();
    target
        .admit(&release("1.0.0"), &one_of_each(), Heading::Forward)
        .await
        .unwrap();
    let policies = stage.all::<NetworkPolicy>();
    assert!(policies.get_opt("open").await.unwrap().is_none());

    let target = stage.opened().await;
    let stated = target.opening_manifests().await.unwrap();
    let names: Vec<&str> = stated.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "ServiceAccount api",
        "NetworkPolicy open",
        "PodDisruptionBudget api",
        "PersistentVolumeClaim data",
    ];
    assert_eq!(names, expected);
    let policy = policies.get("open").await.unwrap();
    assert_eq!(policy.labels()["code-deploy.part"], "manifest");
    assert!(
        stated[1].1.contains(r#""code-deploy.part": "manifest""#),
        "{}",
        stated[1].1
    );
    budgets.get("api").await.unwrap();

    let started = target.start(&wanted("api", "1.0.0", 1)).await.unwrap();
    let api = started[0].address.to_string();
    assert_eq!(get(&api, "/env/RELEASE").await, "1.0.0");
    assert_eq!(get(&api, "/file/data/note").await, "kept for years");
    let beside = api.replace(":8080", ":8081");
    assert_eq!(get(&beside, "/env/RELEASE").await, "side");
    let pods = stage.all::<Pod>();
    let pod = pods.get(&started[0].id).await.unwrap();
    assert_eq!(pod.annotations()["example.org/team"], "web");
    let spec = pod.spec.unwrap();
    assert_eq!(spec.containers.len(), 2);
    assert_eq!(spec.service_account_name.as_deref(), Some("api"));
    let tolerations = spec.tolerations.unwrap();
    assert!(
        tolerations
            .iter()
            .any(|one| one.key.as_deref() == Some("dedicated"))
    );
    let logs = target.logs("api", &release("1.0.0")).await.unwrap();
    let log = std::fs::read_to_string(&logs[0].path).unwrap();
    assert!(log.contains("a line of the log"), "{log}");
    // Another number of pods leaves what was laid over.
    let more = target.start(&wanted("api", "1.0.0", 2)).await.unwrap();
    assert!(more.iter().any(|one| one.id == started[0].id), "{more:?}");

    // What has left the files is found by its labels.
    stage.bring(&CLAIM.replace("VOLUME", &application));
    let target = stage.target();
    target.remove_all(GRACE).await.unwrap();
    assert!(policies.get_opt("open").await.unwrap().is_none());
    assert!(budgets.get_opt("api").await.unwrap().is_none());
    let accounts = stage.all::<ServiceAccount>();
    assert!(accounts.get_opt("api").await.unwrap().is_none());
    let claims = stage.all::<PersistentVolumeClaim>();
    assert!(claims.get_opt("data").await.unwrap().is_some());
    let left = target.left_on_purpose().await.unwrap();
    assert_eq!(left.len(), 1, "{left:?}");
    let command = format!("`kubectl -n {application} delete persistentvolumeclaim data`");
    assert!(left[0].contains(&command), "{left:?}");
    stage.end().await;
    let params = DeleteParams::default();
    volumes.delete(&application, &params).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_changed_of_a_claim_is_refused_before_a_run_and_it_stays() {
    let stage = Stage::new().await;
    let claim = CLAIM.replace("VOLUME", "none-such");
    stage.bring(&claim);
    let target = stage.opened().await;
    let claims = stage.all::<PersistentVolumeClaim>();
    let before = claims.get("data").await.unwrap();
    let deployments = stage.all::<Deployment>();
    for (from, to) in [
        ("storage: 1Mi", "storage: 2Mi"),
        ("storageClassName: ''", "storageClassName: other"),
    ] {
        stage.bring(&claim.replace(from, to));
        let refused = stage
            .target()
            .admit(&release("1.0.0"), &one_of_each(), Heading::Forward)
            .await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code, "CD0539", "{}", text(&refused));
        for part in ["own.yaml:", "is immutable", "nothing was changed"] {
            assert!(refused.what.contains(part), "{part}: {}", text(&refused));
        }
        let after = claims.get("data").await.unwrap();
        assert_eq!(after.uid(), before.uid());
        assert_eq!(after.spec, before.spec);
        let everything = ListParams::default();
        let started = deployments.list(&everything).await.unwrap();
        assert!(started.items.is_empty(), "{:?}", started.items);
    }
    target.remove_all(GRACE).await.unwrap();
    stage.end().await;
}

#[tokio::test]
async fn what_the_cluster_refuses_of_a_manifest_is_told_with_file_and_line() {
    let stage = Stage::new().await;
    let overlay = OVERLAY.replace("        image: IMAGE\n", "");
    let policy = POLICY.replace("[Ingress]", "[Sideways]");
    stage.bring(&[overlay.as_str(), ACCOUNT, &policy].join("---\n"));
    let refused = stage
        .target()
        .admit(&release("1.0.0"), &one_of_each(), Heading::Forward)
        .await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code, "CD0539", "{}", text(&refused));
    for part in [
        "own.yaml:12",
        "spec.template.spec.containers[1].image",
        "own.yaml:25",
        "spec.policyTypes",
        "nothing was changed",
    ] {
        assert!(refused.what.contains(part), "{part}: {}", text(&refused));
    }

    stage.bring("apiVersion: example.org/v1\nkind: Nothing\nmetadata: { name: one }\n");
    let refused = stage.target().recover().await.unwrap_err();
    assert_eq!(refused.code, "CD0539", "{}", text(&refused));
    let said = "own.yaml:1: the cluster has no Nothing of version example.org/v1";
    assert!(refused.what.contains(said), "{}", text(&refused));
    let everything = ListParams::default();
    let deployments = stage.all::<Deployment>().list(&everything).await.unwrap();
    assert!(deployments.items.is_empty());
    stage.end().await;
}

#[tokio::test]
async fn an_object_that_others_have_is_refused_and_stays() {
    let stage = Stage::new().await;
    let foreign: NetworkPolicy = stage
        .create(json!({
            "metadata": { "name": "open" },
            "spec": { "podSelector": {}, "policyTypes": ["Egress"] },
        }))
        .await;
    stage.bring(&[ACCOUNT, POLICY].join("---\n"));
    let target = stage.target();
    let refused = target
        .admit(&release("1.0.0"), &one_of_each(), Heading::Forward)
        .await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code, "CD0526", "{}", text(&refused));
    assert!(refused.what.contains("own.yaml:5"), "{}", text(&refused));
    let refused = target.open(&stage.services()).await.unwrap_err();
    assert_eq!(refused.code, "CD0526", "{}", text(&refused));
    let accounts = stage.all::<ServiceAccount>();
    assert!(accounts.get_opt("api").await.unwrap().is_none());
    target.remove_all(GRACE).await.unwrap();
    let policies = stage.all::<NetworkPolicy>();
    let after = policies.get("open").await.unwrap();
    assert_eq!(after.resource_version(), foreign.resource_version());

    policies
        .delete("open", &DeleteParams::default())
        .await
        .unwrap();
    let target = stage.opened().await;
    let theirs = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": { "name": "open" }, "spec": { "podSelector": {}, "policyTypes": ["Egress"] },
    });
    apply_as::<NetworkPolicy>(&stage, "theirs", "open", theirs).await;
    let refused = target
        .admit(&release("1.0.0"), &one_of_each(), Heading::Forward)
        .await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code, "CD0533", "{}", text(&refused));
    for part in ["own.yaml:5", "theirs", "spec.policyTypes"] {
        assert!(refused.what.contains(part), "{part}: {}", text(&refused));
    }
    target.remove_all(GRACE).await.unwrap();
    stage.end().await;
}

#[tokio::test]
async fn rights_that_manifests_need_are_told_when_they_are_missing() {
    let stage = Stage::new().await;
    stage.bring(&[POLICY, CLAIM].join("---\n"));
    let mut config = Kubeconfig::read_from(variable(CLUSTER)).unwrap();
    for user in &mut config.auth_infos {
        let user = user.auth_info.as_mut().unwrap();
        user.impersonate = Some("nobody".to_owned());
    }
    let path = stage.folder.path().join("kubeconfig");
    std::fs::write(&path, serde_json::to_string(&config).unwrap()).unwrap();
    let path = path.display().to_string();
    let mut settings = stage.settings("k8s");
    settings.lookup = Arc::new(move |name| (name == "KUBECONFIG").then(|| path.clone()));
    let refused = KubernetesTarget::new(settings).recover().await.unwrap_err();
    assert_eq!(refused.code, "CD0532", "{}", text(&refused));
    for verb in ["get", "create", "patch", "delete"] {
        let right = format!("{verb} networkpolicies");
        assert!(refused.what.contains(&right), "{right}: {}", text(&refused));
    }
    assert!(
        refused.what.contains("patch persistentvolumeclaims"),
        "{}",
        text(&refused)
    );
    assert!(
        !refused.what.contains("delete persistentvolumeclaims"),
        "{}",
        text(&refused)
    );
    assert!(
        refused.next.contains("a rule for each kind"),
        "{}",
        text(&refused)
    );
    stage.end().await;
}
