//! The router: a process of its own in front of the instances of local services.
//!
//! It splits traffic by weight between releases, keeps requests in flight while instances come and
//! go, and measures what passes. It outlives the program that steers it over a control socket; when
//! that program dies while traffic is split, the lease runs out and all traffic goes back to the
//! stable release.
//!
//! - [`run`] is the life of a router; [`RouterConfig`] says where it keeps its state.
//! - [`host`] is the first process of a router's container; [`HostClient`] has it go over to another
//!   [`Program`].
//! - [`ControlClient`] asks a running one; the types of its answers are here too.
//! - [`ServiceConfig`] is what one service is told: time limits, retries, stickiness, health.
//!
//! What it promises:
//!
//! 1. Choosing an instance, counting the request there, and switching happen under one lock, so no
//!    request reaches an instance that was taken out of use.
//! 2. The split is exact: of every 100 requests after a switch each release gets its weight (smooth
//!    weighted round robin), not counting those with an override header or a sticky cookie.
//! 3. A request is sent again only when none of its bytes left, or when it is idempotent and no byte
//!    of a response came; always to the same release.
//! 4. [`Status`] shows weights from the table that requests are routed by.
//! 5. A change is on disk before it is in force. Only the return of traffic to the stable release
//!    does not wait for the disk.
//! 6. A router takes over from another ([`RouterConfig::take_over`]) without a connection being refused or
//!    a request lost; until it is ready, the one before serves.
//!
//! A request that carries the token of the run in `x-code-deploy-token` reaches the release named in
//! `x-code-deploy-release` whatever its weight. Both headers are passed on to the backend, so that
//! they can cross services; a service without that release answers by weight. Without a valid token
//! both are taken out. Such requests are counted apart and are in no sample.
//!
//! An answer that the router makes itself carries `x-code-deploy-router` with the reason:
//! `no-release`, `no-healthy-backend`, `router-stopping` (503), `connect-failed`, `connection-reset`,
//! `unexpected-upgrade` (502), `connect-timeout`, `response-timeout`, `drain-limit` (504),
//! `request-body-broken` (400), `method-not-supported` (405), `request-body-too-slow` (408).
//!
//! Where no instance of the release, nor of another in use, is healthy, those that once were are asked
//! anyway: checks that run out of time on a busy machine are not to turn all users away. One that has
//! never been healthy gets nothing.
//!
//! Samples (`router.jsonl`, one a second for each release) tell failures by class: `5xx`, `connect`,
//! `timeout`, `reset` and `unavailable` (no healthy instance); and as figures `weight_percent`,
//! `in_flight`, `healthy_instances`, `taken_over` (requests in place of another release, whose turn it
//! was and which had no instance available) and `status_NNN` for each status from 500 on. Latency is that
//! of requests that a backend answered, to the last byte of the response (for tunnels and event streams to
//! its head); a request that its client gives up counts with the time until then, and not as failed.
//!
//! Not here: TLS, HTTP/2 towards backends, WebSocket over HTTP/2, and a limit on pauses within a
//! response body (a body ends when the backend, the client, a drain limit or a shutdown ends it).

mod backend;
mod balancer;
mod body;
mod breaker;
mod build;
mod checker;
mod client;
mod clock;
mod config;
mod control;
mod control_server;
mod counting;
mod descriptors;
mod drain;
mod error;
mod events;
mod handover;
mod headers;
mod health;
mod host;
mod keeping;
mod lease;
mod millis;
mod names;
mod outgoing;
mod pool;
mod proxy;
mod readiness;
mod reply;
mod restoring;
mod retry;
mod route;
mod router;
mod run;
mod samples;
mod server;
mod shared;
mod state;
mod sticky;
mod sync;
mod table;
mod tally;
mod upgrade;
mod upstream;
mod weights;

pub use build::program_build;
pub use client::ControlClient;
pub use config::{
    BreakerConfig, HealthCheck, Limits, Retries, RouterConfig, ServiceConfig, Sticky, Timeouts,
    token_digest,
};
pub use control::{
    Answer, BackendAddress, BackendStatus, Bound, Counts, Drained, Event, Lease, LeaseExpiry,
    LeaseStatus, ReleaseStatus, Request, ServiceStatus, Status, Weights,
};
pub use error::Error;
pub use headers::{RELEASE, ROUTER, SERVED_BY, TOKEN};
pub use health::HealthStatus;
pub use host::{CHOSEN_PROGRAM, HostClient, Program, host};
pub use keeping::KeptListeners;
pub use run::run;
