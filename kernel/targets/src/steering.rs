//! A running router as a target steers it, wherever it runs.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use code_deploy_engine::spec::{Routing, Service};
use code_deploy_engine::target::{self, Shares, TargetError, TargetEvent};
use code_deploy_record::{Release, Secret, Severity};
use code_deploy_router::{
    BackendAddress, BreakerConfig, ControlClient, HealthCheck, Lease, Retries, ServiceConfig,
    Status, Sticky, Timeouts, token_digest,
};

use crate::failure::{code, failed, transient};

/// The header that names the release to reach.
const RELEASE_HEADER: &str = "x-code-deploy-release";

/// The header with the token that makes the former count.
const TOKEN_HEADER: &str = "x-code-deploy-token";

/// Events that tell of nothing but what was asked of the router.
const ASKED_FOR: [&str; 3] = ["weights-set", "lease-taken", "lease-given-up"];

/// The router's events that somebody has to know of at once. An instance that is not healthy is not
/// among them: each begins so, and one that stays so shows in the gates and probes.
const URGENT: [&str; 4] = [
    "breaker-opened",
    LEASE_EXPIRED,
    "predecessor-cut",
    "predecessor-lost",
];

/// The event of traffic that went back because nobody renewed the lease.
const LEASE_EXPIRED: &str = "lease-expired";

/// How long every instance of a release may take to be found healthy by the router.
const HEALTHY_LIMIT: Duration = Duration::from_secs(60);

fn time_of(us: u64) -> DateTime<Utc> {
    let us = i64::try_from(us).unwrap_or(i64::MAX);
    DateTime::from_timestamp_micros(us).unwrap_or_default()
}

fn severity_of(kind: &str) -> Severity {
    if URGENT.contains(&kind) {
        Severity::Medium
    } else {
        Severity::Info
    }
}

/// Asks a router that runs, in the target's own terms.
pub struct Steering {
    client: ControlClient,
    /// Where its log is, in words.
    log: String,
    /// When the router began whose events were read, and the number of the last.
    seen: Mutex<Option<(u64, u64)>>,
}

impl Steering {
    /// Returns the steering of the router with that client; `log` says where its log is.
    pub fn new(client: ControlClient, log: impl Into<String>) -> Self {
        Self {
            client,
            log: log.into(),
            seen: Mutex::new(None),
        }
    }

    /// Returns the client itself.
    pub fn client(&self) -> &ControlClient {
        &self.client
    }

    /// Returns everything that is in force.
    pub async fn status(&self) -> Result<Status, TargetError> {
        let status = self.client.status().await;
        status.map_err(|error| self.refusal(None, &error))
    }

    /// Puts a service's settings in place; returns where it is listened for.
    pub async fn put_service(&self, config: ServiceConfig) -> Result<SocketAddr, TargetError> {
        let name = config.name.clone();
        let bound = self.client.put_service(config).await;
        bound
            .map(|bound| bound.address)
            .map_err(|error| self.refusal(Some(&name), &error))
    }

    /// Makes instances known with their release.
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
        put.map_err(|error| self.refusal(Some(service), &error))
    }

    /// Drains a release and forgets it; returns how many requests were cut off. That it is not
    /// known is no error.
    pub async fn remove_release(
        &self,
        service: &str,
        release: &Release,
        limit: Duration,
    ) -> Result<u64, TargetError> {
        let status = self.status().await?;
        let releases = status.services.get(service).map(|s| s.releases.iter());
        let mut releases = releases.into_iter().flatten();
        if !releases.any(|known| known.release == release.as_str()) {
            return Ok(0);
        }
        let drained = self
            .client
            .remove_release(service, release.as_str(), limit)
            .await;
        drained
            .map(|drained| drained.cut as u64)
            .map_err(|error| self.refusal(Some(service), &error))
    }

    /// Drains one instance and forgets it; returns how many requests were cut off. That it is not
    /// known is no error.
    pub async fn forget(
        &self,
        service: &str,
        instance: &str,
        limit: Duration,
    ) -> Result<u64, TargetError> {
        let status = self.status().await?;
        let releases = status.services.get(service).map(|s| s.releases.iter());
        let mut backends = releases.into_iter().flatten().flat_map(|r| &r.backends);
        if !backends.any(|backend| backend.id == instance) {
            return Ok(0);
        }
        let drained = self.client.drain(service, instance, limit).await;
        drained
            .map(|drained| drained.cut as u64)
            .map_err(|error| self.refusal(Some(service), &error))
    }

    /// Waits until every release that is to get a share has a healthy instance.
    pub async fn wait_healthy(&self, service: &str, shares: &Shares) -> Result<(), TargetError> {
        for (release, _) in shares.iter().filter(|(_, share)| **share > 0) {
            let healthy = self
                .client
                .wait_healthy(service, release.as_str(), HEALTHY_LIMIT);
            healthy
                .await
                .map_err(|error| self.refusal(Some(service), &error))?;
        }
        Ok(())
    }

    /// Sets shares, and returns when they are served.
    pub async fn set_weights(&self, shares: &BTreeMap<String, Shares>) -> Result<(), TargetError> {
        let weights = shares.iter().map(|(service, shares)| {
            let shares = shares
                .iter()
                .map(|(release, share)| (release.to_string(), *share));
            (service.clone(), shares.collect())
        });
        self.client
            .set_weights(weights.collect())
            .await
            .map_err(|error| self.refusal(None, &error))
    }

    /// Renews the engine's lease, or ends it.
    pub async fn renew_lease(&self, lease: Option<Lease>) -> Result<(), TargetError> {
        let renewed = self.client.lease(lease).await;
        renewed.map_err(|error| self.refusal(None, &error))
    }

    /// Returns what happened on its own since the last call, also to a router that is gone.
    pub async fn events(&self) -> Result<Vec<TargetEvent>, TargetError> {
        let status = self.status().await?;
        let began = status.started_us;
        // Each router counts from 1.
        let (since, is_new) = match self.seen() {
            Some((of, number)) if of == began => (number, false),
            _ => (0, true),
        };
        let events = self.client.events(since).await;
        let events = events.map_err(|error| self.refusal(None, &error))?;
        self.set_seen((began, events.last().map_or(since, |last| last.number)));
        let mut told = Vec::new();
        if is_new {
            told.extend(expiry_before(&status, &events));
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

    fn seen(&self) -> Option<(u64, u64)> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_seen(&self, seen: (u64, u64)) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
    }

    /// Has samples written into that folder, or no more.
    pub async fn record(&self, folder: Option<std::path::PathBuf>) -> Result<(), TargetError> {
        let recorded = self.client.record(folder).await;
        recorded.map_err(|error| self.refusal(None, &error))
    }

    pub(crate) fn refusal(
        &self,
        service: Option<&str>,
        error: &code_deploy_router::Error,
    ) -> TargetError {
        let what = code_deploy_engine::error::with_sources(error);
        if error.code() == "listen" {
            let name = service.unwrap_or("NAME");
            let next = format!(
                "Nothing was changed. End what listens there, or write another port as \
                 `services.{name}.routing.port`; 0 takes any that is free."
            );
            return failed(code::ROUTER, service, what, next);
        }
        if matches!(error, code_deploy_router::Error::Refused { .. }) {
            let next = "Nothing was changed. Mend what it says and run again.";
            return failed(code::ROUTER, service, what, next);
        }
        let next = format!("Look at {}, and run again.", self.log);
        transient(code::ROUTER, service, what, next)
    }
}

/// Returns the headers that make a router send a request to a release, whatever its share.
pub fn reach(release: &Release, token: &Secret) -> Vec<(String, Secret)> {
    vec![
        (RELEASE_HEADER.to_owned(), Secret::new(release.to_string())),
        (TOKEN_HEADER.to_owned(), token.clone()),
    ]
}

/// Returns the engine's lease on the traffic of those services as a router takes it.
pub fn lease_on<'a>(lease: &target::Lease, services: impl Iterator<Item = &'a str>) -> Lease {
    let stable = services.map(|service| (service.to_owned(), lease.stable.to_string()));
    Lease {
        holder: "engine".to_owned(),
        ttl: lease.ttl,
        stable: stable.collect(),
    }
}

/// Returns that a lease ran out, when a router before this one sent traffic back for it.
fn expiry_before(status: &Status, events: &[code_deploy_router::Event]) -> Option<TargetEvent> {
    let expiry = status.last_expiry.as_ref()?;
    let is_told = events.iter().any(|event| event.text == expiry.reason);
    (!is_told).then(|| TargetEvent {
        time: time_of(expiry.at_us),
        service: None,
        severity: severity_of(LEASE_EXPIRED),
        text: expiry.reason.clone(),
    })
}

/// Returns the shares of a router's services, as served.
pub fn shares(status: &Status) -> Result<BTreeMap<String, Shares>, TargetError> {
    let mut traffic = BTreeMap::new();
    for (name, service) in &status.services {
        let mut shares = Shares::new();
        for (release, weight) in &service.weights {
            let parsed: Result<Release, _> = release.parse();
            let release = parsed.map_err(|error| {
                let what = format!("the router serves a release with no valid name: {error}");
                failed(code::ROUTER, Some(name), what, "Stop it with `--stop`.")
            })?;
            shares.insert(release, *weight);
        }
        traffic.insert(name.clone(), shares);
    }
    Ok(traffic)
}

/// Returns what a router is told of a service.
pub fn service_config(
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
