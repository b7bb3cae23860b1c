//! The cluster: which it is, and how it is asked.

use std::sync::Arc;
use std::time::Duration;

use code_deploy_engine::spec::KubernetesFile;
use code_deploy_engine::target::TargetError;
use code_deploy_record::{Clock as _, Redactor, SystemClock};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::apimachinery::pkg::version::Info;
use kube::core::{ApiResource, DynamicObject, NamespaceResourceScope};
use kube::{Api, Client, Resource};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::kubeconfig::{self, Meant};
use super::objects::Objects;
use super::patience::{self, Patience};
use super::plugin::Plugin;
use super::proxy::Proxy;
use super::refusal::{is_silence, is_unsigned, refusal_by, silent};
use super::signed;
use crate::failure::{code, failed};
use crate::settings::Lookup;
use crate::silence::Silences;

/// How long a cluster that has answered before may be silent: API servers are replaced, and leaders
/// elected, in less. The engine gives a look at the target ten seconds more.
const SILENCE: Duration = Duration::from_secs(50);

/// How long a cluster is waited for.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// How long one answer may take.
    answer: Duration,
    /// How long it may be silent.
    silence: Duration,
    /// The pause before something is asked again.
    again: Duration,
    /// The same where there are no credentials to ask with: whoever gives them is not to be run all the time.
    unsigned: Duration,
}

const LIMITS: Limits = Limits {
    answer: Duration::from_secs(20),
    silence: SILENCE,
    again: Duration::from_millis(500),
    unsigned: Duration::from_secs(5),
};

/// How much is asked of the cluster side by side where there is much to ask: one that is shared gives an account only
/// a part of its attention.
const SIDE_BY_SIDE: usize = 8;

/// Asks some of these at a time; returns the answers in the order in which they stand.
pub async fn side_by_side<F: Future>(asked: Vec<F>) -> Vec<F::Output> {
    let asked = futures::stream::iter(asked).buffered(SIDE_BY_SIDE);
    asked.collect().await
}

/// As [`side_by_side`], where the first error is all that is told: while nobody answers, the others are not asked as
/// well, each until it is silent for too long.
///
/// # Errors
/// The first of them in the order in which they stand.
pub async fn try_side_by_side<T, E, F>(asked: Vec<F>) -> Result<Vec<T>, E>
where
    F: Future<Output = Result<T, E>>,
{
    let asked = futures::stream::iter(asked).buffered(SIDE_BY_SIDE);
    asked.try_collect().await
}

/// The oldest version that is deployed to: `1.20`.
const OLDEST: (u32, u32) = (1, 20);

/// The first version that knows the pause before a pod's end by itself.
const KNOWS_PAUSE: (u32, u32) = (1, 30);

/// A cluster, connected to when it is first asked.
pub struct Cluster {
    wanted: KubernetesFile,
    lookup: Lookup,
    redactor: Redactor,
    connected: OnceCell<Connection>,
}

/// A cluster that answers.
#[derive(Clone)]
pub struct Connection {
    client: Client,
    /// The proxy on the way to it, where there is one.
    proxy: Option<Proxy>,
    limits: Limits,
    /// Until when it wants to be left alone.
    patience: Patience,
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
    pub fn new(wanted: KubernetesFile, lookup: Lookup, redactor: Redactor) -> Self {
        Self {
            wanted,
            lookup,
            redactor,
            connected: OnceCell::new(),
        }
    }

    /// Returns the cluster, once it answered.
    ///
    /// # Errors
    /// `CD0531` when files do not say which, `CD0542` when their plugin gives no credentials, `CD0530` when it
    /// does not answer or is too old.
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
        let Meant {
            config,
            plugin,
            proxy,
        } = kubeconfig::find(&self.wanted, &self.lookup)?;
        let namespace = self.wanted.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let server = config.cluster_url.to_string();
        let server = server.trim_end_matches('/').to_owned();
        let way = match &proxy {
            Some(proxy) => format!(" by way of the proxy {proxy}"),
            None => String::new(),
        };
        let of_this = |mut error: TargetError| {
            error.what = format!("the cluster at {server}{way}: {}", error.what);
            error
        };
        let patience = Patience::default();
        let (action, client) = match plugin {
            Some(plugin) => {
                let plugin = Plugin::new(plugin, self.redactor.clone());
                ("sign in", signed::client(config, plugin, &patience).await)
            }
            None => ("connect", patience::client(config, &patience)),
        };
        let refused = |action: &str, error: kube::Error| {
            of_this(refusal_by(proxy.as_ref(), action, None, &error))
        };
        let client = client.map_err(|error| refused(action, error))?;
        let action = "ask its version";
        let info = match version_of(&client, &patience).await {
            Some(info) => info.map_err(|error| refused(action, error))?,
            None => return Err(of_this(silent(action, None, LIMITS.answer))),
        };
        Ok(Connection {
            number: number_of(&server, &info)?,
            client,
            proxy,
            limits: LIMITS,
            patience,
            namespace,
            server,
            version: info.git_version,
            silences: Arc::new(Silences::of("the cluster's API server")),
        })
    }
}

/// Returns the version of a cluster in numbers, if it is not too old.
fn number_of(server: &str, info: &Info) -> Result<(u32, u32), TargetError> {
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
    Ok(number)
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
    /// asked of it may be asked twice: states are wished for, not steps. A server that names the time after
    /// which it may be asked again is not asked earlier. `action` says what is asked, as in `cannot list
    /// pods`.
    ///
    /// # Errors
    /// What the cluster says; `CD0530` when it stays silent, `CD0542` when there go on to be no credentials.
    pub async fn ask<T, F>(
        &self,
        action: &str,
        service: Option<&str>,
        ask: impl Fn() -> F,
    ) -> Result<T, TargetError>
    where
        F: Future<Output = kube::Result<T>>,
    {
        let Limits {
            answer,
            silence,
            again,
            unsigned,
        } = self.limits;
        let refused = |error: &kube::Error| refusal_by(self.proxy.as_ref(), action, service, error);
        let (since, end) = (SystemClock.now(), Instant::now() + silence);
        // What it wants is waited for as it is: within the time that a silent one is given.
        let _ = tokio::time::timeout_at(end, self.patience.passed()).await;
        let mut before = None;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let mut pause = again;
            let error = match tokio::time::timeout(answer.min(left), ask()).await {
                // Whoever gives the credentials may be away for a while, too.
                Ok(Err(error)) if is_unsigned(&error) => {
                    pause = unsigned;
                    refused(&error)
                }
                Ok(Err(error)) if is_silence(&error) => {
                    self.silences.began(since);
                    refused(&error)
                }
                Ok(answer) => {
                    self.silences.ended();
                    return answer.map_err(|error| refused(&error));
                }
                Err(_) => {
                    self.silences.began(since);
                    // What the end cuts short tells less than what was heard before.
                    let heard = before.take().filter(|_| left < answer);
                    heard.unwrap_or_else(|| silent(action, service, silence))
                }
            };
            tracing::warn!(%error, "the cluster does not answer");
            let next = next_time(&self.patience, pause);
            if next >= end {
                return Err(error);
            }
            before = Some(error);
            tokio::time::sleep_until(next).await;
        }
    }
}

/// Returns when something may be asked again, no earlier than after that pause.
fn next_time(patience: &Patience, again: Duration) -> Instant {
    let soon = Instant::now() + again;
    patience.until().map_or(soon, |until| until.max(soon))
}

/// Asks a cluster for its version, as the first of all; nothing where no answer comes. It has to come at once: nothing
/// says yet that there is a cluster. That it has too much to do is an answer, too, after which it is asked again.
async fn version_of(client: &Client, patience: &Patience) -> Option<kube::Result<Info>> {
    let end = Instant::now() + LIMITS.answer;
    loop {
        let next = || next_time(patience, LIMITS.again);
        match tokio::time::timeout_at(end, client.apiserver_version()).await {
            Ok(Err(kube::Error::Api(status))) if status.code == 429 && next() < end => {
                tokio::time::sleep_until(next()).await;
            }
            Ok(answer) => return Some(answer),
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
pub mod tests;
