//! One instance of a release, as the data path sees it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::breaker::Breaker;
use crate::config::BreakerConfig;
use crate::control::BackendStatus;
use crate::health::{Health, HealthStatus};
use crate::pool::Pool;
use crate::sync::lock;

/// One instance of a release. A new object is made whenever an instance is added or moves to
/// another address, so that draining the old one can never touch the new one.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) id: Arc<str>,
    pub(crate) release: Arc<str>,
    pub(crate) address: SocketAddr,
    pub(crate) pool: Pool,
    /// Cancelled when requests still in flight at the drain limit are to be cut.
    pub(crate) cut: CancellationToken,
    /// Cancelled when the backend gets no more requests; ends its health checks.
    pub(crate) retired: CancellationToken,
    /// Asks for a health check at once.
    pub(crate) recheck: Notify,
    health: Mutex<Health>,
    breaker: Mutex<Breaker>,
    in_flight: AtomicUsize,
    idle: Notify,
    idle_limit: Duration,
}

impl Backend {
    /// Returns a backend with nothing in flight, whose unused connections are closed after
    /// `idle_limit`.
    pub(crate) fn new(
        id: &str,
        release: &Arc<str>,
        address: SocketAddr,
        health: Health,
        idle_limit: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            id: id.into(),
            release: Arc::clone(release),
            address,
            pool: Pool::new(),
            cut: CancellationToken::new(),
            retired: CancellationToken::new(),
            recheck: Notify::new(),
            health: Mutex::new(health),
            breaker: Mutex::new(Breaker::new()),
            in_flight: AtomicUsize::new(0),
            idle: Notify::new(),
            idle_limit,
        })
    }

    /// Returns how long an unused connection to it is kept.
    pub(crate) fn idle_limit(&self) -> Duration {
        self.idle_limit
    }

    /// Tells whether it may get a request now.
    pub(crate) fn available(&self, now: Instant) -> bool {
        self.is_healthy() && lock(&self.breaker).allows(now)
    }

    /// Returns for how long its breaker keeps all requests away from it, from now on.
    pub(crate) fn opens_in(&self, now: Instant) -> Duration {
        lock(&self.breaker).opens_in(now)
    }

    /// Tells whether it may get a request that no healthy one can take: it was healthy once.
    pub(crate) fn last_resort(&self, now: Instant) -> bool {
        lock(&self.health).was_healthy() && lock(&self.breaker).allows(now)
    }

    /// Tells whether health checks passed.
    pub(crate) fn is_healthy(&self) -> bool {
        lock(&self.health).status() == HealthStatus::Healthy
    }

    /// Returns how many requests and tunnels are open.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Counts a request. Called only while the routing table is locked, so that after the
    /// backend has left the table the count can only fall.
    pub(crate) fn admit(self: &Arc<Self>, now: Instant) -> InFlight {
        lock(&self.breaker).admit(now);
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        InFlight {
            backend: Arc::clone(self),
            told: false,
        }
    }

    /// Takes in the result of one health check; returns the new status if it changed.
    pub(crate) fn checked(
        &self,
        result: Result<(), String>,
        healthy_after: u32,
        unhealthy_after: u32,
    ) -> Option<HealthStatus> {
        lock(&self.health).record(result, healthy_after, unhealthy_after)
    }

    /// Stops health checks and closes unused connections; the table must no longer offer it.
    pub(crate) fn retire(&self) {
        self.retired.cancel();
        self.pool.close();
    }

    /// Waits until nothing is in flight; returns what still is when `limit` has passed.
    pub(crate) async fn wait_idle(&self, limit: Duration) -> usize {
        let idle = async {
            loop {
                let mut notified = std::pin::pin!(self.idle.notified());
                notified.as_mut().enable();
                if self.in_flight() == 0 {
                    return;
                }
                notified.await;
            }
        };
        match tokio::time::timeout(limit, idle).await {
            Ok(()) => 0,
            Err(_) => self.in_flight(),
        }
    }

    /// Returns what status shows of it.
    pub(crate) fn status(&self) -> BackendStatus {
        let health = lock(&self.health);
        let (passes, failures, last_error) = health.detail();
        BackendStatus {
            id: self.id.to_string(),
            release: self.release.to_string(),
            address: self.address,
            health: health.status(),
            passes_in_a_row: passes,
            failures_in_a_row: failures,
            last_check_error: last_error,
            breaker: lock(&self.breaker).name().to_owned(),
            in_flight: self.in_flight(),
        }
    }
}

/// A request or tunnel that is counted at its backend until this is dropped.
#[derive(Debug)]
pub(crate) struct InFlight {
    backend: Arc<Backend>,
    told: bool,
}

impl InFlight {
    /// Returns the backend.
    pub(crate) fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// Tells the breaker that the backend answered.
    pub(crate) fn succeeded(&mut self) {
        self.told = true;
        lock(&self.backend.breaker).succeeded();
    }

    /// Tells the breaker that the backend failed, and asks for a health check at once; returns
    /// whether this opened the breaker.
    pub(crate) fn failed(&mut self, config: &BreakerConfig) -> bool {
        self.told = true;
        self.backend.recheck.notify_one();
        lock(&self.backend.breaker).failed(config, Instant::now())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.told {
            lock(&self.backend.breaker).abandoned();
        }
        if self.backend.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.backend.idle.notify_waiters();
        }
    }
}
