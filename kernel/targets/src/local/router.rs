//! The router's process as the local target sees it.

mod life;
mod upgrade;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use code_deploy_engine::spec::{Routing, Service};
use code_deploy_engine::target::{Lease, Shares, TargetError, TargetEvent};
use code_deploy_record::{Release, Secret, Severity};
use code_deploy_router::{ControlClient, Status};

use super::keeper::Keeper;
use super::places::Places;
use super::process::ProcessId;
use super::program::Program;
use crate::notices::Notices;
use crate::steering::{Steering, lease_on, service_config, shares};
use life::Started;
pub(super) use life::socket_in_use;

/// How long a router that died may take until its keeper has brought it back.
const BACK_LIMIT: Duration = Duration::from_secs(5);

/// The pause between two tries to reach a router that is starting.
const KNOCK: Duration = Duration::from_millis(20);

/// Where the router's log is.
const LOG: &str = "`router/router.log` in the environment's folder";

fn restart_of(started: &Started) -> Option<TargetEvent> {
    let restarts = started.restarts;
    Some(TargetEvent {
        time: started.restarted?,
        service: None,
        severity: Severity::High,
        text: format!("the router had ended and was started again, restart {restarts}"),
    })
}

/// The router's process, which outlives this one.
pub struct RouterProcess {
    places: Places,
    program: Program,
    steering: Steering,
    keeper: Keeper,
    /// The router whose start was told last.
    told: Mutex<Option<ProcessId>>,
    notices: Notices,
}

impl RouterProcess {
    pub fn new(places: Places, program: Program) -> Self {
        let client = ControlClient::new(places.router_socket());
        let keeper = Keeper::new(places.clone(), program.clone());
        Self {
            places,
            program,
            steering: Steering::new(client, LOG),
            keeper,
            told: Mutex::new(None),
            notices: Notices::default(),
        }
    }

    /// Returns whether this router was not asked for its events before.
    fn is_new(&self, process: ProcessId) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.replace(process) != Some(process)
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
            match self.steering.status().await {
                Ok(status) => return Ok(Some(status)),
                Err(error) if tokio::time::Instant::now() >= until => return Err(error),
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
        if self.status().await?.is_none() {
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
        if self.status().await?.is_none() {
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
        let lease = lease.map(|lease| lease_on(&lease, services.iter().map(String::as_str)));
        if lease.is_none() && self.process().is_none() {
            return Ok(());
        }
        self.steering.renew_lease(lease).await
    }

    /// Returns what happened on its own since the last call, also to a router that is gone.
    pub async fn events(&self) -> Result<Vec<TargetEvent>, TargetError> {
        let Some(started) = self.written().filter(|started| started.process.runs()) else {
            return Ok(Vec::new());
        };
        let events = self.steering.events().await?;
        let restart = self.is_new(started.process).then(|| restart_of(&started));
        let own = self.notices.since_last().into_iter();
        Ok(own.chain(restart.flatten()).chain(events).collect())
    }

    pub async fn record(&self, folder: Option<PathBuf>) -> Result<(), TargetError> {
        if folder.is_none() && self.process().is_none() {
            return Ok(());
        }
        self.steering.record(folder).await
    }
}
