//! The stage's Kubernetes cluster: what tests of deployments to it stand on.

mod cluster;
mod deploying;
mod faults;
mod foreign;
mod gateway;
mod killed;
mod node;
mod pages;
mod refusals;
#[path = "../../../../kernel/engine/tests/outside_client/terminator.rs"]
mod terminator;
mod way;

use cluster::{Image, Namespace};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

const REPLICAS: usize = 3;
/// How long a request may take.
const LIMIT: Duration = Duration::from_secs(5);
/// How long it may take until each pod has answered: connections are dealt out at random, and the
/// proxy learns of pods a while after the API server.
const ALL: Duration = Duration::from_secs(30);

#[test]
fn a_deployment_from_scratch_becomes_ready_is_served_and_rolls() {
    let image = Image::new();
    let namespace = Namespace::new("rolls");
    let deployments = namespace.path("/apis/apps/v1", "deployments");
    namespace.post(&deployments, &deployment(&image.name));
    let service = namespace.post(&namespace.path("/api/v1", "services"), &service());
    let address = service["spec"]["clusterIP"].as_str().unwrap().to_owned();
    rolled_out(&namespace);
    assert_eq!(ready(&namespace, &deployments), REPLICAS);
    assert_eq!(answers(&address, "1").len(), REPLICAS);

    namespace.kubectl(&["set", "env", "deployment/server", "RELEASE=2"]);
    rolled_out(&namespace);
    assert_eq!(ready(&namespace, &deployments), REPLICAS);
    assert_eq!(answers(&address, "2").len(), REPLICAS);

    let events = namespace.get(&namespace.path("/api/v1", "events"));
    let started = |event: &&Value| event["reason"] == "Started";
    let started = events["items"].as_array().unwrap().iter().filter(started);
    assert!(started.count() >= 2 * REPLICAS, "{events}");
}

#[test]
fn objects_are_read_and_written_as_json() {
    let namespace = Namespace::new("json");
    let path = |kind: &str| namespace.path("/api/v1", kind);
    for (kind, plural, key, value) in [
        ("ConfigMap", "configmaps", "data", "text"),
        ("Secret", "secrets", "stringData", "text"),
    ] {
        let sent =
            json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "a"}, key: {"k": value}});
        let made = namespace.post(&path(plural), &sent);
        assert_eq!(made["metadata"]["name"], "a");
        let pretty = format!("{}?pretty=true", path(plural));
        let listed = namespace.get(&pretty);
        let names = listed["items"].as_array().unwrap().iter();
        assert!(names.clone().any(|item| item["metadata"]["name"] == "a"));
    }
}

#[test]
fn a_role_gives_what_it_names_and_nothing_else() {
    let namespace = Namespace::new("role");
    assert!(!namespace.may("deployer", "create", "deployments.apps"));
    namespace.kubectl(&[
        "create",
        "role",
        "deployer",
        "--verb=create",
        "--resource=deployments.apps",
    ]);
    namespace.kubectl(&[
        "create",
        "rolebinding",
        "deployer",
        "--role=deployer",
        "--user=deployer",
    ]);
    // The API server sees a new binding a moment after it is made.
    let end = Instant::now() + Duration::from_secs(30);
    while !namespace.may("deployer", "create", "deployments.apps") {
        assert!(Instant::now() < end, "the role gives nothing");
    }
    assert!(!namespace.may("deployer", "delete", "deployments.apps"));
    assert!(!namespace.may("deployer", "list", "secrets"));
}

fn deployment(image: &str) -> Value {
    let probe = json!({"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "server"},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": {"app": "server"}},
            "template": {
                "metadata": {"labels": {"app": "server"}},
                "spec": {
                    "automountServiceAccountToken": false,
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{
                        "name": "server", "image": image, "imagePullPolicy": "Never",
                        "env": [
                            {"name": "RELEASE", "value": "1"},
                            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                        ],
                        "readinessProbe": probe,
                    }],
                },
            },
        },
    })
}

fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "server"},
        "spec": {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 8080}]},
    })
}

#[track_caller]
fn rolled_out(namespace: &Namespace) {
    namespace.kubectl(&["rollout", "status", "deployment/server", "--timeout=120s"]);
}

#[track_caller]
fn ready(namespace: &Namespace, deployments: &str) -> usize {
    let seen = namespace.get(&format!("{deployments}/server"));
    seen["status"]["readyReplicas"].as_u64().unwrap() as usize
}

/// Returns the pods that answer at an address; a while after a change all of them are of the release.
#[track_caller]
fn answers(address: &str, release: &str) -> BTreeSet<String> {
    let mut pods = BTreeSet::new();
    let end = Instant::now() + ALL;
    while Instant::now() < end {
        let said = ask(address).unwrap_or_default();
        match said
            .rsplit_once("\r\n\r\n")
            .and_then(|(_, body)| body.split_once(' '))
        {
            Some((of, pod)) if of == release => {
                pods.insert(pod.to_owned());
            }
            // The proxy learns of a change a moment after the API server.
            _ => pods.clear(),
        }
        if pods.len() == REPLICAS {
            break;
        }
    }
    pods
}

fn ask(address: &str) -> std::io::Result<String> {
    let address = format!("{address}:80").parse().unwrap();
    let mut stream = std::net::TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: server\r\n\r\n")?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(said)
}
