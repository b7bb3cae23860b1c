//! What the played server answers.

use axum::body::Body;
use axum::http::header;
use axum::response::Response;
use serde_json::{Value, json};

use super::asked::Asked;

pub fn told(code: u16, value: &Value) -> Response {
    let answer = Response::builder().status(code);
    let answer = answer.header(header::CONTENT_TYPE, "application/json");
    answer.body(Body::from(value.to_string())).unwrap()
}

/// Answers as a server does for a path that it does not have.
pub fn nothing_here() -> Response {
    let answer = Response::builder().status(404);
    answer.body(Body::from("404 page not found\n")).unwrap()
}

pub fn missing(asked: &Asked) -> Response {
    told(
        404,
        &json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound",
            "message": format!("{} not found", asked.path),
        }),
    )
}

pub fn resource_list(version: &str, resources: &[String]) -> Value {
    let resources: Vec<Value> = resources
        .iter()
        .map(|resource| {
            json!({
                "name": resource, "singularName": "", "namespaced": true, "kind": kind_of(resource),
                "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
            })
        })
        .collect();
    json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version,
        "resources": resources,
    })
}

/// Returns the kind of a resource, of those that are asked for by their kinds.
fn kind_of(resource: &str) -> &str {
    match resource {
        "cronjobs" => "CronJob",
        "poddisruptionbudgets" => "PodDisruptionBudget",
        other => other,
    }
}
