//! The services of the shop.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// One of the three services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// HTML pages for customers; calls the other two.
    Storefront,
    /// Products and, from 1.1.0, their reviews.
    Catalog,
    /// Orders in a database; asks the catalog for prices.
    Orders,
}

impl Service {
    /// All services, in the order in which they can be started.
    pub const ALL: [Service; 3] = [Service::Catalog, Service::Orders, Service::Storefront];

    /// Returns the name used in arguments, logs, metrics and the Compose file.
    pub fn name(self) -> &'static str {
        match self {
            Service::Storefront => "storefront",
            Service::Catalog => "catalog",
            Service::Orders => "orders",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Service {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Service::ALL
            .into_iter()
            .find(|service| service.name() == text)
            .ok_or_else(|| Error::UnknownService {
                name: text.chars().take(64).collect(),
            })
    }
}
