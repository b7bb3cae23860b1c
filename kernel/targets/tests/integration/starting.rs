//! Opening services and starting instances.

use code_deploy_engine::target::Target as _;

use crate::stage::{Stage, address, get, shares, wanted};

#[tokio::test]
async fn opening_twice_keeps_the_same_addresses() {
    let stage = Stage::new();
    let target = stage.target();
    let first = target.open(&stage.services()).await.unwrap();
    assert!(first.iter().all(|service| service.address.port() != 0));
    assert_eq!(target.open(&stage.services()).await.unwrap(), first);
    assert_eq!(stage.target().open(&first).await.unwrap(), first);
    target.close().await.unwrap();
    assert_eq!(stage.processes(), Vec::<u32>::new());
}

#[tokio::test]
async fn started_instances_answer_through_the_router_and_are_observed() {
    let stage = Stage::new();
    let target = stage.opened().await;
    let started = target.start(&wanted("web", "1.0.0", 2)).await.unwrap();
    assert_eq!(started.len(), 2);
    target
        .set_traffic(&shares("web", &[("1.0.0", 100)]))
        .await
        .unwrap();
    let observed = target.observe().await.unwrap();
    let web = address(&observed, "web");
    let pids = [get(&web, "/pid").await, get(&web, "/pid").await];
    assert_ne!(pids[0], pids[1]);
    assert_eq!(observed.instances, started);
    for instance in &observed.instances {
        assert!(pids.contains(&instance.pid.unwrap().to_string()));
        assert!(instance.running);
        assert_eq!(instance.restarts, 0);
        assert!(observed.listening.contains(&instance.address));
        assert_ne!(instance.started.timestamp(), 0);
    }
}
