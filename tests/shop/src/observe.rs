//! What happens around every request: trace, fault, count, log line, headers.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::json;

use crate::app::App;
use crate::context::{RequestContext, TRACE_ID, TRACERESPONSE};
use crate::fault::Decision;
use crate::problem::Problem;

const RELEASE: HeaderName = HeaderName::from_static("x-release");

/// No request of the shop is larger than a short form.
const BODY_LIMIT: usize = 64 * 1024;

/// What the log says of a request whose client went away before the answer.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// Puts the observation around `routes`.
pub(crate) fn around(routes: Router<Arc<App>>, app: &Arc<App>) -> Router<Arc<App>> {
    routes
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn_with_state(Arc::clone(app), observe))
}

async fn not_found(request: Request) -> Problem {
    Problem::not_found(format!("there is nothing at {}", request.uri().path()))
}

async fn method_not_allowed(request: Request) -> Problem {
    let detail = format!(
        "{} cannot be used at {}",
        request.method(),
        request.uri().path()
    );
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}

async fn observe(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map(|path| path.as_str().to_owned());
    let route = route.unwrap_or_else(|| "unmatched".to_owned());
    let context = RequestContext::from_headers(request.headers());
    request.extensions_mut().insert(context.clone());
    let decision = app.injector.decide(&route);
    let span = Span::begin(&app, &request, route, context);
    let mut response = match decision {
        Decision::Proceed => next.run(request).await,
        Decision::Delay(delay) => {
            tokio::time::sleep(delay).await;
            next.run(request).await
        }
        Decision::Fail => {
            let detail = "the fault chosen with SHOP_FAULT reached this request";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail).into_response()
        }
        Decision::Crash => {
            app.crashed.cancel();
            // The process is about to end; this request is never answered.
            std::future::pending().await
        }
    };
    span.stamp(response.headers_mut());
    span.end(response.status());
    response
}

/// A request from its arrival to its answer. Dropped without an answer when the client goes away.
struct Span {
    app: Arc<App>,
    context: RequestContext,
    method: &'static str,
    route: String,
    path: String,
    started: Instant,
    status: u16,
}

impl Span {
    fn begin(app: &Arc<App>, request: &Request, route: String, context: RequestContext) -> Self {
        app.metrics.begin();
        Span {
            app: Arc::clone(app),
            context,
            method: method_label(request.method()),
            route,
            path: request.uri().path().chars().take(256).collect(),
            started: Instant::now(),
            status: CLIENT_CLOSED_REQUEST,
        }
    }

    fn stamp(&self, headers: &mut HeaderMap) {
        let mut put = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        put(RELEASE, self.app.release.as_str());
        put(TRACE_ID, &self.context.trace_id);
        put(TRACERESPONSE, &self.context.traceparent());
        if self.app.draining.is_cancelled() {
            // Tells a caller that keeps connections to take the next request elsewhere.
            put(header::CONNECTION, "close");
        }
    }

    fn end(mut self, status: StatusCode) {
        self.status = status.as_u16();
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let taken = self.started.elapsed();
        self.app
            .metrics
            .end(self.method, &self.route, self.status, taken);
        let level = if self.status >= 500 { "error" } else { "info" };
        let fields = json!({
            "trace_id": self.context.trace_id,
            "span_id": self.context.span_id,
            "parent_span_id": self.context.parent_span_id,
            "method": self.method,
            "route": self.route,
            "path": self.path,
            "status": self.status,
            "duration_us": u64::try_from(taken.as_micros()).unwrap_or(u64::MAX),
        });
        self.app.log.write(level, "request", fields);
    }
}

/// Methods are a label of a metric, so a client must not be able to invent new ones.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
