//! Routers that are of another build than the program: upgraded while they serve.
//!
//! A router's container sees the folder of the runs. The program is put there with its loader and its libraries, and
//! the first process of the container starts it beside the router that runs. Nothing of the container is changed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use code_deploy_engine::error::with_sources;
use code_deploy_engine::target::TargetError;
use code_deploy_router::{CHOSEN_PROGRAM, Error, HostClient, Program, program_build};

use super::{DockerTarget, program};
use crate::disk::read_json;
use crate::failure::files;
use crate::upgrading::{Upgrade, tell_made_before};

impl DockerTarget {
    /// Has a router of this program take over from one of another build, whose requests in flight may go on for
    /// `limit`, and waits until that one has ended. One that cannot be replaced goes on, and that is told. The caller
    /// holds the lock on the router.
    pub(super) async fn upgrade_router(
        &self,
        service: &str,
        limit: Duration,
    ) -> Result<(), TargetError> {
        let steering = self.steering(service);
        let Some(from) = steering.build().await? else {
            tell_made_before(&self.notices, Some(service));
            return Ok(());
        };
        let to = self.program_build().await?;
        if from != to {
            // One that a run before has replaced ends first: two cannot hand over at a time.
            steering.settled(limit).await?;
            let upgrade = Upgrade {
                service: Some(service),
                from: &from,
                to: &to,
            };
            match self.go_over(service, limit).await? {
                None => upgrade.tell_done(&self.notices),
                Some(reason) => upgrade.tell_failed(&self.notices, &reason),
            }
        }
        steering.settled(limit).await
    }

    /// Has the router's host go over to this program; returns why the router that runs goes on, if it does.
    async fn go_over(&self, service: &str, limit: Duration) -> Result<Option<String>, TargetError> {
        let unpacked = program::unpack(&self.settings.program, &self.programs()).await;
        let next = match unpacked {
            Ok(next) => next,
            Err(reason) => {
                let reason =
                    format!("the program cannot be put where its container sees it: {reason}");
                return Ok(Some(reason));
            }
        };
        let host = HostClient::of(&self.socket(service));
        match host.go_over(next, limit).await {
            Ok(()) => Ok(None),
            Err(Error::HandOver { reason, .. }) => {
                let name = self.names.router(service);
                let reason = format!("{reason} (`docker logs {name}`)");
                Ok(Some(reason))
            }
            Err(error @ Error::Control { .. }) => Ok(Some(with_sources(&error))),
            Err(error) => Err(self.steering(service).refusal(Some(service), &error)),
        }
    }

    async fn program_build(&self) -> Result<String, TargetError> {
        let path = &self.settings.program;
        let found = self.own_build.get_or_try_init(|| build_of(path));
        found.await.cloned()
    }

    /// The folder of programs that routers went over to.
    fn programs(&self) -> PathBuf {
        self.root.join("programs")
    }

    /// Removes programs that no router would be started from any more.
    pub(super) fn forget_programs(&self) -> Result<(), TargetError> {
        let routers = std::fs::read_dir(self.root.join("routers"));
        let mut used = BTreeSet::new();
        for router in routers.into_iter().flatten().flatten() {
            let chosen = router.path().join(CHOSEN_PROGRAM);
            if !chosen.exists() {
                continue;
            }
            // Whatever cannot be read may be used.
            let Ok(program) = read_json::<Program>(&chosen) else {
                return Ok(());
            };
            used.extend(program.file.parent().map(Path::to_owned));
        }
        let there = std::fs::read_dir(self.programs());
        for folder in there.into_iter().flatten().flatten() {
            let path = folder.path();
            if !used.contains(&path) {
                std::fs::remove_dir_all(&path).map_err(files(None, "remove", &path))?;
            }
        }
        Ok(())
    }

    /// Removes all of them: no router is left.
    pub(super) fn remove_programs(&self) -> Result<(), TargetError> {
        let path = self.programs();
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(files(None, "remove", &path)(error))
            }
            _ => Ok(()),
        }
    }
}

async fn build_of(program: &Path) -> Result<String, TargetError> {
    let path = program.to_owned();
    let found = tokio::task::spawn_blocking(move || program_build(&path)).await;
    let found = found.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    found.map_err(files(None, "read", program))
}
