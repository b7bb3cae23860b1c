//! A small shop of three HTTP services that call each other: the system that demonstrations and
//! tests deploy.
//!
//! `storefront` shows pages and takes purchases, `catalog` answers what is for sale, `orders`
//! writes what was bought to a database. Each has the endpoints a production service has
//! (liveness, readiness, startup, metrics, an OpenAPI document), logs one JSON line a request with
//! the trace id of W3C Trace Context, and ends gracefully. Releases `1.0.x` and `1.1.x` are
//! the same program behaving as either; a fault can be chosen at start to see a deployment fail.

mod app;
mod catalog;
mod config;
mod context;
mod downstream;
mod error;
mod fault;
mod files;
mod log;
mod metrics;
mod observe;
mod openapi;
mod orders;
mod probes;
mod problem;
mod program;
mod release;
mod server;
mod service;
mod store;
mod storefront;

pub use config::{BaseUrl, Config, DatabaseUrl};
pub use error::Error;
pub use fault::{Fault, FaultKind};
pub use files::FILES;
pub use log::LogTarget;
pub use openapi::document as openapi_document;
pub use program::main_with_args;
pub use release::Release;
pub use server::{Server, serve};
pub use service::Service;
