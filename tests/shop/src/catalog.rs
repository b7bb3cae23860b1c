//! The catalog: what is for sale.

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use crate::app::App;
use crate::problem::Problem;
use crate::release::Release;
use crate::store::on_pool;

/// Something for sale.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Product {
    #[schema(example = 1)]
    pub id: i64,
    #[schema(example = "KETTLE-1")]
    pub sku: String,
    #[schema(example = "Kettle")]
    pub name: String,
    #[schema(example = "Boils a litre in three minutes.")]
    pub description: String,
    /// Price of one in cents of a euro.
    #[schema(example = 3990, minimum = 0)]
    pub price_cents: i64,
}

/// Products, by id.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ProductList {
    pub products: Vec<Product>,
    /// How many products there are altogether.
    #[schema(example = 8)]
    pub total: i64,
}

/// What a customer said of a product.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Review {
    #[schema(example = "Ada")]
    pub author: String,
    #[schema(example = 5, minimum = 1, maximum = 5)]
    pub stars: i64,
    #[schema(example = "Quick and quiet.")]
    pub text: String,
}

/// What customers said of a product.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ReviewList {
    #[schema(example = 1)]
    pub product_id: i64,
    pub reviews: Vec<Review>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Page {
    /// How many to return at most.
    #[param(minimum = 1, maximum = 100, example = 20)]
    pub limit: Option<i64>,
}

impl Page {
    /// Returns the limit asked for, 20 when none was.
    pub(crate) fn limit(page: Result<Query<Page>, QueryRejection>) -> Result<i64, Problem> {
        let Query(page) = page.map_err(|error| Problem::bad_request(error.body_text()))?;
        match page.limit.unwrap_or(20) {
            limit @ 1..=100 => Ok(limit),
            limit => Err(Problem::bad_request(format!(
                "limit is {limit}; use 1 to 100"
            ))),
        }
    }
}

#[derive(OpenApi)]
#[openapi(paths(list, one))]
pub(crate) struct CatalogApi;

/// What 1.1 adds.
#[derive(OpenApi)]
#[openapi(paths(reviews))]
pub(crate) struct CatalogApi11;

pub(crate) fn routes(release: &Release) -> Router<Arc<App>> {
    let routes = Router::new()
        .route("/api/products", get(list))
        .route("/api/products/{id}", get(one));
    if release.has_gift_notes() {
        return routes.route("/api/products/{id}/reviews", get(reviews));
    }
    routes
}

type ReviewRow = (String, i64, String);

type ProductRow = (i64, String, String, String, i64);

fn product((id, sku, name, description, price_cents): ProductRow) -> Product {
    Product {
        id,
        sku,
        name,
        description,
        price_cents,
    }
}

/// Lists the products.
#[utoipa::path(get, path = "/api/products", tag = "catalog", params(Page), responses(
    (status = 200, description = "The products", body = ProductList),
    (status = 400, description = "The limit cannot be used", body = Problem, content_type = "application/problem+json")))]
async fn list(
    State(app): State<Arc<App>>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<ProductList>, Problem> {
    let limit = Page::limit(page)?;
    let select =
        "SELECT id, sku, name, description, price_cents FROM products ORDER BY id LIMIT $1";
    let count = "SELECT COUNT(*) FROM products";
    let (rows, total): (Vec<ProductRow>, (i64,)) = on_pool!(app.store()?, pool => (
        sqlx::query_as(select).bind(limit).fetch_all(pool).await?,
        sqlx::query_as(count).fetch_one(pool).await?,
    ));
    Ok(Json(ProductList {
        products: rows.into_iter().map(product).collect(),
        total: total.0,
    }))
}

/// Returns one product.
#[utoipa::path(get, path = "/api/products/{id}", tag = "catalog",
    params(("id" = i64, Path, description = "The product", example = 1)), responses(
    (status = 200, description = "The product", body = Product),
    (status = 400, description = "The id is not a number", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "There is no such product", body = Problem, content_type = "application/problem+json")))]
async fn one(
    State(app): State<Arc<App>>,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Json<Product>, Problem> {
    let id = number(id)?;
    let select = "SELECT id, sku, name, description, price_cents FROM products WHERE id = $1";
    let row: Option<ProductRow> =
        on_pool!(app.store()?, pool => sqlx::query_as(select).bind(id).fetch_optional(pool).await?);
    row.map(|row| Json(product(row)))
        .ok_or_else(|| no_product(id))
}

/// Returns what customers said of a product.
#[utoipa::path(get, path = "/api/products/{id}/reviews", tag = "catalog",
    params(("id" = i64, Path, description = "The product", example = 1)), responses(
    (status = 200, description = "The reviews", body = ReviewList),
    (status = 400, description = "The id is not a number", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "There is no such product", body = Problem, content_type = "application/problem+json")))]
async fn reviews(
    State(app): State<Arc<App>>,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Json<ReviewList>, Problem> {
    let product_id = number(id)?;
    let exists = "SELECT id FROM products WHERE id = $1";
    let select = "SELECT author, stars, text FROM reviews WHERE product_id = $1 ORDER BY id";
    let (known, rows): (Option<(i64,)>, Vec<ReviewRow>) = on_pool!(app.store()?, pool => (
        sqlx::query_as(exists).bind(product_id).fetch_optional(pool).await?,
        sqlx::query_as(select).bind(product_id).fetch_all(pool).await?,
    ));
    known.ok_or_else(|| no_product(product_id))?;
    let review = |(author, stars, text)| Review {
        author,
        stars,
        text,
    };
    Ok(Json(ReviewList {
        product_id,
        reviews: rows.into_iter().map(review).collect(),
    }))
}

fn number(id: Result<Path<i64>, PathRejection>) -> Result<i64, Problem> {
    id.map(|Path(id)| id)
        .map_err(|_| Problem::bad_request("a product's id is a whole number"))
}

fn no_product(id: i64) -> Problem {
    Problem::not_found(format!("there is no product {id}"))
}
