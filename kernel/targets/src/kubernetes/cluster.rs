//! The cluster: which it is, what its answers mean, and changes of what is ours there.

use std::path::Path;
use std::time::Duration;

use code_deploy_engine::spec::KubernetesFile;
use code_deploy_engine::target::TargetError;
use kube::api::{DeleteParams, Patch, PatchParams, PropagationPolicy};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Config, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

use super::manifest::Manifest;
use super::names::Names;
use crate::failure::{code, failed, transient};
use crate::settings::Lookup;

/// The manager of the fields that this program states.
pub const MANAGER: &str = "code-deploy";

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(20);

/// The oldest version that is deployed to: `1.20`.
const OLDEST: (u32, u32) = (1, 20);

/// The first version that knows the pause before a pod's end by itself.
const KNOWS_PAUSE: (u32, u32) = (1, 30);

/// A cluster, connected to when it is first asked.
pub struct Cluster {
    wanted: KubernetesFile,
    lookup: Lookup,
    connected: OnceCell<Connection>,
}

/// A cluster that answers.
#[derive(Clone)]
pub struct Connection {
    client: Client,
    /// The namespace in which everything happens.
    pub namespace: String,
    /// Where it is: `https://10.0.0.1:6443`.
    pub server: String,
    /// Its version as it calls itself: `v1.20.2`.
    pub version: String,
    /// The same in numbers.
    number: (u32, u32),
}

impl Cluster {
    /// Returns the cluster that the deployment file means; nothing is asked yet.
    pub fn new(wanted: KubernetesFile, lookup: Lookup) -> Self {
        Self {
            wanted,
            lookup,
            connected: OnceCell::new(),
        }
    }

    /// Returns the cluster, once it answered.
    ///
    /// # Errors
    /// `CD0531` when files do not say which, `CD0530` when it does not answer or is too old.
    pub async fn connect(&self) -> Result<&Connection, TargetError> {
        self.connected
            .get_or_try_init(|| async { self.reach().await })
            .await
    }

    async fn reach(&self) -> Result<Connection, TargetError> {
        let options = KubeConfigOptions {
            context: self.wanted.context.clone(),
            ..KubeConfigOptions::default()
        };
        let given = (self.lookup)("KUBECONFIG").filter(|paths| !paths.is_empty());
        let read = match &given {
            Some(paths) => from_files(paths, &options).await,
            None => from_home(&options).await,
        };
        let config = read.map_err(|error| {
            let from = given.as_deref().unwrap_or("~/.kube/config");
            let what = format!("{from} does not say how a cluster is reached: {error}");
            let next = "Name the file in KUBECONFIG, and its context as `kubernetes.context` of the \
                        environment.";
            failed(code::CLUSTER_FILE, None, what, next)
        })?;
        let namespace = self.wanted.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let server = config.cluster_url.to_string();
        let server = server.trim_end_matches('/').to_owned();
        let client = Client::try_from(config).map_err(|error| refusal("connect", None, &error))?;
        let asked = client.apiserver_version();
        let info = within("ask its version", None, asked)
            .await
            .map_err(|mut error| {
                error.what = format!("the cluster at {server}: {}", error.what);
                error
            })?;
        let digits = |text: &str| -> u32 {
            let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().unwrap_or_default()
        };
        let number = (digits(&info.major), digits(&info.minor));
        if number < OLDEST {
            let what = format!(
                "the cluster at {server} has version {}, and {}.{} or later is needed",
                info.git_version, OLDEST.0, OLDEST.1
            );
            let next = "Deploy to a later one.";
            return Err(failed(code::CLUSTER, None, what, next));
        }
        Ok(Connection {
            client,
            namespace,
            server,
            version: info.git_version,
            number,
        })
    }
}

async fn from_files(paths: &str, options: &KubeConfigOptions) -> Result<Config, KubeconfigError> {
    let mut merged = Kubeconfig::default();
    for path in std::env::split_paths(paths).filter(|path| *path != Path::new("")) {
        merged = merged.merge(Kubeconfig::read_from(path)?)?;
    }
    Config::from_custom_kubeconfig(merged, options).await
}

/// Returns the cluster of the user's file or else, without one, that in which this program runs.
async fn from_home(options: &KubeConfigOptions) -> Result<Config, KubeconfigError> {
    match Config::from_kubeconfig(options).await {
        Err(error) if options.context.is_none() => Config::incluster().map_err(|_| error),
        read => read,
    }
}

impl Connection {
    /// Returns the objects of a kind in the namespace.
    pub fn all<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Returns the client, for what is not in a namespace.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Returns whether pods can pause before their end without a program for it in the image.
    pub fn knows_pause(&self) -> bool {
        self.number >= KNOWS_PAUSE
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
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let kind = K::kind(&K::DynamicType::default()).to_lowercase();
        let action = format!("look for the {kind} {name}");
        let found = within(&action, Some(service), self.all::<K>().get_opt(name)).await?;
        match found {
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
                Err(failed(code::FOREIGN, Some(service), what, next))
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
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let kind = K::kind(&K::DynamicType::default()).to_lowercase();
        let action = format!("apply the {kind} {}", manifest.name);
        let all = self.all::<K>();
        let params = PatchParams::apply(MANAGER);
        let patch = Patch::Apply(&manifest.value);
        let applied = all.patch(&manifest.name, &params, &patch);
        within(&action, Some(service), applied).await
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
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let kind = K::kind(&K::DynamicType::default()).to_lowercase();
        let action = format!("change the {kind} {name}");
        let (all, params) = (self.all::<K>(), PatchParams::default());
        let merge = Patch::Merge(patch);
        let changed = all.patch(name, &params, &merge);
        within(&action, Some(service), changed).await.map(drop)
    }

    /// Removes an object; its pods are asked to end. One that is not there is no error.
    pub async fn remove<K>(&self, service: &str, name: &str) -> Result<(), TargetError>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let kind = K::kind(&K::DynamicType::default()).to_lowercase();
        let all = self.all::<K>();
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        let removed = tokio::time::timeout(ANSWER, all.delete(name, &params)).await;
        let action = format!("remove the {kind} {name}");
        match removed {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(()),
            Ok(Err(error)) => Err(refusal(&action, Some(service), &error)),
            Err(_) => Err(silent(&action, Some(service))),
        }
    }
}

/// Waits for an answer of the cluster, but not for ever. `action` says what is asked, as in
/// `cannot list pods`.
pub async fn within<T>(
    action: &str,
    service: Option<&str>,
    asked: impl Future<Output = kube::Result<T>>,
) -> Result<T, TargetError> {
    match tokio::time::timeout(ANSWER, asked).await {
        Ok(answer) => answer.map_err(|error| refusal(action, service, &error)),
        Err(_) => Err(silent(action, service)),
    }
}

fn silent(action: &str, service: Option<&str>) -> TargetError {
    let what = format!(
        "cannot {action}: the cluster did not answer within {} s",
        ANSWER.as_secs()
    );
    let next = "Look whether its API server answers (`kubectl version`), and run again.";
    transient(code::CLUSTER, service, what, next)
}

/// Returns what a refusal of the cluster means.
pub fn refusal(action: &str, service: Option<&str>, error: &kube::Error) -> TargetError {
    let kube::Error::Api(status) = error else {
        let what = format!("cannot {action}: {}", with_sources(error));
        let next = "Look whether its API server answers (`kubectl version`), and run again.";
        return transient(code::CLUSTER, service, what, next);
    };
    let said = match status.message.as_str() {
        "" => status.reason.as_str(),
        message => message,
    };
    let what = format!("cannot {action}: {said}");
    match status.code {
        401 => {
            let next = "Renew what the kubeconfig file signs in with, and run again.";
            failed(code::ACCESS, service, what, next)
        }
        403 if said.contains("exceeded quota") => {
            let next = "Ask for a larger quota of the namespace, or deploy less.";
            failed(code::QUOTA, service, what, next)
        }
        403 => {
            let next =
                "Have it allowed: templates/kubernetes/ has the roles with what a run needs.";
            failed(code::ACCESS, service, what, next)
        }
        409 => conflict(action, service, status),
        400 | 422 => {
            let next = "Mend what the cluster does not take in the Compose file, and run again.";
            failed(code::COMPOSE_VALUE, service, what, next)
        }
        404 => {
            let next = "Look whether namespace and object are there, and run again.";
            failed(code::CLUSTER, service, what, next)
        }
        _ => {
            let next = "Look at the cluster, and run again.";
            transient(code::CLUSTER, service, what, next)
        }
    }
}

fn conflict(action: &str, service: Option<&str>, status: &kube::core::Status) -> TargetError {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let fields: Vec<String> = causes
        .map(|cause| format!("{}: {}", cause.field, cause.message))
        .collect();
    let what = format!(
        "cannot {action}: somebody else manages what would be changed ({}); nothing was taken over",
        if fields.is_empty() {
            status.message.clone()
        } else {
            fields.join("; ")
        }
    );
    let next = "Take these fields back from who manages them (`kubectl get --show-managed-fields`), \
                and run again.";
    failed(code::CONFLICT, service, what, next)
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = cause.source();
    }
    text
}
