//! The life of the router's process: started, started again, stopped.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use chrono::{DateTime, Utc};
use code_deploy_engine::target::TargetError;
use code_deploy_router::{RouterConfig, Status};
use serde::{Deserialize, Serialize};

use super::{KNOCK, RouterProcess};
use crate::disk::{append_private, create_private, read_json, write_json};
use crate::failure::{code, failed, files, not_stopped};
use crate::local::places::Places;
use crate::local::process::ProcessId;
use crate::lock::ChangeLock;

/// How long the router may take until it answers after its start.
pub(super) const START_LIMIT: Duration = Duration::from_secs(10);

/// What stands on disk of a router that was started.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Started {
    pub(super) process: ProcessId,
    /// How often its keeper started it again since it was last stopped on purpose.
    #[serde(default)]
    pub(super) restarts: u32,
    /// When its keeper did so last, if it was the last who did.
    #[serde(default)]
    pub(super) restarted: Option<DateTime<Utc>>,
}

/// The file with what the router was started with, in its folder.
const CONFIG: &str = "config.json";

/// The file that names its process for as long as it was not stopped on purpose.
const PROCESS: &str = "process.json";

/// Returns the control socket of a router that was started and not stopped on purpose.
pub(in crate::local) fn socket_in_use(places: &Places) -> Option<PathBuf> {
    let folder = places.router();
    let config: RouterConfig = read_json(&folder.join(CONFIG)).ok()?;
    folder
        .join(PROCESS)
        .exists()
        .then_some(config.control_socket)
}

impl RouterProcess {
    pub(super) fn written(&self) -> Option<Started> {
        read_json(&self.places.router().join(PROCESS)).ok()
    }

    /// Returns the process that was started last and not stopped on purpose.
    pub fn started(&self) -> Option<ProcessId> {
        self.written().map(|started| started.process)
    }

    pub(super) fn process(&self) -> Option<ProcessId> {
        self.started().filter(ProcessId::runs)
    }

    fn has_died(&self) -> bool {
        self.started().is_some_and(|process| !process.runs())
    }

    pub fn pid(&self) -> Option<u32> {
        self.process().map(|process| process.pid)
    }

    /// Starts the router and its keeper where they do not run, and waits until the router answers.
    pub async fn start(&self) -> Result<(), TargetError> {
        let _change = ChangeLock::of_router(self.places.root()).await?;
        self.start_locked(None).await?;
        self.keeper.ensure().await.map(drop)
    }

    /// Starts again what ended without being stopped: a router, which reads services, releases,
    /// shares and lease from where it wrote them, and its keeper. Returns what had ended.
    pub async fn recover(&self) -> Result<Option<&'static str>, TargetError> {
        let router = self.recover_router(None).await?;
        if self.started().is_none() || self.keeper.process().is_some() {
            return Ok(router.then_some("the router"));
        }
        let _change = ChangeLock::of_router(self.places.root()).await?;
        let keeper = self.started().is_some() && self.keeper.ensure().await?;
        Ok(match (router, keeper) {
            (true, _) => Some("the router"),
            (false, true) => Some("the process that looks after the router"),
            (false, false) => None,
        })
    }

    /// Starts the router again if it ended without being stopped, and leaves word of that at `when`
    /// for whoever asks what happened. Returns whether it had.
    pub async fn recover_router(&self, when: Option<DateTime<Utc>>) -> Result<bool, TargetError> {
        if !self.has_died() {
            return Ok(false);
        }
        let _change = ChangeLock::of_router(self.places.root()).await?;
        // Whoever held the lock may have stopped it, or started it again.
        if !self.has_died() {
            return Ok(false);
        }
        self.start_locked(when).await.map(|()| true)
    }

    /// Has the router give its ports to its keeper, as soon as it answers.
    pub async fn offer_listeners(&self) {
        let until = tokio::time::Instant::now() + START_LIMIT;
        while let Err(error) = self.steering.client().offer_listeners().await {
            if self.process().is_none() || tokio::time::Instant::now() >= until {
                tracing::warn!(%error, "the router does not give its ports");
                return;
            }
            tokio::time::sleep(KNOCK).await;
        }
    }

    async fn start_locked(&self, restarted: Option<DateTime<Utc>>) -> Result<(), TargetError> {
        let restarts = self.written().map_or(0, |before| before.restarts);
        let written = |process| Started {
            process,
            restarts: restarts + u32::from(restarted.is_some()),
            restarted,
        };
        if self.process().is_none() {
            let process = self.spawn()?;
            self.write_down(&written(process))?;
        }
        let answering = self.wait_answers().await?;
        // A start that was cut off may have left a router that nobody wrote down.
        let process = ProcessId::of(answering.pid).ok_or_else(|| self.no_start("it is gone"))?;
        if self.process() == Some(process) {
            return Ok(());
        }
        self.write_down(&written(process))
    }

    pub(super) fn write_down(&self, started: &Started) -> Result<(), TargetError> {
        let path = self.places.router().join(PROCESS);
        write_json(&path, started).map_err(files(None, "write", &path))
    }

    fn spawn(&self) -> Result<ProcessId, TargetError> {
        let folder = self.places.router();
        let refused = |error: std::io::Error| {
            let what = format!("cannot start the router: {error}; nothing was started");
            let next = format!("Look at {} and at this program's rights.", folder.display());
            failed(code::ROUTER_START, None, what, next)
        };
        create_private(&folder).map_err(refused)?;
        create_private(self.places.runtime()).map_err(refused)?;
        let mut settings =
            RouterConfig::new(folder.join("state.json"), self.places.router_socket());
        settings.keeper_socket = Some(self.places.keeper_socket());
        write_json(&folder.join(CONFIG), &settings).map_err(refused)?;
        self.launch(&[])
            .map_err(refused)?
            .ok_or_else(|| self.no_start("its process ended at once"))
    }

    /// Starts a router's process with the configuration that is there; returns nothing when it has ended already.
    pub(super) fn launch(&self, more: &[String]) -> std::io::Result<Option<ProcessId>> {
        let folder = self.places.router();
        let log = append_private(&folder.join("router.log"))?;
        let child = self
            .program
            .command()
            .args(["internal", "router", "--config"])
            .arg(folder.join(CONFIG))
            .args(more)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(child.id().and_then(ProcessId::of))
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

    /// Ends the router, after requests in flight or that long.
    pub async fn stop(&self, grace: Duration) -> Result<(), TargetError> {
        let _change = ChangeLock::of_router(self.places.root()).await?;
        // First, or it would start the router again and hold its ports.
        self.keeper.stop().await?;
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
