use std::sync::{Arc, Mutex};

use code_deploy_shop::Service;
use futures::future::join_all;
use http::{HeaderMap, Method};
use serde_json::{Value, json};

use crate::kit::{Answer, Running, Shop, get, migrate, post_json, send, sqlite_url};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn order() -> Value {
    json!({ "product_id": 2, "quantity": 3, "customer": "Grace" })
}

async fn count(shop: &Shop) -> usize {
    let answer = get(&format!("{}/api/orders?limit=100", shop.orders.url)).await;
    answer.json()["orders"].as_array().unwrap().len()
}

#[tokio::test]
async fn an_order_sent_twice_is_written_once() {
    let shop = Shop::start("1.0.0", &[]).await;
    let url = format!("{}/api/orders", shop.orders.url);
    let before = count(&shop).await;

    let first = post_json(&url, &[("idempotency-key", "k-1")], &order()).await;
    let second = post_json(&url, &[("idempotency-key", "k-1")], &order()).await;

    assert_eq!((first.status.as_u16(), second.status.as_u16()), (201, 200));
    assert_eq!(first.json(), second.json());
    assert_eq!(second.header("idempotent-replayed"), "true");
    assert_eq!(first.json()["total_cents"], 3 * 2850);
    assert_eq!(count(&shop).await, before + 1);
}

#[tokio::test]
async fn orders_sent_at_once_with_one_key_become_one() {
    let shop = Shop::start("1.1.0", &[]).await;
    let url = format!("{}/api/orders", shop.orders.url);
    let headers: &[_] = &[("idempotency-key", "same")];
    let order = order();
    let answers = join_all((0..8).map(|_| post_json(&url, headers, &order))).await;
    let created = answers.iter().filter(|answer| answer.status == 201).count();
    let ids: std::collections::BTreeSet<_> = answers
        .iter()
        .map(|answer| answer.json()["id"].to_string())
        .collect();
    let said: Vec<_> = answers
        .iter()
        .map(|answer| (answer.status, answer.json()))
        .collect();
    assert_eq!((created, ids.len()), (1, 1), "{said:?}");
}

#[tokio::test]
async fn a_key_of_another_order_is_refused() {
    let shop = Shop::start("1.0.0", &[]).await;
    let url = format!("{}/api/orders", shop.orders.url);
    post_json(&url, &[("idempotency-key", "k-1")], &order()).await;
    let mut other = order();
    other["quantity"] = json!(4);
    let answer = post_json(&url, &[("idempotency-key", "k-1")], &other).await;
    assert_eq!(answer.status, 409);
}

#[tokio::test]
async fn an_order_that_cannot_be_carried_out_says_why() {
    let shop = Shop::start("1.0.0", &[]).await;
    let url = format!("{}/api/orders", shop.orders.url);
    let key: &[_] = &[("idempotency-key", "k")];
    let no_product = json!({ "product_id": 99, "quantity": 1, "customer": "Grace" });
    let too_many = json!({ "product_id": 1, "quantity": 101, "customer": "Grace" });

    let keyless = post_json(&url, &[], &order()).await;
    assert_eq!(
        (keyless.status.as_u16(), keyless.header("content-type")),
        (400, "application/problem+json")
    );
    let unknown = post_json(&url, key, &no_product).await;
    assert_eq!(
        (unknown.status.as_u16(), &unknown.json()["detail"]),
        (422, &json!("there is no product 99"))
    );
    assert_eq!(post_json(&url, key, &too_many).await.status, 422);
    assert_eq!(post_json(&url, key, &json!("order")).await.status, 422);
}

#[tokio::test]
async fn a_form_buys_and_the_page_shows_the_order() {
    let shop = Shop::start("1.1.0", &[]).await;
    let form = "product_id=1&quantity=2&customer=Ad%C3%A9le+%26+Co&gift_note=%3Cb%3Ehi&idempotency_key=f-1";
    let kind: &[_] = &[("content-type", "application/x-www-form-urlencoded")];
    let url = format!("{}/buy", shop.storefront.url);
    let bought = send(Method::POST, &url, kind, form).await.unwrap();
    assert_eq!(bought.status, 201);
    assert!(bought.text().contains("Adéle &amp; Co") && bought.text().contains("79.80 €"));
    assert!(bought.text().contains("&lt;b&gt;hi"), "{}", bought.text());
    assert_eq!(
        send(Method::POST, &url, kind, form).await.unwrap().status,
        200
    );
}

#[tokio::test]
async fn pages_show_what_the_other_services_answer() {
    let shop = Shop::start("1.1.0", &[]).await;
    let url = &shop.storefront.url;
    let home = get(&format!("{url}/")).await;
    assert!(home.text().contains("Kettle") && home.text().contains("39.90 €"));
    let product = get(&format!("{url}/product/1")).await.text();
    assert!(product.contains("Quick and quiet.") && product.contains("gift_note"));
    let order = get(&format!("{url}/order/00000000-0000-4000-8000-000000000001")).await;
    assert!(order.text().contains("Grace"));
    let health = get(&format!("{url}/health")).await;
    assert_eq!(health.status, 200);
    assert_eq!(get(&format!("{url}/product/99")).await.status, 404);
    assert_eq!(get(&format!("{url}/order/none")).await.status, 404);
}

#[tokio::test]
async fn a_trace_crosses_all_services() {
    let shop = Shop::start("1.0.0", &[]).await;
    let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let headers: &[_] = &[("traceparent", traceparent.as_str())];
    let answer = post_json(&format!("{}/buy", shop.storefront.url), headers, &order()).await;
    assert_eq!(answer.header("x-trace-id"), TRACE);
    assert_eq!(answer.header("x-release"), "1.0.0");

    let of_trace = |line: &Value| line["trace_id"] == TRACE && line["message"] == "request";
    let front = shop.storefront.line(of_trace).await;
    let orders = shop.orders.line(of_trace).await;
    let catalog = shop.catalog.line(of_trace).await;
    assert_eq!(front["parent_span_id"], "00f067aa0ba902b7");
    assert_eq!(orders["parent_span_id"], front["span_id"]);
    assert_eq!(catalog["parent_span_id"], orders["span_id"]);
    assert_eq!(
        answer.header("traceresponse"),
        format!("00-{TRACE}-{}-01", front["span_id"].as_str().unwrap())
    );
    assert_eq!(
        (&front["route"], &front["status"]),
        (&json!("/buy"), &json!(201))
    );
    assert!(front["duration_us"].as_u64().unwrap() >= orders["duration_us"].as_u64().unwrap());
}

#[tokio::test]
async fn the_wish_for_a_release_is_passed_on() {
    let seen: Arc<Mutex<Vec<HeaderMap>>> = Arc::default();
    let record = Arc::clone(&seen);
    let catalog = axum::Router::new().fallback(move |headers: HeaderMap| async move {
        record.lock().unwrap().push(headers);
        axum::Json(json!({ "products": [], "total": 0 }))
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, catalog).await });

    let env = [("CATALOG_URL", url.as_str()), ("ORDERS_URL", url.as_str())];
    let storefront = Running::start(Service::Storefront, &env).await;
    let wish: &[_] = &[("x-code-deploy-release", "1.1.0")];
    send(Method::GET, &format!("{}/", storefront.url), wish, "")
        .await
        .unwrap();

    let seen = seen.lock().unwrap();
    assert_eq!(seen.last().unwrap()["x-code-deploy-release"], "1.1.0");
}

#[tokio::test]
async fn metrics_count_by_method_route_and_status() {
    let shop = Shop::start("1.0.0", &[]).await;
    let url = &shop.catalog.url;
    for id in ["1", "2", "99"] {
        get(&format!("{url}/api/products/{id}")).await;
    }
    get(&format!("{url}/nowhere/1")).await;
    let metrics = get(&format!("{url}/metrics")).await.text();
    for line in [
        "http_requests_total{method=\"GET\",route=\"/api/products/{id}\",status=\"200\"} 2",
        "http_requests_total{method=\"GET\",route=\"/api/products/{id}\",status=\"404\"} 1",
        "http_requests_total{method=\"GET\",route=\"unmatched\",status=\"404\"} 1",
        "http_request_duration_seconds_count{method=\"GET\",route=\"/api/products/{id}\"} 3",
        "http_request_duration_seconds_bucket{method=\"GET\",route=\"/api/products/{id}\",le=\"+Inf\"} 3",
        "http_requests_in_flight 1",
        "shop_build_info{service=\"catalog\",release=\"1.0.0\"} 1",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "no `{line}` in\n{metrics}"
        );
    }
}

#[tokio::test]
async fn a_marker_is_found_in_the_log() {
    let shop = Shop::start("1.0.0", &[]).await;
    let url = format!("{}/internal/log-marker", shop.orders.url);
    assert_eq!(
        post_json(&url, &[], &json!({ "id": "run-7.gap_1" }))
            .await
            .status,
        204
    );
    let line = shop
        .orders
        .line(|line| line["marker"] == "run-7.gap_1")
        .await;
    assert_eq!(
        (&line["service"], &line["release"]),
        (&json!("orders"), &json!("1.0.0"))
    );
    assert_eq!(
        post_json(&url, &[], &json!({ "id": "no\nline" }))
            .await
            .status,
        422
    );
}

#[tokio::test]
async fn a_service_without_its_dependency_is_not_ready_and_says_which() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("shop.db");
    let url = sqlite_url(&database);
    // A port that was free a moment ago, so that nobody answers there.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let catalog_url = format!("http://{nobody}");
    let env = [
        ("DATABASE_URL", url.as_str()),
        ("CATALOG_URL", catalog_url.as_str()),
    ];
    let orders = Running::start(Service::Orders, &env).await;
    let ready = || async { get(&format!("{}/readyz", orders.url)).await };

    let answer = ready().await;
    let failing = |answer: &Answer| -> Vec<String> {
        let checks = answer.json()["checks"].clone();
        let bad = checks
            .as_array()
            .unwrap()
            .iter()
            .filter(|check| check["ok"] == false);
        bad.map(|check| check["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        (answer.status.as_u16(), failing(&answer)),
        (503, vec!["database".into(), "catalog".into()])
    );

    migrate(&database, 1).await;
    assert_eq!(failing(&ready().await), ["catalog"]);
    assert_eq!(get(&format!("{}/livez", orders.url)).await.status, 200);
}
