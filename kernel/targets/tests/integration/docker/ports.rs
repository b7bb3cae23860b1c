//! Ports of the machine that services are to have, looked at before a run begins.

use std::collections::BTreeMap;
use std::net::TcpListener;

use code_deploy_engine::target::{Heading, Target as _, TargetError};

use super::engine::{COMPOSE, GRACE, Stage};
use crate::stage::text;

/// Has `web` published there from now on.
fn publish(stage: &Stage, at: &str) {
    let image = format!("{}:1", stage.application);
    let compose = COMPOSE.replace("IMAGE", &image) + &format!("    ports: ['{at}:8080']\n");
    std::fs::write(stage.folder.path().join("compose.yaml"), compose).unwrap();
}

async fn admit(stage: &Stage) -> Result<(), TargetError> {
    let replicas: BTreeMap<String, u32> = ["api", "web"].map(|name| (name.to_owned(), 1)).into();
    let release = "1.0.0".parse().unwrap();
    let target = stage.target();
    target.admit(&release, &replicas, Heading::Forward).await
}

#[track_caller]
fn refused(admitted: Result<(), TargetError>, words: &str) {
    let error = admitted.unwrap_err();
    assert_eq!(error.code, "CD0515", "{}", text(&error));
    assert!(error.what.contains(words), "{}", text(&error));
}

#[tokio::test]
async fn a_port_that_somebody_has_is_refused_before_anything_is_made() {
    let stage = Stage::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    publish(&stage, &port.to_string());
    let words = format!("port {port} of this machine cannot be had");
    refused(admit(&stage).await, &words);
    assert_eq!(stage.containers(), Vec::<String>::new());
    drop(listener);
    admit(&stage).await.unwrap();
    assert_eq!(stage.containers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_router_stays_at_its_port_and_another_is_refused() {
    let stage = Stage::new().await;
    let target = stage.opened().await;
    let observed = target.observe().await.unwrap();
    let mut addresses = observed.addresses.iter();
    let web = addresses.find(|one| one.service == "web").unwrap();
    let port = web.address.port();
    publish(&stage, &port.to_string());
    admit(&stage).await.unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = free.local_addr().unwrap().port();
    drop(free);
    publish(&stage, &other.to_string());
    let words =
        format!("is published at 127.0.0.1:{port}, and the deployment asks for port {other}");
    refused(admit(&stage).await, &words);
    target.remove_all(GRACE).await.unwrap();
    admit(&stage).await.unwrap();
}

#[tokio::test]
async fn two_services_that_are_to_have_one_port_are_refused() {
    let stage = Stage::new().await;
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    publish(&stage, &port.to_string());
    let deploy = stage.folder.path().join("deploy.yaml");
    let routed = std::fs::read_to_string(&deploy).unwrap().replace(
        "  web: *service\n",
        "  web: { probes: { readiness: /readyz } }\n",
    );
    let routed = routed.replace(
        "liveness: /livez }\n",
        &format!("liveness: /livez }}\n    routing: {{ port: {port} }}\n"),
    );
    std::fs::write(&deploy, routed).unwrap();
    let words = format!("port {port} of this machine is to be that of api and of web");
    refused(admit(&stage).await, &words);
}
