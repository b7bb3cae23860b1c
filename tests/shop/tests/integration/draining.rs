use std::time::Duration;

use code_deploy_shop::Error;
use http::Method;

use crate::kit::{Answer, Shop, get, send, until};

const SLOW_CATALOG: &[(&str, &str)] = &[
    ("SHOP_FAULT", "slow"),
    ("SHOP_FAULT_SHARE", "1"),
    ("SHOP_FAULT_SERVICE", "catalog"),
];

/// Starts a request that the catalog takes long for, and returns once it is under way.
async fn under_way(shop: &Shop) -> tokio::task::JoinHandle<Result<Answer, String>> {
    let url = format!("{}/api/products", shop.catalog.url);
    let request = tokio::spawn(async move { send(Method::GET, &url, &[], "").await });
    // The question for metrics is itself a request in flight.
    let metrics = format!("{}/metrics", shop.catalog.url);
    until("request in flight", async || {
        get(&metrics)
            .await
            .text()
            .contains("http_requests_in_flight 2")
            .then_some(())
    })
    .await;
    request
}

#[tokio::test]
async fn a_draining_service_is_not_ready_and_still_answers() {
    let shop = Shop::start("1.0.0", &[("SHOP_DRAIN_MS", "60000")]).await;
    let url = shop.catalog.url.clone();
    let before = get(&format!("{url}/readyz")).await;
    assert_eq!(
        (before.status.as_u16(), before.header("connection")),
        (200, "")
    );

    shop.catalog.stop.cancel();
    shop.catalog
        .line(|line| line["message"] == "draining")
        .await;

    let ready = get(&format!("{url}/readyz")).await;
    assert_eq!(
        (ready.status.as_u16(), ready.header("connection")),
        (503, "close")
    );
    assert_eq!(
        ready.json()["checks"][0]["detail"],
        "the service was told to end"
    );
    let answer = get(&format!("{url}/api/products")).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("connection")),
        (200, "close")
    );
    assert_eq!(get(&format!("{url}/livez")).await.status, 200);
}

#[tokio::test]
async fn a_request_under_way_finishes_before_the_service_ends() {
    let mut env = SLOW_CATALOG.to_vec();
    env.push(("SHOP_FAULT_DELAY_MS", "400"));
    let shop = Shop::start("1.0.0", &env).await;
    let request = under_way(&shop).await;

    shop.catalog.stop.cancel();
    let url = shop.catalog.url.clone();
    shop.catalog.ended().await.unwrap();

    assert_eq!(request.await.unwrap().unwrap().status, 200);
    assert!(
        send(Method::GET, &format!("{url}/livez"), &[], "")
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_request_that_outlasts_the_grace_time_is_cut_and_counted() {
    let mut env = SLOW_CATALOG.to_vec();
    env.extend([("SHOP_FAULT_DELAY_MS", "3600000"), ("SHOP_GRACE_MS", "50")]);
    let shop = Shop::start("1.0.0", &env).await;
    let request = under_way(&shop).await;

    shop.catalog.stop.cancel();
    let ended = shop.catalog.ended().await;

    let limit = Duration::from_millis(50);
    assert!(matches!(ended, Err(Error::GraceExceeded { limit: l, connections: 1 }) if l == limit));
    assert!(request.await.unwrap().is_err());
}
