//! The storefront: pages for customers.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, State};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri, header};
use serde::Deserialize;
use utoipa::{OpenApi, ToSchema};

use crate::app::App;
use crate::catalog::{Product, ProductList, ReviewList};
use crate::context::{RequestContext, new_id};
use crate::downstream::Call;
use crate::orders::{NewOrder, Order};
use crate::probes::Readiness;
use crate::problem::Problem;
use crate::service::Service;

mod pages;

/// What the form on a product's page, or a program, sends.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct Purchase {
    #[schema(example = 1)]
    product_id: i64,
    #[schema(example = 1, minimum = 1, maximum = 100)]
    #[serde(default = "one")]
    quantity: i64,
    #[schema(example = "Grace", min_length = 1, max_length = 100)]
    customer: String,
    /// A few words to go with the parcel.
    #[schema(example = "Happy birthday!", max_length = 500, nullable = false)]
    gift_note: Option<String>,
    /// Names this purchase, so that sending the form twice buys once.
    #[schema(example = "contract-0002", nullable = false)]
    idempotency_key: Option<String>,
}

fn one() -> i64 {
    1
}

#[derive(OpenApi)]
#[openapi(paths(home, product, buy, order, health))]
pub(crate) struct StorefrontApi;

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(home))
        .route("/product/{id}", get(product))
        .route("/buy", post(buy))
        .route("/order/{id}", get(order))
        .route("/health", get(health))
}

/// A problem as a page that a customer can read.
struct PageProblem(Problem);

impl From<Problem> for PageProblem {
    fn from(problem: Problem) -> Self {
        PageProblem(problem)
    }
}

impl IntoResponse for PageProblem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::BAD_GATEWAY);
        (status, Html(pages::problem(&self.0))).into_response()
    }
}

/// Shows all products with their prices.
#[utoipa::path(get, path = "/", tag = "pages", responses(
    (status = 200, description = "The products", body = String, content_type = "text/html"),
    (status = 502, description = "The catalog could not be asked", body = String, content_type = "text/html")))]
async fn home(
    State(app): State<Arc<App>>,
    Extension(context): Extension<RequestContext>,
) -> Result<Html<String>, PageProblem> {
    let list: ProductList =
        read(&app, &context, Service::Catalog, "/api/products?limit=100").await?;
    Ok(Html(pages::home(&list.products, app.release.as_str())))
}

/// Shows one product and the form to buy it.
#[utoipa::path(get, path = "/product/{id}", tag = "pages",
    params(("id" = i64, Path, description = "The product", example = 1)), responses(
    (status = 200, description = "The product", body = String, content_type = "text/html"),
    (status = 400, description = "The id is not a number", body = String, content_type = "text/html"),
    (status = 404, description = "There is no such product", body = String, content_type = "text/html"),
    (status = 502, description = "The catalog could not be asked", body = String, content_type = "text/html")))]
async fn product(
    State(app): State<Arc<App>>,
    Extension(context): Extension<RequestContext>,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Html<String>, PageProblem> {
    let bad = |_| Problem::bad_request("a product's id is a whole number");
    let Path(id) = id.map_err(bad)?;
    let path = format!("/api/products/{id}");
    let product: Product = read(&app, &context, Service::Catalog, &path).await?;
    let mut reviews = None;
    if app.release.has_gift_notes() {
        // While releases are mixed, the catalog may not know reviews yet: the page goes without.
        let path = format!("/api/products/{id}/reviews");
        let answer: Result<ReviewList, _> = read(&app, &context, Service::Catalog, &path).await;
        reviews = answer.ok().map(|list| list.reviews);
    }
    Ok(Html(pages::product(
        &product,
        reviews.as_deref(),
        &new_id(),
        app.release.as_str(),
    )))
}

/// Buys: takes the form of a product's page or the same as JSON.
#[utoipa::path(post, path = "/buy", tag = "pages",
    request_body(content((Purchase = "application/json"), (Purchase = "application/x-www-form-urlencoded"))),
    params(("Idempotency-Key" = Option<String>, Header, description = "Names this purchase", example = "contract-0002")),
    responses(
        (status = 200, description = "Bought before", content((Order = "application/json"), (String = "text/html"))),
        (status = 201, description = "Bought", content((Order = "application/json"), (String = "text/html"))),
        (status = 400, description = "The purchase could not be read", content((Problem = "application/problem+json"), (String = "text/html"))),
        (status = 409, description = "The key belongs to a different order", content((Problem = "application/problem+json"), (String = "text/html"))),
        (status = 422, description = "The order cannot be carried out", content((Problem = "application/problem+json"), (String = "text/html"))),
        (status = 502, description = "Orders could not be asked", content((Problem = "application/problem+json"), (String = "text/html")))))]
async fn buy(
    State(app): State<Arc<App>>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let as_json = kind.is_some_and(|kind| kind.starts_with("application/json"));
    let key = headers
        .get("idempotency-key")
        .and_then(|key| key.to_str().ok())
        .map(str::to_owned);
    match place(&app, &context, as_json, key, &body).await {
        Ok((status, order)) if as_json => (status, Json(order)).into_response(),
        Ok((status, order)) => {
            (status, Html(pages::order(&order, app.release.as_str()))).into_response()
        }
        Err(problem) if as_json => problem.into_response(),
        Err(problem) => PageProblem(problem).into_response(),
    }
}

/// Shows an order.
#[utoipa::path(get, path = "/order/{id}", tag = "pages",
    params(("id" = String, Path, description = "The order", example = "00000000-0000-4000-8000-000000000001")),
    responses(
        (status = 200, description = "The order", body = String, content_type = "text/html"),
        (status = 404, description = "There is no such order", body = String, content_type = "text/html"),
        (status = 502, description = "Orders could not be asked", body = String, content_type = "text/html")))]
async fn order(
    State(app): State<Arc<App>>,
    Extension(context): Extension<RequestContext>,
    Path(id): Path<String>,
) -> Result<Html<String>, PageProblem> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if id.len() > 64 || !id.chars().all(plain) {
        return Err(Problem::not_found("there is no such order").into());
    }
    let path = format!("/api/orders/{id}");
    let order: Order = read(&app, &context, Service::Orders, &path).await?;
    Ok(Html(pages::order(&order, app.release.as_str())))
}

/// Shows how all services are.
#[utoipa::path(get, path = "/health", tag = "pages", responses(
    (status = 200, description = "All services are ready", body = String, content_type = "text/html"),
    (status = 503, description = "A service is not ready", body = String, content_type = "text/html")))]
async fn health(
    State(app): State<Arc<App>>,
    Extension(context): Extension<RequestContext>,
) -> Response {
    let mut answers = Vec::new();
    for (service, url) in &app.dependencies.services {
        let call = Call::get(url, "/readyz");
        let answer = app.dependencies.calls.call(&context, &call).await;
        // A service that is not ready says so with status 503 and the reasons in the body.
        let readiness = answer.and_then(|answer| {
            serde_json::from_slice::<Readiness>(&answer.body)
                .map_err(|_| Problem::bad_gateway(format!("answered {}", answer.status)))
        });
        answers.push((*service, readiness));
    }
    let well = answers
        .iter()
        .all(|(_, answer)| answer.as_ref().is_ok_and(|answer| answer.ready));
    let status = if well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Html(pages::health(&answers, app.release.as_str()))).into_response()
}

async fn read<T: serde::de::DeserializeOwned>(
    app: &App,
    context: &RequestContext,
    service: Service,
    path: &str,
) -> Result<T, Problem> {
    let call = Call::get(app.url(service)?, path);
    app.dependencies.calls.call(context, &call).await?.json()
}

async fn place(
    app: &App,
    context: &RequestContext,
    as_json: bool,
    key: Option<String>,
    body: &[u8],
) -> Result<(StatusCode, Order), Problem> {
    let purchase = if as_json {
        from_json(body)?
    } else {
        from_form(body)?
    };
    let note = purchase.gift_note.filter(|note| !note.is_empty());
    let order = NewOrder {
        product_id: purchase.product_id,
        quantity: purchase.quantity,
        customer: purchase.customer,
        gift_note: note.filter(|_| app.release.has_gift_notes()),
    };
    let key = key.or(purchase.idempotency_key).unwrap_or_else(new_id);
    let body = serde_json::to_vec(&order)
        .map_err(|error| Problem::bad_request(format!("the order cannot be written: {error}")))?;
    let call = Call {
        method: Method::POST,
        base: app.url(Service::Orders)?,
        path: "/api/orders",
        idempotency_key: Some(&key),
        body: body.into(),
    };
    let answer = app.dependencies.calls.call(context, &call).await?;
    let order = answer.json()?;
    Ok((answer.status, order))
}

fn from_json(body: &[u8]) -> Result<Purchase, Problem> {
    serde_json::from_slice(body)
        .map_err(|error| Problem::bad_request(format!("the purchase cannot be read: {error}")))
}

/// A form is encoded like the query of a URL, so it is read as one.
fn from_form(body: &[u8]) -> Result<Purchase, Problem> {
    let bad = |reason: String| Problem::bad_request(format!("the form cannot be read: {reason}"));
    let text = std::str::from_utf8(body).map_err(|error| bad(error.to_string()))?;
    let uri: Uri = format!("/?{text}")
        .parse()
        .map_err(|_| bad("it is not encoded".to_owned()))?;
    let Query(purchase) = Query::try_from_uri(&uri).map_err(|error| bad(error.body_text()))?;
    Ok(purchase)
}
