//! The OpenAPI document of each service and release.

use serde_json::{Value, json};
use utoipa::OpenApi;
use utoipa::openapi::{InfoBuilder, License};

use crate::catalog::{CatalogApi, CatalogApi11};
use crate::orders::{OrdersApi, OrdersApi11};
use crate::probes::ProbesApi;
use crate::release::Release;
use crate::service::Service;
use crate::storefront::StorefrontApi;

/// Returns the OpenAPI 3.1 document that `service` of `release` serves at `/openapi.json`.
pub fn document(service: Service, release: &Release) -> Value {
    let mut api = match service {
        Service::Storefront => StorefrontApi::openapi(),
        Service::Catalog => CatalogApi::openapi(),
        Service::Orders => OrdersApi::openapi(),
    };
    if release.has_gift_notes() {
        match service {
            Service::Storefront => {}
            Service::Catalog => api.merge(CatalogApi11::openapi()),
            Service::Orders => api.merge(OrdersApi11::openapi()),
        }
    }
    api.merge(ProbesApi::openapi());
    let mut license = License::new("MIT OR Apache-2.0");
    license.identifier = Some("MIT OR Apache-2.0".to_owned());
    api.info = InfoBuilder::new()
        .title(format!("Shop: {service}"))
        .description(Some("A service of the demonstration shop"))
        .version(release.as_str())
        .license(Some(license))
        .build();
    let mut document = serde_json::to_value(api).unwrap_or_else(|_| json!({}));
    if !release.has_gift_notes() {
        forget_gift_notes(&mut document);
    }
    document
}

/// The types are shared by both releases; 1.0 does not have this one field.
fn forget_gift_notes(document: &mut Value) {
    let schemas = document
        .pointer_mut("/components/schemas")
        .and_then(Value::as_object_mut);
    for schema in schemas.into_iter().flat_map(|schemas| schemas.values_mut()) {
        if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            properties.remove("gift_note");
        }
    }
}
