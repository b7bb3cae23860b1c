#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs
)]

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;

use super::*;
use crate::http::HttpClient;

async fn serve() -> String {
    async fn buy(headers: HeaderMap, body: String) -> (StatusCode, Json<Value>) {
        let key = headers["idempotency-key"].to_str().unwrap();
        assert!(key.parse::<uuid::Uuid>().is_ok(), "{key} is no UUID");
        let body: Value = serde_json::from_str(&body).unwrap();
        (
            StatusCode::CREATED,
            Json(json!({ "id": 42, "of": body["of"] })),
        )
    }
    async fn order(headers: HeaderMap, Path(id): Path<String>) -> Json<Value> {
        Json(json!({ "id": id, "reached": headers.contains_key("x-reach") }))
    }
    let app = Router::new()
        .route("/buy", post(buy))
        .route("/order/{id}", get(order));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    format!("http://{address}")
}

fn journey(last: &Value) -> Journey {
    serde_json::from_value(json!({
        "name": "buy", "service": "shop", "steps": [
            { "name": "buy", "method": "POST", "path": "/buy", "headers": { "idempotency-key": "{uuid}" },
              "body": "{\"of\": \"tea\"}", "expect": { "status": 201, "json": { "/of": "tea" } },
              "save": { "order": "/id" } },
            { "name": "look", "path": "/order/{order}", "expect": last },
        ]
    }))
    .unwrap()
}

#[tokio::test]
async fn a_value_of_one_answer_goes_into_the_next_request() {
    let base = serve().await;
    let expect = json!({ "status": 200, "contains": ["42"], "json": { "/reached": true } });
    let reach = [("x-reach".to_owned(), Secret::new("token".to_owned()))];
    let result = walk(&HttpClient::new(), &journey(&expect), &base, &reach).await;
    assert!(result.passed, "{result:?}");
    assert_eq!(result.steps[1].request, "GET /order/42");
}

#[tokio::test]
async fn an_answer_that_is_not_as_expected_is_named() {
    let base = serve().await;
    let expect =
        json!({ "status": 200, "contains": ["gone"], "json": { "/reached": true, "/no": 1 } });
    let result = walk(&HttpClient::new(), &journey(&expect), &base, &[]).await;
    assert!(!result.passed);
    let detail = &result.steps[1].detail;
    for part in ["does not hold `gone`", "/reached is false", "/no is not"] {
        assert!(detail.contains(part), "{part}: {detail}");
    }
}

#[tokio::test]
async fn of_another_status_only_that_is_named_with_what_the_answer_says() {
    let base = serve().await;
    let expect = json!({ "status": 404, "contains": ["gone"], "json": { "/no": 1 } });
    let result = walk(&HttpClient::new(), &journey(&expect), &base, &[]).await;
    let detail = &result.steps[1].detail;
    assert!(
        detail.starts_with("status 200 OK instead of 404: {"),
        "{detail}"
    );
    assert!(
        !detail.contains("gone") && !detail.contains("/no"),
        "{detail}"
    );
}

#[tokio::test]
async fn nothing_follows_a_step_that_got_no_answer() {
    let result = walk(
        &HttpClient::new(),
        &journey(&json!({ "status": 200 })),
        "http://127.0.0.1:1",
        &[],
    )
    .await;
    assert!(!result.passed);
    assert_eq!(result.steps.len(), 1);
    assert_eq!(result.steps[0].status, None);
}
