//! What all requests of a service share.

use std::sync::Arc;

use axum::Router;
use tokio_util::sync::CancellationToken;

use crate::config::{BaseUrl, Config, MarkersFrom};
use crate::downstream::Downstream;
use crate::error::Error;
use crate::fault::Injector;
use crate::log::Log;
use crate::metrics::Metrics;
use crate::release::Release;
use crate::service::Service;
use crate::store::Store;
use crate::{catalog, observe, orders, probes, storefront};

/// A running service, apart from its sockets.
pub(crate) struct App {
    pub service: Service,
    pub release: Release,
    pub log: Log,
    pub metrics: Metrics,
    pub injector: Injector,
    pub markers_from: MarkersFrom,
    /// What this service calls or reads; its readiness depends on them.
    pub dependencies: Dependencies,
    /// Cancelled when the service was told to end.
    pub draining: CancellationToken,
    /// Cancelled by the fault `crash`.
    pub crashed: CancellationToken,
}

pub(crate) struct Dependencies {
    pub store: Option<Store>,
    pub services: Vec<(Service, BaseUrl)>,
    pub calls: Downstream,
}

impl App {
    pub(crate) async fn new(config: &Config, log: Log) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(App {
            service: config.service,
            release: config.release.clone(),
            log,
            metrics: Metrics::new(config.service, &config.release),
            injector: Injector::new(config.fault.clone(), config.service),
            markers_from: config.markers_from,
            dependencies: Dependencies {
                store: store(config).await?,
                services: services(config)?,
                calls: Downstream::new(config.call_timeout, config.idle_connections),
            },
            draining: CancellationToken::new(),
            crashed: CancellationToken::new(),
        }))
    }

    /// Returns the routes of this service, with everything around them.
    pub(crate) fn router(self: Arc<Self>) -> Router {
        let own = match self.service {
            Service::Storefront => storefront::routes(),
            Service::Catalog => catalog::routes(&self.release),
            Service::Orders => orders::routes(&self.release),
        };
        observe::around(own.merge(probes::routes()), &self).with_state(self)
    }

    /// Returns the database; only routes of services that have one ask for it.
    pub(crate) fn store(&self) -> Result<&Store, crate::problem::Problem> {
        let missing = || {
            crate::problem::Problem::new(
                http::StatusCode::INTERNAL_SERVER_ERROR,
                "this service has no database",
            )
        };
        self.dependencies.store.as_ref().ok_or_else(missing)
    }

    /// Returns where `service` is.
    pub(crate) fn url(&self, service: Service) -> Result<&BaseUrl, crate::problem::Problem> {
        let found = self
            .dependencies
            .services
            .iter()
            .find(|(name, _)| *name == service);
        found.map(|(_, url)| url).ok_or_else(|| {
            crate::problem::Problem::bad_gateway(format!("no address of {service} is configured"))
        })
    }
}

async fn store(config: &Config) -> Result<Option<Store>, Error> {
    if config.service == Service::Storefront {
        return Ok(None);
    }
    let service = config.service.name();
    let missing = Error::MissingSetting {
        name: "DATABASE_URL",
        service,
    };
    let url = config.database.as_ref().ok_or(missing)?;
    Store::open(url).await.map(Some)
}

fn services(config: &Config) -> Result<Vec<(Service, BaseUrl)>, Error> {
    let needed: &[Service] = match config.service {
        Service::Storefront => &[Service::Catalog, Service::Orders],
        Service::Orders => &[Service::Catalog],
        Service::Catalog => &[],
    };
    let service = config.service.name();
    let address = |needed: &Service| {
        let (name, url) = match needed {
            Service::Orders => ("ORDERS_URL", &config.orders_url),
            _ => ("CATALOG_URL", &config.catalog_url),
        };
        let url = url.clone().ok_or(Error::MissingSetting { name, service })?;
        Ok((*needed, url))
    };
    needed.iter().map(address).collect()
}
