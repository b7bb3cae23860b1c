//! The cluster: which it is, and how it is asked.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use code_deploy_engine::spec::KubernetesFile;
use code_deploy_engine::target::TargetError;
use code_deploy_record::{Clock as _, SystemClock};
use futures::StreamExt as _;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::core::{ApiResource, DynamicObject, NamespaceResourceScope};
use kube::{Api, Client, Config, Resource};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::objects::Objects;
use super::refusal::{is_silence, refusal, silent};
use crate::failure::{code, failed};
use crate::settings::Lookup;
use crate::silence::Silences;

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(20);

/// How long a cluster that has answered before may be silent: API servers are replaced, and leaders
/// elected, in less. The engine gives a look at the target ten seconds more.
const SILENCE: Duration = Duration::from_secs(50);

/// The pause before something is asked again.
const AGAIN: Duration = Duration::from_millis(500);

/// How much is asked of the cluster side by side where there is much to ask: one that is shared gives an account only
/// a part of its attention.
const SIDE_BY_SIDE: usize = 8;

/// Asks some of these at a time; returns the answers in the order in which they stand.
pub async fn side_by_side<F: Future>(asked: Vec<F>) -> Vec<F::Output> {
    let asked = futures::stream::iter(asked).buffered(SIDE_BY_SIDE);
    asked.collect().await
}

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
    /// Times in which it did not answer.
    pub silences: Arc<Silences>,
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

    /// Returns the cluster if it has answered already.
    pub fn known(&self) -> Option<&Connection> {
        self.connected.get()
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
        let mut config = read.map_err(|error| {
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
        // Whatever is to be asked again, and when, is known here alone.
        config.default_retry = false;
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
            silences: Arc::new(Silences::of("the cluster's API server")),
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

    /// Returns the same, to be looked for and changed.
    pub fn of<K>(&self) -> Objects<'_, K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        let kind = K::kind(&K::DynamicType::default()).to_lowercase();
        Objects::new(self, self.all(), kind)
    }

    /// Returns the objects of a kind that this program knows by its description only.
    pub fn described(&self, resource: &ApiResource) -> Objects<'_, DynamicObject> {
        let all = Api::namespaced_with(self.client.clone(), &self.namespace, resource);
        Objects::new(self, all, resource.kind.to_lowercase())
    }

    /// Returns the client, for what is not in a namespace.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Returns whether pods can pause before their end without a program for it in the image.
    pub fn knows_pause(&self) -> bool {
        self.number >= KNOWS_PAUSE
    }

    /// Asks the cluster, again and again while it does not answer, but not for ever. All that is
    /// asked of it may be asked twice: states are wished for, not steps. `action` says what is asked,
    /// as in `cannot list pods`.
    ///
    /// # Errors
    /// What the cluster says; `CD0530` when it stays silent.
    pub async fn ask<T, F>(
        &self,
        action: &str,
        service: Option<&str>,
        ask: impl Fn() -> F,
    ) -> Result<T, TargetError>
    where
        F: Future<Output = kube::Result<T>>,
    {
        let (since, end) = (SystemClock.now(), Instant::now() + SILENCE);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let answer = tokio::time::timeout(ANSWER.min(left), ask()).await;
            let error = match answer {
                Ok(Err(error)) if is_silence(&error) => refusal(action, service, &error),
                Ok(answer) => {
                    self.silences.ended();
                    return answer.map_err(|error| refusal(action, service, &error));
                }
                Err(_) => silent(action, service, SILENCE),
            };
            self.silences.began(since);
            tracing::warn!(%error, "the cluster does not answer");
            if Instant::now() + AGAIN >= end {
                return Err(error);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// Waits for the first answer of a cluster, which has to come at once: nothing says yet that there
/// is one.
async fn within<T>(
    action: &str,
    service: Option<&str>,
    asked: impl Future<Output = kube::Result<T>>,
) -> Result<T, TargetError> {
    match tokio::time::timeout(ANSWER, asked).await {
        Ok(answer) => answer.map_err(|error| refusal(action, service, &error)),
        Err(_) => Err(silent(action, service, ANSWER)),
    }
}
