//! Traffic through routers in containers.

use code_deploy_engine::target::{Lease, Target as _};

use super::engine::{GRACE, Stage, docker, holds_files, inspect, until};
use crate::stage::{address, eventually, get, release, shares, wanted};

#[tokio::test]
async fn a_release_is_started_gets_traffic_shares_it_and_is_stopped() {
    let stage = Stage::new().await;
    let target = stage.opened().await;
    for service in ["api", "web"] {
        let started = target.start(&wanted(service, "1.0.0", 2)).await.unwrap();
        assert_eq!(started.len(), 2);
        let all = shares(service, &[("1.0.0", 100)]);
        target.set_traffic(&all).await.unwrap();
    }
    let observed = target.observe().await.unwrap();
    assert_eq!(observed.stable, Some(release("1.0.0")));
    let web = address(&observed, "web");
    assert_eq!(get(&web, "/env/RELEASE").await, "1.0.0");
    // A service finds another by the name that the Compose file gives it, through its router.
    assert_eq!(get(&web, "/ask/api").await, "1.0.0");
    assert!(observed.listening.iter().all(|one| one.ip().is_loopback()));

    target.start(&wanted("api", "1.1.0", 1)).await.unwrap();
    let lease = Lease {
        ttl: GRACE * 4,
        stable: release("1.0.0"),
    };
    target.renew_lease(Some(lease)).await.unwrap();
    let half = shares("api", &[("1.0.0", 50), ("1.1.0", 50)]);
    target.set_traffic(&half).await.unwrap();
    assert_eq!(target.traffic().await.unwrap()["api"], half["api"]);
    let api = address(&observed, "api");
    let mut seen = Vec::new();
    for _ in 0..10 {
        seen.push(get(&api, "/env/RELEASE").await);
    }
    seen.sort();
    assert_eq!(seen.iter().filter(|seen| *seen == "1.1.0").count(), 5);

    let all = shares("api", &[("1.1.0", 100)]);
    target.set_traffic(&all).await.unwrap();
    target.renew_lease(None).await.unwrap();
    let stopped = target.stop("api", &release("1.0.0"), GRACE).await.unwrap();
    assert_eq!((stopped.ended, stopped.forced, stopped.cut), (2, 0, 0));
    let logs = target.logs("api", &release("1.0.0")).await.unwrap();
    assert_eq!(logs.len(), 2);
    for log in logs {
        let text = std::fs::read_to_string(log.path).unwrap();
        assert!(text.contains("a line of the log"), "{text}");
        assert!(text.contains("asked to end"), "{text}");
    }
    target.remove_all(GRACE).await.unwrap();
    assert_eq!(stage.containers(), Vec::<String>::new());
    let label = format!("label=code-deploy.application={}", stage.application);
    let networks = docker(&["network", "ls", "--quiet", "--filter", &label]);
    assert_eq!(networks, "");
}

#[tokio::test]
async fn an_instance_that_docker_starts_again_keeps_its_place_and_is_told_of() {
    let stage = Stage::new().await;
    let target = stage.opened().await;
    let started = target.start(&wanted("api", "1.0.0", 1)).await.unwrap();
    let all = shares("api", &[("1.0.0", 100)]);
    target.set_traffic(&all).await.unwrap();
    target.events().await.unwrap();
    let api = address(&target.observe().await.unwrap(), "api");
    crate::stage::kill(started[0].pid.unwrap());
    let told = eventually("a restart that is told of", || async {
        let events = target.events().await.unwrap();
        let mut events = events.into_iter();
        events.find(|event| event.text.contains("started again by Docker"))
    });
    let told = told.await;
    assert_eq!(told.service.as_deref(), Some("api"));
    assert!(told.text.contains("exit code 137"), "{}", told.text);
    eventually("the router to reach it again", || async {
        let url = format!("http://{api}/livez");
        let client = code_deploy_engine::http::HttpClient::new();
        let answer = client.get(&url, GRACE).await.ok()?;
        answer.status.is_success().then_some(())
    })
    .await;
    let instances = target.observe().await.unwrap().instances;
    assert_eq!((instances[0].restarts, instances[0].running), (1, true));
}

#[tokio::test]
async fn a_router_that_was_killed_serves_again_as_before() {
    let stage = Stage::new().await;
    let target = stage.opened().await;
    target.start(&wanted("web", "1.0.0", 1)).await.unwrap();
    let all = shares("web", &[("1.0.0", 100)]);
    target.set_traffic(&all).await.unwrap();
    let web = address(&target.observe().await.unwrap(), "web");
    let router = format!("{}-dev-web-router", stage.application);
    docker(&["kill", &router]);
    until("the router to end", || {
        inspect(&router, "{{.State.Running}}") == "false"
    })
    .await;
    let recovered = target.recover().await.unwrap().unwrap();
    assert!(recovered.contains(&router), "{recovered}");
    assert_eq!(get(&web, "/env/RELEASE").await, "1.0.0");
    assert_eq!(target.traffic().await.unwrap()["web"], all["web"]);
    assert_eq!(target.recover().await.unwrap(), None);
}

#[tokio::test]
async fn a_router_whose_process_dies_is_back_by_itself_as_it_was_and_that_is_told() {
    let stage = Stage::new().await;
    let target = stage.opened().await;
    target.start(&wanted("web", "1.0.0", 1)).await.unwrap();
    let all = shares("web", &[("1.0.0", 100)]);
    target.set_traffic(&all).await.unwrap();
    target.events().await.unwrap();
    let before = target.observe().await.unwrap();
    let router = format!("{}-dev-web-router", stage.application);
    let pid = || inspect(&router, "{{.State.Pid}}").parse::<u32>().unwrap();
    let first = pid();
    crate::stage::kill(first);
    // Nobody asks for it: the engine starts it again.
    until("another router", || ![0, first].contains(&pid())).await;
    let after = target.observe().await.unwrap();
    assert_eq!(after.traffic, before.traffic);
    assert_eq!(after.addresses, before.addresses);
    assert_eq!(get(&address(&after, "web"), "/env/RELEASE").await, "1.0.0");
    let told = target.events().await.unwrap();
    let told: Vec<_> = told
        .iter()
        .filter(|one| one.text.contains(&router))
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].text.contains("restart 1"), "{told:?}");
    assert_eq!(target.recover().await.unwrap(), None);
}

#[tokio::test]
async fn a_session_with_another_folder_for_sockets_reaches_the_routers_and_ends_them() {
    let stage = Stage::new().await;
    let first = stage.opened().await;
    first.start(&wanted("web", "1.0.0", 1)).await.unwrap();
    let all = shares("web", &[("1.0.0", 100)]);
    first.set_traffic(&all).await.unwrap();
    let other = stage.folder.path().join("another-session");
    let second = stage.target_with_sockets_in(other.clone());
    assert_eq!(second.traffic().await.unwrap()["web"], all["web"]);
    second.open(&stage.services()).await.unwrap();
    second.remove_all(GRACE).await.unwrap();
    assert_eq!(stage.containers(), Vec::<String>::new());
    assert!(!other.exists());
    assert!(!holds_files(&stage.folder.path().join("run")));
    // Nothing runs any more: what is started next has its sockets where this session has them.
    let third = stage.target_with_sockets_in(other.clone());
    third.open(&stage.services()).await.unwrap();
    assert!(holds_files(&other));
    third.close().await.unwrap();
    assert!(!holds_files(&other));
}

#[tokio::test]
async fn what_a_killed_run_made_by_half_is_made_anew() {
    let stage = Stage::new().await;
    let label = |name: &str, value: &str| format!("code-deploy.{name}={value}");
    let folder = std::path::absolute(stage.folder.path()).unwrap();
    let mut labels = Vec::new();
    for (name, value) in [
        ("application", stage.application.as_str()),
        ("environment", "dev"),
        ("project", folder.to_str().unwrap()),
    ] {
        labels.extend(["--label".to_owned(), label(name, value)]);
    }
    let mut network = vec!["network".to_owned(), "create".to_owned()];
    network.extend(labels.clone());
    network.push(format!("{}-dev_default-probe", stage.application));
    docker(&network.iter().map(String::as_str).collect::<Vec<_>>());
    let router = format!("{}-dev-web-router", stage.application);
    let mut made = vec!["create".to_owned(), "--name".to_owned(), router.clone()];
    made.extend(labels);
    for (name, value) in [("part", "router"), ("service", "web")] {
        made.extend(["--label".to_owned(), label(name, value)]);
    }
    made.extend([format!("{}:1", stage.application), "idle".to_owned()]);
    let left = docker(&made.iter().map(String::as_str).collect::<Vec<_>>());
    let target = stage.opened().await;
    assert_ne!(inspect(&router, "{{.Id}}"), left);
    assert_eq!(target.observe().await.unwrap().addresses.len(), 2);
    target.remove_all(GRACE).await.unwrap();
    let label = format!("label=code-deploy.application={}", stage.application);
    let networks = docker(&["network", "ls", "--quiet", "--filter", &label]);
    assert_eq!(networks, "");
}
