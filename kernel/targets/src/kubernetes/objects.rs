//! Changes of what is ours on the cluster, a kind of objects at a time.

use kube::api::{DeleteParams, Patch, PatchParams, PropagationPolicy};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use code_deploy_engine::spec::UserManifest;
use code_deploy_engine::target::TargetError;

use super::cluster::Connection;
use super::manifest::Manifest;
use super::names::Names;
use super::refusal;
use crate::failure::{code, failed};

/// The manager of the fields that this program states.
pub const MANAGER: &str = "code-deploy";

/// What is tried out.
#[derive(Clone, Copy)]
pub struct Tried<'a> {
    pub manifest: &'a Manifest,
    /// Whether it holds values that nobody is to see.
    pub hides: bool,
    /// The user's own manifest that it comes from, where there is one.
    pub origin: Option<&'a UserManifest>,
}

/// What every kind of objects is to this program.
pub trait Object: Resource + Clone + DeserializeOwned + std::fmt::Debug {}

impl<K: Resource + Clone + DeserializeOwned + std::fmt::Debug> Object for K {}

/// What is asked of objects of a kind that this program knows as a type, on behalf of a service.
impl Connection {
    /// As [`Objects::ours`].
    pub async fn ours<K>(
        &self,
        names: &Names,
        service: &str,
        name: &str,
    ) -> Result<Option<K>, TargetError>
    where
        K: Object + Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        self.of::<K>().ours(names, Some(service), name).await
    }

    /// As [`Objects::apply`].
    pub async fn apply<K>(&self, service: &str, manifest: &Manifest) -> Result<K, TargetError>
    where
        K: Object + Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        self.of::<K>().apply(Some(service), manifest).await
    }

    /// As [`Objects::change`].
    pub async fn change<K>(
        &self,
        service: &str,
        name: &str,
        patch: &serde_json::Value,
    ) -> Result<(), TargetError>
    where
        K: Object + Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        self.of::<K>().change(Some(service), name, patch).await
    }

    /// As [`Objects::change_if_there`].
    pub async fn change_if_there<K>(
        &self,
        service: &str,
        name: &str,
        patch: &serde_json::Value,
    ) -> Result<(), TargetError>
    where
        K: Object + Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        let objects = self.of::<K>();
        objects.change_if_there(Some(service), name, patch).await
    }

    /// As [`Objects::remove`].
    pub async fn remove<K>(&self, service: &str, name: &str) -> Result<(), TargetError>
    where
        K: Object + Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        self.of::<K>().remove(Some(service), name).await
    }
}

/// The objects of a kind in the namespace.
pub struct Objects<'a, K> {
    connection: &'a Connection,
    all: Api<K>,
    kind: String,
}

impl<'a, K> Objects<'a, K> {
    pub(super) fn new(connection: &'a Connection, all: Api<K>, kind: String) -> Self {
        Self {
            connection,
            all,
            kind,
        }
    }
}

impl<K: Object> Objects<'_, K> {
    /// Returns them as the cluster's own client has them.
    pub fn all(&self) -> &Api<K> {
        &self.all
    }

    /// Returns an object that has to be ours, if there is one of that name.
    ///
    /// # Errors
    /// `CD0526` when it is somebody else's.
    pub async fn ours(
        &self,
        names: &Names,
        service: Option<&str>,
        name: &str,
    ) -> Result<Option<K>, TargetError> {
        let (kind, namespace) = (&self.kind, &self.connection.namespace);
        let action = format!("look for the {kind} {name}");
        let get = || self.all.get_opt(name);
        match self.connection.ask(&action, service, get).await? {
            Some(found) if !names.are_ours(found.meta().labels.as_ref()) => {
                let what = format!(
                    "the name {name} is taken: namespace {namespace} has a {kind} of that name which \
                     this program did not make for this application and environment; it was not \
                     touched"
                );
                let next = format!(
                    "Look at it (`kubectl -n {namespace} describe {kind} {name}`); rename it or \
                     deploy to another namespace (`kubernetes.namespace`)."
                );
                Err(failed(code::FOREIGN, service, what, next))
            }
            found => Ok(found),
        }
    }

    /// States what a manifest says. Fields that somebody else manages are not taken over.
    ///
    /// # Errors
    /// `CD0533` on such a field, with who manages it; what the cluster says.
    pub async fn apply(
        &self,
        service: Option<&str>,
        manifest: &Manifest,
    ) -> Result<K, TargetError> {
        let action = format!("apply the {} {}", self.kind, manifest.name);
        let params = PatchParams::apply(MANAGER);
        let patch = Patch::Apply(&manifest.value);
        let apply = || self.all.patch(&manifest.name, &params, &patch);
        self.connection.ask(&action, service, apply).await
    }

    /// Has the cluster go through all of what [`apply`](Self::apply) asks of it but keeping it
    /// (<https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run>). What it cannot judge so is taken
    /// for good. Of an object that hides values no more is told than where something is wrong.
    ///
    /// Returns the object as it would be; nothing where the cluster cannot judge it so.
    ///
    /// # Errors
    /// `CD0539` when it refuses; `CD0533` as [`apply`](Self::apply); what it says.
    pub async fn try_out(
        &self,
        service: Option<&str>,
        tried: Tried<'_>,
    ) -> Result<Option<K>, TargetError> {
        let name = &tried.manifest.name;
        let object = format!("the {} {name}", self.kind);
        let params = PatchParams::apply(MANAGER).dry_run();
        let patch = Patch::Apply(&tried.manifest.value);
        let apply = || async {
            match self.all.patch(name, &params, &patch).await {
                Err(kube::Error::Api(status)) if refusal::is_of_object(&status) => Ok(Err(status)),
                tried => tried.map(Ok),
            }
        };
        let action = format!("apply {object}");
        match self.connection.ask(&action, service, apply).await? {
            Ok(object) => Ok(Some(object)),
            Err(status) if refusal::is_unjudged(&status) => {
                tracing::warn!(object, said = status.message, "not tried out");
                Ok(None)
            }
            Err(status) => Err(refusal::of_object(&object, service, &status, tried)),
        }
    }

    /// Changes some fields of an object, as a merge patch (RFC 7396) says.
    ///
    /// # Errors
    /// What the cluster says.
    pub async fn change(
        &self,
        service: Option<&str>,
        name: &str,
        patch: &serde_json::Value,
    ) -> Result<(), TargetError> {
        let action = format!("change the {} {name}", self.kind);
        let (params, merge) = (PatchParams::default(), Patch::Merge(patch));
        let change = || self.all.patch(name, &params, &merge);
        let changed = self.connection.ask(&action, service, change);
        changed.await.map(drop)
    }

    /// As [`change`](Self::change); an object that is not there is no error.
    ///
    /// # Errors
    /// What the cluster says.
    pub async fn change_if_there(
        &self,
        service: Option<&str>,
        name: &str,
        patch: &serde_json::Value,
    ) -> Result<(), TargetError> {
        let action = format!("change the {} {name}", self.kind);
        let (params, merge) = (PatchParams::default(), Patch::Merge(patch));
        let change = || async {
            match self.all.patch(name, &params, &merge).await {
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                changed => changed.map(drop),
            }
        };
        self.connection.ask(&action, service, change).await
    }

    /// Removes an object; its pods are asked to end. One that is not there is no error.
    pub async fn remove(&self, service: Option<&str>, name: &str) -> Result<(), TargetError> {
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        let action = format!("remove the {} {name}", self.kind);
        let remove = || async {
            match self.all.delete(name, &params).await {
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                removed => removed.map(drop),
            }
        };
        self.connection.ask(&action, service, remove).await
    }
}
