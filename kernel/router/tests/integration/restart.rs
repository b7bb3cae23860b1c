use std::time::Duration;

use code_deploy_router::{ControlClient, Error, RouterConfig, ServiceConfig, run};
use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;

use crate::kit::{App, LIMIT, Router, fast_health};

#[tokio::test]
async fn a_restarted_router_serves_the_same_weights_on_the_same_port() {
    let (old, new) = (App::start("old").await, App::start("new").await);
    let router = Router::start().await;
    let address = router
        .service_with("web", |c| c.health = Some(fast_health()))
        .await;
    router.release("web", "1.0.0", &[&old]).await;
    router.release("web", "1.1.0", &[&new]).await;
    for release in ["1.0.0", "1.1.0"] {
        router
            .control
            .wait_healthy("web", release, LIMIT)
            .await
            .unwrap();
    }
    router.lease("web", "1.0.0").await;
    router
        .weights("web", &[("1.0.0", 80), ("1.1.0", 20)])
        .await
        .unwrap();
    let before = router.status().await;
    let router = Router::start_in(router.stop().await).await;
    let after = router.status().await;
    assert_eq!(after.services["web"].address, address);
    assert_eq!(
        after.services["web"].weights,
        before.services["web"].weights
    );
    assert_eq!(
        after.lease.unwrap().lease.stable,
        before.lease.unwrap().lease.stable,
    );
    let seen = new.requests();
    for _ in 0..100 {
        assert_eq!(router.get(address, "/id").await.status, 200);
    }
    assert_eq!(new.requests() - seen, 20);
}

#[tokio::test]
async fn requests_under_way_are_finished_before_the_router_stops() {
    let app = App::start("app").await;
    let router = Router::start().await;
    let address = router.service("web").await;
    router.release("web", "1.0.0", &[&app]).await;
    router.weights("web", &[("1.0.0", 100)]).await.unwrap();
    let slow = router.get(address, "/gated");
    let stop = async {
        app.waiting(1).await;
        router.control.shutdown(LIMIT).await.unwrap();
        app.shared.gate.add_permits(1);
    };
    let (slow, ()) = futures::future::join(slow, stop).await;
    assert_eq!(slow.text(), "app");
    router.stop().await;
}

#[tokio::test]
async fn what_goes_on_after_the_grace_time_is_cut() {
    let app = App::start("app").await;
    let router = Router::start().await;
    let address = router.service("web").await;
    router.release("web", "1.0.0", &[&app]).await;
    router.weights("web", &[("1.0.0", 100)]).await.unwrap();
    let slow = router.get(address, "/gated");
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{address}/ws"))
        .await
        .unwrap();
    let stop = async {
        app.waiting(1).await;
        router
            .control
            .shutdown(Duration::from_millis(50))
            .await
            .unwrap();
    };
    let (slow, ()) = futures::future::join(slow, stop).await;
    assert_eq!(
        (slow.status.as_u16(), slow.reason()),
        (503, Some("router-stopping"))
    );
    let end = tokio::time::timeout(LIMIT, socket.next()).await.unwrap();
    assert!(!matches!(end, Some(Ok(_))));
    router.stop().await;
}

#[tokio::test]
async fn a_second_router_with_the_same_state_is_refused() {
    let router = Router::start().await;
    let second = run(router.config.clone(), CancellationToken::new()).await;
    assert!(matches!(second, Err(Error::AlreadyRunning { .. })));
    router.control.status().await.unwrap();
}

#[tokio::test]
async fn a_state_file_of_another_kind_is_refused_and_left_alone() {
    let router = Router::start().await;
    let config = router.config.clone();
    let folder = router.stop().await;
    std::fs::write(&config.state_file, "{\"services\": 7}").unwrap();
    let started = run(config.clone(), CancellationToken::new()).await;
    assert!(matches!(started, Err(Error::StateUnreadable { .. })));
    assert_eq!(
        std::fs::read_to_string(&config.state_file).unwrap(),
        "{\"services\": 7}"
    );
    drop(folder);
}

#[tokio::test]
async fn a_socket_path_that_is_too_long_is_refused_with_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let long = folder
        .path()
        .join("d".repeat(60))
        .join("d".repeat(60))
        .join("control.sock");
    let config = RouterConfig::new(folder.path().join("state.json"), long.clone());
    let error = run(config, CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, Error::SocketPathTooLong { limit: 107, .. }));
    assert!(error.to_string().contains("at most 107"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let asked = ControlClient::new(long).status().await;
    assert!(matches!(asked, Err(Error::SocketPathTooLong { .. })));
}

#[tokio::test]
async fn a_folder_that_lets_others_in_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let open = folder.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = RouterConfig::new(open.join("state.json"), open.join("control.sock"));
    let error = run(config, CancellationToken::new()).await.unwrap_err();
    assert!(
        matches!(error, Error::FolderOpen { mode: 0o755, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn services_of_the_configuration_are_listened_for_and_known_ones_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("router");
    let mut config = RouterConfig::new(base.join("state.json"), base.join("control.sock"));
    let mut service = ServiceConfig::new("web", "127.0.0.1:0".parse().unwrap());
    config.services.push(service.clone());
    service.name = "api".to_owned();
    let mut addresses = Vec::new();
    for services in [1, 2] {
        let stop = CancellationToken::new();
        let control = ControlClient::new(&config.control_socket);
        let asked = async {
            crate::kit::eventually("it is up", || async { control.status().await.is_ok() }).await;
            let status = control.status().await.unwrap();
            assert_eq!(status.services.len(), services);
            addresses.push(status.services["web"].address);
            stop.cancel();
        };
        let (ended, ()) = futures::future::join(run(config.clone(), stop.clone()), asked).await;
        ended.unwrap();
        config.services.push(service.clone());
    }
    assert_eq!(addresses[0], addresses[1]);
}
