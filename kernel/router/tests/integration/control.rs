use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use code_deploy_router::{BackendAddress, Error, HealthCheck, ServiceConfig};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, UnixStream};

use crate::kit::{App, LIMIT, Router, lease, refused};

#[tokio::test]
async fn socket_and_files_are_for_their_owner_alone() {
    let router = Router::start().await;
    router.service("web").await;
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&router.config.control_socket), 0o600);
    assert_eq!(mode(&router.config.state_file), 0o600);
    assert_eq!(mode(router.config.control_socket.parent().unwrap()), 0o700);
    let state = std::fs::read_to_string(&router.config.state_file).unwrap();
    assert!(!state.contains(crate::kit::TOKEN));
}

#[tokio::test]
async fn no_weights_at_all_take_a_service_out_of_service() {
    let app = App::start("app").await;
    let router = Router::start().await;
    router.service("web").await;
    router.release("web", "1.0.0", &[&app]).await;
    router.weights("web", &[("1.0.0", 100)]).await.unwrap();
    router.weights("web", &[]).await.unwrap();
    let weights = router.status().await.services["web"].weights.clone();
    assert!(weights.values().all(|weight| *weight == 0), "{weights:?}");
}

#[tokio::test]
async fn a_refused_request_changes_nothing_in_memory_or_on_disk() {
    let app = App::start("app").await;
    let router = Router::start().await;
    let address = router.service("web").await;
    router.release("web", "1.0.0", &[&app]).await;
    router.weights("web", &[("1.0.0", 100)]).await.unwrap();
    let before = router.status().await;
    let disk = std::fs::read(&router.config.state_file).unwrap();
    let control = &router.control;
    let limit = Duration::from_millis(10);

    refused(router.weights("web", &[("1.0.0", 99)]).await, "bad-weights");
    refused(
        router.weights("web", &[("1.0.0", 101)]).await,
        "bad-weights",
    );
    refused(
        router.weights("web", &[("1.0.0", 90), ("9.9.9", 10)]).await,
        "no-such-release",
    );
    refused(
        router.weights("nope", &[("1.0.0", 100)]).await,
        "no-such-service",
    );
    refused(
        control.remove_release("web", "9.9.9", limit).await,
        "no-such-release",
    );
    refused(
        control.remove_release("nope", "1.0.0", limit).await,
        "no-such-service",
    );
    refused(
        control.remove_service("nope", limit).await,
        "no-such-service",
    );
    refused(
        control.drain("web", "nope", limit).await,
        "no-such-instance",
    );
    refused(
        control.put_release("web", "1.1.0", Vec::new()).await,
        "bad-backends",
    );
    refused(
        control.put_release("web", "a b", vec![app.backend()]).await,
        "bad-name",
    );
    refused(
        control
            .put_release("web", "1.1.0", vec![app.backend()])
            .await,
        "instance-taken",
    );
    let many = (0..65)
        .map(|n| BackendAddress::new(format!("n{n}"), app.address))
        .collect();
    refused(
        control.put_release("web", "1.1.0", many).await,
        "bad-backends",
    );
    refused(
        control.wait_healthy("web", "9.9.9", limit).await,
        "no-such-release",
    );
    refused(
        control.lease(Some(lease("web", "9.9.9", LIMIT))).await,
        "no-such-release",
    );
    refused(
        control
            .lease(Some(lease("web", "1.0.0", Duration::ZERO)))
            .await,
        "bad-lease",
    );
    refused(control.record(Some("relative".into())).await, "bad-path");
    refused(
        control.record(Some("/proc/nothing/here".into())).await,
        "cannot-record",
    );
    let put = async |change: fn(&mut ServiceConfig)| {
        let mut config = ServiceConfig::new("web", "127.0.0.1:0".parse().unwrap());
        change(&mut config);
        control.put_service(config).await
    };
    refused(put(|c| c.name = "no/slash".into()).await, "bad-name");
    refused(
        put(|c| c.listen = "0.0.0.0:0".parse().unwrap()).await,
        "bad-config",
    );
    refused(
        put(|c| c.timeouts.connect = Duration::ZERO).await,
        "bad-config",
    );
    refused(
        put(|c| c.health = Some(HealthCheck::new("no-slash"))).await,
        "bad-config",
    );
    refused(
        put(|c| c.override_token_sha256 = Some("short".into())).await,
        "bad-config",
    );

    let mut after = router.status().await;
    after.services.get_mut("web").unwrap().connections = before.services["web"].connections;
    assert_eq!(after, before);
    assert_eq!(std::fs::read(&router.config.state_file).unwrap(), disk);
    assert_eq!(router.get(address, "/id").await.status, 200);
}

#[tokio::test]
async fn a_port_that_is_taken_is_refused_and_the_old_one_goes_on() {
    let app = App::start("app").await;
    let router = Router::start().await;
    let address = router.service("web").await;
    router.release("web", "1.0.0", &[&app]).await;
    router.weights("web", &[("1.0.0", 100)]).await.unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = ServiceConfig::new("web", taken.local_addr().unwrap());
    let error = router.control.put_service(config).await.unwrap_err();
    assert!(
        matches!(&error, Error::Refused { code, .. } if code == "listen"),
        "{error}"
    );
    assert_eq!(router.get(address, "/id").await.status, 200);
    assert_eq!(router.status().await.services["web"].address, address);
}

#[tokio::test]
async fn settings_change_without_moving_the_listener_and_a_new_port_moves_it() {
    let app = App::start("app").await;
    let router = Router::start().await;
    let address = router.service("web").await;
    router.release("web", "1.0.0", &[&app]).await;
    router.weights("web", &[("1.0.0", 100)]).await.unwrap();
    let same = router
        .service_with("web", |c| c.timeouts.response = Duration::from_millis(30))
        .await;
    assert_eq!(same, address);
    assert_eq!(
        router.get(address, "/gated").await.reason(),
        Some("response-timeout")
    );
    let free = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    assert_eq!(router.service_with("web", |c| c.listen = free).await, free);
    assert_eq!(router.get(free, "/id").await.text(), "app");
    router.control.remove_service("web", LIMIT).await.unwrap();
    assert!(router.status().await.services.is_empty());
}

#[tokio::test]
async fn lines_that_are_no_requests_are_answered_as_errors_and_the_connection_goes_on() {
    let router = Router::start().await;
    let stream = UnixStream::connect(&router.config.control_socket)
        .await
        .unwrap();
    let mut stream = BufReader::new(stream);
    let bad = [
        "",
        "{",
        "[]",
        "{\"op\":\"dance\"}",
        "{\"op\":\"events\"}",
        "{\"op\":\"lease\",\"leese\":1}",
    ];
    for line in bad {
        stream
            .write_all(format!("{line}\n").as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_line(&mut answer).await.unwrap();
        assert!(
            answer.starts_with("{\"error\":{\"code\":\"bad-request\""),
            "{line}: {answer}"
        );
    }
    stream.write_all(b"{\"op\":\"status\"}\n").await.unwrap();
    let mut answer = String::new();
    stream.read_line(&mut answer).await.unwrap();
    assert!(answer.starts_with("{\"ok\":{"), "{answer}");
}

#[tokio::test]
async fn a_router_that_is_not_there_is_named_by_its_socket() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    let error = code_deploy_router::ControlClient::new(&socket)
        .status()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Control { .. }));
    assert!(error.to_string().contains(socket.to_str().unwrap()));
}
