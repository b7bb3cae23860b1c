//! The configuration of a service, from environment variables only.

use std::fmt;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use http::Uri;

use crate::error::Error;
use crate::fault::Fault;
use crate::log::LogTarget;
use crate::release::Release;
use crate::service::Service;

/// A database URL is short; a longer file is not one.
const SECRET_FILE_LIMIT: u64 = 4096;

/// Where one service listens, what it behaves as and what it depends on.
#[derive(Debug, Clone)]
pub struct Config {
    /// The service.
    pub service: Service,
    /// The release it behaves as (`SHOP_RELEASE`, default 1.0.0).
    pub release: Release,
    /// The fault it shows (`SHOP_FAULT` and the settings beside it), already narrowed to this
    /// service and release.
    pub fault: Fault,
    /// Where it listens (`BIND`, default 127.0.0.1, and `PORT`, default 0: any free port).
    pub listen: SocketAddr,
    /// Where the catalog is (`CATALOG_URL`); needed by storefront and orders.
    pub catalog_url: Option<BaseUrl>,
    /// Where orders is (`ORDERS_URL`); needed by storefront.
    pub orders_url: Option<BaseUrl>,
    /// The database (`DATABASE_URL`, or the content of `DATABASE_URL_FILE`); needed by catalog
    /// and orders.
    pub database: Option<DatabaseUrl>,
    /// How long a call to another service may take (`SHOP_CALL_TIMEOUT_MS`, default 3000).
    pub call_timeout: Duration,
    /// How many connections to each other service are kept for further calls
    /// (`SHOP_IDLE_CONNECTIONS`, default 32, and none in a pod of Kubernetes). Where connections are
    /// balanced and not requests, as by a cluster, one that is kept keeps leading to the same instance.
    pub idle_connections: usize,
    /// How long the service keeps accepting connections after it was told to end, so that
    /// whoever balances the load can notice (`SHOP_DRAIN_MS`, default 500).
    pub drain: Duration,
    /// How long requests under way may take to finish after that (`SHOP_GRACE_MS`, default
    /// 10000).
    pub grace: Duration,
    /// Who may have a marker written to the log (`SHOP_MARKERS_FROM`, default `loopback`).
    pub markers_from: MarkersFrom,
    /// Where log lines go.
    pub log: LogTarget,
}

impl Config {
    /// Reads the configuration of `service` through `lookup`, which returns the value of an
    /// environment variable.
    ///
    /// # Errors
    /// [`Error::Setting`], [`Error::MissingSetting`] and [`Error::SecretFile`], each naming the
    /// variable.
    pub fn from_env(
        service: Service,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        let get = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let release: Release = get("SHOP_RELEASE")
            .unwrap_or_else(|| "1.0.0".to_owned())
            .parse()?;
        let config = Config {
            service,
            fault: Fault::from_env(service, &release, &get)?,
            release,
            listen: SocketAddr::new(
                parse(
                    &get,
                    "BIND",
                    "an IP address",
                    IpAddr::V4(Ipv4Addr::LOCALHOST),
                )?,
                parse(&get, "PORT", "a port from 0 to 65535", 0)?,
            ),
            catalog_url: get("CATALOG_URL")
                .map(|url| BaseUrl::parse("CATALOG_URL", &url))
                .transpose()?,
            orders_url: get("ORDERS_URL")
                .map(|url| BaseUrl::parse("ORDERS_URL", &url))
                .transpose()?,
            database: database(&get)?,
            call_timeout: millis(&get, "SHOP_CALL_TIMEOUT_MS", 3_000)?,
            idle_connections: parse(&get, "SHOP_IDLE_CONNECTIONS", "a number", kept_unsaid(&get))?,
            drain: millis(&get, "SHOP_DRAIN_MS", 500)?,
            grace: millis(&get, "SHOP_GRACE_MS", 10_000)?,
            markers_from: parse(
                &get,
                "SHOP_MARKERS_FROM",
                "loopback or private",
                MarkersFrom::Loopback,
            )?,
            log: LogTarget::Stdout,
        };
        Ok(config)
    }
}

/// How many connections to each other service are kept where that is not said. Every pod is given the variable that is
/// looked for (<https://kubernetes.io/docs/concepts/containers/container-environment/>).
fn kept_unsaid(get: &impl Fn(&str) -> Option<String>) -> usize {
    match get("KUBERNETES_SERVICE_HOST") {
        Some(_) => 0,
        None => 32,
    }
}

/// Who may have a marker written to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkersFrom {
    /// Whoever asks from loopback.
    Loopback,
    /// Also whoever asks from a private network: in a container, the machine is one of those.
    Private,
}

impl MarkersFrom {
    /// Returns whether somebody with that address may.
    #[must_use]
    pub fn allows(self, peer: IpAddr) -> bool {
        match peer.to_canonical() {
            address if address.is_loopback() => true,
            IpAddr::V4(address) => self == Self::Private && address.is_private(),
            IpAddr::V6(address) => self == Self::Private && address.is_unique_local(),
        }
    }
}

impl FromStr for MarkersFrom {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "loopback" => Ok(Self::Loopback),
            "private" => Ok(Self::Private),
            _ => Err(()),
        }
    }
}

/// Where another service is: scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(String);

impl BaseUrl {
    /// Parses an `http://host:port` URL; `name` is the setting an error mentions.
    ///
    /// # Errors
    /// [`Error::Setting`] when it is not such a URL.
    pub fn parse(name: &'static str, text: &str) -> Result<Self, Error> {
        let trimmed = text.trim_end_matches('/');
        let usable = Uri::from_str(trimmed).is_ok_and(|uri| {
            uri.scheme_str() == Some("http") && uri.host().is_some() && uri.path() == "/"
        });
        if usable {
            return Ok(BaseUrl(trimmed.to_owned()));
        }
        let expected = "a URL such as http://127.0.0.1:8080, without a path";
        Err(Error::Setting {
            name,
            value: text.chars().take(64).collect(),
            expected,
        })
    }

    /// Returns the URL without a trailing slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The address of a database. It may hold a password, so it does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// Parses `sqlite://path` or `postgres://...`.
    ///
    /// # Errors
    /// [`Error::Setting`] without the value, which may be secret.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let url = DatabaseUrl(text.trim().to_owned());
        if url.is_sqlite() || url.is_postgres() {
            return Ok(url);
        }
        Err(Error::Setting {
            name: "DATABASE_URL",
            value: "(not shown)".to_owned(),
            expected: "sqlite://path/to/file.db or postgres://user@host/database",
        })
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        self.0.starts_with("sqlite:")
    }

    fn is_postgres(&self) -> bool {
        self.0.starts_with("postgres:") || self.0.starts_with("postgresql:")
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_sqlite() {
            "DatabaseUrl(sqlite)"
        } else {
            "DatabaseUrl(postgres)"
        })
    }
}

/// Parses the variable `name`, or returns `default` when it is not set.
pub(crate) fn parse<T: FromStr>(
    get: &impl Fn(&str) -> Option<String>,
    name: &'static str,
    expected: &'static str,
    default: T,
) -> Result<T, Error> {
    let Some(value) = get(name) else {
        return Ok(default);
    };
    let bad = Error::Setting {
        name,
        value: value.chars().take(64).collect(),
        expected,
    };
    value.parse().map_err(|_| bad)
}

/// Parses the variable `name` as milliseconds.
pub(crate) fn millis(
    get: &impl Fn(&str) -> Option<String>,
    name: &'static str,
    default: u32,
) -> Result<Duration, Error> {
    let value: u32 = parse(get, name, "a whole number of milliseconds", default)?;
    Ok(Duration::from_millis(value.into()))
}

fn database(get: &impl Fn(&str) -> Option<String>) -> Result<Option<DatabaseUrl>, Error> {
    if let Some(url) = get("DATABASE_URL") {
        return DatabaseUrl::parse(&url).map(Some);
    }
    let Some(path) = get("DATABASE_URL_FILE").map(PathBuf::from) else {
        return Ok(None);
    };
    let mut text = String::new();
    std::fs::File::open(&path)
        .and_then(|file| file.take(SECRET_FILE_LIMIT).read_to_string(&mut text))
        .map_err(|source| Error::SecretFile { path, source })?;
    DatabaseUrl::parse(&text).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_written_for_this_machine_or_for_a_private_network_if_so_set() {
        let peers = ["127.0.0.1", "::ffff:127.0.0.1", "172.18.0.1", "192.0.2.1"];
        let allowed = |from: MarkersFrom| peers.map(|peer| from.allows(peer.parse().unwrap()));
        assert_eq!(allowed(MarkersFrom::Loopback), [true, true, false, false]);
        assert_eq!(allowed(MarkersFrom::Private), [true, true, true, false]);
        assert_eq!("anyone".parse::<MarkersFrom>(), Err(()));
    }
}
