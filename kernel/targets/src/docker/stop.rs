//! Stopping instances, so that nothing of them runs on.

use std::time::Duration;

use code_deploy_engine::target::{Stopped, TargetError};
use code_deploy_record::Release;
use futures::future::try_join_all;

use super::DockerTarget;
use super::store::Known;
use crate::lock::ChangeLock;
use crate::stopping::{end_releases, stopped, surplus};

impl DockerTarget {
    pub(super) async fn stop_release(
        &self,
        service: &str,
        release: &Release,
        grace: Duration,
    ) -> Result<Stopped, TargetError> {
        let _change = ChangeLock::of_service(&self.root, service).await?;
        let cut = if self.router_serves(service).await? {
            let steering = self.steering(service);
            steering.remove_release(service, release, grace).await?
        } else {
            0
        };
        let instances = self.of_release(service, release).await?;
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
        let _change = ChangeLock::of_service(&self.root, service).await?;
        let surplus = surplus(self.of_release(service, release).await?, replicas);
        let mut cut = 0;
        if self.router_serves(service).await? {
            let steering = self.steering(service);
            let drains = surplus
                .iter()
                .map(|known| steering.forget(service, &known.name, grace));
            cut = try_join_all(drains).await?.into_iter().sum();
        }
        let forced = self.end_all(&surplus).await?;
        Ok(stopped(service, release, &forced, cut))
    }

    /// Stops everything, first of all the routers. Volumes stay: they hold data.
    pub(super) async fn stop_everything(
        &self,
        grace: Duration,
    ) -> Result<Vec<Stopped>, TargetError> {
        self.remove_routers(grace).await?;
        let instances = self.instances().await?.into_iter().filter_map(|known| {
            let release = known.release.clone()?;
            Some(((known.service.clone(), release), known))
        });
        let end = |instances: Vec<Known>| async move { self.end_all(&instances).await };
        let stopped = end_releases(instances, end).await?;
        self.remove_networks().await?;
        Ok(stopped)
    }

    async fn router_serves(&self, service: &str) -> Result<bool, TargetError> {
        match self.router_of(service).await? {
            Some(router) if router.is_up() => Ok(self.status_of(&router).await?.is_some()),
            _ => Ok(false),
        }
    }

    async fn end_all(&self, instances: &[Known]) -> Result<Vec<bool>, TargetError> {
        let ends = instances.iter().map(|known| {
            let service = self.settings.spec.service(&known.service);
            let grace = service.map_or(Duration::from_secs(10), |one| one.stop_grace.get());
            self.retire(known, grace)
        });
        try_join_all(ends).await
    }

    /// Ends an instance, puts its log away and removes it. Returns whether it had to be made to.
    pub(super) async fn retire(&self, known: &Known, grace: Duration) -> Result<bool, TargetError> {
        self.happenings.is_asked_to_end(known);
        let forced = self.end_container(known, grace).await?;
        self.keep_log(known).await?;
        self.remove_container(known).await?;
        self.forget_secrets(&known.name)?;
        Ok(forced)
    }
}
