//! The router's process as the local target sees it.

mod life;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use code_deploy_engine::spec::{Routing, Service};
use code_deploy_engine::target::{Lease, Shares, TargetError, TargetEvent};
use code_deploy_record::{Release, Secret, Severity};
use code_deploy_router::{BackendAddress, Lease as RouterLease, Status};
use code_deploy_router::{
    BreakerConfig, ControlClient, HealthCheck, Retries, ServiceConfig, Sticky, Timeouts,
    token_digest,
};

use super::failure::{code, failed, transient};
use super::keeper::Keeper;
use super::places::Places;
use super::process::ProcessId;
use super::program::Program;
use life::Started;
pub(super) use life::socket_in_use;

/// The header that names the release to reach.
pub const RELEASE_HEADER: &str = "x-code-deploy-release";

/// The header with the token that makes the former count.
pub const TOKEN_HEADER: &str = "x-code-deploy-token";

/// How long a router that died may take until its keeper has brought it back.
const BACK_LIMIT: Duration = Duration::from_secs(5);

/// The pause between two tries to reach a router that is starting.
const KNOCK: Duration = Duration::from_millis(20);

/// Events that tell of nothing but what was asked of the router.
const ASKED_FOR: [&str; 3] = ["weights-set", "lease-taken", "lease-given-up"];

/// The router's events that somebody has to know of at once. An instance that is not healthy is not
/// among them: each begins so, and one that stays so shows in the gates and probes.
const URGENT: [&str; 2] = ["breaker-opened", LEASE_EXPIRED];

/// The event of traffic that went back because nobody renewed the lease.
const LEASE_EXPIRED: &str = "lease-expired";

fn time_of(us: u64) -> DateTime<Utc> {
    let us = i64::try_from(us).unwrap_or(i64::MAX);
    DateTime::from_timestamp_micros(us).unwrap_or_default()
}

fn restart_of(started: &Started) -> Option<TargetEvent> {
    let restarts = started.restarts;
    Some(TargetEvent {
        time: started.restarted?,
        service: None,
        severity: Severity::High,
        text: format!("the router had ended and was started again, restart {restarts}"),
    })
}

fn severity_of(kind: &str) -> Severity {
    if URGENT.contains(&kind) {
        Severity::Medium
    } else {
        Severity::Info
    }
}

/// How long every instance of a release may take to be found healthy by the router.
const HEALTHY_LIMIT: Duration = Duration::from_secs(60);

/// The router's process, which outlives this one.
pub struct RouterProcess {
    places: Places,
    program: Program,
    client: ControlClient,
    keeper: Keeper,
    /// The router whose events were read, and the number of the last.
    seen: Mutex<Option<(ProcessId, u64)>>,
}

impl RouterProcess {
    pub fn new(places: Places, program: Program) -> Self {
        let client = ControlClient::new(places.router_socket());
        let keeper = Keeper::new(places.clone(), program.clone());
        Self {
            places,
            program,
            client,
            keeper,
            seen: Mutex::new(None),
        }
    }

    fn seen(&self) -> Option<(ProcessId, u64)> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_seen(&self, seen: (ProcessId, u64)) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
    }

    /// Returns what is in force; nothing when no router was started. One that has just died is
    /// waited for as long as its keeper lives: what it says then is what it said before.
    async fn status(&self) -> Result<Option<Status>, TargetError> {
        let until = tokio::time::Instant::now() + BACK_LIMIT;
        loop {
            if self.process().is_none()
                && (self.started().is_none() || self.keeper.process().is_none())
            {
                return Ok(None);
            }
            match self.client.status().await {
                Ok(status) => return Ok(Some(status)),
                Err(error) if tokio::time::Instant::now() >= until => {
                    return Err(refusal(None, &error));
                }
                Err(error) => tracing::debug!(%error, "the router is asked again"),
            }
            tokio::time::sleep(KNOCK).await;
        }
    }

    /// Returns where services are reached; nothing when no router runs.
    pub async fn addresses(&self) -> Result<Option<BTreeMap<String, SocketAddr>>, TargetError> {
        let status = self.status().await?;
        let services = status.map(|status| status.services);
        Ok(services.map(|services| {
            services
                .into_iter()
                .map(|(name, service)| (name, service.address))
                .collect()
        }))
    }

    /// Returns the shares as served; nothing when no router runs.
    pub async fn traffic(&self) -> Result<Option<BTreeMap<String, Shares>>, TargetError> {
        let Some(status) = self.status().await? else {
            return Ok(None);
        };
        let mut traffic = BTreeMap::new();
        for (name, service) in status.services {
            let mut shares = Shares::new();
            for (release, weight) in service.weights {
                let parsed: Result<Release, _> = release.parse();
                let release = parsed.map_err(|error| {
                    let what = format!("the router serves a release with no valid name: {error}");
                    failed(code::ROUTER, Some(&name), what, "Stop it with `--stop`.")
                })?;
                shares.insert(release, weight);
            }
            traffic.insert(name, shares);
        }
        Ok(Some(traffic))
    }

    /// Puts a service's settings in place; returns where it is reached.
    pub async fn put_service(
        &self,
        service: &Service,
        routing: &Routing,
        wanted: SocketAddr,
        token: &Secret,
    ) -> Result<SocketAddr, TargetError> {
        let port = if routing.port != 0 {
            routing.port
        } else {
            wanted.port()
        };
        let known = self
            .addresses()
            .await?
            .unwrap_or_default()
            .get(&service.name)
            .copied();
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listen = known
            .filter(|known| port == 0 || known.port() == port)
            .unwrap_or(listen);
        let config = service_config(service, routing, listen, token);
        let bound = self.client.put_service(config).await;
        bound
            .map(|bound| bound.address)
            .map_err(|error| refusal(Some(&service.name), &error))
    }

    /// Makes instances known with their release, and waits until the router finds all healthy.
    pub async fn put_release(
        &self,
        service: &str,
        release: &Release,
        backends: Vec<(String, SocketAddr)>,
    ) -> Result<(), TargetError> {
        let backends = backends
            .into_iter()
            .map(|(id, address)| BackendAddress::new(id, address))
            .collect();
        let put = self
            .client
            .put_release(service, release.as_str(), backends)
            .await;
        put.map_err(|error| refusal(Some(service), &error))
    }

    /// Drains a release and forgets it; returns how many requests were cut off.
    pub async fn remove_release(
        &self,
        service: &str,
        release: &Release,
        limit: Duration,
    ) -> Result<u64, TargetError> {
        let Some(status) = self.status().await? else {
            return Ok(0);
        };
        let known = status.services.get(service).is_some_and(|service| {
            service
                .releases
                .iter()
                .any(|known| known.release == release.as_str())
        });
        if !known {
            return Ok(0);
        }
        let drained = self
            .client
            .remove_release(service, release.as_str(), limit)
            .await;
        drained
            .map(|drained| drained.cut as u64)
            .map_err(|error| refusal(Some(service), &error))
    }

    /// Drains one instance and forgets it; returns how many requests were cut off.
    pub async fn forget(
        &self,
        service: &str,
        instance: &str,
        limit: Duration,
    ) -> Result<u64, TargetError> {
        let Some(status) = self.status().await? else {
            return Ok(0);
        };
        let releases = status.services.get(service).map(|s| s.releases.iter());
        let mut backends = releases.into_iter().flatten().flat_map(|r| &r.backends);
        if !backends.any(|backend| backend.id == instance) {
            return Ok(0);
        }
        let drained = self.client.drain(service, instance, limit).await;
        drained
            .map(|drained| drained.cut as u64)
            .map_err(|error| refusal(Some(service), &error))
    }

    /// Sets shares, and returns when they are served. A release that is given a share must be
    /// healthy first.
    pub async fn set_weights(&self, shares: &BTreeMap<String, Shares>) -> Result<(), TargetError> {
        for (service, shares) in shares {
            for (release, _) in shares.iter().filter(|(_, share)| **share > 0) {
                let healthy = self
                    .client
                    .wait_healthy(service, release.as_str(), HEALTHY_LIMIT);
                healthy
                    .await
                    .map_err(|error| refusal(Some(service), &error))?;
            }
        }
        let weights = shares.iter().map(|(service, shares)| {
            let shares = shares
                .iter()
                .map(|(release, share)| (release.to_string(), *share));
            (service.clone(), shares.collect())
        });
        self.client
            .set_weights(weights.collect())
            .await
            .map_err(|error| refusal(None, &error))
    }

    pub async fn renew_lease(
        &self,
        lease: Option<Lease>,
        services: &[String],
    ) -> Result<(), TargetError> {
        let lease = lease.map(|lease| RouterLease {
            holder: "engine".to_owned(),
            ttl: lease.ttl,
            stable: services
                .iter()
                .map(|s| (s.clone(), lease.stable.to_string()))
                .collect(),
        });
        if lease.is_none() && self.process().is_none() {
            return Ok(());
        }
        self.client
            .lease(lease)
            .await
            .map_err(|error| refusal(None, &error))
    }

    /// Returns what happened on its own since the last call, also to a router that is gone.
    pub async fn events(&self) -> Result<Vec<TargetEvent>, TargetError> {
        let Some(started) = self.written().filter(|started| started.process.runs()) else {
            return Ok(Vec::new());
        };
        let process = started.process;
        // Each router counts from 1.
        let (since, is_new) = match self.seen() {
            Some((of, number)) if of == process => (number, false),
            _ => (0, true),
        };
        let events = self.client.events(since).await;
        let events = events.map_err(|error| refusal(None, &error))?;
        self.set_seen((process, events.last().map_or(since, |last| last.number)));
        let mut told = Vec::new();
        if is_new {
            told.extend(restart_of(&started));
            told.extend(self.expiry_before(&events).await?);
        }
        let own = events
            .into_iter()
            .filter(|event| !ASKED_FOR.contains(&event.kind.as_str()));
        told.extend(own.map(|event| TargetEvent {
            time: time_of(event.at_us),
            service: event.service,
            severity: severity_of(&event.kind),
            text: event.text,
        }));
        Ok(told)
    }

    /// Returns that a lease ran out, when a router before this one sent traffic back for it.
    async fn expiry_before(
        &self,
        events: &[code_deploy_router::Event],
    ) -> Result<Option<TargetEvent>, TargetError> {
        let status = self.client.status().await;
        let status = status.map_err(|error| refusal(None, &error))?;
        let expiry = status
            .last_expiry
            .filter(|expiry| !events.iter().any(|event| event.text == expiry.reason));
        Ok(expiry.map(|expiry| TargetEvent {
            time: time_of(expiry.at_us),
            service: None,
            severity: severity_of(LEASE_EXPIRED),
            text: expiry.reason,
        }))
    }

    pub async fn record(&self, folder: Option<PathBuf>) -> Result<(), TargetError> {
        if folder.is_none() && self.process().is_none() {
            return Ok(());
        }
        self.client
            .record(folder)
            .await
            .map_err(|error| refusal(None, &error))
    }
}

fn service_config(
    service: &Service,
    routing: &Routing,
    listen: SocketAddr,
    token: &Secret,
) -> ServiceConfig {
    let mut config = ServiceConfig::new(&service.name, listen);
    config.timeouts = Timeouts {
        response: routing.timeout.get(),
        ..Timeouts::default()
    };
    config.retries = Retries {
        max: u32::from(routing.retries),
        ..Retries::default()
    };
    config.sticky = routing.sticky.then(Sticky::default);
    config.health = service
        .file
        .probes
        .readiness
        .as_deref()
        .map(|path| HealthCheck {
            interval: Duration::from_millis(250),
            ..HealthCheck::new(path)
        });
    if routing.breaker_failures > 0 {
        config.breaker = BreakerConfig {
            failures: routing.breaker_failures,
            ..BreakerConfig::default()
        };
    }
    config.override_token_sha256 = Some(token_digest(token.expose()));
    config
}

fn refusal(service: Option<&str>, error: &code_deploy_router::Error) -> TargetError {
    let what = code_deploy_engine::error::with_sources(error);
    if matches!(error, code_deploy_router::Error::Refused { .. }) {
        let next = "Nothing was changed. Mend what it says and run again.";
        return failed(code::ROUTER, service, what, next);
    }
    let next = "Look at `router/router.log` in the environment's folder, and run again.";
    transient(code::ROUTER, service, what, next)
}
