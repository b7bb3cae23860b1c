//! The Kubernetes target with a real cluster, on a machine that is one of its nodes.
//!
//! Ignored until `cargo verify` brings a cluster up. By hand: `CODE_DEPLOY_STAGE_KUBECONFIG` names the
//! kubeconfig file, `CODE_DEPLOY_STAGE_DOCKER` the engine whose images the node has, and
//! `cargo test -p code-deploy-targets --test integration -- --ignored kubernetes` runs them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use code_deploy_engine::Spec;
use code_deploy_engine::target::{ServiceAddress, Target as _};
use code_deploy_record::{Redactor, RunsFolder, SampleReader, Source};
use code_deploy_targets::{DockerTarget, KubernetesTarget, Settings};
use k8s_openapi::api::core::v1::{Namespace, Pod, ResourceQuota, Service};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::stage::{address, eventually, get, release, shares, text, wanted};

/// The variable that promises a cluster to the tests, and names its file.
const CLUSTER: &str = "CODE_DEPLOY_STAGE_KUBECONFIG";

/// The variable that names the engine whose images the node has.
const ENGINE: &str = "CODE_DEPLOY_STAGE_DOCKER";

const DEPLOY: &str = "application: APPLICATION
release: '1.0.0'
strategy:
  kind: blue-green
  health: { interval: 1s, timeout: 2s, passes: 2, deadline: 60s }
services:
  api: &service
    role: backend
    probes: { startup: /startupz, readiness: /readyz, liveness: /livez }
    metrics: /file/metrics
  web: *service
environments:
  dev:
    kubernetes: { namespace: APPLICATION }
";

const COMPOSE: &str = "services:
  api: &service
    image: IMAGE
    command: ['serve']
    entrypoint: ['/bin/code-deploy']
    environment: { PORT: '8080', BIND: 0.0.0.0, RELEASE: '${CODE_DEPLOY_RELEASE:-none}' }
    stop_grace_period: 5s
    expose: ['8080']
  web:
    <<: *service
";

const GRACE: Duration = Duration::from_secs(5);

static STAGES: AtomicU32 = AtomicU32::new(0);

/// A namespace of its own, with a project beside it.
struct Stage {
    folder: TempDir,
    application: String,
    client: Client,
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

impl Stage {
    async fn new() -> Self {
        Self::with(COMPOSE).await
    }

    async fn with(compose: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("k8s-target-")
            .tempdir()
            .unwrap();
        let number = STAGES.fetch_add(1, Ordering::Relaxed);
        let application = format!("stage-{}-{number}", std::process::id());
        let image = format!("{application}:1");
        let write = |name: &str, text: String| {
            std::fs::write(folder.path().join(name), text).unwrap();
        };
        write("deploy.yaml", DEPLOY.replace("APPLICATION", &application));
        write("compose.yaml", compose.replace("IMAGE", &image));
        let kubeconfig = Kubeconfig::read_from(variable(CLUSTER)).unwrap();
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let client = Client::try_from(config.unwrap()).unwrap();
        let stage = Self {
            folder,
            application,
            client,
        };
        let engine = DockerTarget::new(stage.settings("docker-desktop")).unwrap();
        engine.make_demonstration(&[image]).await.unwrap();
        let namespace = json!({ "metadata": { "name": stage.application } });
        let namespaces: Api<Namespace> = Api::all(stage.client.clone());
        let namespace = serde_json::from_value(namespace).unwrap();
        namespaces
            .create(&PostParams::default(), &namespace)
            .await
            .unwrap();
        stage
    }

    fn spec(&self, target: &str) -> Spec {
        let path = self.folder.path().join("deploy.yaml");
        Spec::load(&path, "dev", target, &|_| None).unwrap()
    }

    fn settings(&self, target: &str) -> Settings {
        Settings {
            spec: Arc::new(self.spec(target)),
            program: PathBuf::from(env!("CARGO_BIN_EXE_local-test-program")),
            runtime: self.folder.path().join("run"),
            lookup: Arc::new(|name| match name {
                "DOCKER_HOST" => Some(variable(ENGINE)),
                "KUBECONFIG" => Some(variable(CLUSTER)),
                _ => None,
            }),
            redactor: Redactor::default(),
        }
    }

    fn target(&self) -> KubernetesTarget {
        KubernetesTarget::new(self.settings("k8s"))
    }

    fn services(&self) -> Vec<ServiceAddress> {
        let spec = self.spec("k8s");
        let services = spec.services.iter();
        services
            .map(|service| ServiceAddress {
                service: service.name.clone(),
                address: "127.0.0.1:0".parse().unwrap(),
                routing: service.file.routing.clone(),
            })
            .collect()
    }

    async fn opened(&self) -> KubernetesTarget {
        let target = self.target();
        target.open(&self.services()).await.unwrap();
        target
    }

    fn all<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.application)
    }

    async fn create<K>(&self, object: Value) -> K
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>
            + serde::de::DeserializeOwned
            + serde::Serialize
            + Clone
            + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let object: K = serde_json::from_value(object).unwrap();
        let made = self
            .all::<K>()
            .create(&PostParams::default(), &object)
            .await;
        made.unwrap()
    }

    /// Removes the namespace with everything in it.
    async fn end(self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let params = DeleteParams::default();
        namespaces.delete(&self.application, &params).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_release_gets_traffic_and_gives_way_to_the_next() {
    let stage = Stage::new().await;
    let target = stage.opened().await;
    let observed = target.observe().await.unwrap();
    assert_eq!(observed.addresses.len(), 2);
    assert_eq!(observed.stable, None);
    let started = target.start(&wanted("api", "1.0.0", 2)).await.unwrap();
    assert_eq!(started.len(), 2, "{started:?}");
    let asked = get(&started[0].address.to_string(), "/env/RELEASE").await;
    assert_eq!(asked, "1.0.0");
    assert!(target.traffic().await.unwrap()["api"].is_empty());
    target
        .set_traffic(&shares("api", &[("1.0.0", 100)]))
        .await
        .unwrap();
    let observed = target.observe().await.unwrap();
    let api = address(&observed, "api");
    assert_eq!(get(&api, "/env/RELEASE").await, "1.0.0");

    target.start(&wanted("api", "1.1.0", 2)).await.unwrap();
    assert_eq!(
        target.traffic().await.unwrap(),
        shares("api", &[("1.0.0", 100)])
            .into_iter()
            .chain([("web".to_owned(), Default::default())])
            .collect()
    );
    let on_purpose = target
        .addresses_of(&release("1.1.0"))
        .await
        .unwrap()
        .unwrap();
    let on_purpose = on_purpose[0].address.to_string();
    assert_eq!(get(&on_purpose, "/env/RELEASE").await, "1.1.0");
    assert_eq!(get(&api, "/env/RELEASE").await, "1.0.0");

    target
        .set_traffic(&shares("api", &[("1.1.0", 100)]))
        .await
        .unwrap();
    for _ in 0..20 {
        assert_eq!(get(&api, "/env/RELEASE").await, "1.1.0");
    }
    let stopped = target.stop("api", &release("1.0.0"), GRACE).await.unwrap();
    assert_eq!((stopped.ended, stopped.forced), (2, 0));
    let logs = target.logs("api", &release("1.0.0")).await.unwrap();
    assert_eq!(logs.len(), 2, "{logs:?}");
    let log = std::fs::read_to_string(&logs[0].path).unwrap();
    assert!(log.contains("a line of the log"), "{log}");
    assert_eq!(get(&api, "/env/RELEASE").await, "1.1.0");

    let stopped = target.remove_all(GRACE).await.unwrap();
    assert_eq!(stopped.len(), 1, "{stopped:?}");
    let pods = stage
        .all::<Pod>()
        .list(&ListParams::default())
        .await
        .unwrap();
    assert!(pods.items.is_empty());
    let services = stage.all::<Service>().list(&ListParams::default()).await;
    assert!(services.unwrap().items.is_empty());
    stage.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_second_start_keeps_the_pods_that_run() {
    let stage = Stage::new().await;
    let target = stage.opened().await;
    let first = target.start(&wanted("api", "1.0.0", 1)).await.unwrap();
    let mut again = wanted("api", "1.0.0", 2);
    again.run = "20260102T000000Z-dev-2".parse().unwrap();
    let second = stage.target().start(&again).await.unwrap();
    assert_eq!(second.len(), 2);
    assert!(second.iter().any(|one| one.id == first[0].id), "{second:?}");
    target.remove_all(GRACE).await.unwrap();
    stage.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn what_others_have_is_refused_and_not_touched() {
    let stage = Stage::new().await;
    let foreign: Service = stage
        .create(json!({
            "metadata": { "name": "api", "labels": { "app": "theirs" } },
            "spec": { "selector": { "app": "theirs" }, "ports": [{ "port": 80 }] },
        }))
        .await;
    let target = stage.target();
    let refused = target.open(&stage.services()).await.unwrap_err();
    assert_eq!(refused.code, "CD0526", "{}", text(&refused));
    let refused = target.set_traffic(&shares("api", &[])).await.unwrap_err();
    assert_eq!(refused.code, "CD0526", "{}", text(&refused));
    target.remove_all(GRACE).await.unwrap();
    let services = stage.all::<Service>();
    let after = services.get("api").await.unwrap();
    assert_eq!(
        after.metadata.resource_version,
        foreign.metadata.resource_version
    );
    assert!(services.get_opt("web").await.unwrap().is_none());
    stage.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn an_image_that_cannot_be_had_is_told_and_nothing_is_left() {
    let stage = Stage::with(&COMPOSE.replacen("IMAGE", "127.0.0.1:1/nothing:1", 1)).await;
    let target = stage.opened().await;
    let failed = target.start(&wanted("api", "1.0.0", 1)).await.unwrap_err();
    assert_eq!(failed.code, "CD0514", "{}", text(&failed));
    assert!(
        failed.what.contains("its image cannot be pulled"),
        "{}",
        text(&failed)
    );
    assert!(failed.what.contains("event: Failed"), "{}", text(&failed));
    assert!(target.observe().await.unwrap().instances.is_empty());
    stage.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_process_that_ends_is_told_with_the_end_of_its_log() {
    let stage = Stage::with(&COMPOSE.replacen("['serve']", "['serve', 'exit-at-once']", 1)).await;
    let target = stage.opened().await;
    let mut wish = wanted("api", "1.0.0", 1);
    wish.start_limit = Duration::from_secs(25);
    let failed = target.start(&wish).await.unwrap_err();
    assert_eq!(failed.code, "CD0514", "{}", text(&failed));
    for part in ["code 7", "cannot open the database", "was stopped again"] {
        assert!(failed.what.contains(part), "{part}: {}", text(&failed));
    }
    stage.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_quota_that_is_used_up_is_told() {
    let stage = Stage::new().await;
    let target = stage.opened().await;
    let _: ResourceQuota = stage
        .create(json!({ "metadata": { "name": "few" }, "spec": { "hard": { "pods": "1" } } }))
        .await;
    let quotas = stage.all::<ResourceQuota>();
    eventually("the quota is counted", || async {
        quotas.get("few").await.ok()?.status?.hard
    })
    .await;
    let failed = target.start(&wanted("api", "1.0.0", 2)).await.unwrap_err();
    assert_eq!(failed.code, "CD0536", "{}", text(&failed));
    assert!(failed.what.contains("exceeded quota"), "{}", text(&failed));
    stage.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn what_cannot_be_is_refused_before_anything_changes() {
    let stage = Stage::new().await;
    let target = stage.opened().await;
    let half = shares("api", &[("1.0.0", 50), ("1.1.0", 50)]);
    let refused = target.set_traffic(&half).await.unwrap_err();
    assert_eq!(refused.code, "CD0537", "{}", text(&refused));
    let nobody = shares("api", &[("9.9.9", 100)]);
    let refused = target.set_traffic(&nobody).await.unwrap_err();
    assert_eq!(refused.code, "CD0535", "{}", text(&refused));
    let file = stage.folder.path().join("deploy.yaml");
    let said = std::fs::read_to_string(&file).unwrap();
    let elsewhere = said.replace("namespace: stage", "namespace: not-there");
    std::fs::write(&file, elsewhere).unwrap();
    let refused = stage.target().open(&stage.services()).await.unwrap_err();
    assert_eq!(refused.code, "CD0531", "{}", text(&refused));
    target.remove_all(GRACE).await.unwrap();
    stage.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn what_instances_count_is_sampled_by_release() {
    let counted =
        "# TYPE http_requests_total counter\nhttp_requests_total{route=\"/\",status=\"200\"} 4\n";
    let stage = Stage::with(&COMPOSE.replacen(
        "    expose",
        "    volumes: ['./given:/metrics-of']\n    expose",
        1,
    ))
    .await;
    let given = stage.folder.path().join("given");
    std::fs::create_dir(&given).unwrap();
    std::fs::write(given.join("metrics"), counted).unwrap();
    let file = stage.folder.path().join("deploy.yaml");
    let said = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        said.replace("/file/metrics", "/file/metrics-of/metrics"),
    )
    .unwrap();
    let target = stage.opened().await;
    target.start(&wanted("api", "1.0.0", 1)).await.unwrap();
    let samples = RunsFolder::of_project(stage.folder.path())
        .path()
        .join("samples");
    target.sample_into(Some(samples.clone())).await.unwrap();
    let read = || async {
        let reader = SampleReader::open_folder(&samples, Source::Instance.word()).ok()?;
        let all: Vec<_> = reader.filter_map(Result::ok).collect();
        (!all.is_empty()).then_some(all)
    };
    eventually("the instance was read", read).await;
    std::fs::write(given.join("metrics"), counted.replace("} 4", "} 9")).unwrap();
    let enough = || async { read().await?.into_iter().find(|one| one.count > 0) };
    let sample = eventually("its requests were counted", enough).await;
    assert_eq!(
        (sample.service.as_str(), sample.release.as_str()),
        ("api", "1.0.0")
    );
    assert_eq!(sample.count, 5);
    target.sample_into(None).await.unwrap();
    target.remove_all(GRACE).await.unwrap();
    stage.end().await;
}
