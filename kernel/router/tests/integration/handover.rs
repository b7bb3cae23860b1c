//! One router takes over from another while clients ask on and on.

use std::sync::atomic::Ordering;
use std::time::Duration;

use code_deploy_record::SampleReader;
use code_deploy_router::{Error, HealthStatus, run};
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use crate::asking::{Asking, Crowd};
use crate::kit::{App, LIMIT, Router, eventually, fast_health};

async fn ended(task: JoinHandle<Result<(), Error>>) {
    let ended = tokio::time::timeout(LIMIT, task).await;
    ended.unwrap().unwrap().unwrap();
}

async fn settled(router: &Router) {
    eventually("the router before has ended", || async {
        router.status().await.predecessor.is_none()
    })
    .await;
}

async fn texts_of(router: &Router, kind: &str) -> Vec<String> {
    let events = router.control.events(0).await.unwrap().into_iter();
    let events = events.filter(|event| event.kind == kind);
    events.map(|event| event.text).collect()
}

#[tokio::test]
async fn no_request_is_lost_while_one_router_takes_over_from_another_twice() {
    let app = App::start("app").await;
    let router = Router::start().await;
    let address = router.service("web").await;
    router.release("web", "1.0.0", &[&app]).await;
    router.weights("web", &[("1.0.0", 100)]).await.unwrap();
    let folder = router.folder.as_ref().unwrap().path().join("samples");
    router.control.record(Some(folder.clone())).await.unwrap();
    let crowd = Crowd::at(address, "/id");
    crowd.more(50).await;

    let mut slow = Asking::at(address);
    let slow = crowd.tracker.spawn(async move { slow.ask("/gated").await });
    app.waiting(1).await;
    let (router, first) = router.succeed(LIMIT).await;
    crowd.more(50).await;
    // The one before waits for its slow request, and hands over to nobody else meanwhile.
    assert!(router.status().await.predecessor.is_some());
    let mut third = router.config.clone();
    third.take_over = Some(LIMIT);
    let third = run(third, CancellationToken::new()).await;
    assert!(matches!(third, Err(Error::HandOver { .. })), "{third:?}");
    app.shared.gate.add_permits(1);
    assert_eq!(slow.await.unwrap().unwrap(), 200);
    ended(first).await;
    settled(&router).await;
    let told = texts_of(&router, "predecessor-ended").await;
    assert!(told[0].contains("none was cut"), "{told:?}");

    let (router, second) = router.succeed(LIMIT).await;
    crowd.more(50).await;
    ended(second).await;
    settled(&router).await;
    let asked = crowd.go().await + 1;

    let status = router.status().await;
    assert_eq!(status.services["web"].address, address);
    // A client has its answer a moment before that is counted.
    eventually("every request is counted", || async {
        let status = router.status().await;
        let counts = status.services["web"].releases[0].counts;
        counts.failed == 0 && counts.requests == asked
    })
    .await;
    router.control.record(None).await.unwrap();
    let samples = SampleReader::open(&folder.join("router.jsonl")).unwrap();
    let measured = samples.map(|sample| sample.unwrap().count).sum::<u64>();
    assert_eq!(measured, asked);
    router.stop().await;
}

#[tokio::test]
async fn a_router_whose_successor_fails_goes_on_as_before() {
    let app = App::start("app").await;
    let router = Router::start().await;
    let address = router.service("web").await;
    router.release("web", "1.0.0", &[&app]).await;
    router.weights("web", &[("1.0.0", 100)]).await.unwrap();
    let crowd = Crowd::at(address, "/id");
    let before = router.status().await;

    // One that breaks off before it is ready.
    let mut asking = UnixStream::connect(&router.config.control_socket)
        .await
        .unwrap();
    let question = b"{\"op\":\"hand_over\",\"limit_ms\":1000}\n";
    asking.write_all(question).await.unwrap();
    asking.read_u8().await.unwrap();
    drop(asking);
    eventually("it is told", || async {
        !texts_of(&router, "hand-over-failed").await.is_empty()
    })
    .await;

    // One that cannot read what was saved.
    let saved = std::fs::read(&router.config.state_file).unwrap();
    std::fs::write(&router.config.state_file, "{\"services\": 7}").unwrap();
    let mut config = router.config.clone();
    config.take_over = Some(LIMIT);
    let failed = run(config, CancellationToken::new()).await;
    assert!(
        matches!(failed, Err(Error::StateUnreadable { .. })),
        "{failed:?}"
    );
    std::fs::write(&router.config.state_file, saved).unwrap();

    crowd.more(50).await;
    crowd.go().await;
    let after = router.status().await;
    assert_eq!(after.started_us, before.started_us);
    assert_eq!(
        after.services["web"].weights,
        before.services["web"].weights
    );
    let other = App::start("other").await;
    router.release("web", "1.1.0", &[&other]).await;
    router.weights("web", &[("1.1.0", 100)]).await.unwrap();
    assert_eq!(router.get(address, "/id").await.text(), "other");
    router.stop().await;
}

#[tokio::test]
async fn a_tunnel_goes_on_until_the_limit_and_is_told_as_cut() {
    let app = App::start("app").await;
    let router = Router::start().await;
    let address = router.service("web").await;
    router.release("web", "1.0.0", &[&app]).await;
    router.weights("web", &[("1.0.0", 100)]).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{address}/ws"))
        .await
        .unwrap();
    let (router, first) = router.succeed(Duration::from_secs(2)).await;
    socket.send(Message::text("still here")).await.unwrap();
    let echo = socket.next().await.unwrap().unwrap();
    assert_eq!(echo, Message::text("still here"));
    ended(first).await;
    let end = tokio::time::timeout(LIMIT, socket.next()).await.unwrap();
    assert!(!matches!(end, Some(Ok(Message::Text(_)))), "{end:?}");
    settled(&router).await;
    let told = texts_of(&router, "predecessor-cut").await;
    assert!(
        told[0].contains("of 1 requests and tunnels in flight 1 went on"),
        "{told:?}"
    );
    assert_eq!(router.get(address, "/id").await.text(), "app");
    router.stop().await;
}

#[tokio::test]
async fn the_next_router_goes_on_with_shares_lease_and_health_and_takes_changes() {
    let (old, new, ill) = (
        App::start("old").await,
        App::start("new").await,
        App::start("ill").await,
    );
    let router = Router::start().await;
    let address = router
        .service_with("web", |c| c.health = Some(fast_health()))
        .await;
    router.release("web", "1.0.0", &[&old]).await;
    router.release("web", "1.1.0", &[&new, &ill]).await;
    for release in ["1.0.0", "1.1.0"] {
        let healthy = router.control.wait_healthy("web", release, LIMIT);
        healthy.await.unwrap();
    }
    router.lease("web", "1.0.0").await;
    router
        .weights("web", &[("1.0.0", 80), ("1.1.0", 20)])
        .await
        .unwrap();
    ill.shared.healthy.store(false, Ordering::SeqCst);
    eventually("it is found ill", || async {
        router.health_of("web", "ill").await == Some(HealthStatus::Unhealthy)
    })
    .await;
    let build = router.control.build().await.unwrap();
    assert_eq!(build.unwrap().len(), 64);

    let (router, first) = router.succeed(LIMIT).await;
    let status = router.status().await;
    assert_eq!(status.services["web"].weights["1.1.0"], 20);
    assert_eq!(status.lease.unwrap().lease.stable["web"], "1.0.0");
    let health = router.health_of("web", "ill").await;
    assert_eq!(health, Some(HealthStatus::Unhealthy));
    ended(first).await;
    settled(&router).await;
    router.weights("web", &[("1.0.0", 100)]).await.unwrap();
    router.control.lease(None).await.unwrap();
    // What was changed since is on disk, and the ports are this one's to close.
    let router = Router::start_in(router.stop().await).await;
    let status = router.status().await;
    assert_eq!(status.services["web"].address, address);
    assert_eq!(status.services["web"].weights["1.0.0"], 100);
    assert_eq!(status.lease, None);
}
