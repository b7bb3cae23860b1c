//! What is refused before a run begins, because only a person can settle it.

use std::collections::BTreeMap;

use code_deploy_engine::Spec;
use code_deploy_engine::target::TargetError;
use code_deploy_record::Release;
use futures::future::try_join_all;

use super::{DockerTarget, mounts};
use crate::failure::{code, failed};

impl DockerTarget {
    /// Refuses an engine of another machine, names and ports that others have, and networks and volumes that others were to
    /// make.
    pub(super) async fn admits(
        &self,
        release: &Release,
        replicas: &BTreeMap<String, u32>,
    ) -> Result<(), TargetError> {
        self.engine.check_here().await?;
        let spec = self.settings.spec_of(release)?;
        let services = replicas
            .iter()
            .map(|(service, count)| self.admits_service(&spec, release, service, *count));
        try_join_all(services).await?;
        let names: Vec<&str> = replicas.keys().map(String::as_str).collect();
        self.admits_ports(&names).await
    }

    async fn admits_service(
        &self,
        spec: &Spec,
        release: &Release,
        service: &str,
        count: u32,
    ) -> Result<(), TargetError> {
        let compose = self.compose(spec, service)?;
        let instances = (1..=count).map(|index| self.names.instance(service, release, index));
        for name in instances.chain([self.names.router(service)]) {
            self.not_foreign(service, &name).await?;
        }
        for network in self.networks(spec, service, compose)? {
            self.network_there(&network).await?;
        }
        let (_, volumes) = mounts::volumes(spec, &self.names, compose).map_err(|what| {
            let next = "Mend the Compose file and run again.";
            failed(code::COMPOSE_VALUE, Some(service), what, next)
        })?;
        for volume in volumes {
            self.volume_there(&volume, service).await?;
        }
        Ok(())
    }
}
