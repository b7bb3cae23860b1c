//! The process that looks after the router: starts it again when it dies, and holds its ports open
//! meanwhile. It outlives the run that started it.
//!
//! # Flow
//! Whoever starts the router starts its keeper, too. The keeper waits until the router's process
//! ends, and starts it again under the same lock as everybody else. The router's process waits
//! until its keeper ends, and starts another.
//!
//! # Guarantees
//! A router that is killed is back with what it had saved, on ports that never closed. One keeper
//! per environment: it holds a lock for as long as it lives.
//!
//! # Assumptions
//! A router that is stopped on purpose is written out of its folder first, under the lock.
//!
//! # Caveats
//! When both are killed at the same instant, nobody is left who could know: the next run, or one that
//! is under way, starts both again.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use code_deploy_engine::target::TargetError;
use code_deploy_record::{Clock as _, SystemClock};
use code_deploy_router::KeptListeners;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use super::places::Places;
use super::process::ProcessId;
use super::program::Program;
use super::router::RouterProcess;
use crate::disk::{append_private, create_private, read_json, write_json};
use crate::failure::{code, failed, files, not_stopped};
use crate::lock::ChangeLock;

/// The first pause before a router is started again that does not start; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause before a router is started again that does not start.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How long a keeper may take until it is ready.
const START: Duration = Duration::from_secs(10);

/// The pause between two looks whether it is.
const KNOCK: Duration = Duration::from_millis(5);

/// How long a keeper may take to end when asked.
const END: Duration = Duration::from_secs(5);

/// What stands on disk of the keeper.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    process: ProcessId,
}

/// The keeper's process as others see it.
#[derive(Debug, Clone)]
pub(crate) struct Keeper {
    places: Places,
    program: Program,
}

impl Keeper {
    pub fn new(places: Places, program: Program) -> Self {
        Self { places, program }
    }

    fn file(&self) -> PathBuf {
        self.places.router().join("keeper.json")
    }

    /// Returns the keeper's process, when it runs.
    pub fn process(&self) -> Option<ProcessId> {
        let written: Written = read_json(&self.file()).ok()?;
        Some(written.process).filter(ProcessId::runs)
    }

    /// Starts the keeper unless it runs, and waits until it does; returns whether it did not. The
    /// caller holds the lock on the router, whose process is written down.
    pub async fn ensure(&self) -> Result<bool, TargetError> {
        if self.process().is_some() {
            return Ok(false);
        }
        let folder = self.places.router();
        let refused = |error: std::io::Error| {
            let what = format!("cannot start the process that looks after the router: {error}");
            let next = format!("Look at {} and run again.", folder.display());
            failed(code::ROUTER_START, None, what, next)
        };
        create_private(&folder).map_err(refused)?;
        let log = append_private(&folder.join("keeper.log")).map_err(refused)?;
        let mut child = self
            .program
            .command()
            .args(["internal", "router-keeper", "--environment-folder"])
            .arg(self.places.root())
            .arg("--runtime-folder")
            .arg(self.places.runtime())
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(refused)?)
            .stderr(log)
            .spawn()
            .map_err(refused)?;
        // It writes itself down when it has made sure that it is the only one.
        let written = async {
            loop {
                let ended = child.try_wait()?;
                match (self.process(), ended) {
                    (Some(_), _) => return Ok(()),
                    (None, Some(status)) => return Err(std::io::Error::other(status.to_string())),
                    (None, None) => tokio::time::sleep(KNOCK).await,
                }
            }
        };
        let limit = || std::io::Error::other(format!("it is not ready within {START:?}"));
        let written = tokio::time::timeout(START, written).await;
        written
            .unwrap_or_else(|_| Err(limit()))
            .map_err(refused)
            .map(|()| true)
    }

    /// Writes this process down as the keeper.
    fn write_down(&self) -> std::io::Result<()> {
        let gone = || std::io::Error::other("this process has no entry in /proc");
        let process = ProcessId::of(std::process::id()).ok_or_else(gone)?;
        write_json(&self.file(), &Written { process })
    }

    /// Ends the keeper, if it runs. The caller holds the lock on the router.
    pub async fn stop(&self) -> Result<(), TargetError> {
        let refused = || not_stopped(None, "the router's keeper");
        if let Some(process) = self.process() {
            process.terminate().map_err(refused())?;
            if !process.ended_within(END).await.map_err(refused())? {
                process.kill().map_err(refused())?;
                process.ended_within(END).await.map_err(refused())?;
            }
        }
        // Also the socket of a keeper that was killed.
        for path in [self.file(), self.places.keeper_socket()] {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(files(None, "remove", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Looks after the router of the environment in that folder, until the router is stopped on purpose
/// or this process is asked to end.
///
/// # Errors
/// When the folder cannot be read or written, or the router's end cannot be watched.
pub async fn keep_router(root: PathBuf, runtime: PathBuf) -> std::io::Result<()> {
    own_session();
    let places = Places::at(root, runtime);
    let Some(_only) = only_one(&places)? else {
        return Ok(());
    };
    let kept = KeptListeners::bind(&places.keeper_socket()).map_err(std::io::Error::other)?;
    let program = Program::whole(std::env::current_exe()?);
    let keeper = Keeper::new(places.clone(), program.clone());
    keeper.write_down()?;
    let router = RouterProcess::new(places, program);
    let mut end = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // Cancel safe: whatever is under way, a router is written down before it is waited for.
    let ended = tokio::select! {
        ended = look_after(&router) => ended,
        () = kept.serve() => Ok(()),
        _ = end.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    match std::fs::remove_file(keeper.file()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => ended,
    }
}

async fn look_after(router: &RouterProcess) -> std::io::Result<()> {
    let mut pause = FIRST_PAUSE;
    // A keeper that replaces another has no copy of the ports yet.
    router.offer_listeners().await;
    loop {
        let Some(process) = router.started() else {
            return Ok(());
        };
        process.ended().await?;
        match router.recover_router(Some(SystemClock.now())).await {
            Ok(true) => pause = FIRST_PAUSE,
            // Stopped on purpose, or started again by somebody else.
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%error, "the router was not started again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Starts another keeper each time that the router's ends, for as long as it is not dropped. For the
/// router's own process.
pub async fn keep_keeper(router_folder: &Path, runtime: &Path) {
    let Some(root) = router_folder.parent() else {
        return;
    };
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    let places = Places::at(root.to_owned(), runtime.to_owned());
    let keeper = Keeper::new(places.clone(), Program::whole(program));
    let router = RouterProcess::new(places.clone(), keeper.program.clone());
    loop {
        if let Some(process) = keeper.process()
            && let Err(error) = process.ended().await
        {
            tracing::error!(%error, "the keeper's end cannot be watched");
            return;
        }
        let again = async {
            let _change = ChangeLock::of_router(places.root()).await?;
            match router.started() {
                Some(started) if started.pid == std::process::id() => {
                    keeper.ensure().await.map(drop)
                }
                // Not written down yet, or not any more.
                _ => Ok(()),
            }
        };
        if let Err(error) = again.await {
            tracing::error!(%error, "the keeper was not started again");
        }
        // Whoever starts this router starts its keeper a little later.
        tokio::time::sleep(FIRST_PAUSE).await;
    }
}

/// Takes the lock that a keeper holds for as long as it lives; nothing when another has it.
fn only_one(places: &Places) -> std::io::Result<Option<File>> {
    let folder = places.root().join("locks");
    create_private(&folder)?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(folder.join("router-keeper.lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// A session of its own: the end of a terminal or a kernel does not reach it. This fails only for the
/// leader of a process group, which already has what is wanted.
fn own_session() {
    if let Err(error) = nix::unistd::setsid() {
        tracing::debug!(%error, "no session of its own");
    }
}
