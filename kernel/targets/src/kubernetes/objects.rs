//! What is asked of the cluster about objects that are ours, and of which kinds they are.

use code_deploy_engine::spec::UserManifest;
use code_deploy_engine::target::TargetError;
use kube::api::{DeleteParams, Patch, PatchParams, PropagationPolicy};
use kube::core::{ApiResource, DynamicObject, NamespaceResourceScope};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use super::cluster::{Connection, MANAGER};
use super::manifest::Manifest;
use super::names::Names;
use super::refusal;
use crate::failure::{code, failed};

/// The objects of one kind in the namespace.
pub struct Sort<K> {
    pub all: Api<K>,
    /// What one of them is called: `service`.
    pub word: String,
}

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

impl Connection {
    /// Returns a kind that this program knows.
    pub fn sort<K>(&self) -> Sort<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Sort {
            all: self.all(),
            word: K::kind(&K::DynamicType::default()).to_lowercase(),
        }
    }

    /// Returns a kind that only the cluster knows.
    pub fn sort_of(&self, resource: &ApiResource) -> Sort<DynamicObject> {
        Sort {
            all: Api::namespaced_with(self.client(), &self.namespace, resource),
            word: resource.kind.to_lowercase(),
        }
    }

    /// Returns an object that has to be ours, if there is one of that name.
    ///
    /// # Errors
    /// `CD0526` when it is somebody else's.
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
        self.ours_of(&self.sort::<K>(), names, Some(service), name)
            .await
    }

    /// As [`ours`](Self::ours), of any kind.
    pub async fn ours_of<K: Object>(
        &self,
        sort: &Sort<K>,
        names: &Names,
        service: Option<&str>,
        name: &str,
    ) -> Result<Option<K>, TargetError> {
        let kind = &sort.word;
        let action = format!("look for the {kind} {name}");
        let found = self.ask(&action, service, || sort.all.get_opt(name));
        match found.await? {
            Some(found) if !names.are_ours(found.meta().labels.as_ref()) => {
                let what = format!(
                    "the name {name} is taken: namespace {} has a {kind} of that name which this \
                     program did not make for this application and environment; it was not touched",
                    self.namespace
                );
                let next = format!(
                    "Look at it (`kubectl -n {} describe {kind} {name}`); rename it or deploy to \
                     another namespace (`kubernetes.namespace`).",
                    self.namespace
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
    pub async fn apply<K>(&self, service: &str, manifest: &Manifest) -> Result<K, TargetError>
    where
        K: Object + Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        self.apply_of(&self.sort::<K>(), Some(service), manifest)
            .await
    }

    /// As [`apply`](Self::apply), of any kind.
    pub async fn apply_of<K: Object>(
        &self,
        sort: &Sort<K>,
        service: Option<&str>,
        manifest: &Manifest,
    ) -> Result<K, TargetError> {
        let action = format!("apply the {} {}", sort.word, manifest.name);
        let params = PatchParams::apply(MANAGER);
        let patch = Patch::Apply(&manifest.value);
        let apply = || sort.all.patch(&manifest.name, &params, &patch);
        self.ask(&action, service, apply).await
    }

    /// Has the cluster go through all of what [`apply`](Self::apply) asks of it but keeping it
    /// (<https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run>). What it cannot judge so is taken
    /// for good. Of an object that hides values no more is told than where something is wrong.
    ///
    /// # Errors
    /// `CD0539` when it refuses; `CD0533` as [`apply`](Self::apply); what it says.
    pub async fn try_out<K: Object>(
        &self,
        sort: &Sort<K>,
        service: Option<&str>,
        tried: Tried<'_>,
    ) -> Result<(), TargetError> {
        let name = &tried.manifest.name;
        let object = format!("the {} {name}", sort.word);
        let params = PatchParams::apply(MANAGER).dry_run();
        let patch = Patch::Apply(&tried.manifest.value);
        let apply = || async {
            match sort.all.patch(name, &params, &patch).await {
                Err(kube::Error::Api(status)) if refusal::is_of_object(&status) => Ok(Some(status)),
                tried => tried.map(|_| None),
            }
        };
        let action = format!("apply {object}");
        match self.ask(&action, service, apply).await? {
            None => Ok(()),
            Some(status) if refusal::is_unjudged(&status) => {
                tracing::warn!(object, said = status.message, "not tried out");
                Ok(())
            }
            Some(status) => Err(refusal::of_object(&object, service, &status, tried)),
        }
    }

    /// Changes some fields of an object, as a merge patch (RFC 7396) says.
    ///
    /// # Errors
    /// What the cluster says.
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
        let sort = self.sort::<K>();
        let action = format!("change the {} {name}", sort.word);
        let params = PatchParams::default();
        let merge = Patch::Merge(patch);
        let change = || sort.all.patch(name, &params, &merge);
        self.ask(&action, Some(service), change).await.map(drop)
    }

    /// Removes an object; its pods are asked to end. One that is not there is no error.
    pub async fn remove<K>(&self, service: &str, name: &str) -> Result<(), TargetError>
    where
        K: Object + Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        self.remove_of(&self.sort::<K>(), Some(service), name).await
    }

    /// As [`remove`](Self::remove), of any kind.
    pub async fn remove_of<K: Object>(
        &self,
        sort: &Sort<K>,
        service: Option<&str>,
        name: &str,
    ) -> Result<(), TargetError> {
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        let action = format!("remove the {} {name}", sort.word);
        let remove = || async {
            match sort.all.delete(name, &params).await {
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                removed => removed.map(drop),
            }
        };
        self.ask(&action, service, remove).await
    }
}
