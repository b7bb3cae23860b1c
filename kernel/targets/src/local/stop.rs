//! Stopping instances, so that nothing of them runs on.

use std::collections::BTreeSet;
use std::time::Duration;

use code_deploy_engine::target::{Stopped, TargetError};
use code_deploy_record::Release;
use futures::future::try_join_all;

use super::LocalTarget;
use super::process::ProcessId;
use super::store::Known;
use crate::failure::{code, failed, not_stopped};
use crate::lock::ChangeLock;
use crate::stopping::{end_releases, stopped, surplus};

/// How long a process may take to be gone after it was made to end, and a supervisor beyond its
/// instance's grace.
const SLACK: Duration = Duration::from_secs(5);

impl LocalTarget {
    pub(super) async fn stop_release(
        &self,
        service: &str,
        release: &Release,
        grace: Duration,
    ) -> Result<Stopped, TargetError> {
        let _change = ChangeLock::of_service(self.store.places.root(), service).await?;
        let cut = self.router.remove_release(service, release, grace).await?;
        let instances = self.known(service, release).await?;
        let forced = self.end_all(&instances).await?;
        Ok(stopped(service, release, &forced, cut))
    }

    /// Stops the instances with the highest numbers until that many are left.
    pub(super) async fn scale_release_down(
        &self,
        service: &str,
        release: &Release,
        replicas: u32,
        grace: Duration,
    ) -> Result<Stopped, TargetError> {
        if replicas == 0 {
            return self.stop_release(service, release, grace).await;
        }
        let _change = ChangeLock::of_service(self.store.places.root(), service).await?;
        let surplus = surplus(self.known(service, release).await?, replicas);
        let drains = surplus
            .iter()
            .map(|(_, config)| self.router.forget(service, &config.id, grace));
        let cut = try_join_all(drains).await?.into_iter().sum();
        let forced = self.end_all(&surplus).await?;
        Ok(stopped(service, release, &forced, cut))
    }

    /// Stops everything, first of all the router.
    pub(super) async fn stop_everything(
        &self,
        grace: Duration,
    ) -> Result<Vec<Stopped>, TargetError> {
        let _changes = self.lock_all().await?;
        self.router.stop(grace).await?;
        let instances = self.store.run(|store| store.instances()).await?;
        let instances = instances.into_iter().map(|known| {
            let of = (known.1.service.clone(), known.1.release.clone());
            (of, known)
        });
        let end = |instances: Vec<Known>| async move { self.end_all(&instances).await };
        let stopped = end_releases(instances, end).await?;
        self.store.run(|store| store.sweep()).await?;
        Ok(stopped)
    }

    /// Always in the same order, so that two of these do not wait for each other.
    async fn lock_all(&self) -> Result<Vec<ChangeLock>, TargetError> {
        let services = self.store.settings.spec.services.iter();
        let names: BTreeSet<&str> = services.map(|service| service.name.as_str()).collect();
        let mut locks = Vec::new();
        for name in names {
            locks.push(ChangeLock::of_service(self.store.places.root(), name).await?);
        }
        Ok(locks)
    }

    async fn known(&self, service: &str, release: &Release) -> Result<Vec<Known>, TargetError> {
        let (service, release) = (service.to_owned(), release.clone());
        self.store
            .run(move |store| store.of_release(&service, &release))
            .await
    }

    async fn end_all(&self, instances: &[Known]) -> Result<Vec<bool>, TargetError> {
        try_join_all(instances.iter().map(|known| self.end(known))).await
    }

    /// Ends an instance with everything it started, and puts its log away. Returns whether it had
    /// to be made to.
    pub(super) async fn end(&self, known: &Known) -> Result<bool, TargetError> {
        let (folder, config) = known;
        let refused = || not_stopped(Some(&config.service), &config.id);
        let mut forced = false;
        if let Some(supervisor) = folder.supervisor() {
            let grace = Duration::from_millis(config.stop_grace_ms);
            supervisor.terminate().map_err(refused())?;
            let ended = supervisor.ended_within(grace + SLACK).await;
            if !ended.map_err(refused())? {
                supervisor.kill().map_err(refused())?;
                forced = true;
            }
            forced |= self.end_session(known, &supervisor, grace).await?;
        }
        forced |= folder.state().is_some_and(|state| state.forced);
        let known = known.clone();
        self.store
            .run(move |store| store.retire(&known.0, &known.1))
            .await?;
        Ok(forced)
    }

    /// A supervisor that was killed leaves behind what it looked after.
    pub(super) async fn end_session(
        &self,
        known: &Known,
        supervisor: &ProcessId,
        grace: Duration,
    ) -> Result<bool, TargetError> {
        let (_, config) = known;
        let refused = || not_stopped(Some(&config.service), &config.id);
        supervisor.ended_within(SLACK).await.map_err(refused())?;
        let supervisor = *supervisor;
        let session = || self.store.run(move |_| Ok(supervisor.session()));
        let left = session().await?;
        for process in &left {
            process.terminate().map_err(refused())?;
        }
        try_join_all(left.iter().map(|process| process.ended_within(grace)))
            .await
            .map_err(refused())?;
        let stubborn = session().await?;
        for process in &stubborn {
            process.kill().map_err(refused())?;
        }
        let gone = try_join_all(stubborn.iter().map(|process| process.ended_within(SLACK)))
            .await
            .map_err(refused())?;
        if gone.iter().all(|gone| *gone) {
            return Ok(!stubborn.is_empty());
        }
        let what = format!(
            "processes {:?} of instance {} did not end within {SLACK:?} after they were made to",
            stubborn
                .iter()
                .map(|process| process.pid)
                .collect::<Vec<_>>(),
            config.id
        );
        let next = "Look what they wait for (a disk, a debugger), and stop again.";
        Err(failed(code::NOT_STOPPED, Some(&config.service), what, next))
    }
}
