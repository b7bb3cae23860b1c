//! What can go wrong outside a request.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Why a service did not start or did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A service that does not exist was asked for.
    #[error("there is no service `{name}`; use storefront, catalog or orders")]
    UnknownService {
        /// The name that was given, cut at 64 characters.
        name: String,
    },
    /// An environment variable has a value that cannot be used.
    #[error("{name}={value} cannot be used; expected {expected}")]
    Setting {
        /// The variable.
        name: &'static str,
        /// Its value, cut at 64 characters.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// A required environment variable is not set.
    #[error("{name} is not set, and {service} needs it")]
    MissingSetting {
        /// The variable.
        name: &'static str,
        /// The service that needs it.
        service: &'static str,
    },
    /// The file that holds the database URL could not be read.
    #[error("cannot read the database URL from {}, named by DATABASE_URL_FILE", path.display())]
    SecretFile {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The address could not be listened on.
    #[error("cannot listen on {address}; set PORT to a free port, or to 0 to have one chosen")]
    Bind {
        /// The address that was tried.
        address: SocketAddr,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The database could not be set up.
    #[error("cannot use the {kind} database named by DATABASE_URL")]
    Database {
        /// `sqlite` or `postgres`.
        kind: &'static str,
        /// The driver's reason.
        source: sqlx::Error,
    },
    /// The fault `crash` happened as configured.
    #[error("ended by the fault `crash` after {after} requests, as SHOP_FAULT asks")]
    InjectedCrash {
        /// The number of requests.
        after: u64,
    },
    /// Requests were still running when the grace period ended; their connections were cut.
    #[error("cut {connections} connections whose requests outlasted SHOP_GRACE_MS ({limit:?})")]
    GraceExceeded {
        /// The limit.
        limit: Duration,
        /// How many connections were cut.
        connections: usize,
    },
    /// A second signal arrived while the service was draining.
    #[error("interrupted a second time while draining; ended at once")]
    Interrupted,
    /// The asynchronous runtime or its signal handlers could not be set up.
    #[error("cannot set up the runtime")]
    Runtime {
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A probe of another service failed.
    #[error("{url} is not well: {reason}")]
    Probe {
        /// The address that was asked.
        url: String,
        /// What it answered or why it did not.
        reason: String,
    },
}
