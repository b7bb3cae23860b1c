//! What a start of a release states, made before anything is changed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use code_deploy_engine::Spec;
use code_deploy_engine::spec::Service as Declared;
use code_deploy_engine::target::{TargetError, Wanted};
use code_deploy_record::Release;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use kube::ResourceExt as _;
use kube::core::DynamicObject;

use super::KubernetesTarget;
use super::cluster::Connection;
use super::hidden::{self, Kind};
use super::manifest::{self, Given, Hidden, Leads, Manifest, Wish};
use super::names::Part;
use super::stated;
use super::store::release_of;
use crate::failure::{code, failed};

/// The manifests of a service's release.
pub(super) struct Manifests {
    pub deployment: Manifest,
    pub way: Manifest,
}

/// What a start of a service's release states, and what it finds.
pub(super) struct Prepared {
    /// The release's Deployment as it is, if there is one.
    pub before: Option<DynamicObject>,
    /// How many pods the release is to have.
    pub replicas: u32,
    /// Its secrets and configurations.
    pub hidden: Vec<(Kind, Manifest)>,
    pub manifests: Manifests,
}

impl KubernetesTarget {
    /// Makes all that a start states, and refuses names that others have. Values of secrets are read now; nothing
    /// is changed.
    ///
    /// # Errors
    /// What of the files no cluster can be given; `CD0526` for a name that others have.
    pub(super) async fn prepare(
        &self,
        connection: &Connection,
        wanted: &Wanted,
    ) -> Result<Prepared, TargetError> {
        let (service, release) = (wanted.service.as_str(), &wanted.release);
        let name = self.name_of(service, release)?;
        let before = self.there_before(connection, service, release).await?;
        connection
            .ours::<Service>(&self.names, service, &name)
            .await?;
        let replicas = wanted
            .replicas
            .max(before.as_ref().map_or(0, stated::replicas));
        let spec = self.settings.spec_of(release)?;
        let given = self.given(&spec, service, release)?;
        let mut manifests = self
            .manifests_of(&given, wanted, replicas, connection)
            .await?;
        if let Some(before) = &before {
            // Pods that run are kept, also where the files say something else by now.
            manifests.deployment = stated::with_replicas(service, before, replicas)?;
        }
        let hidden = self.hidden_of(&given, &spec, wanted).await?;
        for (kind, manifest) in &hidden {
            let names = &self.names;
            match kind {
                Kind::Secret => drop(
                    connection
                        .ours::<Secret>(names, service, &manifest.name)
                        .await?,
                ),
                Kind::Config => drop(
                    connection
                        .ours::<ConfigMap>(names, service, &manifest.name)
                        .await?,
                ),
            }
        }
        Ok(Prepared {
            before,
            replicas,
            hidden,
            manifests,
        })
    }

    /// Returns what a release of a service is made from. `spec` is the files as they are for it.
    pub(super) fn given<'a>(
        &'a self,
        spec: &'a Spec,
        service: &str,
        release: &'a Release,
    ) -> Result<Given<'a>, TargetError> {
        let compose = spec.compose.services.get(service);
        let (Some(declared), Some(compose)) = (spec.service(service), compose) else {
            return Err(self.no_such_service(service));
        };
        Ok(Given {
            names: &self.names,
            spec,
            service: declared,
            compose,
            release,
        })
    }

    /// Returns the manifests of a release, as a run would apply them.
    pub(super) async fn manifests_of(
        &self,
        given: &Given<'_>,
        wanted: &Wanted,
        replicas: u32,
        connection: &Connection,
    ) -> Result<Manifests, TargetError> {
        let wish = Wish {
            run: &wanted.run,
            replicas,
            limit: wanted.start_limit,
            aliases: self.aliases().await?,
            knows_pause: connection.knows_pause(),
        };
        let deployment = given.deployment(&wish);
        let way = given.way(&wanted.run);
        let bad = |what: String| self.cannot(&wanted.service, &what);
        Ok(Manifests {
            deployment: deployment.map_err(bad)?,
            way: way.map_err(bad)?,
        })
    }

    /// Returns the Service by which others find a service, leading to whom it leads now.
    ///
    /// # Errors
    /// `CD0526` when the name is somebody else's.
    pub(super) async fn stable_of(
        &self,
        connection: &Connection,
        service: &Declared,
    ) -> Result<Manifest, TargetError> {
        let there = connection
            .ours::<Service>(&self.names, &service.name, &service.name)
            .await?;
        let leads = there.as_ref().map_or(Leads::Nobody, Leads::of);
        let manifest = manifest::stable(&self.names, service, &leads);
        manifest.map_err(|what| self.cannot(&service.name, &what))
    }

    /// Returns the secrets and configurations of a release. Their values are read now.
    async fn hidden_of(
        &self,
        given: &Given<'_>,
        spec: &Arc<Spec>,
        wanted: &Wanted,
    ) -> Result<Vec<(Kind, Manifest)>, TargetError> {
        if hidden::uses(given.compose) == (false, false) {
            return Ok(Vec::new());
        }
        let values = self.values_of(spec, &wanted.service).await;
        let objects = values.and_then(|values| given.hidden(&wanted.run, &values));
        let objects = objects.map_err(|what| self.cannot(&wanted.service, &what))?;
        let name = self.name_of(&wanted.service, &wanted.release)?;
        let made = objects.into_iter().map(|(kind, value)| {
            let manifest = Manifest {
                name: name.clone(),
                text: String::new(),
                value,
            };
            (kind, manifest)
        });
        Ok(made.collect())
    }

    async fn values_of(&self, spec: &Arc<Spec>, service: &str) -> Result<Hidden, String> {
        let (settings, files) = (Arc::clone(&self.settings), Arc::clone(spec));
        let named = service.to_owned();
        let read = tokio::task::spawn_blocking(move || {
            let compose = files.compose.services.get(&named);
            let compose = compose.ok_or_else(|| "it is not in the Compose file".to_owned())?;
            hidden::Given {
                spec: &files,
                service: compose,
                lookup: &settings.lookup,
                redactor: &settings.redactor,
            }
            .values()
        });
        read.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// Returns the release's Deployment, if there is one.
    async fn there_before(
        &self,
        connection: &Connection,
        service: &str,
        release: &Release,
    ) -> Result<Option<DynamicObject>, TargetError> {
        let name = self.name_of(service, release)?;
        let found = connection
            .described(&stated::whole())
            .ours(&self.names, Some(service), &name)
            .await?;
        let Some(found) = found else { return Ok(None) };
        if release_of(&found.metadata).as_ref() != Some(release) {
            let what = format!(
                "the name {name} is that of another service or release of this application; \
                 nothing was started"
            );
            let next = "Rename the service or the release.";
            return Err(failed(code::NAME_TAKEN, Some(service), what, next));
        }
        Ok(Some(found))
    }

    /// Returns the addresses of services by name, where the deployment file asks for them.
    async fn aliases(&self) -> Result<BTreeMap<String, IpAddr>, TargetError> {
        if !self.place.host_aliases {
            return Ok(BTreeMap::new());
        }
        let services = self.services(Part::Service).await?;
        let pairs = services.iter().filter_map(|service| {
            let address = service.spec.as_ref()?.cluster_ip.as_ref()?;
            Some((service.name_any(), address.parse().ok()?))
        });
        Ok(pairs.collect())
    }
}
