//! The router's process replaced by one of this program, while it serves.

use std::time::Duration;

use code_deploy_engine::error::with_sources;
use code_deploy_engine::target::TargetError;

use super::life::{START_LIMIT, Started};
use super::{KNOCK, RouterProcess};
use crate::local::process::ProcessId;
use crate::lock::ChangeLock;
use crate::upgrading::{Upgrade, tell_made_before};

impl RouterProcess {
    /// Has a router of this program take over from one of another build, whose requests in flight may go on for
    /// `limit`, and waits until that one has ended. One that cannot be replaced goes on, and that is told.
    pub async fn upgrade(&self, limit: Duration) -> Result<(), TargetError> {
        let _change = ChangeLock::of_router(self.places.root()).await?;
        let Some(process) = self.process() else {
            return Ok(());
        };
        if !self.program.is_run_by(process.pid) && !self.becomes_ours(limit).await? {
            return Ok(());
        }
        self.steering.settled(limit).await?;
        self.renew_keeper().await
    }

    /// Returns whether the router is of this program's build now.
    async fn becomes_ours(&self, limit: Duration) -> Result<bool, TargetError> {
        let Some(from) = self.steering.build().await? else {
            tell_made_before(&self.notices, None);
            return Ok(false);
        };
        let to = self.program.build().await?;
        if from == to {
            return Ok(true);
        }
        let upgrade = Upgrade {
            service: None,
            from: &from,
            to: &to,
        };
        // One that a run before has replaced ends first: two cannot hand over at a time.
        self.steering.settled(limit).await?;
        match self.replace(limit).await {
            Ok(process) => {
                self.write_down(&Started {
                    process,
                    restarts: self.written().map_or(0, |before| before.restarts),
                    restarted: None,
                })?;
                upgrade.tell_done(&self.notices);
                Ok(true)
            }
            Err(error) => {
                upgrade.tell_failed(&self.notices, &with_sources(&error));
                Ok(false)
            }
        }
    }

    /// Starts the next router, and returns when it serves.
    async fn replace(&self, limit: Duration) -> std::io::Result<ProcessId> {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let more = ["--take-over".to_owned(), limit.to_string()];
        let ended = || {
            let log = self.places.router().join("router.log");
            let text = format!("the new one ended at once; {} says why", log.display());
            std::io::Error::other(text)
        };
        let process = self.launch(&more)?.ok_or_else(ended)?;
        let until = tokio::time::Instant::now() + START_LIMIT;
        loop {
            let status = self.steering.client().status().await;
            if status.is_ok_and(|status| status.pid == process.pid) {
                return Ok(process);
            }
            if !process.runs() {
                return Err(ended());
            }
            if tokio::time::Instant::now() >= until {
                process.kill()?;
                let text = format!("the new one does not serve within {START_LIMIT:?}");
                return Err(std::io::Error::other(text));
            }
            tokio::time::sleep(KNOCK).await;
        }
    }

    /// Replaces a keeper that would start a router of another build again. The router holds its ports meanwhile.
    async fn renew_keeper(&self) -> Result<(), TargetError> {
        let (router, keeper) = (self.process(), self.keeper.process());
        let is_other = |process: ProcessId| !self.program.is_run_by(process.pid);
        // A router of the same build from another file is as good, and so is its keeper.
        if !router.is_some_and(is_other) && keeper.is_some_and(is_other) {
            self.keeper.stop().await?;
            self.keeper.ensure().await?;
        }
        Ok(())
    }
}
