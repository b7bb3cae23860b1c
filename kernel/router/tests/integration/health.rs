use std::sync::atomic::Ordering;
use std::time::Duration;

use code_deploy_router::HealthStatus;

use crate::kit::{App, LIMIT, Router, eventually, fast_health, refused};

#[tokio::test]
async fn an_instance_gets_traffic_only_after_three_passes_in_a_row() {
    let app = App::start("app").await;
    app.shared.healthy.store(false, Ordering::SeqCst);
    let router = Router::start().await;
    router
        .service_with("web", |config| config.health = Some(fast_health()))
        .await;
    router.release("web", "1.0.0", &[&app]).await;
    refused(
        router.weights("web", &[("1.0.0", 100)]).await,
        "no-healthy-backend",
    );
    let short = Duration::from_millis(200);
    let waited = router.control.wait_healthy("web", "1.0.0", short).await;
    assert!(
        waited.as_ref().unwrap_err().to_string().contains("503"),
        "{waited:?}"
    );
    refused(waited, "not-healthy");
    let before = app.shared.health_checks.load(Ordering::SeqCst);
    app.shared.healthy.store(true, Ordering::SeqCst);
    router
        .control
        .wait_healthy("web", "1.0.0", LIMIT)
        .await
        .unwrap();
    assert!(app.shared.health_checks.load(Ordering::SeqCst) >= before + 3);
    router.weights("web", &[("1.0.0", 100)]).await.unwrap();
}

#[tokio::test]
async fn a_single_instance_goes_on_being_checked_and_comes_back() {
    let app = App::start("app").await;
    let router = Router::start().await;
    let address = router
        .service_with("web", |c| c.health = Some(fast_health()))
        .await;
    router.release("web", "1.0.0", &[&app]).await;
    router
        .control
        .wait_healthy("web", "1.0.0", LIMIT)
        .await
        .unwrap();
    router.weights("web", &[("1.0.0", 100)]).await.unwrap();
    assert_eq!(router.get(address, "/id").await.status, 200);
    let router = &router;
    for healthy in [false, true, false, true] {
        app.shared.healthy.store(healthy, Ordering::SeqCst);
        let wanted = if healthy {
            HealthStatus::Healthy
        } else {
            HealthStatus::Unhealthy
        };
        eventually("its health follows", || async move {
            router.health_of("web", "app").await == Some(wanted)
        })
        .await;
        // There is no other: what was healthy once is asked rather than nobody.
        assert_eq!(router.get(address, "/id").await.status, 200);
    }
    let events = router.control.events(0).await.unwrap();
    let count = |kind: &str| events.iter().filter(|event| event.kind == kind).count();
    assert_eq!(
        (count("backend-unhealthy"), count("backend-healthy")),
        (2, 3)
    );
}

#[tokio::test]
async fn an_instance_that_is_not_healthy_is_asked_only_where_no_other_is() {
    let (ill, well) = (App::start("ill").await, App::start("well").await);
    let router = Router::start().await;
    let address = router
        .service_with("web", |config| config.health = Some(fast_health()))
        .await;
    router.release("web", "1.0.0", &[&ill, &well]).await;
    router
        .control
        .wait_healthy("web", "1.0.0", LIMIT)
        .await
        .unwrap();
    router.weights("web", &[("1.0.0", 100)]).await.unwrap();
    let router = &router;
    let is_ill = |id: &'static str| {
        eventually("its health follows", move || async move {
            router.health_of("web", id).await == Some(HealthStatus::Unhealthy)
        })
    };
    ill.shared.healthy.store(false, Ordering::SeqCst);
    is_ill("ill").await;
    for _ in 0..20 {
        assert_eq!(router.get(address, "/id").await.text(), "well");
    }
    well.shared.healthy.store(false, Ordering::SeqCst);
    is_ill("well").await;
    let mut answered = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let answer = router.get(address, "/id").await;
        assert_eq!(answer.status, 200);
        answered.insert(answer.text().to_owned());
    }
    assert_eq!(answered.len(), 2, "{answered:?}");
}

#[tokio::test]
async fn a_removed_instance_is_not_checked_any_more() {
    let app = App::start("app").await;
    let router = Router::start().await;
    router
        .service_with("web", |config| config.health = Some(fast_health()))
        .await;
    router.release("web", "1.0.0", &[&app]).await;
    router
        .control
        .wait_healthy("web", "1.0.0", LIMIT)
        .await
        .unwrap();
    router
        .control
        .remove_release("web", "1.0.0", LIMIT)
        .await
        .unwrap();
    let shared = &app.shared;
    eventually("checks under way end", || async {
        shared.connections.load(Ordering::SeqCst) == 0
    })
    .await;
    let other = App::start("other").await;
    let before = shared.health_checks.load(Ordering::SeqCst);
    router.release("web", "1.1.0", &[&other]).await;
    router
        .control
        .wait_healthy("web", "1.1.0", LIMIT)
        .await
        .unwrap();
    assert_eq!(shared.health_checks.load(Ordering::SeqCst), before);
}
