//! What goes over the control socket: one JSON request a line, one JSON answer a line.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::ServiceConfig;
use crate::health::HealthStatus;

/// Longest line of a request or answer, in bytes.
pub(crate) const MAX_LINE: usize = 4 << 20;

/// Weights in percent by release.
pub type Weights = BTreeMap<String, u16>;

/// One thing asked of a router.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Request {
    /// Adds a service or changes its settings; answers [`Bound`].
    PutService {
        /// The service.
        service: Box<ServiceConfig>,
    },
    /// Drains every instance of a service and stops listening for it; answers [`Drained`].
    RemoveService {
        /// The service.
        service: String,
        /// Longest wait for requests in flight.
        #[serde(with = "crate::millis", rename = "limit_ms")]
        limit: Duration,
    },
    /// Adds instances to a release or moves them; answers nothing.
    PutRelease {
        /// The service.
        service: String,
        /// The release.
        release: String,
        /// Its instances; others that it already has stay.
        backends: Vec<BackendAddress>,
    },
    /// Drains a release and forgets it; answers [`Drained`].
    RemoveRelease {
        /// The service.
        service: String,
        /// The release, at weight 0.
        release: String,
        /// Longest wait for requests in flight.
        #[serde(with = "crate::millis", rename = "limit_ms")]
        limit: Duration,
    },
    /// Drains one instance and forgets it; answers [`Drained`].
    Drain {
        /// The service.
        service: String,
        /// The instance.
        backend: String,
        /// Longest wait for requests in flight.
        #[serde(with = "crate::millis", rename = "limit_ms")]
        limit: Duration,
    },
    /// Switches the weights of one or more services at once; answers nothing.
    SetWeights {
        /// Weights by service; those of a service sum to 100.
        services: BTreeMap<String, Weights>,
    },
    /// Takes a lease, or gives it up; answers nothing.
    Lease {
        /// The lease, or none to give it up.
        lease: Option<Lease>,
    },
    /// Begins the lease's time anew; answers nothing.
    Renew,
    /// Waits until every instance of a release is healthy; answers nothing.
    WaitHealthy {
        /// The service.
        service: String,
        /// The release.
        release: String,
        /// Longest wait.
        #[serde(with = "crate::millis", rename = "limit_ms")]
        limit: Duration,
    },
    /// Answers [`Status`].
    Status,
    /// Answers a list of [`Event`]s.
    Events {
        /// Only events with a greater number.
        since: u64,
    },
    /// Begins writing samples into a folder, or stops; answers nothing.
    Record {
        /// The samples folder of a record, or none to stop.
        dir: Option<PathBuf>,
    },
    /// Gives a copy of each listening socket to the keeper; answers nothing.
    OfferListeners,
    /// Answers the digest of the program's file; a router that was made before this does not know the word.
    Build,
    /// Hands everything over to the router that asks, over the same connection; answers with a refusal
    /// or not in words.
    HandOver {
        /// How long requests in flight may go on in the router that is asked.
        #[serde(with = "crate::millis", rename = "limit_ms")]
        limit: Duration,
    },
    /// Stops the router; answers nothing, before it stops.
    Shutdown {
        /// How long requests may go on before they are cut.
        #[serde(with = "crate::millis", rename = "grace_ms")]
        grace: Duration,
    },
}

impl Request {
    /// Returns the operation's word.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::PutService { .. } => "put_service",
            Self::RemoveService { .. } => "remove_service",
            Self::PutRelease { .. } => "put_release",
            Self::RemoveRelease { .. } => "remove_release",
            Self::Drain { .. } => "drain",
            Self::SetWeights { .. } => "set_weights",
            Self::Lease { .. } => "lease",
            Self::Renew => "renew",
            Self::WaitHealthy { .. } => "wait_healthy",
            Self::Status => "status",
            Self::Events { .. } => "events",
            Self::Record { .. } => "record",
            Self::OfferListeners => "offer_listeners",
            Self::Build => "build",
            Self::HandOver { .. } => "hand_over",
            Self::Shutdown { .. } => "shutdown",
        }
    }

    /// Returns how long the operation itself may take.
    pub(crate) fn own_limit(&self) -> Duration {
        match self {
            Self::RemoveService { limit, .. }
            | Self::RemoveRelease { limit, .. }
            | Self::Drain { limit, .. }
            | Self::WaitHealthy { limit, .. } => *limit,
            _ => Duration::ZERO,
        }
    }
}

/// The answer to one request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Carried out; the value depends on the request.
    Ok(serde_json::Value),
    /// Not carried out; nothing was changed.
    Error {
        /// A stable word for the reason.
        code: String,
        /// The reason in plain words.
        message: String,
    },
}

/// An instance of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendAddress {
    /// Name of the instance, unique within its service.
    pub id: String,
    /// Where it listens.
    pub address: SocketAddr,
}

impl BackendAddress {
    /// Returns an instance.
    #[must_use]
    pub fn new(id: impl Into<String>, address: SocketAddr) -> Self {
        Self {
            id: id.into(),
            address,
        }
    }
}

/// Where a service is listened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// The address with its real port.
    pub address: SocketAddr,
}

/// What became of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// Requests and tunnels that were in flight when it began.
    pub in_flight_at_start: usize,
    /// Those that were cut when the limit had passed; 0 when all ended by themselves.
    pub cut: usize,
    /// How long it took, in milliseconds.
    pub waited_ms: u64,
}

/// The engine's promise to look after split traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// Who holds it, for people: a run's name.
    pub holder: String,
    /// How long it lasts after each renewal.
    #[serde(with = "crate::millis", rename = "ttl_ms")]
    pub ttl: Duration,
    /// The release that gets all traffic of a service when nobody renews, by service.
    pub stable: BTreeMap<String, String>,
}

/// Everything that is in force, as the data path uses it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Process id.
    pub pid: u32,
    /// Start of this process, Unix time in microseconds.
    pub started_us: u64,
    /// Services by name.
    pub services: BTreeMap<String, ServiceStatus>,
    /// The lease that is held.
    pub lease: Option<LeaseStatus>,
    /// The last lease that was not renewed, kept over restarts.
    pub last_expiry: Option<LeaseExpiry>,
    /// Where samples are written.
    pub recording: Option<PathBuf>,
    /// Why the last samples could not be written.
    pub recording_error: Option<String>,
    /// Whether it is stopping.
    pub stopping: bool,
    /// Number of the newest event.
    pub last_event: u64,
    /// The process from which this router took over, for as long as that finishes what it had begun.
    #[serde(default)]
    pub predecessor: Option<u32>,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Where it is listened for.
    pub address: SocketAddr,
    /// Weights as served: read from the table that requests are routed by.
    pub weights: Weights,
    /// Releases in the order they were added.
    pub releases: Vec<ReleaseStatus>,
    /// Instances that get no more requests and still have some in flight.
    pub draining: Vec<BackendStatus>,
    /// Open client connections.
    pub connections: usize,
}

/// One release of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReleaseStatus {
    /// The release.
    pub release: String,
    /// Weight as served, in percent.
    pub weight: u16,
    /// Its instances.
    pub backends: Vec<BackendStatus>,
    /// What was counted since the router started, also by those that it took over from.
    pub counts: Counts,
}

/// Requests of a release since the router started, also of those that it took over from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests of the split, ended.
    pub requests: u64,
    /// Those that failed: 5xx, no connection, timeout, reset.
    pub failed: u64,
    /// Requests sent here by the override header; in no sample and not in `requests`.
    pub overridden: u64,
    /// Attempts after the first.
    pub retries: u64,
    /// Requests meant for another release that had no instance available.
    pub taken_over: u64,
}

/// One instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendStatus {
    /// The instance.
    pub id: String,
    /// Its release.
    pub release: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its health.
    pub health: HealthStatus,
    /// Health checks that passed in a row.
    pub passes_in_a_row: u32,
    /// Health checks that failed in a row.
    pub failures_in_a_row: u32,
    /// Why the last check failed, if it did.
    pub last_check_error: Option<String>,
    /// Circuit breaker: `closed`, `open` or `half-open`.
    pub breaker: String,
    /// Requests and tunnels in flight.
    pub in_flight: usize,
}

/// A lease that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseStatus {
    /// The lease.
    pub lease: Lease,
    /// Time left in milliseconds; 0 when it has run out and traffic is being returned.
    pub left_ms: u64,
}

/// A lease that nobody renewed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseExpiry {
    /// When, Unix time in microseconds.
    pub at_us: u64,
    /// Who held it.
    pub holder: String,
    /// Services whose traffic went back to the stable release, with that release.
    pub returned: BTreeMap<String, String>,
    /// The reason in plain words.
    pub reason: String,
}

/// Something that happened in the router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Number, from 1 in each process, without gaps.
    pub number: u64,
    /// When, Unix time in microseconds.
    pub at_us: u64,
    /// A stable word: `weights-set`, `backend-unhealthy`, `lease-expired`, ...
    pub kind: String,
    /// The service, where there is one.
    pub service: Option<String>,
    /// What happened, in plain words.
    pub text: String,
}
