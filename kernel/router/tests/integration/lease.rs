use std::time::Duration;

use code_deploy_router::BackendAddress;

use crate::kit::{App, Router, eventually, fast_health, lease, refused};

async fn two_releases(router: &Router, old: &App, new: &App) -> std::net::SocketAddr {
    let address = router.service("web").await;
    router.release("web", "1.0.0", &[old]).await;
    router.release("web", "1.1.0", &[new]).await;
    router.weights("web", &[("1.0.0", 100)]).await.unwrap();
    address
}

#[tokio::test]
async fn traffic_is_split_only_under_a_lease_and_a_lease_is_kept_while_it_is() {
    let (old, new) = (App::start("old").await, App::start("new").await);
    let router = Router::start().await;
    two_releases(&router, &old, &new).await;
    let split = [("1.0.0", 50), ("1.1.0", 50)];
    refused(router.weights("web", &split).await, "lease-required");
    refused(router.control.renew().await, "no-lease");
    router.lease("web", "1.0.0").await;
    router.weights("web", &split).await.unwrap();
    router.control.renew().await.unwrap();
    refused(router.control.lease(None).await, "traffic-split");
    router.weights("web", &[("1.1.0", 100)]).await.unwrap();
    router.control.lease(None).await.unwrap();
    assert_eq!(router.status().await.lease, None);
}

#[tokio::test]
async fn all_traffic_goes_back_when_nobody_renews_the_lease() {
    let (old, new) = (App::start("old").await, App::start("new").await);
    let router = Router::start().await;
    let address = two_releases(&router, &old, &new).await;
    let long = lease("web", "1.0.0", Duration::from_secs(600));
    router.control.lease(Some(long)).await.unwrap();
    router
        .weights("web", &[("1.0.0", 50), ("1.1.0", 50)])
        .await
        .unwrap();
    let short = lease("web", "1.0.0", Duration::from_millis(100));
    router.control.lease(Some(short)).await.unwrap();
    eventually("traffic is back", || async {
        router.status().await.services["web"].weights["1.0.0"] == 100
    })
    .await;
    let before = new.requests();
    for _ in 0..20 {
        assert_eq!(router.get(address, "/id").await.text(), "old");
    }
    assert_eq!(new.requests(), before);
    let expiry = router.status().await.last_expiry.unwrap();
    assert_eq!(expiry.returned["web"], "1.0.0");
    assert_eq!(expiry.holder, "run-1");
    assert!(expiry.reason.contains("did not renew"));
    let events = router.control.events(0).await.unwrap();
    assert!(events.iter().any(|event| event.kind == "lease-expired"));
    refused(router.control.renew().await, "no-lease");
    refused(
        router.weights("web", &[("1.0.0", 50), ("1.1.0", 50)]).await,
        "lease-required",
    );

    let router = Router::start_in(router.stop().await).await;
    let status = router.status().await;
    assert_eq!(status.last_expiry, Some(expiry));
    assert_eq!(status.services["web"].weights["1.0.0"], 100);
}

#[tokio::test]
async fn traffic_waits_for_a_stable_release_that_is_not_healthy() {
    let (old, new) = (App::start("old").await, App::start("new").await);
    let router = Router::start().await;
    router
        .service_with("web", |config| config.health = Some(fast_health()))
        .await;
    router.release("web", "1.0.0", &[&old]).await;
    router.release("web", "1.1.0", &[&new]).await;
    for release in ["1.0.0", "1.1.0"] {
        router
            .control
            .wait_healthy("web", release, crate::kit::LIMIT)
            .await
            .unwrap();
    }
    router.weights("web", &[("1.1.0", 100)]).await.unwrap();
    let address = old.address;
    old.kill().await;
    let health = || async { router.health_of("web", "old").await };
    eventually("it is seen", || async {
        health().await == Some(code_deploy_router::HealthStatus::Unhealthy)
    })
    .await;
    let short = lease("web", "1.0.0", Duration::from_millis(100));
    router.control.lease(Some(short)).await.unwrap();
    eventually("it is told that traffic waits", || async {
        let events = router.control.events(0).await.unwrap();
        events
            .iter()
            .any(|e| e.kind == "lease-expired" && e.text.contains("no healthy instance"))
    })
    .await;
    assert_eq!(router.status().await.services["web"].weights["1.1.0"], 100);
    let _old = App::start_at("old", address).await;
    eventually("traffic is back", || async {
        router.status().await.services["web"].weights["1.0.0"] == 100
    })
    .await;
}

#[tokio::test]
async fn the_stable_release_of_a_lease_cannot_be_removed() {
    let (old, new) = (App::start("old").await, App::start("new").await);
    let router = Router::start().await;
    two_releases(&router, &old, &new).await;
    router.lease("web", "1.0.0").await;
    router.weights("web", &[("1.1.0", 100)]).await.unwrap();
    let limit = Duration::from_secs(1);
    refused(
        router.control.remove_release("web", "1.0.0", limit).await,
        "held-by-lease",
    );
    router.control.lease(None).await.unwrap();
    router
        .control
        .remove_release("web", "1.0.0", limit)
        .await
        .unwrap();
    let gone = vec![BackendAddress::new("old", old.address)];
    router
        .control
        .put_release("web", "1.0.0", gone)
        .await
        .unwrap();
}
