//! Routers in containers that are of another build than the program that deploys.

use std::path::{Path, PathBuf};

use code_deploy_engine::target::Target as _;
use code_deploy_record::RunsFolder;
use code_deploy_router::{ControlClient, RouterConfig, program_build};

use super::engine::{GRACE, Stage, inspect, until};
use crate::asking::{Asking, Crowd};
use crate::stage::{PROGRAM, address, another_build, eventually, get, kill, shares, wanted};

fn environment(stage: &Stage) -> PathBuf {
    let runs = RunsFolder::of_project(&stage.spec().project);
    runs.path().join("docker/dev")
}

fn control(stage: &Stage, service: &str) -> ControlClient {
    let config = environment(stage).join(format!("routers/{service}/config.json"));
    let config: RouterConfig = serde_json::from_slice(&std::fs::read(config).unwrap()).unwrap();
    ControlClient::new(config.control_socket)
}

async fn build(stage: &Stage, service: &str) -> Option<String> {
    control(stage, service).build().await.ok().flatten()
}

#[tokio::test]
async fn a_router_is_upgraded_while_clients_ask_and_docker_starts_the_upgraded_one_again() {
    let stage = Stage::new().await;
    let second = another_build(stage.folder.path(), "second");
    let first = stage.opened().await;
    first.start(&wanted("web", "1.0.0", 1)).await.unwrap();
    let all = shares("web", &[("1.0.0", 100)]);
    first.set_traffic(&all).await.unwrap();
    let before = first.observe().await.unwrap();
    let web = address(&before, "web").parse().unwrap();
    let own = program_build(Path::new(PROGRAM)).unwrap();
    assert_eq!(build(&stage, "web").await, Some(own));
    let crowd = Crowd::at(web, "/livez");
    crowd.more(20).await;
    let mut slow = Asking::at(web);
    let slow = crowd
        .tracker
        .spawn(async move { slow.ask("/slow?ms=1500").await });

    let next = stage.target_by(&second, stage.folder.path().join("run"));
    next.open(&stage.services()).await.unwrap();
    crowd.more(20).await;
    crowd.go().await;
    assert_eq!(slow.await.unwrap().unwrap(), 200);
    let wanted = program_build(&second).unwrap();
    for service in ["api", "web"] {
        assert_eq!(build(&stage, service).await.as_ref(), Some(&wanted));
    }
    let told = next.events().await.unwrap();
    let upgraded = |service: &str| {
        told.iter().any(|event| {
            event.service.as_deref() == Some(service)
                && event.text.contains("was upgraded while it served")
        })
    };
    assert!(upgraded("api") && upgraded("web"), "{told:?}");
    let after = next.observe().await.unwrap();
    assert_eq!(after.traffic, before.traffic);
    assert_eq!(after.addresses, before.addresses);

    // The container is the one of before, and Docker starts it again with the newest build.
    let router = format!("{}-dev-web-router", stage.application);
    assert_eq!(inspect(&router, "{{.RestartCount}}"), "0");
    let pid = || inspect(&router, "{{.State.Pid}}").parse::<u32>().unwrap();
    let host = pid();
    kill(host);
    until("another host", || ![0, host].contains(&pid())).await;
    eventually("the newest build again", || async {
        build(&stage, "web").await.filter(|build| *build == wanted)
    })
    .await;
    assert_eq!(get(&web.to_string(), "/env/RELEASE").await, "1.0.0");

    // A build that does not run leaves the one that serves.
    let third = stage.folder.path().join("third");
    let text = std::fs::read(&second).unwrap();
    std::fs::write(&third, &text[..1 << 16]).unwrap();
    let broken = stage.target_by(&third, stage.folder.path().join("run"));
    broken.open(&stage.services()).await.unwrap();
    let told = broken.events().await.unwrap();
    let failed = told
        .iter()
        .filter(|event| event.text.contains("was not upgraded"));
    assert_eq!(failed.count(), 2, "{told:?}");
    assert_eq!(build(&stage, "web").await.as_ref(), Some(&wanted));
    assert_eq!(get(&web.to_string(), "/env/RELEASE").await, "1.0.0");

    next.remove_all(GRACE).await.unwrap();
    assert_eq!(stage.containers(), Vec::<String>::new());
    assert!(!environment(&stage).join("programs").exists());
}
