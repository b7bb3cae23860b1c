//! What a router and its services are told to do.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::names;

/// Where a router keeps its state and listens for control.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouterConfig {
    /// The file that holds services, releases, weights and lease over a restart.
    pub state_file: PathBuf,
    /// The Unix socket for control, made with mode 0600 in a folder of mode 0700.
    pub control_socket: PathBuf,
    /// Services to begin with; one that the state file already knows is left as it is there.
    #[serde(default)]
    pub services: Vec<ServiceConfig>,
    /// How long requests may go on after a stop was asked for, before they are cut.
    #[serde(
        default = "default_grace",
        with = "crate::millis",
        rename = "shutdown_grace_ms"
    )]
    pub shutdown_grace: Duration,
    /// The Unix socket of the process that holds a copy of each listening socket, see
    /// [`KeptListeners`](crate::KeptListeners); none where nobody does.
    #[serde(default)]
    pub keeper_socket: Option<PathBuf>,
    /// Name of its samples file, without its ending: several routers may measure into one folder.
    #[serde(default = "default_samples")]
    pub samples: String,
    /// Takes over from the router that runs with the same configuration, whose requests in flight may
    /// go on for that long; begins by itself when absent. Of one start only: never in a file.
    #[serde(skip)]
    pub take_over: Option<Duration>,
    /// The file of the program that runs this router, where the system does not know it: a program that
    /// was started by its loader. Of one start only: never in a file.
    #[serde(skip)]
    pub program: Option<PathBuf>,
}

impl RouterConfig {
    /// Returns a configuration without services and with a shutdown grace of ten seconds.
    #[must_use]
    pub fn new(state_file: PathBuf, control_socket: PathBuf) -> Self {
        Self {
            state_file,
            control_socket,
            services: Vec::new(),
            shutdown_grace: default_grace(),
            keeper_socket: None,
            samples: default_samples(),
            take_over: None,
            program: None,
        }
    }
}

fn default_samples() -> String {
    "router".to_owned()
}

fn default_grace() -> Duration {
    Duration::from_secs(10)
}

/// One application service in front of which the router listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceConfig {
    /// Name of the service: letters, digits, `.`, `_`, `-`, `+`, at most 64.
    pub name: String,
    /// Loopback address to listen on; port 0 takes a free port and keeps it.
    pub listen: SocketAddr,
    /// Whether the router runs in a container of its own: `listen` may then be any address there,
    /// because whoever runs the container decides what of it is reached from outside.
    #[serde(default)]
    pub contained: bool,
    /// Time limits of the data path.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// Retries on another replica.
    #[serde(default)]
    pub retries: Retries,
    /// Keeps a user on one release by a cookie; off when absent.
    #[serde(default)]
    pub sticky: Option<Sticky>,
    /// Active health checks; without them an instance counts as healthy at once.
    #[serde(default)]
    pub health: Option<HealthCheck>,
    /// Circuit breaker of each backend.
    #[serde(default)]
    pub breaker: BreakerConfig,
    /// Bounds on what a client may send.
    #[serde(default)]
    pub limits: Limits,
    /// SHA-256 (lower-case hex) of the token that makes `x-code-deploy-release` valid, see
    /// [`token_digest`]; the token itself is never stored. No override when absent.
    #[serde(default)]
    pub override_token_sha256: Option<String>,
}

impl ServiceConfig {
    /// Returns a service with defaults: no health check, no stickiness, no override.
    #[must_use]
    pub fn new(name: impl Into<String>, listen: SocketAddr) -> Self {
        Self {
            name: name.into(),
            listen,
            contained: false,
            timeouts: Timeouts::default(),
            retries: Retries::default(),
            sticky: None,
            health: None,
            breaker: BreakerConfig::default(),
            limits: Limits::default(),
            override_token_sha256: None,
        }
    }

    /// Checks every value against its range.
    ///
    /// # Errors
    /// [`Error::Refused`] with code `bad-config` names the first value that is out of range.
    pub fn check(&self) -> Result<(), Error> {
        names::check("service", &self.name)?;
        let bad = |what: &str| {
            Err(Error::refused(
                "bad-config",
                format!("service {}: {what}", self.name),
            ))
        };
        if !self.contained && !self.listen.ip().is_loopback() {
            return bad("`listen` must be a loopback address");
        }
        if self.timeouts.any_zero() {
            return bad("every timeout must be longer than 0 ms");
        }
        if self.retries.max > 10 || self.retries.buffer_bytes > 1 << 20 {
            return bad("at most 10 retries and 1048576 buffered bytes");
        }
        if !(8192..=1 << 20).contains(&self.limits.header_bytes) || self.limits.connections == 0 {
            return bad("`header_bytes` must be 8192 to 1048576 and `connections` at least 1");
        }
        if self.breaker.failures == 0 || self.breaker.open_for.is_zero() {
            return bad("`breaker` needs at least 1 failure and an opening longer than 0 ms");
        }
        if let Some(health) = &self.health
            && !health.is_valid()
        {
            return bad(
                "`health` needs a path that starts with `/`, thresholds of 1 to 100, an interval and a timeout longer than 0 ms",
            );
        }
        if let Some(digest) = &self.override_token_sha256
            && (digest.len() != 64 || !digest.bytes().all(|b| b.is_ascii_hexdigit()))
        {
            return bad("`override_token_sha256` must be 64 hexadecimal digits");
        }
        if let Some(cookie) = self
            .sticky
            .as_ref()
            .and_then(|sticky| sticky.cookie.as_deref())
        {
            names::check("cookie", cookie)?;
        }
        Ok(())
    }
}

/// Returns what [`ServiceConfig::override_token_sha256`] holds for a token.
#[must_use]
pub fn token_digest(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

/// Time limits of the data path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// To open a connection to a backend.
    #[serde(with = "crate::millis", rename = "connect_ms")]
    pub connect: Duration,
    /// From the last byte of the request that moved to the head of the response.
    #[serde(with = "crate::millis", rename = "response_ms")]
    pub response: Duration,
    /// How long an unused connection to a backend is kept. Must be shorter than the
    /// application's own, or a request can meet a connection that is just being closed.
    #[serde(with = "crate::millis", rename = "upstream_idle_ms")]
    pub upstream_idle: Duration,
    /// For a client to send the head of a request; also ends unused client connections.
    #[serde(with = "crate::millis", rename = "client_header_ms")]
    pub client_header: Duration,
}

impl Timeouts {
    fn any_zero(&self) -> bool {
        [
            self.connect,
            self.response,
            self.upstream_idle,
            self.client_header,
        ]
        .iter()
        .any(Duration::is_zero)
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            response: Duration::from_secs(30),
            upstream_idle: Duration::from_secs(4),
            client_header: Duration::from_secs(75),
        }
    }
}

/// Retries of one request on another replica of the same release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retries {
    /// How many attempts may follow the first.
    pub max: u32,
    /// Bodies of idempotent requests up to this length are kept for a retry.
    pub buffer_bytes: u64,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            max: 2,
            buffer_bytes: 64 * 1024,
        }
    }
}

/// Keeps a user on one release while weights only grow towards newer releases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sticky {
    /// Name of the cookie; `code-deploy-<service>` when absent, because cookies of one host are
    /// shared by its ports.
    pub cookie: Option<String>,
    /// How long browsers keep it.
    #[serde(with = "crate::millis", rename = "max_age_ms")]
    pub max_age: Duration,
}

impl Default for Sticky {
    fn default() -> Self {
        Self {
            cookie: None,
            max_age: Duration::from_secs(24 * 3600),
        }
    }
}

/// An active check: GET `path` must answer 2xx within `timeout`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// Path and query, from `/`.
    pub path: String,
    /// Time between two checks; the first runs at once.
    #[serde(
        default = "default_interval",
        with = "crate::millis",
        rename = "interval_ms"
    )]
    pub interval: Duration,
    /// Limit of one check.
    #[serde(
        default = "default_check_timeout",
        with = "crate::millis",
        rename = "timeout_ms"
    )]
    pub timeout: Duration,
    /// Passes in a row that make an instance healthy.
    #[serde(default = "default_threshold")]
    pub healthy_after: u32,
    /// Failures in a row that make an instance unhealthy.
    #[serde(default = "default_threshold")]
    pub unhealthy_after: u32,
}

impl HealthCheck {
    /// Returns a check each second with a limit of one second and thresholds of three.
    #[must_use]
    pub fn new(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            interval: default_interval(),
            timeout: default_check_timeout(),
            healthy_after: default_threshold(),
            unhealthy_after: default_threshold(),
        }
    }

    fn is_valid(&self) -> bool {
        self.path.starts_with('/')
            && self.path.parse::<http::Uri>().is_ok()
            && !self.interval.is_zero()
            && !self.timeout.is_zero()
            && (1..=100).contains(&self.healthy_after)
            && (1..=100).contains(&self.unhealthy_after)
    }
}

fn default_interval() -> Duration {
    Duration::from_secs(1)
}

fn default_check_timeout() -> Duration {
    Duration::from_secs(1)
}

fn default_threshold() -> u32 {
    3
}

/// When a backend is left alone for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerConfig {
    /// Failures in a row that open it: no connection, reset, timeout.
    pub failures: u32,
    /// How long it stays open before one request may probe.
    #[serde(with = "crate::millis", rename = "open_for_ms")]
    pub open_for: Duration,
    /// Whether answers from 500 on count too. Off by default: an application's own errors are
    /// to be seen and judged, not replaced by the router's.
    pub count_5xx: bool,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failures: 5,
            open_for: Duration::from_secs(5),
            count_5xx: false,
        }
    }
}

/// Bounds on what clients of a service may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Longest head of a request or response, in bytes.
    pub header_bytes: usize,
    /// Most client connections at once; more wait in the listen queue.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 64 * 1024,
            connections: 8192,
        }
    }
}
