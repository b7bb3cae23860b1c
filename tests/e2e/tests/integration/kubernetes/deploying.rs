//! The demonstration in a namespace of a cluster: the same run, under the same client's eyes.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use code_deploy_record::{Catalog, RunOutcome, Verdict};
use serde_json::Value;

use super::cluster::{Image, Namespace, engine, promised};
use super::foreign::Foreign;
use super::gateway::Gateway;
use super::node::Process;
use super::pages;
use super::terminator;
use crate::docker::ended;
use crate::kit::{Place, Said};
use crate::registry::Registry;
use crate::steering::{Deploying, kept_old, shares};

/// What the demonstration's deployment file says of how traffic moves in `staging`.
const WATCHED: &str = "      kind: canary
      steps:
        - { percent: 33, soak: 6s }
        - { percent: 50, soak: 4s }
        - { percent: 100, soak: 3s }
";

/// The same in less time, which is what these tests have.
pub(super) const CANARY: &str = "      kind: canary
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
pub(super) const GONE: Duration = Duration::from_secs(20);

/// Manifests beside the Compose file.
pub(super) const OWN: &str = "apiVersion: apps/v1
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
pub(super) fn bring(place: &Place, own: &str) {
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
pub(super) fn stage(purpose: &str) -> (Namespace, Place) {
    let namespace = Namespace::new(purpose);
    let place = place(&namespace.account());
    (namespace, place)
}

/// Returns a place from which is deployed to the cluster of that kubeconfig.
pub(super) fn place(kubeconfig: &Value) -> Place {
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

/// Returns the host of the API server that a kubeconfig names.
#[track_caller]
pub(super) fn host_of(kubeconfig: &Value) -> String {
    let server = kubeconfig["clusters"][0]["cluster"]["server"]
        .as_str()
        .unwrap();
    let address = server.strip_prefix("https://").unwrap();
    let host = address.rsplit_once(':').map(|(host, _)| host);
    host.unwrap_or(address).to_owned()
}

pub(super) fn run(place: &Place, words: &[&str]) -> Said {
    place.run(&[&["staging", "k8s", "--demo"], words].concat())
}

#[track_caller]
pub(super) fn succeeded(said: &Said) {
    assert_eq!(said.code, Some(0), "{}\n{}", said.out, said.err);
}

/// Returns the Deployments of ours with their ready pods.
pub(super) fn deployments(namespace: &Namespace) -> Vec<(String, u64)> {
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

pub(super) fn all_of(release: &str) -> Vec<(String, u64)> {
    let names = ["catalog", "orders", "storefront"];
    names.map(|name| (format!("{name}-{release}"), 2)).into()
}

/// Goes back from the last run, which has deployed 1.1.0, by a run of its own.
#[track_caller]
pub(super) fn taken_back(place: &Place, namespace: &Namespace) {
    let back = place.run_in(&place.demo(), &["rollback", "--reason", "a drill"]);
    succeeded(&back);
    let state = ended(place, &back, RunOutcome::Succeeded);
    assert_eq!(state.clients["client"].failed, 0, "{:?}", state.clients);
    assert_eq!(deployments(namespace), all_of("1-0-0"));
}

/// Deploys under the policy of a staging environment: it asks for an approval, and that two named persons accept what
/// is not established. What is established needs neither.
fn accept_what_is_open(place: &Place) {
    let own = "    policy: dev\n    overrides: { failed: note }\n";
    place.edit(own, "    policy: staging\n");
    let accepted = Catalog::shipped().unwrap().items().map(|(_, item)| {
        let by = "by: Ben, reason: it is a demonstration, expires: 2099-12-31, approver: Anna";
        format!("  - {{ item: {}, {by} }}\n", item.id)
    });
    let waivers: String = accepted.collect();
    let next = "maintenance:\n";
    place.edit(next, &format!("waivers:\n{waivers}{next}"));
}

#[test]
fn the_demonstration_upgrades_by_canary_is_taken_back_and_leaves_others_alone() {
    let image = Image::new();
    let (namespace, mut place) = stage("canary");
    let beside = Namespace::new("beside");
    let foreign = Foreign::make([&namespace, &beside], &image);
    bring(&place, OWN);
    kustomize(&mut place);
    accept_what_is_open(&place);
    let said = run(&place, &["--yes"]);
    assert_eq!(said.code, Some(1), "{}\n{}", said.out, said.err);
    assert!(said.err.contains("create networkpolicies"), "{}", said.err);
    allow(&namespace);
    let said = run(&place, &["--yes"]);
    succeeded(&said);
    foreign.are_as_they_were("an upgrade");
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
    kept_old(&place);
    pages::tell_of_the_cluster(&place, &state, &namespace);
    assert_eq!(deployments(&namespace), all_of("1-1-0"));
    let selector = "-o=jsonpath={.spec.selector.code-deploy\\.release}";
    assert_eq!(
        namespace.kubectl(&["get", "service", "storefront", selector]),
        "1.1.0"
    );

    // Nobody is here who could be asked for an approval.
    place.edit("    policy: staging\n", "    policy: dev\n");
    taken_back(&place, &namespace);
    foreign.are_as_they_were("a rollback");

    let stopped = run(&place, &["--stop"]);
    succeeded(&stopped);
    foreign.are_as_they_were("everything was stopped");
    assert_eq!(deployments(&namespace), []);
    let claims = ["get", "networkpolicies,persistentvolumeclaims", "-o=name"];
    assert_eq!(
        namespace.kubectl(&claims),
        "persistentvolumeclaim/uploads\n"
    );
    let told = "delete persistentvolumeclaim uploads";
    assert!(stopped.out.contains(told), "{}", stopped.out);
    let left = namespace.kubectl(&["get", "services", "-o=name"]);
    assert_eq!(left, "service/others\n");
}

/// The images are made on an engine that is not the nodes'. Of somebody else's cluster nothing is known that nodes and
/// this machine could both reach: there this is not tried.
#[test]
fn nodes_pull_the_images_of_the_demonstration_from_a_registry() {
    let (namespace, mut place) = stage("registry");
    let Some(kubelet) = Process::Kubelet.of_the_stage() else {
        eprintln!("not run: the cluster is somebody else's");
        return;
    };
    place.set("DOCKER_HOST", crate::stage::docker());
    // Of the proxy that the environment names nothing is asked.
    place.set("HTTPS_PROXY", "http://127.0.0.1:1".to_owned());
    place.set("NO_PROXY", host_of(&namespace.kubeconfig(None)));
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
    let minor = namespace.get("/version")["minor"].clone();
    let minor = minor.as_str().unwrap().trim_end_matches('+');
    let is_old = minor.parse::<u32>().unwrap() < 30;
    let told = planned.out.contains("kubernetes/no-pause");
    assert_eq!(told, is_old, "{}", planned.out);
    let value: Value = serde_json::from_str(planned.out.trim()).unwrap();
    let mut changes = value["plan"]["changes"]["changes"]
        .as_array()
        .unwrap()
        .iter();
    let beside = |one: &&Value| one["kind"] == "Deployment" && one["beside"] == "storefront-1-0-0";
    let deployment = changes.find(beside).unwrap();
    assert_eq!(deployment["name"], "storefront-1-1-0", "{}", planned.out);
    assert_eq!(deployment["state"], "new", "{}", planned.out);
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
