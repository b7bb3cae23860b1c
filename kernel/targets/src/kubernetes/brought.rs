//! What the user's own manifests bring to the namespace: applied before a release starts, removed with
//! everything else, but for claims of volumes, which hold data.

use std::collections::{BTreeMap, BTreeSet};

use code_deploy_engine::spec::UserManifest;
use code_deploy_engine::target::TargetError;
use kube::ResourceExt as _;
use kube::api::ListParams;
use kube::core::{ApiResource, GroupVersionKind};
use kube::discovery::Scope;
use kube::error::DiscoveryError;

use super::KubernetesTarget;
use super::access::Right;
use super::admission::as_one;
use super::changes::Answer;
use super::cluster::{Connection, try_side_by_side};
use super::manifest::Manifest;
use super::meaning::{self, CLAIM, Meaning};
use super::names::{self, Part, selecting};
use super::objects::Tried;
use super::overlay;
use super::served::{Read, Served};
use super::stop::without_rights;
use crate::failure::{code, failed};

/// What the cluster knows of kinds, by version and kind; nothing of those that it does not have.
type Kinds = BTreeMap<(String, String), Option<(ApiResource, Scope)>>;

/// An object that a manifest brings.
pub(super) struct Brought {
    pub origin: UserManifest,
    pub resource: ApiResource,
    pub manifest: Manifest,
}

/// Kinds that manifests usually bring, looked for when everything is stopped: one may have left the files since. Of
/// those in several versions each version has the same objects.
const USUAL: &[(Read, &str, &str)] = &[
    (CORE, "ConfigMap", "configmaps"),
    (CORE, "LimitRange", "limitranges"),
    (CORE, CLAIM, "persistentvolumeclaims"),
    (CORE, "ResourceQuota", "resourcequotas"),
    (CORE, "Service", "services"),
    (CORE, "ServiceAccount", "serviceaccounts"),
    (
        ("autoscaling", &["v1"]),
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
    ),
    (("batch", &["v1", "v1beta1"]), "CronJob", "cronjobs"),
    (NETWORKING, "Ingress", "ingresses"),
    (NETWORKING, "NetworkPolicy", "networkpolicies"),
    (
        ("policy", &["v1", "v1beta1"]),
        "PodDisruptionBudget",
        "poddisruptionbudgets",
    ),
    (RBAC, "Role", "roles"),
    (RBAC, "RoleBinding", "rolebindings"),
];

const CORE: Read = ("", &["v1"]);
const NETWORKING: Read = ("networking.k8s.io", &["v1"]);
const RBAC: Read = ("rbac.authorization.k8s.io", &["v1"]);

impl KubernetesTarget {
    /// Returns what the manifests bring, as it is applied.
    ///
    /// # Errors
    /// `CD0539` for kinds that the cluster does not have or that are not of a namespace, each with file and line.
    pub(super) async fn brought(&self) -> Result<&[Brought], TargetError> {
        let brought = self.brought.get_or_try_init(|| self.bring());
        brought.await.map(Vec::as_slice)
    }

    async fn bring(&self) -> Result<Vec<Brought>, TargetError> {
        let connection = self.cluster.connect().await?;
        let kinds = self.kinds(connection).await?;
        let laid_over = self.with_meaning(|one| *one == Meaning::LaidOver);
        let elsewhere = laid_over.filter_map(|one| elsewhere(connection, one));
        let (mut brought, mut refused) = (Vec::new(), elsewhere.collect::<Vec<_>>());
        for origin in self.applied() {
            let kind = kinds.get(&key_of(origin)).and_then(Option::as_ref);
            match fit(connection, origin, kind) {
                Ok(resource) => brought.push(Brought {
                    origin: origin.clone(),
                    resource,
                    manifest: self.with_labels(origin),
                }),
                Err(error) => refused.push(error),
            }
        }
        match as_one(refused) {
            Some(error) => Err(error),
            None => Ok(brought),
        }
    }

    fn with_meaning(&self, is_meant: fn(&Meaning) -> bool) -> impl Iterator<Item = &UserManifest> {
        let spec = &self.settings.spec;
        let manifests = spec.manifests.iter();
        manifests.filter(move |one| is_meant(&meaning::of(spec, one)))
    }

    /// Returns the manifests that are applied as they are.
    fn applied(&self) -> impl Iterator<Item = &UserManifest> {
        self.with_meaning(|one| *one == Meaning::Applied)
    }

    /// Returns what the cluster knows of each kind that is applied.
    async fn kinds(&self, connection: &Connection) -> Result<Kinds, TargetError> {
        let keys: BTreeSet<(String, String)> = self.applied().map(key_of).collect();
        let asked: Vec<_> = keys
            .into_iter()
            .map(|key| async {
                let known = known(connection, &key).await?;
                Ok::<_, TargetError>((key, known))
            })
            .collect();
        let kinds = try_side_by_side(asked).await?;
        Ok(kinds.into_iter().collect())
    }

    fn with_labels(&self, origin: &UserManifest) -> Manifest {
        let mut value = origin.value.clone();
        if let Some(metadata) = value
            .get_mut("metadata")
            .and_then(|one| one.as_object_mut())
        {
            let labels = metadata.entry("labels").or_insert_with(Default::default);
            let mut all = labels.as_object().cloned().unwrap_or_default();
            let ours = self.names.brought_labels().into_iter();
            all.extend(ours.map(|(key, value)| (key, value.into())));
            *labels = all.into();
        }
        Manifest {
            name: origin.name.clone(),
            text: overlay::text(origin, &value),
            value,
        }
    }

    /// Returns what the account has to be allowed for what manifests bring.
    pub(super) async fn rights_of_brought(&self) -> Result<Vec<Right>, TargetError> {
        let mut rights = BTreeMap::new();
        for one in self.brought().await? {
            let resource = &one.resource;
            let verbs: &[&str] = match is_claim(resource) {
                true => &["get", "create", "patch"],
                false => &["get", "create", "patch", "delete"],
            };
            let right = Right {
                group: resource.group.clone(),
                resource: resource.plural.clone(),
                verbs,
            };
            rights.insert((resource.group.clone(), resource.plural.clone()), right);
        }
        Ok(rights.into_values().collect())
    }

    /// Has the cluster go through an object without keeping it.
    ///
    /// # Errors
    /// Why it cannot be applied, with file and line.
    pub(super) async fn brought_tried_out(
        &self,
        connection: &Connection,
        one: &Brought,
    ) -> Result<Answer, TargetError> {
        let objects = connection.described(&one.resource);
        let name = one.manifest.name.as_str();
        let free = objects.ours(&self.names, None, name).await;
        free.map_err(|error| at(&one.origin, error))?;
        let tried = Tried {
            manifest: &one.manifest,
            hides: false,
            origin: Some(&one.origin),
        };
        let object = objects.try_out(None, tried).await;
        let object = object.map_err(|error| at(&one.origin, error))?;
        Ok(Answer::new(
            None,
            one.resource.clone(),
            tried,
            object.as_ref(),
        ))
    }

    /// Applies what the manifests bring, if nobody else has anything of those names.
    ///
    /// # Errors
    /// `CD0526` and `CD0533` with file and line; what the cluster says.
    pub(super) async fn apply_brought(&self, connection: &Connection) -> Result<(), TargetError> {
        let brought = self.brought().await?;
        for one in brought {
            let objects = connection.described(&one.resource);
            let name = one.manifest.name.as_str();
            let free = objects.ours(&self.names, None, name).await;
            free.map_err(|error| at(&one.origin, error))?;
        }
        for one in brought {
            let objects = connection.described(&one.resource);
            let applied = objects.apply(None, &one.manifest).await;
            applied.map_err(|error| at(&one.origin, error))?;
        }
        Ok(())
    }

    /// Removes what manifests have brought, but claims.
    pub(super) async fn remove_brought(&self, connection: &Connection) -> Result<(), TargetError> {
        for (resource, name) in self.brought_there(connection).await? {
            if !is_claim(&resource) {
                let objects = connection.described(&resource);
                objects.remove(None, &name).await?;
            }
        }
        Ok(())
    }

    /// Returns the claims that stay, each in words.
    pub(super) async fn claims_left(&self) -> Result<Vec<String>, TargetError> {
        let connection = self.cluster.connect().await?;
        let there = self.brought_there(connection).await?.into_iter();
        let claims = there.filter(|(resource, _)| is_claim(resource));
        let words = claims.map(|(_, name)| {
            format!(
                "The claim {name} is kept, with the data in its volume. To remove it: \
                 `kubectl -n {} delete persistentvolumeclaim {name}`.",
                connection.namespace
            )
        });
        Ok(words.collect())
    }

    /// Returns what there is of what manifests have brought: what the files name, and what is found of the usual kinds
    /// as far as the account may look.
    async fn brought_there(
        &self,
        connection: &Connection,
    ) -> Result<Vec<(ApiResource, String)>, TargetError> {
        let mut there = BTreeMap::new();
        let kinds = self.kinds(connection).await?;
        for origin in self.applied() {
            let Some(Some((resource, Scope::Namespaced))) = kinds.get(&key_of(origin)) else {
                continue;
            };
            let objects = connection.described(resource);
            let found = objects.ours(&self.names, None, &origin.name);
            if without_rights(found.await)?.is_some() {
                there.insert(place_of(resource, &origin.name), resource.clone());
            }
        }
        let own = kinds.into_values().flatten().map(|(resource, _)| resource);
        let resources: Vec<ApiResource> = usual(connection).await?.into_iter().chain(own).collect();
        let looks: Vec<_> = resources
            .iter()
            .map(|resource| self.labelled(connection, resource))
            .collect();
        for (resource, names) in resources.iter().zip(try_side_by_side(looks).await?) {
            for name in names {
                there.insert(place_of(resource, &name), resource.clone());
            }
        }
        let there = there.into_iter();
        Ok(there
            .map(|((.., name), resource)| (resource, name))
            .collect())
    }

    /// Returns the names of what manifests have brought of a kind; none where the account may not look, or the cluster
    /// has no such kind.
    async fn labelled(
        &self,
        connection: &Connection,
        resource: &ApiResource,
    ) -> Result<Vec<String>, TargetError> {
        let mut labels = self.names.everything();
        labels.insert(names::PART.to_owned(), Part::Brought.word().to_owned());
        let params = ListParams::default().labels(&selecting(&labels));
        let objects = connection.described(resource);
        let list = || objects.all().list_metadata(&params);
        let action = format!("list {}", resource.plural);
        match connection.ask(&action, None, list).await {
            Ok(listed) => {
                let ours = |labels| self.names.are_ours(Some(labels));
                let items = listed.items.iter().filter(|one| ours(one.labels()));
                Ok(items.map(|one| one.name_any()).collect())
            }
            Err(error) if error.transient => Err(error),
            Err(_) => Ok(Vec::new()),
        }
    }
}

/// Returns how the usual kinds are asked for: by the newest version that the cluster has of each, or by all where it
/// does not say.
async fn usual(connection: &Connection) -> Result<Vec<ApiResource>, TargetError> {
    let read = USUAL.iter().map(|(read, ..)| *read);
    let read: Vec<Read> = read.filter(|(group, _)| !group.is_empty()).collect();
    let served = Served::of(connection, &read).await?;
    let mut resources = Vec::new();
    for (read, kind, plural) in USUAL {
        let versions = served.versions(*read, plural);
        let most = if served.groups.is_some() {
            1
        } else {
            versions.len()
        };
        resources.extend(versions.into_iter().take(most).map(|version| {
            let gvk = GroupVersionKind::gvk(read.0, version, kind);
            ApiResource::from_gvk_with_plural(&gvk, plural)
        }));
    }
    Ok(resources)
}

fn place_of(resource: &ApiResource, name: &str) -> (String, String, String) {
    (
        resource.group.clone(),
        resource.plural.clone(),
        name.to_owned(),
    )
}

fn is_claim(resource: &ApiResource) -> bool {
    resource.group.is_empty() && resource.kind == CLAIM
}

fn key_of(origin: &UserManifest) -> (String, String) {
    (origin.api_version.clone(), origin.kind.clone())
}

fn at(origin: &UserManifest, mut error: TargetError) -> TargetError {
    error.what = format!("{}: {}", origin.place(), error.what);
    error
}

/// Returns what the cluster knows of a kind, if it has that.
async fn known(
    connection: &Connection,
    (api_version, kind): &(String, String),
) -> Result<Option<(ApiResource, Scope)>, TargetError> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let gvk = GroupVersionKind::gvk(group, version, kind);
    let client = connection.client();
    let ask = || async {
        match kube::discovery::pinned_kind(&client, &gvk).await {
            Ok((resource, capabilities)) => Ok(Some((resource, capabilities.scope))),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(kube::Error::Discovery(DiscoveryError::MissingKind(_))) => Ok(None),
            Err(error) => Err(error),
        }
    };
    let action = format!("ask whether there is {kind} of {api_version}");
    connection.ask(&action, None, ask).await
}

/// Returns the resource of an object, if it is one that this deployment may bring.
fn fit(
    connection: &Connection,
    origin: &UserManifest,
    kind: Option<&(ApiResource, Scope)>,
) -> Result<ApiResource, TargetError> {
    if let Some(error) = elsewhere(connection, origin) {
        return Err(error);
    }
    match kind {
        None => {
            let (kind, version) = (&origin.kind, &origin.api_version);
            let what = format!("the cluster has no {kind} of version {version}");
            let next = "Write a version that it has (`kubectl api-resources`), or have the kind installed.";
            Err(refused(origin, &what, next))
        }
        Some((_, Scope::Cluster)) => {
            let title = origin.title();
            let what = format!("{title} is of the whole cluster, not of a namespace");
            let next =
                "Have it made by who looks after the cluster, and take it out of the manifests.";
            Err(refused(origin, &what, next))
        }
        Some((resource, Scope::Namespaced)) => Ok(resource.clone()),
    }
}

/// Refuses an object of another namespace than the one that is deployed to, whoever says which that is.
fn elsewhere(connection: &Connection, origin: &UserManifest) -> Option<TargetError> {
    let (named, own) = (origin.namespace.as_deref()?, &connection.namespace);
    (named != own).then(|| {
        let what = format!(
            "{} is of the namespace {named}, and this is {own}",
            origin.title()
        );
        let next = "Take `metadata.namespace` out of the manifest: the deployment file says it.";
        refused(origin, &what, next)
    })
}

fn refused(origin: &UserManifest, what: &str, next: &str) -> TargetError {
    let what = format!("{what}; nothing was changed");
    at(origin, failed(code::NOT_ADMITTED, None, what, next))
}
