//! Stopping instances and scaling them down.

use std::path::PathBuf;
use std::time::Duration;

use code_deploy_engine::spec::Restart;
use code_deploy_engine::target::Target as _;
use code_deploy_targets::LocalTarget;

use crate::stage::{
    LIMIT, Stage, address, eventually, get, kill, only_instance, release, shares, wanted,
    with_secret,
};

/// Two releases run, and 2.0.0 has no traffic any more but a request that began before.
async fn request_in_flight(target: &LocalTarget, ms: u32) -> tokio::task::JoinHandle<String> {
    target.start(&wanted("web", "1.0.0", 1)).await.unwrap();
    target.start(&wanted("web", "2.0.0", 1)).await.unwrap();
    let new = shares("web", &[("2.0.0", 100)]);
    target.set_traffic(&new).await.unwrap();
    let web = address(&target.observe().await.unwrap(), "web");
    let tasks = tokio_util::task::TaskTracker::new();
    let request = tasks.spawn(async move { get(&web, &format!("/slow?ms={ms}")).await });
    let logs = target.logs("web", &release("2.0.0")).await.unwrap();
    eventually("the request has reached the instance", || async {
        let log = std::fs::read_to_string(&logs[0].path).unwrap();
        log.contains("slow request begins").then_some(())
    })
    .await;
    let old = shares("web", &[("1.0.0", 100)]);
    target.set_traffic(&old).await.unwrap();
    request
}

#[tokio::test]
async fn stopping_lets_requests_in_flight_finish_and_leaves_nothing_but_the_log() {
    let stage = Stage::with(with_secret);
    let target = stage.opened().await;
    let request = request_in_flight(&target, 700).await;
    let stopped = target.stop("web", &release("2.0.0"), LIMIT).await.unwrap();
    assert_eq!((stopped.ended, stopped.forced, stopped.cut), (1, 0, 0));
    assert_eq!(request.await.unwrap(), "slow");
    let left = only_instance(&target).await;
    assert_eq!(left.release, release("1.0.0"));
    // The router and its keeper, one supervisor, one instance.
    assert_eq!(stage.processes().len(), 4);
    assert_eq!(stage.instance_folders().len(), 1);
    let logs = target.logs("web", &release("2.0.0")).await.unwrap();
    assert_eq!(stage.kept_logs(), [logs[0].path.clone()]);
    let log = std::fs::read_to_string(&logs[0].path).unwrap();
    assert!(log.contains("asked to end"), "{log}");
}

#[tokio::test]
async fn an_instance_that_ignores_the_wish_to_end_is_made_to_and_counted() {
    let stage = Stage::serving(&["ignore-term", "with-child"], Restart::Always);
    let target = stage.opened().await;
    target.start(&wanted("web", "1.0.0", 1)).await.unwrap();
    let grace = Duration::from_secs(1);
    let stopped = target.stop("web", &release("1.0.0"), grace).await.unwrap();
    assert_eq!((stopped.ended, stopped.forced), (0, 1));
    assert_eq!(stage.instance_folders(), Vec::<PathBuf>::new());
    target.close().await.unwrap();
    assert_eq!(stage.processes(), Vec::<u32>::new());
}

#[tokio::test]
async fn an_instance_whose_supervisor_was_killed_is_stopped_too() {
    let stage = Stage::serving(&["with-child"], Restart::Always);
    let target = stage.opened().await;
    target.start(&wanted("web", "1.0.0", 1)).await.unwrap();
    kill(stage.supervisors()[0]);
    target.stop("web", &release("1.0.0"), LIMIT).await.unwrap();
    target.close().await.unwrap();
    assert_eq!(stage.processes(), Vec::<u32>::new());
}

#[tokio::test]
async fn stopping_what_does_not_run_is_no_error() {
    let stage = Stage::new();
    let stopped = stage.target().stop("web", &release("1.0.0"), LIMIT).await;
    let stopped = stopped.unwrap();
    assert_eq!((stopped.ended, stopped.forced, stopped.cut), (0, 0, 0));
}

#[tokio::test]
async fn each_start_of_a_release_keeps_its_own_log() {
    let stage = Stage::new();
    let target = stage.opened().await;
    for _ in 0..2 {
        target.start(&wanted("web", "1.0.0", 1)).await.unwrap();
        target.start(&wanted("web", "1.0.0-rc", 1)).await.unwrap();
        target.stop("web", &release("1.0.0"), LIMIT).await.unwrap();
        target
            .stop("web", &release("1.0.0-rc"), LIMIT)
            .await
            .unwrap();
    }
    let logs = target.logs("web", &release("1.0.0")).await.unwrap();
    assert_eq!(logs.len(), 2);
    assert_eq!(stage.kept_logs().len(), 4);
}

#[tokio::test]
async fn scaling_down_keeps_the_first_instances_and_their_traffic() {
    let stage = Stage::new();
    let target = stage.opened().await;
    let started = target.start(&wanted("web", "1.0.0", 3)).await.unwrap();
    let all = shares("web", &[("1.0.0", 100)]);
    target.set_traffic(&all).await.unwrap();
    let version = release("1.0.0");
    let stopped = target.scale_down("web", &version, 1, LIMIT).await.unwrap();
    assert_eq!((stopped.ended, stopped.forced, stopped.cut), (2, 0, 0));
    assert_eq!(only_instance(&target).await, started[0]);
    let web = address(&target.observe().await.unwrap(), "web");
    for _ in 0..5 {
        assert_eq!(get(&web, "/pid").await, started[0].pid.unwrap().to_string());
    }
    let again = target.scale_down("web", &version, 1, LIMIT).await.unwrap();
    assert_eq!(again.ended, 0);
    assert_eq!(
        target
            .start(&wanted("web", "1.0.0", 2))
            .await
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn removing_all_stops_router_and_instances_of_every_release() {
    let stage = Stage::with(with_secret);
    let target = stage.opened().await;
    target.start(&wanted("web", "1.0.0", 2)).await.unwrap();
    target.start(&wanted("web", "2.0.0", 1)).await.unwrap();
    target.start(&wanted("api", "1.0.0", 1)).await.unwrap();
    let stopped = target.remove_all(Duration::from_secs(1)).await.unwrap();
    let ended: Vec<_> = stopped
        .iter()
        .map(|s| (s.service.as_str(), s.ended))
        .collect();
    assert_eq!(ended, [("api", 1), ("web", 2), ("web", 1)]);
    assert_eq!(stage.processes(), Vec::<u32>::new());
    assert_eq!(stage.instance_folders(), Vec::<PathBuf>::new());
    assert_eq!(stage.kept_logs().len(), 4);
    assert_eq!(target.remove_all(LIMIT).await.unwrap(), []);
}

#[tokio::test]
async fn removing_all_works_when_the_router_was_killed() {
    let stage = Stage::new();
    let target = stage.opened().await;
    target.start(&wanted("web", "1.0.0", 1)).await.unwrap();
    let mut routers = stage.processes();
    routers.retain(|pid| crate::stage::command_line(*pid).contains("internal\0router"));
    kill(routers[0]);
    let stopped = target.remove_all(Duration::from_secs(1)).await.unwrap();
    assert_eq!(stopped[0].ended, 1);
    assert_eq!(stage.processes(), Vec::<u32>::new());
}
