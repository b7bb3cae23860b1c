//! The router's process as the local target sees it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::DateTime;
use code_deploy_engine::spec::{Routing, Service};
use code_deploy_engine::target::{Lease, Shares, TargetError, TargetEvent};
use code_deploy_record::{Release, Secret, Severity};
use code_deploy_router::{BackendAddress, Lease as RouterLease, Status};
use code_deploy_router::{
    BreakerConfig, ControlClient, HealthCheck, Retries, RouterConfig, ServiceConfig, Sticky,
    Timeouts, token_digest,
};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::failure::{code, failed, files, not_stopped, transient};
use super::instance::{append_private, create_private, read_json, write_json};
use super::lock::ChangeLock;
use super::places::Places;
use super::process::ProcessId;

/// The header that names the release to reach.
pub const RELEASE_HEADER: &str = "x-code-deploy-release";

/// The header with the token that makes the former count.
pub const TOKEN_HEADER: &str = "x-code-deploy-token";

/// How long the router may take until it answers after its start.
const START_LIMIT: Duration = Duration::from_secs(10);

/// The pause between two tries to reach a router that is starting.
const KNOCK: Duration = Duration::from_millis(20);

/// Events that tell of nothing but what was asked of the router.
const ASKED_FOR: [&str; 3] = ["weights-set", "lease-taken", "lease-given-up"];

/// The router's events that somebody has to know of at once. An instance that is not healthy is not
/// among them: each begins so, and one that stays so shows in the gates and probes.
const URGENT: [&str; 2] = ["breaker-opened", "lease-expired"];

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
    program: PathBuf,
    client: ControlClient,
    /// The router whose events were read, and the number of the last.
    seen: Mutex<Option<(ProcessId, u64)>>,
}

/// What stands on disk of a router that was started.
#[derive(Debug, Serialize, Deserialize)]
struct Started {
    process: ProcessId,
}

impl RouterProcess {
    pub fn new(places: Places, program: PathBuf) -> Self {
        let client = ControlClient::new(places.router_socket());
        Self {
            places,
            program,
            client,
            seen: Mutex::new(None),
        }
    }

    fn seen(&self) -> Option<(ProcessId, u64)> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_seen(&self, seen: (ProcessId, u64)) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
    }

    /// Returns the process that was started last and not stopped on purpose.
    fn started(&self) -> Option<ProcessId> {
        let started: Started = read_json(&self.places.router().join("process.json")).ok()?;
        Some(started.process)
    }

    fn process(&self) -> Option<ProcessId> {
        self.started().filter(ProcessId::runs)
    }

    fn has_died(&self) -> bool {
        self.started().is_some_and(|process| !process.runs())
    }

    pub fn pid(&self) -> Option<u32> {
        self.process().map(|process| process.pid)
    }

    /// Starts the router if it does not run, and waits until it answers.
    pub async fn start(&self) -> Result<(), TargetError> {
        let _change = ChangeLock::of_router(&self.places).await?;
        self.start_locked().await
    }

    /// Starts a router again that ended without being stopped: it reads services, releases, shares
    /// and lease from where it wrote them. Returns whether it had ended.
    pub async fn recover(&self) -> Result<bool, TargetError> {
        if !self.has_died() {
            return Ok(false);
        }
        let _change = ChangeLock::of_router(&self.places).await?;
        // Whoever held the lock may have stopped it, or started it again.
        if !self.has_died() {
            return Ok(false);
        }
        self.start_locked().await.map(|()| true)
    }

    async fn start_locked(&self) -> Result<(), TargetError> {
        if self.process().is_none() {
            self.spawn()?;
        }
        let answering = self.wait_answers().await?;
        // A start that was cut off may have left a router that nobody wrote down.
        let process = ProcessId::of(answering.pid).ok_or_else(|| self.no_start("it is gone"))?;
        if self.process() == Some(process) {
            return Ok(());
        }
        self.write_down(process)
    }

    fn write_down(&self, process: ProcessId) -> Result<(), TargetError> {
        let path = self.places.router().join("process.json");
        write_json(&path, &Started { process }).map_err(files(None, "write", &path))
    }

    fn spawn(&self) -> Result<(), TargetError> {
        let folder = self.places.router();
        let refused = |error: std::io::Error| {
            let what = format!("cannot start the router: {error}; nothing was started");
            let next = format!("Look at {} and at this program's rights.", folder.display());
            failed(code::ROUTER_START, None, what, next)
        };
        create_private(&folder).map_err(refused)?;
        create_private(self.places.runtime()).map_err(refused)?;
        let config = folder.join("config.json");
        let settings = RouterConfig::new(folder.join("state.json"), self.places.router_socket());
        write_json(&config, &settings).map_err(refused)?;
        let log = append_private(&folder.join("router.log")).map_err(refused)?;
        let child = Command::new(&self.program)
            .args(["internal", "router", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(refused)?)
            .stderr(log)
            .spawn()
            .map_err(refused)?;
        let process = child.id().and_then(ProcessId::of);
        let process = process.ok_or_else(|| self.no_start("its process ended at once"))?;
        self.write_down(process)
    }

    async fn wait_answers(&self) -> Result<Status, TargetError> {
        let until = tokio::time::Instant::now() + START_LIMIT;
        loop {
            let error = match self.client.status().await {
                Ok(status) => return Ok(status),
                Err(error) => error,
            };
            let given_up = self.process().is_none() || tokio::time::Instant::now() >= until;
            if given_up {
                return Err(self.no_start(&code_deploy_engine::error::with_sources(&error)));
            }
            tokio::time::sleep(KNOCK).await;
        }
    }

    fn no_start(&self, what: &str) -> TargetError {
        let log = self.places.router().join("router.log");
        let what = format!("the router does not answer within {START_LIMIT:?}: {what}");
        let next = format!("Look at {}, then run again.", log.display());
        failed(code::ROUTER_START, None, what, next)
    }

    async fn status(&self) -> Result<Option<Status>, TargetError> {
        if self.process().is_none() {
            return Ok(None);
        }
        self.client
            .status()
            .await
            .map(Some)
            .map_err(|error| refusal(None, &error))
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

    /// Returns what happened on its own since the last call.
    pub async fn events(&self) -> Result<Vec<TargetEvent>, TargetError> {
        let Some(process) = self.process() else {
            return Ok(Vec::new());
        };
        // Each router counts from 1.
        let since = match self.seen() {
            Some((of, number)) if of == process => number,
            _ => 0,
        };
        let events = self
            .client
            .events(since)
            .await
            .map_err(|error| refusal(None, &error))?;
        if let Some(last) = events.last() {
            self.set_seen((process, last.number));
        }
        let time = |us: u64| DateTime::from_timestamp_micros(i64::try_from(us).unwrap_or(i64::MAX));
        Ok(events
            .into_iter()
            .filter(|event| !ASKED_FOR.contains(&event.kind.as_str()))
            .map(|event| TargetEvent {
                time: time(event.at_us).unwrap_or_default(),
                service: event.service,
                severity: severity_of(&event.kind),
                text: event.text,
            })
            .collect())
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

    /// Ends the router, after requests in flight or that long.
    pub async fn stop(&self, grace: Duration) -> Result<(), TargetError> {
        let _change = ChangeLock::of_router(&self.places).await?;
        if let Some(process) = self.process() {
            self.end(process, grace).await?;
        }
        // Also those of a router that died: the next one begins with nothing.
        let folder = self.places.router();
        for file in ["process.json", "state.json"] {
            match std::fs::remove_file(folder.join(file)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(files(None, "remove", &folder.join(file))(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn end(&self, process: ProcessId, grace: Duration) -> Result<(), TargetError> {
        let refused = || not_stopped(None, "the router");
        let limit = match self.client.shutdown(grace).await {
            Ok(()) => grace + START_LIMIT,
            // A router that cannot be asked is told, and is given less time.
            Err(error) => {
                tracing::warn!(%error, "the router is ended by a signal");
                process.terminate().map_err(refused())?;
                START_LIMIT
            }
        };
        if !process.ended_within(limit).await.map_err(refused())? {
            process.kill().map_err(refused())?;
            process.ended_within(START_LIMIT).await.map_err(refused())?;
        }
        Ok(())
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
