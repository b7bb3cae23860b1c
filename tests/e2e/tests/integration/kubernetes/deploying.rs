//! The demonstration in a namespace of a cluster: the same run, under the same client's eyes.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use code_deploy_record::{RunOutcome, Verdict};
use serde_json::{Value, json};

use super::cluster::{Namespace, engine, promised};
use super::gateway::Gateway;
use super::kubelet::{self, Held};
use super::terminator;
use super::way::Way;
use crate::docker::ended;
use crate::kit::{Place, Said};
use crate::registry::Registry;
use crate::steering::{Deploying, shares};

/// What the demonstration's deployment file says of how traffic moves in `staging`.
const WATCHED: &str = "      kind: canary
      steps:
        - { percent: 33, soak: 6s }
        - { percent: 50, soak: 4s }
        - { percent: 100, soak: 3s }
";

/// The same in less time, which is what these tests have.
const CANARY: &str = "      kind: canary
      steps:
        - { percent: 33, soak: 3s }
        - { percent: 50, soak: 2s }
        - { percent: 100, soak: 1s }
";

/// A first share that two pods of each release cannot give.
const EXACT: &str = "      kind: canary
      steps:
        - { percent: 25, soak: 5s }
        - { percent: 100, soak: 1s }
";

/// How long the API server is not reached, or the kubelet does nothing.
const GONE: Duration = Duration::from_secs(20);

/// Pods that are replaced in waves, and latencies that a busy machine may have.
const ROLLING: &str = "      kind: rolling
      steps:
        - { percent: 50, soak: 3s }
        - { percent: 100, soak: 1s }
";

/// Manifests beside the Compose file.
const OWN: &str = "apiVersion: apps/v1
kind: Deployment
metadata: { name: storefront }
spec: { template: { metadata: { annotations: { example.org/team: web } } } }
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: storefront }
spec:
  podSelector: { matchLabels: { app.kubernetes.io/name: storefront } }
  policyTypes: [Ingress]
  ingress: [{}]
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: { name: uploads }
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: none-such
  resources: { requests: { storage: 1Mi } }
";

/// What is made of them.
const KUSTOMIZATION: &str = "resources: [own.yaml]
commonAnnotations: { example.org/made: by-kustomize }
";

/// Has the deployment bring manifests of its own.
fn bring(place: &Place, own: &str) {
    place.write("code-deploy-demo/k8s/own.yaml", own);
    place.edit(
        "    kubernetes:\n",
        "    kubernetes:\n      manifests: [k8s]\n",
    );
}

/// Has the manifests made of a kustomization from now on, by the client of the stage.
fn kustomize(place: &mut Place) {
    place.write("code-deploy-demo/k8s/kustomization.yaml", KUSTOMIZATION);
    let programs = place.path().join("programs");
    std::fs::create_dir(&programs).unwrap();
    let kubectl = promised("CODE_DEPLOY_STAGE_KUBERNETES_KUBECTL");
    std::os::unix::fs::symlink(kubectl, programs.join("kubectl")).unwrap();
    let others = std::env::var("PATH").unwrap();
    place.set("PATH", format!("{}:{others}", programs.display()));
}

/// Allows the account what these manifests need.
fn allow(namespace: &Namespace) {
    let resources = "--resource=networkpolicies.networking.k8s.io,persistentvolumeclaims";
    let verbs = "--verb=get,create,patch,delete";
    namespace.kubectl(&["create", "role", "manifests", verbs, resources]);
    let account = format!("--serviceaccount={}:deployer", namespace.name);
    let binding = ["create", "rolebinding", "manifests", "--role=manifests"];
    namespace.kubectl(&[&binding[..], &[account.as_str()]].concat());
}

/// Makes a namespace with a place beside it from which is deployed to it, by an account that has the
/// roles of `templates/kubernetes` and no others.
fn stage(purpose: &str) -> (Namespace, Place) {
    let namespace = Namespace::new(purpose);
    let place = place(&namespace.account());
    (namespace, place)
}

/// Has pods replaced in waves from now on.
fn roll(place: &Place) {
    place.edit(CANARY, ROLLING);
    for _ in ["dev", "staging"] {
        place.edit("latency_floor: 50ms", "latency_floor: 400ms");
    }
}

fn place(kubeconfig: &Value) -> Place {
    let engine = engine().display().to_string();
    let mut place = Place::with_cluster(String::new(), engine);
    place.lay_out_with_little_load();
    place.edit(WATCHED, CANARY);
    let path = place.path().join("kubeconfig");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .unwrap();
    file.write_all(kubeconfig.to_string().as_bytes()).unwrap();
    place.set("KUBECONFIG", path.display().to_string());
    place
}

fn run(place: &Place, words: &[&str]) -> Said {
    place.run(&[&["staging", "k8s", "--demo"], words].concat())
}

#[track_caller]
fn succeeded(said: &Said) {
    assert_eq!(said.code, Some(0), "{}\n{}", said.out, said.err);
}

/// Returns the Deployments of ours with their ready pods.
fn deployments(namespace: &Namespace) -> Vec<(String, u64)> {
    let path = namespace.path("/apis/apps/v1", "deployments");
    let path = format!("{path}?labelSelector=app.kubernetes.io/managed-by=code-deploy");
    let listed = namespace.get(&path);
    let mut all: Vec<(String, u64)> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let name = one["metadata"]["name"].as_str().unwrap().to_owned();
            (name, one["status"]["readyReplicas"].as_u64().unwrap_or(0))
        })
        .collect();
    all.sort();
    all
}

fn all_of(release: &str) -> Vec<(String, u64)> {
    let names = ["catalog", "orders", "storefront"];
    names.map(|name| (format!("{name}-{release}"), 2)).into()
}

#[test]
fn the_demonstration_upgrades_by_canary_is_taken_back_and_leaves_others_alone() {
    let (namespace, mut place) = stage("canary");
    let path = namespace.path("/api/v1", "services");
    let foreign = namespace.post(
        &path,
        &json!({
            "metadata": { "name": "others" },
            "spec": { "selector": { "app": "others" }, "ports": [{ "port": 80 }] },
        }),
    );
    bring(&place, OWN);
    kustomize(&mut place);
    let said = run(&place, &[]);
    assert_eq!(said.code, Some(1), "{}\n{}", said.out, said.err);
    assert!(said.err.contains("create networkpolicies"), "{}", said.err);
    allow(&namespace);
    let said = run(&place, &[]);
    succeeded(&said);
    let state = ended(&place, &said, RunOutcome::Succeeded);
    let kept = place.run_in(&place.demo(), &["record", "--kind", "evidence_kept"]);
    for name in [
        "NetworkPolicy storefront",
        "PersistentVolumeClaim uploads",
        "manifests made of k8s/kustomization.yaml",
    ] {
        assert!(kept.out.contains(name), "{}", kept.out);
    }
    let made = "-o=jsonpath={.metadata.annotations.example\\.org/made}";
    let made = namespace.kubectl(&["get", "networkpolicy", "storefront", made]);
    assert_eq!(made, "by-kustomize");
    let own = "-o=jsonpath={.metadata.labels.code-deploy\\.part}";
    let part = namespace.kubectl(&["get", "networkpolicy", "storefront", own]);
    assert_eq!(part, "manifest");
    let given = "-o=jsonpath={.spec.template.metadata.annotations.example\\.org/team}";
    let team = namespace.kubectl(&["get", "deployment", "storefront-1-1-0", given]);
    assert_eq!(team, "web");
    let client = &state.clients["client"];
    assert!(client.sent >= 1_000, "{client:?}");
    assert_eq!(client.failed, 0, "{client:?}");
    assert!(client.releases["1.0.0"].answered > 0 && client.releases["1.1.0"].answered > 0);
    assert!(state.rehearsed.is_some(), "the rollback was rehearsed");
    assert_eq!(state.items.len(), 208, "every item has a verdict");
    let split = &state.items[&"3.4.5".parse().unwrap()];
    assert!(matches!(split.verdict, Verdict::Met { .. }), "{split:?}");
    assert_eq!(shares(&place), [33, 0, 33, 50, 100]);
    assert_eq!(deployments(&namespace), all_of("1-1-0"));
    let selector = "-o=jsonpath={.spec.selector.code-deploy\\.release}";
    assert_eq!(
        namespace.kubectl(&["get", "service", "storefront", selector]),
        "1.1.0"
    );

    let back = place.run_in(&place.demo(), &["rollback", "--reason", "a drill"]);
    succeeded(&back);
    let state = ended(&place, &back, RunOutcome::Succeeded);
    assert_eq!(state.clients["client"].failed, 0, "{:?}", state.clients);
    assert_eq!(deployments(&namespace), all_of("1-0-0"));

    let stopped = run(&place, &["--stop"]);
    succeeded(&stopped);
    assert_eq!(deployments(&namespace), []);
    let claims = ["get", "networkpolicies,persistentvolumeclaims", "-o=name"];
    assert_eq!(
        namespace.kubectl(&claims),
        "persistentvolumeclaim/uploads\n"
    );
    let told = "delete persistentvolumeclaim uploads";
    assert!(stopped.out.contains(told), "{}", stopped.out);
    let left = namespace.get(&path);
    let left: Vec<&Value> = left["items"].as_array().unwrap().iter().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(
        left[0]["metadata"]["resourceVersion"],
        foreign["metadata"]["resourceVersion"]
    );
}

#[test]
fn a_fault_is_found_and_the_run_goes_back_also_from_a_wave_and_one_killed_in_a_wave_is_resumed_and_outlasts_the_kubelet()
 {
    let (namespace, mut place) = stage("fault");
    let said = run(&place, &["--demo-fault", "errors"]);
    assert_eq!(said.code, Some(3), "{}\n{}", said.out, said.err);
    let state = ended(&place, &said, RunOutcome::RolledBack);
    let stable = &state.clients["client"].releases["1.0.0"];
    assert_eq!(stable.failed, 0, "{:?}", state.clients);
    assert_eq!(deployments(&namespace), all_of("1-0-0"));

    roll(&place);
    place.edit("release: \"1.0.0\"", "release: \"1.1.0\"");
    place.set("SHOP_FAULT_RELEASE", "1.1.0".to_owned());
    place.set("SHOP_FAULT", "slow".to_owned());
    let said = place.run_in(&place.demo(), &["staging", "k8s"]);
    assert_eq!(said.code, Some(3), "{}\n{}", said.out, said.err);
    let state = ended(&place, &said, RunOutcome::RolledBack);
    assert_eq!(state.clients["client"].failed, 0, "{:?}", state.clients);
    let shares_of_fault = shares(&place);
    assert_eq!(shares_of_fault.first(), Some(&50), "{shares_of_fault:?}");
    assert_eq!(shares_of_fault.last(), Some(&0), "{shares_of_fault:?}");
    assert_eq!(deployments(&namespace), all_of("1-0-0"));

    place.set("SHOP_FAULT", "none".to_owned());
    let mut killed = Deploying::begin_in(&place, &place.demo(), &["staging", "k8s"]);
    killed.until("traffic of storefront: 1.0.0 50 %");
    killed.kill();
    let held = Held::for_time(GONE);
    let said = place.run_in(&place.demo(), &["resume"]);
    succeeded(&said);
    // New pods are needed, which nobody starts meanwhile.
    assert!(held.is_none_or(|held| !held.lasts()));
    let state = ended(&place, &said, RunOutcome::Succeeded);
    assert_eq!(state.clients["client"].failed, 0, "{:?}", state.clients);
    assert!(state.rehearsed.is_some(), "the rollback was rehearsed");
    assert_eq!(shares(&place), [50, 0, 50, 100]);
    assert_eq!(deployments(&namespace), all_of("1-1-0"));
    succeeded(&run(&place, &["--stop"]));
}

#[test]
fn a_run_that_was_killed_while_traffic_was_split_is_resumed_outlasts_the_api_server_and_blue_green_follows()
 {
    let namespace = Namespace::new("killed");
    let mut kubeconfig = namespace.account();
    let way = Way::before(&mut kubeconfig);
    let place = place(&kubeconfig);
    succeeded(&run(&place, &["--to", "1.0.0"]));
    place.edit("release: \"1.0.0\"", "release: \"1.1.0\"");
    let mut first = Deploying::begin_in(&place, &place.demo(), &["staging", "k8s"]);
    first.until("traffic of storefront: 1.0.0 67 %");
    first.kill();
    let mut second = Deploying::begin_in(&place, &place.demo(), &["resume"]);
    second.until("traffic of storefront: 1.0.0 50 %");
    way.close_for(GONE);
    let resumed = second.end();
    succeeded(&resumed);
    assert!(
        way.refused() > 0,
        "nobody asked for the API server meanwhile"
    );
    let told = "the cluster's API server did not answer for";
    assert!(resumed.out.contains(told), "{}", resumed.out);
    let state = ended(&place, &resumed, RunOutcome::Succeeded);
    assert_eq!(state.clients["client"].failed, 0, "{:?}", state.clients);
    assert_eq!(deployments(&namespace), all_of("1-1-0"));

    place.edit("release: \"1.1.0\"", "release: \"1.0.0\"");
    place.edit(
        CANARY,
        "      kind: blue-green\n      steps: [{ percent: 100, soak: 3s }]\n",
    );
    let said = place.run_in(&place.demo(), &["staging", "k8s"]);
    succeeded(&said);
    let state = ended(&place, &said, RunOutcome::Succeeded);
    assert_eq!(state.clients["client"].failed, 0, "{:?}", state.clients);
    assert_eq!(deployments(&namespace), all_of("1-0-0"));
    succeeded(&run(&place, &["--stop"]));
}

#[test]
fn a_release_of_which_services_have_no_pod_left_is_left_for_the_one_before() {
    let (namespace, place) = stage("ill");
    succeeded(&run(&place, &[]));
    // Users get no answer, and what replaces the one service needs the other to get ready.
    for name in ["storefront", "orders"] {
        let deployment = format!("deployment/{name}-1-1-0");
        namespace.kubectl(&["scale", &deployment, "--replicas=0"]);
        namespace.kubectl(&["rollout", "status", &deployment, "--timeout=60s"]);
    }
    let back = place.run_in(&place.demo(), &["rollback", "--reason", "nothing answers"]);
    succeeded(&back);
    let state = ended(&place, &back, RunOutcome::Succeeded);
    let all = [("1.0.0".parse().unwrap(), 100)].into();
    for (service, (served, ..)) in &state.traffic {
        assert_eq!(served, &all, "{service}");
    }
    assert_eq!(deployments(&namespace), all_of("1-0-0"));
    succeeded(&run(&place, &["--stop"]));
}

/// The images are made on an engine that is not the nodes'. Of somebody else's cluster nothing is known that nodes and
/// this machine could both reach: there this is not tried.
#[test]
fn nodes_pull_the_images_of_the_demonstration_from_a_registry() {
    let (namespace, mut place) = stage("registry");
    let Some(kubelet) = kubelet::of_the_stage() else {
        eprintln!("not run: the cluster is somebody else's");
        return;
    };
    place.set("DOCKER_HOST", crate::stage::docker());
    let registry = Registry::start(&place);
    let _of_the_node = registry.also_beside(kubelet);
    let named = ["--registry", &registry.address, "--to", "1.0.0"];
    let said = run(&place, &named);
    succeeded(&said);
    let image = format!("{}/shop:1.0.0", registry.address);
    assert!(
        said.out.contains(&format!("Pushed: {image}, ")),
        "{}",
        said.out
    );
    let format = "--format={{ index .RepoDigests 0 }}";
    let pushed = crate::docker::docker(&["image", "inspect", format, &image]);
    let pods = namespace.get(&namespace.path("/api/v1", "pods"));
    let pods = pods["items"].as_array().unwrap();
    assert_eq!(pods.len(), 6);
    for pod in pods {
        let container = &pod["status"]["containerStatuses"][0];
        assert_eq!(container["image"], image.as_str());
        let id = container["imageID"].as_str().unwrap();
        assert!(id.ends_with(&pushed), "{id} is not {pushed}");
    }
    succeeded(&run(&place, &["--stop"]));
}

#[test]
fn what_cannot_be_deployed_is_refused_and_nothing_has_begun() {
    let (namespace, mine) = stage("refused");
    let refused = |place: &Place, words: &[&str]| {
        let said = run(place, &["--to", "1.0.0"]);
        assert_eq!(said.code, Some(1), "{}\n{}", said.out, said.err);
        for word in words {
            assert!(said.err.contains(word), "`{word}` is not in {}", said.err);
        }
        assert!(place.demo_runs().is_empty(), "no run has begun");
        // Nothing that could be stopped.
        std::fs::remove_dir_all(place.demo()).unwrap();
    };
    let mut elsewhere = namespace.kubeconfig(None);
    elsewhere["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1".into();
    refused(
        &place(&elsewhere),
        &["CD0530", "127.0.0.1:1", "kubectl version"],
    );
    let mut missing = namespace.kubeconfig(None);
    missing["contexts"][0]["context"]["namespace"] = "not-there".into();
    refused(
        &place(&missing),
        &["CD0531", "not-there", "kubectl create namespace"],
    );
    let nobody = namespace.kubeconfig(Some("nobody"));
    refused(
        &place(&nobody),
        &["CD0532", "list deployments", "templates/kubernetes/"],
    );
    let path = namespace.path("/api/v1", "services");
    let theirs = json!({
        "metadata": { "name": "catalog" },
        "spec": { "selector": { "app": "theirs" }, "ports": [{ "port": 80 }] },
    });
    namespace.post(&path, &theirs);
    refused(&mine, &["CD0526", "the name catalog is taken"]);
    namespace.kubectl(&["delete", "service", "catalog"]);

    // The image of one service may change under its name.
    mine.lay_out_with_little_load();
    let compose = include_str!("../../../../shop/compose.yaml");
    let pinned = "shop:${CODE_DEPLOY_RELEASE:-1.0.0}\n    command: [\"shop\", \"catalog\"]";
    assert!(compose.contains(pinned), "{compose}");
    let unpinned = compose.replace(pinned, "shop:latest\n    command: [\"shop\", \"catalog\"]");
    mine.write("code-deploy-demo/compose.yaml", unpinned);
    let stop = "overrides: { failed: note, unpinned_images: stop }";
    mine.edit("overrides: { failed: note }", stop);
    refused(
        &mine,
        &[
            "CD0437",
            "shop:latest of catalog (compose.yaml:",
            "unpinned_images",
        ],
    );

    // What the API server would refuse to store is known before anything is begun.
    let quotas = namespace.path("/api/v1", "resourcequotas");
    let none = json!({
        "metadata": { "name": "none" },
        "spec": { "hard": { "count/deployments.apps": "0" } },
    });
    namespace.post(&quotas, &none);
    let counted = "jsonpath={.status.hard}";
    while namespace
        .kubectl(&["get", "resourcequota", "none", "-o", counted])
        .is_empty()
    {
        std::thread::yield_now();
    }
    refused(&mine, &["CD0539", "exceeded quota"]);
    mine.lay_out_with_little_load();
    bring(
        &mine,
        &OWN.replace("kind: NetworkPolicy", "kind: StatefulSet"),
    );
    refused(&mine, &["CD0402", "k8s/own.yaml:7: ", "does not judge"]);
    assert_eq!(deployments(&namespace), []);
}

#[test]
fn users_who_come_through_a_gateway_are_split_by_weight_and_a_killed_run_is_resumed() {
    let (namespace, mut place) = stage("gateway");
    let certificate = terminator::certificate(place.path(), "gateway");
    place.set("SSL_CERT_FILE", certificate.display().to_string());
    let gateway = Gateway::play(&namespace, &certificate);
    place.edit(CANARY, EXACT);
    place.edit("host_aliases: true\n", &format!(
        "host_aliases: true\n      gateway: {{ name: public, routes: {{ storefront: {{ url: '{}' }} }} }}\n",
        gateway.url()
    ));
    // What users do not reach is split by pods: a quarter is one of four.
    let more = "    policy: dev\n    replicas: { catalog: 3, orders: 3 }\n";
    place.edit("    policy: dev\n", more);
    let said = run(&place, &["--to", "1.0.0"]);
    succeeded(&said);
    assert!(said.out.contains(&gateway.url()), "{}", said.out);
    place.edit("release: \"1.0.0\"", "release: \"1.1.0\"");
    let planned = place.run_in(
        &place.demo(),
        &["--json", "plan", "-e", "staging", "-t", "k8s"],
    );
    let told = "to the release with the larger share at 25 %";
    assert!(planned.out.contains(told), "{}", planned.out);
    let mut first = Deploying::begin_in(&place, &place.demo(), &["staging", "k8s"]);
    first.until("traffic of storefront: 1.0.0 75 %");
    first.kill();
    let resumed = place.run_in(&place.demo(), &["resume"]);
    succeeded(&resumed);
    let state = ended(&place, &resumed, RunOutcome::Succeeded);
    let client = &state.clients["client"];
    assert_eq!(client.failed, 0, "{client:?}");
    assert!(client.releases["1.1.0"].answered > 0, "{client:?}");
    assert!(state.rehearsed.is_some(), "the rollback was rehearsed");
    let split = &state.items[&"3.4.5".parse().unwrap()];
    assert!(matches!(split.verdict, Verdict::Met { .. }), "{split:?}");
    assert_eq!(shares(&place), [25, 0, 25, 100]);
    let quarter = "storefront-1-0-0 75, storefront-1-1-0 25";
    let (back, on) = ("storefront-1-0-0 100", "storefront-1-1-0 100");
    let whole = "storefront 1";
    let expected = [whole, quarter, back, whole, quarter, on, whole];
    assert_eq!(gateway.seen(), expected);
    succeeded(&run(&place, &["--stop"]));
    let left = namespace.kubectl(&["get", "httproutes.gateway.networking.k8s.io", "-o=name"]);
    assert_eq!(left.trim(), "");
}
