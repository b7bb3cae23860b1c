use code_deploy_shop::{Config, Error, Service};
use http::Method;
use serde_json::Value;

use crate::kit::{Shop, get, send};

/// Asks the storefront for its home page `times` times and returns the status of each answer.
async fn statuses(shop: &Shop, path: &str, times: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..times {
        statuses.push(
            get(&format!("{}{path}", shop.storefront.url))
                .await
                .status
                .as_u16(),
        );
    }
    statuses
}

#[tokio::test]
async fn errors_reach_their_share_of_the_requests_and_no_probe() {
    let shop = Shop::start("1.1.0", &[("SHOP_FAULT", "errors")]).await;
    assert_eq!(
        statuses(&shop, "/", 10).await,
        [200, 200, 200, 200, 500, 200, 200, 200, 200, 500]
    );
    assert_eq!(statuses(&shop, "/readyz", 10).await, [200; 10]);
}

#[tokio::test]
async fn a_slow_service_has_a_latency_tail() {
    let env = [
        ("SHOP_FAULT", "slow"),
        ("SHOP_FAULT_DELAY_MS", "150"),
        ("SHOP_FAULT_SHARE", "0.5"),
    ];
    let shop = Shop::start("1.1.0", &env).await;
    assert_eq!(statuses(&shop, "/", 4).await, [200; 4]);
    let metrics = get(&format!("{}/metrics", shop.storefront.url))
        .await
        .text();
    let bucket = "http_request_duration_seconds_bucket{method=\"GET\",route=\"/\",le=\"0.1\"} ";
    let fast = metrics
        .lines()
        .find_map(|line| line.strip_prefix(bucket))
        .unwrap();
    assert!(fast.parse::<u32>().unwrap() <= 2, "{fast} of 4 were fast");
}

#[tokio::test]
async fn a_leak_takes_longer_with_each_request() {
    let env = [("SHOP_FAULT", "leak"), ("SHOP_FAULT_STEP_MS", "40")];
    let shop = Shop::start("1.1.0", &env).await;
    statuses(&shop, "/", 3).await;
    // A step of 40 ms, three times.
    let third =
        |line: &Value| line["route"] == "/" && line["duration_us"].as_u64() >= Some(120_000);
    shop.storefront.line(third).await;
}

#[tokio::test]
async fn a_crash_ends_the_service_without_an_answer() {
    let env = [("SHOP_FAULT", "crash"), ("SHOP_FAULT_AFTER", "3")];
    let shop = Shop::start("1.1.0", &env).await;
    assert_eq!(statuses(&shop, "/", 3).await, [200; 3]);
    let last = send(Method::GET, &format!("{}/", shop.storefront.url), &[], "").await;
    assert!(last.is_err(), "{last:?}");
    let ended = shop.storefront.ended().await;
    assert!(matches!(ended, Err(Error::InjectedCrash { after: 3 })));
}

#[tokio::test]
async fn an_unready_service_lives_and_never_becomes_ready() {
    let shop = Shop::start("1.1.0", &[("SHOP_FAULT", "unready")]).await;
    assert_eq!(statuses(&shop, "/readyz", 2).await, [503; 2]);
    assert_eq!(statuses(&shop, "/livez", 1).await, [200]);
    assert_eq!(
        get(&format!("{}/readyz", shop.orders.url)).await.status,
        200
    );
}

#[tokio::test]
async fn a_partial_fault_breaks_one_endpoint() {
    let shop = Shop::start("1.1.0", &[("SHOP_FAULT", "partial")]).await;
    assert_eq!(statuses(&shop, "/product/1", 2).await, [500; 2]);
    assert_eq!(statuses(&shop, "/", 2).await, [200; 2]);
}

#[tokio::test]
async fn a_fault_of_the_catalog_shows_through_the_storefront() {
    let env = [("SHOP_FAULT", "partial"), ("SHOP_FAULT_SERVICE", "catalog")];
    let shop = Shop::start("1.1.0", &env).await;
    assert_eq!(statuses(&shop, "/product/1", 1).await, [502]);
    assert_eq!(statuses(&shop, "/", 1).await, [200]);
}

#[tokio::test]
async fn a_fault_of_one_release_leaves_the_other_alone() {
    let env = [("SHOP_FAULT", "partial"), ("SHOP_FAULT_RELEASE", "1.1.0")];
    let shop = Shop::start("1.0.0", &env).await;
    assert_eq!(statuses(&shop, "/product/1", 1).await, [200]);
}

#[test]
fn settings_that_cannot_be_used_are_named() {
    for (name, value) in [
        ("SHOP_FAULT", "explode"),
        ("SHOP_FAULT_SHARE", "2"),
        ("SHOP_RELEASE", "2.0.0"),
        ("PORT", "http"),
        ("CATALOG_URL", "catalog:8080/api"),
        ("DATABASE_URL", "mysql://u:secret@host/db"),
        ("SHOP_GRACE_MS", "-1"),
    ] {
        let lookup = |asked: &str| (asked == name).then(|| value.to_owned());
        let error = Config::from_env(Service::Orders, lookup)
            .unwrap_err()
            .to_string();
        assert!(error.contains(name) && !error.contains("secret"), "{error}");
    }
}
