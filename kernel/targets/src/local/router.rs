//! The router's process as the local target sees it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use code_deploy_engine::spec::{Routing, Service};
use code_deploy_engine::target::{Lease, Shares, TargetError, TargetEvent};
use code_deploy_record::{Release, Secret};
use code_deploy_router::{ControlClient, Lease as RouterLease, RouterConfig, Status};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::places::Places;
use super::process::ProcessId;
use crate::disk::{append_private, create_private, read_json, write_json};
use crate::failure::{code, failed, files, not_stopped};
use crate::lock::ChangeLock;
use crate::steering::{Steering, service_config, shares};

/// How long the router may take until it answers after its start.
const START_LIMIT: Duration = Duration::from_secs(10);

/// The pause between two tries to reach a router that is starting.
const KNOCK: Duration = Duration::from_millis(20);

/// Where the router's log is.
const LOG: &str = "`router/router.log` in the environment's folder";

/// The router's process, which outlives this one.
pub struct RouterProcess {
    places: Places,
    program: PathBuf,
    steering: Steering,
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
            steering: Steering::new(client, LOG),
        }
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
        let _change = ChangeLock::of_router(self.places.root()).await?;
        self.start_locked().await
    }

    /// Starts a router again that ended without being stopped: it reads services, releases, shares
    /// and lease from where it wrote them. Returns whether it had ended.
    pub async fn recover(&self) -> Result<bool, TargetError> {
        if !self.has_died() {
            return Ok(false);
        }
        let _change = ChangeLock::of_router(self.places.root()).await?;
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
            let error = match self.steering.client().status().await {
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
        self.steering.status().await.map(Some)
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
        let status = self.status().await?;
        status.as_ref().map(shares).transpose()
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
        self.steering.put_service(config).await
    }

    /// Makes instances known with their release.
    pub async fn put_release(
        &self,
        service: &str,
        release: &Release,
        backends: Vec<(String, SocketAddr)>,
    ) -> Result<(), TargetError> {
        self.steering.put_release(service, release, backends).await
    }

    /// Drains a release and forgets it; returns how many requests were cut off.
    pub async fn remove_release(
        &self,
        service: &str,
        release: &Release,
        limit: Duration,
    ) -> Result<u64, TargetError> {
        if self.process().is_none() {
            return Ok(0);
        }
        self.steering.remove_release(service, release, limit).await
    }

    /// Drains one instance and forgets it; returns how many requests were cut off.
    pub async fn forget(
        &self,
        service: &str,
        instance: &str,
        limit: Duration,
    ) -> Result<u64, TargetError> {
        if self.process().is_none() {
            return Ok(0);
        }
        self.steering.forget(service, instance, limit).await
    }

    /// Sets shares, and returns when they are served. A release that is given a share must be
    /// healthy first.
    pub async fn set_weights(&self, shares: &BTreeMap<String, Shares>) -> Result<(), TargetError> {
        for (service, shares) in shares {
            self.steering.wait_healthy(service, shares).await?;
        }
        self.steering.set_weights(shares).await
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
        self.steering.renew_lease(lease).await
    }

    /// Returns what happened on its own since the last call.
    pub async fn events(&self) -> Result<Vec<TargetEvent>, TargetError> {
        if self.process().is_none() {
            return Ok(Vec::new());
        }
        self.steering.events().await
    }

    pub async fn record(&self, folder: Option<PathBuf>) -> Result<(), TargetError> {
        if folder.is_none() && self.process().is_none() {
            return Ok(());
        }
        self.steering.record(folder).await
    }

    /// Ends the router, after requests in flight or that long.
    pub async fn stop(&self, grace: Duration) -> Result<(), TargetError> {
        let _change = ChangeLock::of_router(self.places.root()).await?;
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
        let limit = match self.steering.client().shutdown(grace).await {
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
