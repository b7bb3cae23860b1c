//! What a run would apply, tried at the API server before the run begins: a server-side dry run
//! (<https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run>). Schema, admission policies and
//! fields that others manage are judged as they will be, and nothing is stored.

use std::collections::BTreeMap;

use code_deploy_engine::target::{TargetError, Wanted};
use code_deploy_record::Release;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;

use super::KubernetesTarget;
use super::cluster::Connection;

/// Services that are tried side by side at most: the API server works for others, too.
const AT_ONCE: usize = 8;

/// What stands in the place of a run's name, which there is none of yet.
const NO_RUN: &str = "dry-run";

impl KubernetesTarget {
    /// Has the API server judge what a release's start would apply.
    ///
    /// # Errors
    /// What it would refuse then, with nothing changed.
    pub(super) async fn would_be_taken(
        &self,
        release: &Release,
        replicas: &BTreeMap<String, u32>,
    ) -> Result<(), TargetError> {
        let connection = self.cluster.connect().await?;
        let mut trials = Vec::new();
        for (service, replicas) in replicas {
            trials.push(self.try_start(connection, service, release, *replicas));
        }
        stream::iter(trials)
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    async fn try_start(
        &self,
        connection: &Connection,
        service: &str,
        release: &Release,
        replicas: u32,
    ) -> Result<(), TargetError> {
        let run = NO_RUN.parse();
        let wanted = Wanted {
            run: run.map_err(|_| self.no_such_service(service))?,
            service: service.to_owned(),
            release: release.clone(),
            replicas,
            start_limit: self.settings.spec.strategy.health.deadline.get(),
        };
        let manifests = self.manifests_of(&wanted, replicas, connection).await?;
        connection
            .try_apply::<Service>(service, &manifests.way)
            .await?;
        // Pods that are there are kept as they are: nothing of them is applied anew.
        let there = self.there_before(connection, service, release).await?;
        if there.is_none() {
            let deployment = &manifests.deployment;
            connection
                .try_apply::<Deployment>(service, deployment)
                .await?;
        }
        Ok(())
    }
}
