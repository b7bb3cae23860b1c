//! The endpoints that operators and machines ask: health, metrics, API document, log marker.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{OpenApi, ToSchema};

use crate::app::App;
use crate::config::BaseUrl;
use crate::context::RequestContext;
use crate::downstream::Call;
use crate::problem::Problem;
use crate::service::Service;

/// A probe must answer before its asker gives up, also when a dependency does not.
const CHECK_LIMIT: Duration = Duration::from_secs(1);

/// Whether the process lives.
#[derive(Serialize, ToSchema)]
pub(crate) struct Alive {
    #[schema(example = "ok")]
    status: &'static str,
    #[schema(example = "catalog")]
    service: &'static str,
    #[schema(example = "1.0.0")]
    release: String,
}

/// Whether the service can take requests, and what it depends on.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct Readiness {
    pub ready: bool,
    #[schema(example = "catalog")]
    pub service: String,
    #[schema(example = "1.0.0")]
    pub release: String,
    pub checks: Vec<Check>,
}

/// One thing the readiness depends on.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct Check {
    #[schema(example = "database")]
    pub name: String,
    pub ok: bool,
    #[schema(example = "answers")]
    pub detail: String,
}

/// A line to be found in the logs.
#[derive(Deserialize, ToSchema)]
pub(crate) struct LogMarker {
    /// Letters, digits, `.`, `_` and `-`.
    #[schema(example = "marker-0001", min_length = 1, max_length = 128)]
    id: String,
}

#[derive(OpenApi)]
#[openapi(paths(livez, readyz, startupz, metrics, openapi, log_marker))]
pub(crate) struct ProbesApi;

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/startupz", get(startupz))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(openapi))
        .route("/internal/log-marker", post(log_marker))
}

/// Liveness: answers as long as the process can answer at all.
#[utoipa::path(get, path = "/livez", tag = "health",
    responses((status = 200, description = "The process lives", body = Alive)))]
async fn livez(State(app): State<Arc<App>>) -> Json<Alive> {
    alive(&app)
}

/// Startup: answers once the service listens.
#[utoipa::path(get, path = "/startupz", tag = "health",
    responses((status = 200, description = "The service has started", body = Alive)))]
async fn startupz(State(app): State<Arc<App>>) -> Json<Alive> {
    alive(&app)
}

fn alive(app: &App) -> Json<Alive> {
    let release = app.release.to_string();
    Json(Alive {
        status: "ok",
        service: app.service.name(),
        release,
    })
}

/// Readiness: whether requests should be sent here; false from the moment the service is told
/// to end.
#[utoipa::path(get, path = "/readyz", tag = "health", responses(
    (status = 200, description = "Ready for requests", body = Readiness),
    (status = 503, description = "Not ready; the checks say why", body = Readiness)))]
async fn readyz(
    State(app): State<Arc<App>>,
    Extension(context): Extension<RequestContext>,
) -> (StatusCode, Json<Readiness>) {
    let mut checks = Vec::new();
    let draining = app.draining.is_cancelled();
    let running = if draining {
        "the service was told to end"
    } else {
        "accepts requests"
    };
    checks.push(check("process", !draining, running));
    if app.injector.never_ready() {
        checks.push(check(
            "fault",
            false,
            "SHOP_FAULT=unready keeps this service from being ready",
        ));
    }
    if !draining {
        checks.extend(check_store(&app).await);
        for (service, url) in &app.dependencies.services {
            checks.push(check_service(&app, &context, *service, url).await);
        }
    }
    let ready = checks.iter().all(|check| check.ok);
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let (service, release) = (app.service.to_string(), app.release.to_string());
    (
        status,
        Json(Readiness {
            ready,
            service,
            release,
            checks,
        }),
    )
}

fn check(name: &str, ok: bool, detail: impl Into<String>) -> Check {
    Check {
        name: name.to_owned(),
        ok,
        detail: detail.into(),
    }
}

async fn check_store(app: &App) -> Option<Check> {
    let store = app.dependencies.store.as_ref()?;
    let answer = tokio::time::timeout(CHECK_LIMIT, store.check(app.release.has_gift_notes())).await;
    Some(match answer {
        Ok(Ok(())) => check("database", true, "answers"),
        Ok(Err(reason)) => check("database", false, reason),
        Err(_elapsed) => check(
            "database",
            false,
            format!("no answer within {CHECK_LIMIT:?}"),
        ),
    })
}

/// Asks for liveness only: asking for readiness would make one service's trouble everyone's.
async fn check_service(
    app: &App,
    context: &RequestContext,
    service: Service,
    url: &BaseUrl,
) -> Check {
    let call = Call::get(url, "/livez");
    let answer =
        tokio::time::timeout(CHECK_LIMIT, app.dependencies.calls.call(context, &call)).await;
    match answer {
        Ok(Ok(answer)) if answer.status.is_success() => check(service.name(), true, "answers"),
        Ok(Ok(answer)) => check(service.name(), false, format!("answers {}", answer.status)),
        Ok(Err(problem)) => check(service.name(), false, problem.detail),
        Err(_elapsed) => check(
            service.name(),
            false,
            format!("no answer within {CHECK_LIMIT:?}"),
        ),
    }
}

/// Metrics in the Prometheus text format.
#[utoipa::path(get, path = "/metrics", tag = "operation", responses(
    (status = 200, description = "Metrics", body = String, content_type = "text/plain")))]
async fn metrics(State(app): State<Arc<App>>) -> Response {
    let text = app.metrics.render(app.log.dropped());
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    )
        .into_response()
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "operation", responses(
    (status = 200, description = "The OpenAPI document", body = Object)))]
async fn openapi(State(app): State<Arc<App>>) -> Json<serde_json::Value> {
    Json(crate::openapi::document(app.service, &app.release))
}

/// Writes a line with the given id to the log, so that a search can show that no line is lost.
#[utoipa::path(post, path = "/internal/log-marker", tag = "operation", request_body = LogMarker,
    responses(
        (status = 204, description = "The line was written"),
        (status = 403, description = "Not asked from this machine", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The id cannot be used", body = Problem, content_type = "application/problem+json")))]
async fn log_marker(
    State(app): State<Arc<App>>,
    Extension(context): Extension<RequestContext>,
    Extension(peer): Extension<SocketAddr>,
    marker: Result<Json<LogMarker>, JsonRejection>,
) -> Result<StatusCode, Problem> {
    if !app.markers_from.allows(peer.ip()) {
        let detail = "markers are written only on behalf of this machine";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    let Json(LogMarker { id }) = marker.map_err(|error| Problem::invalid(error.body_text()))?;
    let usable = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if id.is_empty() || id.len() > 128 || !id.chars().all(usable) {
        return Err(Problem::invalid(
            "an id is 1 to 128 letters, digits, '.', '_' or '-'",
        ));
    }
    let fields = json!({ "marker": id, "trace_id": context.trace_id, "span_id": context.span_id });
    app.log.write("info", "marker", fields);
    Ok(StatusCode::NO_CONTENT)
}
