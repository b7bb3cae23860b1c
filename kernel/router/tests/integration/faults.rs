use std::net::SocketAddr;
use std::time::Duration;

use code_deploy_record::SampleReader;
use code_deploy_router::BackendAddress;
use http::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use crate::kit::{App, Router, eventually};

/// Returns an address at which nothing listens.
async fn dead() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
}

/// Listens, reads a request's head, writes some bytes and closes.
async fn breaking(bytes: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    TaskTracker::new().spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 4096];
            let _read = stream.read(&mut head).await;
            let _written = stream.write_all(bytes).await;
        }
    });
    address
}

async fn with(router: &Router, address: SocketAddr, apps: &[&App]) -> SocketAddr {
    let service = router.service("web").await;
    let bad = BackendAddress::new("bad", address);
    router
        .control
        .put_release("web", "1.0.0", vec![bad])
        .await
        .unwrap();
    if !apps.is_empty() {
        router.release("web", "1.0.0", apps).await;
    }
    router.weights("web", &[("1.0.0", 100)]).await.unwrap();
    service
}

#[tokio::test]
async fn no_request_is_lost_to_a_replica_that_is_not_there_whatever_its_method() {
    let app = App::start("app").await;
    let router = Router::start().await;
    let service = with(&router, dead().await, &[&app]).await;
    for round in 0..20 {
        let method = if round % 2 == 0 {
            Method::GET
        } else {
            Method::POST
        };
        let answer = router.send(method, service, "/echo", &[], "an order").await;
        assert_eq!(answer.text(), "an order");
    }
    let counts = router.status().await.services["web"].releases[0].counts;
    assert!(counts.retries > 0);
    assert_eq!((counts.requests, counts.failed), (20, 0));
}

#[tokio::test]
async fn a_request_that_may_have_been_carried_out_is_repeated_only_when_idempotent() {
    let app = App::start("app").await;
    let router = Router::start().await;
    let service = with(&router, breaking(b"").await, &[&app]).await;
    for _ in 0..8 {
        let answer = router
            .send(Method::PUT, service, "/echo", &[], "kept for a retry")
            .await;
        assert_eq!(answer.text(), "kept for a retry");
    }
    let alone = Router::start().await;
    let service = with(&alone, breaking(b"").await, &[]).await;
    let answer = alone
        .send(Method::POST, service, "/echo", &[], "an order")
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.reason()),
        (502, Some("connection-reset"))
    );
    assert_eq!(
        alone.status().await.services["web"].releases[0]
            .counts
            .retries,
        0
    );
}

#[tokio::test]
async fn nothing_is_repeated_once_a_byte_of_the_response_came() {
    let app = App::start("app").await;
    let router = Router::start().await;
    let service = with(&router, breaking(b"HTTP/1.1 200 O").await, &[]).await;
    let answer = router.get(service, "/id").await;
    assert_eq!(
        (answer.status.as_u16(), answer.reason()),
        (502, Some("connection-reset"))
    );
    assert_eq!(
        router.status().await.services["web"].releases[0]
            .counts
            .retries,
        0
    );
    drop(app);
}

#[tokio::test]
async fn a_response_that_breaks_off_reaches_the_client_as_broken_and_is_counted() {
    let router = Router::start().await;
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
    let service = with(&router, breaking(head).await, &[]).await;
    let answer = router.get(service, "/id").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text, None);
    let router = &router;
    eventually("it is counted", || async move {
        router.status().await.services["web"].releases[0]
            .counts
            .failed
            == 1
    })
    .await;
}

#[tokio::test]
async fn a_kept_connection_that_the_backend_closed_costs_no_request() {
    let router = Router::start().await;
    let service = router.service("web").await;
    let mut app = App::start("app").await;
    let address = app.address;
    router.release("web", "1.0.0", &[&app]).await;
    router.weights("web", &[("1.0.0", 100)]).await.unwrap();
    for _ in 0..5 {
        assert_eq!(router.get(service, "/id").await.status, 200);
        app.kill().await;
        app = App::start_at("app", address).await;
    }
    assert_eq!(router.get(service, "/id").await.status, 200);
}

#[tokio::test]
async fn a_slow_response_ends_with_504_and_its_reason() {
    let app = App::start("app").await;
    let router = Router::start().await;
    let service = router
        .service_with("web", |config| {
            config.timeouts.response = Duration::from_millis(50)
        })
        .await;
    router.release("web", "1.0.0", &[&app]).await;
    router.weights("web", &[("1.0.0", 100)]).await.unwrap();
    let answer = router.get(service, "/gated").await;
    assert_eq!(
        (answer.status.as_u16(), answer.reason()),
        (504, Some("response-timeout"))
    );
}

#[tokio::test]
async fn clients_that_break_off_or_stall_do_not_count_against_the_backend() {
    let app = App::start("app").await;
    let router = Router::start().await;
    let service = router
        .service_with("web", |config| {
            config.timeouts.response = Duration::from_millis(100);
            config.breaker.failures = 1;
        })
        .await;
    router.release("web", "1.0.0", &[&app]).await;
    router.weights("web", &[("1.0.0", 100)]).await.unwrap();
    let head = "POST /gated HTTP/1.1\r\nhost: web\r\ncontent-length: 100\r\n\r\nhalf";
    let mut breaks = TcpStream::connect(service).await.unwrap();
    breaks.write_all(head.as_bytes()).await.unwrap();
    app.waiting(1).await;
    drop(breaks);
    let mut stalls = TcpStream::connect(service).await.unwrap();
    stalls.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stalls.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    let router = &router;
    eventually("both are ended", || async move {
        router.status().await.services["web"].releases[0]
            .counts
            .requests
            == 2
    })
    .await;
    let release = &router.status().await.services["web"].releases[0];
    assert_eq!(
        (release.counts.failed, release.backends[0].breaker.as_str()),
        (0, "closed")
    );
}

#[tokio::test]
async fn a_service_without_releases_says_so() {
    let router = Router::start().await;
    let service = router.service("web").await;
    let answer = router.get(service, "/id").await;
    assert_eq!(
        (answer.status.as_u16(), answer.reason()),
        (503, Some("no-release"))
    );
}

#[tokio::test]
async fn the_breaker_opens_after_failures_in_a_row_and_a_probe_closes_it() {
    let address = dead().await;
    let router = Router::start().await;
    let service = router
        .service_with("web", |config| {
            config.breaker.failures = 3;
            config.breaker.open_for = Duration::from_millis(300);
        })
        .await;
    let backends = vec![BackendAddress::new("app", address)];
    router
        .control
        .put_release("web", "1.0.0", backends)
        .await
        .unwrap();
    router.weights("web", &[("1.0.0", 100)]).await.unwrap();
    for _ in 0..3 {
        let answer = router.get(service, "/id").await;
        assert_eq!(
            (answer.reason(), answer.header("x-release")),
            (Some("connect-failed"), Some("1.0.0"))
        );
    }
    assert_eq!(
        router.get(service, "/id").await.reason(),
        Some("no-healthy-backend")
    );
    let events = router.control.events(0).await.unwrap();
    assert_eq!(
        events
            .iter()
            .filter(|event| event.kind == "breaker-opened")
            .count(),
        1
    );
    let _app = App::start_at("app", address).await;
    // Whoever waits for the release is not led to nobody, and the first request is the probe.
    let waited = router
        .control
        .wait_healthy("web", "1.0.0", crate::kit::LIMIT);
    waited.await.unwrap();
    assert_eq!(router.get(service, "/id").await.status, 200);
    assert_eq!(
        router.status().await.services["web"].releases[0].backends[0].breaker,
        "closed"
    );
}

#[tokio::test]
async fn errors_of_the_application_pass_and_do_not_open_the_breaker() {
    let app = App::start("app").await;
    let router = Router::start().await;
    let service = with(&router, app.address, &[]).await;
    for _ in 0..10 {
        let answer = router.get(service, "/500").await;
        assert_eq!((answer.status.as_u16(), answer.reason()), (500, None));
        assert_eq!(answer.text(), "broken");
    }
    let release = &router.status().await.services["web"].releases[0];
    assert_eq!(release.counts.failed, 10);
    assert_eq!(release.backends[0].breaker, "closed");
}

#[tokio::test]
async fn when_a_release_has_no_instance_left_another_in_use_answers_and_the_samples_say_so() {
    let app = App::start("old").await;
    let router = Router::start().await;
    let service = router
        .service_with("web", |config| config.breaker.failures = 1)
        .await;
    router.release("web", "1.0.0", &[&app]).await;
    let bad = vec![BackendAddress::new("bad", dead().await)];
    router
        .control
        .put_release("web", "1.1.0", bad)
        .await
        .unwrap();
    router.lease("web", "1.0.0").await;
    router
        .weights("web", &[("1.0.0", 50), ("1.1.0", 50)])
        .await
        .unwrap();
    let folder = router.folder.as_ref().unwrap().path().join("samples");
    router.control.record(Some(folder.clone())).await.unwrap();
    let mut failed = 0;
    for _ in 0..20 {
        failed += usize::from(router.get(service, "/id").await.status != 200);
    }
    assert_eq!(failed, 1);
    assert_eq!(
        router.status().await.services["web"].releases[0]
            .counts
            .taken_over,
        9
    );
    router.control.record(None).await.unwrap();
    let samples = SampleReader::open(&folder.join("router.jsonl")).unwrap();
    let samples: Vec<_> = samples.map(Result::unwrap).collect();
    let of = |release: &str| {
        let own = samples.iter().filter(|sample| sample.release == release);
        own.fold((0, 0), |(all, taken), sample| {
            (all + sample.count, taken + sample.taken_over())
        })
    };
    assert_eq!((of("1.0.0"), of("1.1.0")), ((19, 9), (1, 0)));
}
