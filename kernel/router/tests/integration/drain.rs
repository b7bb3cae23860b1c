use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::kit::{App, LIMIT, Router, eventually, refused};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn switching_and_draining_under_load_loses_no_request() {
    let router = Arc::new(Router::start().await);
    let address = router.service("web").await;
    let mut current = App::start("app-0").await;
    router.release("web", "0", &[&current]).await;
    router.weights("web", &[("0", 100)]).await.unwrap();
    let (stop, sent) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..200 {
        let (router, stop, sent) = (Arc::clone(&router), Arc::clone(&stop), Arc::clone(&sent));
        clients.spawn(async move {
            let (method, path, body) = match client % 2 {
                0 => (http::Method::GET, "/id", ""),
                _ => (http::Method::POST, "/echo", "an order that is sent once"),
            };
            while !stop.load(Ordering::Relaxed) {
                let answer = router.send(method.clone(), address, path, &[], body).await;
                assert_eq!(answer.status, 200, "{:?}", answer.reason());
                assert!(answer.text.is_some());
                sent.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for round in 1..=6 {
        let (old, new) = ((round - 1).to_string(), round.to_string());
        let next = App::start(&format!("app-{round}")).await;
        router.release("web", &new, &[&next]).await;
        router.lease("web", &old).await;
        for weight in [10, 50, 0, 90, 100] {
            router
                .weights("web", &[(&old, 100 - weight), (&new, weight)])
                .await
                .unwrap();
            let target = sent.load(Ordering::Relaxed) + 150;
            let sent = &sent;
            eventually("requests go on", || async move {
                sent.load(Ordering::Relaxed) >= target
            })
            .await;
        }
        router.control.lease(None).await.unwrap();
        let drained = router
            .control
            .remove_release("web", &old, LIMIT)
            .await
            .unwrap();
        assert_eq!(drained.cut, 0);
        let seen = current.requests();
        current.kill().await;
        assert!(seen > 0);
        current = next;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    let status = router.status().await;
    assert_eq!(status.services["web"].releases[0].counts.failed, 0);
    assert!(status.services["web"].draining.is_empty());
}

#[tokio::test]
async fn removing_a_release_waits_for_its_requests_and_closes_its_connections() {
    let (old, new) = (App::start("old").await, App::start("new").await);
    let router = Router::start().await;
    let address = router.service("web").await;
    router.release("web", "1.0.0", &[&old]).await;
    router.release("web", "1.1.0", &[&new]).await;
    router.weights("web", &[("1.0.0", 100)]).await.unwrap();
    refused(
        router.control.remove_release("web", "1.0.0", LIMIT).await,
        "has-traffic",
    );
    router.get(address, "/id").await;
    let slow = router.get(address, "/gated");
    let switched = async {
        old.waiting(1).await;
        router.weights("web", &[("1.1.0", 100)]).await.unwrap();
        let removed = router.control.remove_release("web", "1.0.0", LIMIT);
        let release = async {
            eventually("it drains", || async {
                let status = router.status().await;
                let draining = &status.services["web"].draining;
                draining.len() == 1 && draining[0].in_flight == 1
            })
            .await;
            assert_eq!(router.get(address, "/id").await.text(), "new");
            old.shared.gate.add_permits(1);
        };
        futures::future::join(removed, release).await.0.unwrap()
    };
    let (slow, drained) = futures::future::join(slow, switched).await;
    assert_eq!(slow.text(), "old");
    assert_eq!((drained.in_flight_at_start, drained.cut), (1, 0));
    let shared = &old.shared;
    eventually("no connection is left", || async {
        shared.connections.load(Ordering::SeqCst) == 0
    })
    .await;
    refused(
        router.control.remove_release("web", "1.0.0", LIMIT).await,
        "no-such-release",
    );
}

#[tokio::test]
async fn what_goes_on_after_the_drain_limit_is_cut_and_reported() {
    let (old, new) = (App::start("old").await, App::start("new").await);
    let router = Router::start().await;
    let address = router.service("web").await;
    router.release("web", "1.0.0", &[&old]).await;
    router.release("web", "1.1.0", &[&new]).await;
    router.weights("web", &[("1.0.0", 100)]).await.unwrap();
    let slow = router.get(address, "/gated");
    let removed = async {
        old.waiting(1).await;
        router.weights("web", &[("1.1.0", 100)]).await.unwrap();
        let limit = Duration::from_millis(50);
        router
            .control
            .remove_release("web", "1.0.0", limit)
            .await
            .unwrap()
    };
    let (slow, drained) = futures::future::join(slow, removed).await;
    assert_eq!(slow.status, 504);
    assert_eq!(slow.reason(), Some("drain-limit"));
    assert_eq!((drained.in_flight_at_start, drained.cut), (1, 1));
    let events = router.control.events(0).await.unwrap();
    assert!(
        events
            .iter()
            .any(|e| e.kind == "drained" && e.text.contains("1 cut"))
    );
}

#[tokio::test]
async fn one_replica_drains_while_the_other_answers_and_the_last_is_refused() {
    let (one, two) = (App::start("one").await, App::start("two").await);
    let router = Router::start().await;
    let address = router.service("web").await;
    router.release("web", "1.0.0", &[&one, &two]).await;
    router.weights("web", &[("1.0.0", 100)]).await.unwrap();
    let drained = router.control.drain("web", "one", LIMIT).await.unwrap();
    assert_eq!(drained.cut, 0);
    for _ in 0..10 {
        assert_eq!(router.get(address, "/id").await.text(), "two");
    }
    refused(
        router.control.drain("web", "two", LIMIT).await,
        "last-instance",
    );
    router.release("web", "1.0.0", &[&one]).await;
    let one = &one;
    let router = &router;
    eventually("the first is back", || async move {
        router.get(address, "/id").await;
        one.requests() > 0
    })
    .await;
}

#[tokio::test]
async fn an_instance_that_moves_keeps_its_open_requests() {
    let (before, after) = (App::start("same").await, App::start("same").await);
    let router = Router::start().await;
    let address = router.service("web").await;
    router.release("web", "1.0.0", &[&before]).await;
    router.weights("web", &[("1.0.0", 100)]).await.unwrap();
    let slow = router.get(address, "/gated");
    let moved = async {
        before.waiting(1).await;
        router.release("web", "1.0.0", &[&after]).await;
        router.get(address, "/id").await;
        assert_eq!(after.requests(), 1);
        before.shared.gate.add_permits(1);
    };
    assert_eq!(futures::future::join(slow, moved).await.0.status, 200);
}
