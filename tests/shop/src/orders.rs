//! Orders: what was bought, written once however often it is sent.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

use crate::app::App;
use crate::catalog::{Page, Product};
use crate::context::{RequestContext, new_id};
use crate::downstream::Call;
use crate::log::now;
use crate::problem::Problem;
use crate::release::Release;
use crate::service::Service;
use crate::store::{Store, on_pool};

/// What a customer wants to buy.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct NewOrder {
    #[schema(example = 1)]
    pub product_id: i64,
    #[schema(example = 2, minimum = 1, maximum = 100)]
    pub quantity: i64,
    #[schema(example = "Grace", min_length = 1, max_length = 100)]
    pub customer: String,
    /// A few words to go with the parcel.
    #[schema(example = "Happy birthday!", max_length = 500, nullable = false)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gift_note: Option<String>,
}

/// An order as it was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Order {
    #[schema(example = "00000000-0000-4000-8000-000000000001")]
    pub id: String,
    #[schema(example = 1)]
    pub product_id: i64,
    #[schema(example = 2, minimum = 1, maximum = 100)]
    pub quantity: i64,
    /// Price of one in cents of a euro, at the time of the order.
    #[schema(example = 3990, minimum = 0)]
    pub unit_price_cents: i64,
    #[schema(example = 7980, minimum = 0)]
    pub total_cents: i64,
    #[schema(example = "Grace")]
    pub customer: String,
    /// When the order was written, UTC.
    #[schema(example = "2026-01-01T00:00:00.000000Z", format = DateTime)]
    pub created_at: String,
    /// A few words to go with the parcel; absent when there are none.
    #[schema(example = "Happy birthday!", nullable = false)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gift_note: Option<String>,
}

/// Orders, newest first.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct OrderList {
    pub orders: Vec<Order>,
}

/// Sums over all orders.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct OrderStats {
    #[schema(example = 12, minimum = 0)]
    pub orders: i64,
    #[schema(example = 20, minimum = 0)]
    pub items: i64,
    #[schema(example = 79800, minimum = 0)]
    pub revenue_cents: i64,
    #[schema(example = 3, minimum = 0)]
    pub with_gift_note: i64,
}

#[derive(OpenApi)]
#[openapi(paths(place, one, list))]
pub(crate) struct OrdersApi;

/// What 1.1 adds.
#[derive(OpenApi)]
#[openapi(paths(stats))]
pub(crate) struct OrdersApi11;

pub(crate) fn routes(release: &Release) -> Router<Arc<App>> {
    let routes = Router::new()
        .route("/api/orders", get(list).post(place))
        .route("/api/orders/{id}", get(one));
    if release.has_gift_notes() {
        return routes.route("/api/orders/stats", get(stats));
    }
    routes
}

/// Places an order. Sending the same order again with the same key returns the first one.
#[utoipa::path(post, path = "/api/orders", tag = "orders", request_body = NewOrder,
    params(("Idempotency-Key" = String, Header, description = "Names this order; 1 to 128 visible characters", example = "contract-0001")),
    responses(
        (status = 200, description = "The order had been placed before", body = Order),
        (status = 201, description = "The order was placed", body = Order),
        (status = 400, description = "There is no usable idempotency key", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The key belongs to a different order", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The order cannot be carried out", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "The catalog could not be asked", body = Problem, content_type = "application/problem+json")))]
async fn place(
    State(app): State<Arc<App>>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    order: Result<Json<NewOrder>, JsonRejection>,
) -> Result<Response, Problem> {
    let key = idempotency_key(&headers)?;
    let Json(wanted) = order.map_err(|error| Problem::invalid(error.body_text()))?;
    validate(&wanted)?;
    let store = app.store()?;
    let gift_notes = app.release.has_gift_notes();
    if let Some(found) = find_by_key(store, key, gift_notes).await? {
        return same_order(&wanted, found, gift_notes);
    }
    let price = unit_price(&app, &context, wanted.product_id).await?;
    let created = insert(store, key, &wanted, price, gift_notes).await?;
    let found = find_by_key(store, key, gift_notes).await?;
    let written = found.ok_or_else(|| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the order was written and cannot be read",
        )
    })?;
    if !created {
        // Another request with this key was faster.
        return same_order(&wanted, written, gift_notes);
    }
    app.metrics.order_created();
    Ok((StatusCode::CREATED, Json(written)).into_response())
}

/// Returns one order.
#[utoipa::path(get, path = "/api/orders/{id}", tag = "orders",
    params(("id" = String, Path, description = "The order", example = "00000000-0000-4000-8000-000000000001")),
    responses(
        (status = 200, description = "The order", body = Order),
        (status = 404, description = "There is no such order", body = Problem, content_type = "application/problem+json")))]
async fn one(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Json<Order>, Problem> {
    let short: String = id.chars().take(64).collect();
    let found = select(app.store()?, Which::Id(id), app.release.has_gift_notes()).await?;
    let order = found.into_iter().next();
    order
        .map(Json)
        .ok_or_else(|| Problem::not_found(format!("there is no order {short}")))
}

/// Lists the newest orders.
#[utoipa::path(get, path = "/api/orders", tag = "orders", params(Page), responses(
    (status = 200, description = "The orders", body = OrderList),
    (status = 400, description = "The limit cannot be used", body = Problem, content_type = "application/problem+json")))]
async fn list(
    State(app): State<Arc<App>>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<OrderList>, Problem> {
    let newest = Which::Newest(Page::limit(page)?);
    let orders = select(app.store()?, newest, app.release.has_gift_notes()).await?;
    Ok(Json(OrderList { orders }))
}

/// Sums up all orders.
#[utoipa::path(get, path = "/api/orders/stats", tag = "orders", responses(
    (status = 200, description = "The sums", body = OrderStats)))]
async fn stats(State(app): State<Arc<App>>) -> Result<Json<OrderStats>, Problem> {
    // PostgreSQL sums BIGINT to NUMERIC; the cast keeps both databases at 64 bits.
    let sums = "SELECT COUNT(*), CAST(COALESCE(SUM(quantity), 0) AS BIGINT), \
                CAST(COALESCE(SUM(total_cents), 0) AS BIGINT), COUNT(gift_note) FROM orders";
    let row: (i64, i64, i64, i64) =
        on_pool!(app.store()?, pool => sqlx::query_as(sums).fetch_one(pool).await?);
    let (orders, items, revenue_cents, with_gift_note) = row;
    Ok(Json(OrderStats {
        orders,
        items,
        revenue_cents,
        with_gift_note,
    }))
}

fn idempotency_key(headers: &HeaderMap) -> Result<&str, Problem> {
    let key = headers
        .get("idempotency-key")
        .and_then(|value| value.to_str().ok());
    match key.map(str::trim) {
        Some(key) if (1..=128).contains(&key.len()) => Ok(key),
        _ => Err(Problem::bad_request(
            "an order needs the header Idempotency-Key with 1 to 128 visible characters",
        )),
    }
}

fn validate(order: &NewOrder) -> Result<(), Problem> {
    if !(1..=100).contains(&order.quantity) {
        return Err(Problem::invalid(format!(
            "quantity is {}; use 1 to 100",
            order.quantity
        )));
    }
    if !(1..=100).contains(&order.customer.chars().count()) {
        return Err(Problem::invalid(
            "customer is a name of 1 to 100 characters",
        ));
    }
    if order
        .gift_note
        .as_ref()
        .is_some_and(|note| note.chars().count() > 500)
    {
        return Err(Problem::invalid("gift_note has more than 500 characters"));
    }
    Ok(())
}

fn same_order(wanted: &NewOrder, found: Order, gift_notes: bool) -> Result<Response, Problem> {
    let same = wanted.product_id == found.product_id
        && wanted.quantity == found.quantity
        && wanted.customer == found.customer
        && (!gift_notes || wanted.gift_note == found.gift_note);
    if same {
        return Ok(([("idempotent-replayed", "true")], Json(found)).into_response());
    }
    let detail = format!(
        "this key belongs to order {}, which is a different one",
        found.id
    );
    Err(Problem::new(StatusCode::CONFLICT, detail))
}

async fn unit_price(app: &App, context: &RequestContext, product_id: i64) -> Result<i64, Problem> {
    let path = format!("/api/products/{product_id}");
    let call = Call::get(app.url(Service::Catalog)?, &path);
    let answer = app.dependencies.calls.call(context, &call).await?;
    if answer.status == StatusCode::NOT_FOUND {
        return Err(Problem::invalid(format!(
            "there is no product {product_id}"
        )));
    }
    answer.json::<Product>().map(|product| product.price_cents)
}

/// Writes the order unless its key is taken; tells whether it was written.
async fn insert(
    store: &Store,
    key: &str,
    order: &NewOrder,
    price: i64,
    gift_notes: bool,
) -> Result<bool, Problem> {
    const BASE: &str = "INSERT INTO orders (id, idempotency_key, product_id, quantity, \
        unit_price_cents, total_cents, customer, created_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (idempotency_key) DO NOTHING";
    const WITH_NOTE: &str = "INSERT INTO orders (id, idempotency_key, product_id, quantity, \
        unit_price_cents, total_cents, customer, created_at, gift_note) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (idempotency_key) DO NOTHING";
    let rows = on_pool!(store, pool => {
        let mut query = sqlx::query(if gift_notes { WITH_NOTE } else { BASE })
            .bind(new_id())
            .bind(key)
            .bind(order.product_id)
            .bind(order.quantity)
            .bind(price)
            .bind(price.saturating_mul(order.quantity))
            .bind(&order.customer)
            .bind(now());
        if gift_notes {
            query = query.bind(&order.gift_note);
        }
        query.execute(pool).await?.rows_affected()
    });
    Ok(rows == 1)
}

enum Which {
    Id(String),
    Key(String),
    Newest(i64),
}

async fn find_by_key(store: &Store, key: &str, notes: bool) -> Result<Option<Order>, Problem> {
    Ok(select(store, Which::Key(key.to_owned()), notes)
        .await?
        .into_iter()
        .next())
}

type OrderRow = (String, i64, i64, i64, i64, String, String, Option<String>);

/// Reads orders; 1.0 never names the column that it does not know.
async fn select(store: &Store, which: Which, notes: bool) -> Result<Vec<Order>, sqlx::Error> {
    macro_rules! statement {
        ($end:literal) => {
            if notes {
                concat!(
                    "SELECT id, product_id, quantity, unit_price_cents, total_cents, customer, ",
                    "created_at, gift_note FROM orders ",
                    $end
                )
            } else {
                concat!(
                    "SELECT id, product_id, quantity, unit_price_cents, total_cents, customer, ",
                    "created_at, CAST(NULL AS TEXT) FROM orders ",
                    $end
                )
            }
        };
    }
    let rows: Vec<OrderRow> = on_pool!(store, pool => match which {
        Which::Id(id) => {
            sqlx::query_as(statement!("WHERE id = $1")).bind(id).fetch_all(pool).await?
        }
        Which::Key(key) => {
            let statement = statement!("WHERE idempotency_key = $1");
            sqlx::query_as(statement).bind(key).fetch_all(pool).await?
        }
        Which::Newest(limit) => {
            let statement = statement!("ORDER BY created_at DESC, id LIMIT $1");
            sqlx::query_as(statement).bind(limit).fetch_all(pool).await?
        }
    });
    Ok(rows.into_iter().map(order).collect())
}

fn order(row: OrderRow) -> Order {
    let (id, product_id, quantity, unit_price_cents, total_cents, customer, created_at, gift_note) =
        row;
    Order {
        id,
        product_id,
        quantity,
        unit_price_cents,
        total_cents,
        customer,
        created_at,
        gift_note,
    }
}
