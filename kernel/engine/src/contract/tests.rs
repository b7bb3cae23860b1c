#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs
)]

use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde_json::json;

use super::*;

fn document() -> Value {
    let order = json!({ "$ref": "#/components/schemas/Order" });
    let answer =
        json!({ "description": "", "content": { "application/json": { "schema": order } } });
    json!({
        "openapi": "3.1.0", "info": { "title": "shop", "version": "1" },
        "paths": {
            "/orders/{id}": {
                "parameters": [{ "name": "id", "in": "path", "required": true, "schema": { "type": "integer", "example": 7 } }],
                "get": { "responses": { "200": answer } },
                "delete": { "responses": { "204": { "description": "" } } }
            },
            "/orders": { "post": {
                "requestBody": { "content": { "application/json": { "schema": { "$ref": "#/components/schemas/New" } } } },
                "responses": { "201": answer } } },
            "/wrong": { "get": { "responses": { "200": answer } } },
            "/undeclared": { "get": { "responses": { "404": { "description": "" } } } },
            "/broken": { "get": { "responses": { "default": { "description": "" } } } },
            "/named/{name}": { "get": {
                "parameters": [{ "name": "name", "in": "path", "required": true, "schema": { "type": "string" } }],
                "responses": { "200": { "description": "" } } } }
        },
        "components": { "schemas": {
            "Order": { "type": "object", "required": ["id"], "properties": { "id": { "type": "integer" } } },
            "New": { "type": "object", "required": ["of"], "properties": { "of": { "type": "string", "example": "tea" } } }
        } }
    })
}

async fn ask() -> ContractResult {
    async fn buy(body: String) -> (StatusCode, Json<Value>) {
        assert_eq!(body, r#"{"of":"tea"}"#);
        (StatusCode::CREATED, Json(json!({ "id": 1 })))
    }
    async fn must_not_be_asked() -> StatusCode {
        panic!("a DELETE was sent");
    }
    let app = Router::new()
        .route("/openapi.json", get(|| async { Json(document()) }))
        .route("/orders/7", get(|| async { Json(json!({ "id": 7 })) }))
        .route("/orders/7", delete(must_not_be_asked))
        .route("/orders", post(buy))
        .route("/wrong", get(|| async { Json(json!({ "id": "seven" })) }))
        .route("/undeclared", get(|| async { Json(json!({})) }))
        .route(
            "/broken",
            get(|| async { StatusCode::INTERNAL_SERVER_ERROR }),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    ask_all(
        &HttpClient::new(),
        &format!("http://{address}"),
        "/openapi.json",
        &[],
    )
    .await
}

#[tokio::test]
async fn each_operation_is_held_against_the_document() {
    let result = ask().await;
    assert_eq!(result.problem, None);
    assert_eq!(result.counts(), (2, 3, 2), "{result:#?}");
    assert!(!result.holds());
    let detail = |operation: &str| {
        let found = result
            .operations
            .iter()
            .find(|one| one.operation == operation);
        found
            .unwrap_or_else(|| panic!("{operation} is missing"))
            .detail
            .clone()
    };
    assert!(detail("GET /orders/{id}").contains("fits its schema"));
    assert!(detail("POST /orders").contains("fits its schema"));
    assert!(detail("GET /wrong").contains("does not fit"));
    assert!(detail("GET /undeclared").contains("200 is not declared"));
    assert!(detail("GET /broken").contains("an error of the server"));
    assert!(detail("GET /named/{name}").contains("no example of the parameter `name`"));
    assert!(detail("DELETE /orders/{id}").contains("DELETE is safe"));
}

#[tokio::test]
async fn a_document_that_cannot_be_fetched_is_a_problem() {
    let result = ask_all(
        &HttpClient::new(),
        "http://127.0.0.1:1",
        "/openapi.json",
        &[],
    )
    .await;
    assert!(!result.holds());
    assert!(result.problem.unwrap().contains("no connection"));
}
