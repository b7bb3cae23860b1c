//! Waiting by watching: no object is asked for twice to see whether it has changed.

use std::collections::BTreeMap;
use std::time::Duration;

use code_deploy_engine::target::TargetError;
use futures::{Stream, StreamExt as _};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use super::refusal::refusal;
use crate::failure::{code, transient};

/// Objects by name.
pub type Objects<K> = BTreeMap<String, K>;

/// How a wait ended.
pub enum Waited<T, K> {
    /// What was waited for.
    Found(T),
    /// The limit passed; these were the objects then.
    TooLong(Objects<K>),
}

/// Watches objects until `look` finds among all of them what is waited for. A cluster that goes
/// away is waited for within the limit.
///
/// # Errors
/// That the account may not watch them; that the cluster never told what there is.
pub async fn until<K, T>(
    all: Api<K>,
    config: watcher::Config,
    limit: Duration,
    service: &str,
    look: impl FnMut(&Objects<K>) -> Option<T> + Send,
) -> Result<Waited<T, K>, TargetError>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
    K::DynamicType: Default,
{
    let kind = K::plural(&K::DynamicType::default()).into_owned();
    until_of(&kind, all, config, limit, service, look).await
}

/// As [`until`], of a kind that is named.
pub async fn until_of<K, T>(
    kind: &str,
    all: Api<K>,
    config: watcher::Config,
    limit: Duration,
    service: &str,
    mut look: impl FnMut(&Objects<K>) -> Option<T> + Send,
) -> Result<Waited<T, K>, TargetError>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let action = format!("watch {kind}");
    // Older servers refuse lists that are streamed.
    let config = config.any_semantic();
    let mut events = watched(all, config).default_backoff().boxed();
    let (mut known, mut fresh) = (Objects::new(), Objects::new());
    let (mut complete, mut last_error) = (false, None);
    let end = tokio::time::Instant::now() + limit;
    loop {
        let Ok(event) = tokio::time::timeout_at(end, events.next()).await else {
            break;
        };
        match event {
            Some(Ok(Event::Init)) => fresh.clear(),
            Some(Ok(Event::InitApply(object))) => {
                fresh.insert(object.name_any(), object);
            }
            Some(Ok(Event::InitDone)) => {
                known = std::mem::take(&mut fresh);
                complete = true;
            }
            Some(Ok(Event::Apply(object))) => {
                known.insert(object.name_any(), object);
            }
            Some(Ok(Event::Delete(object))) => {
                known.remove(&object.name_any());
            }
            Some(Err(error)) => {
                if let Some(refused) = refused(&action, service, &error) {
                    return Err(refused);
                }
                last_error = Some(error.to_string());
                continue;
            }
            None => break,
        }
        if complete && let Some(found) = look(&known) {
            return Ok(Waited::Found(found));
        }
    }
    if complete {
        return Ok(Waited::TooLong(known));
    }
    let last = last_error.map_or_else(
        || "it was silent".to_owned(),
        |error| format!("at last: {error}"),
    );
    let what = format!("cannot {action}: no answer of the cluster within {limit:?}, {last}");
    let next = "Look whether its API server answers (`kubectl version`), and run again.";
    Err(transient(code::CLUSTER, Some(service), what, next))
}

/// Watches objects, from the beginning where the server no longer has the version from which a watch goes on.
///
/// That a watch under way is told so has the cluster's own client begin anew; that the next one is refused for it does
/// not.
pub fn watched<K>(
    all: Api<K>,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let begin = move || watch(all.clone(), config.clone()).boxed();
    let first = begin();
    futures::stream::unfold((begin, first), |(begin, mut events)| async move {
        let event = events.next().await?;
        if is_forgotten(&event) {
            events = begin();
        }
        Some((event, (begin, events)))
    })
}

fn is_forgotten<K>(event: &watcher::Result<Event<K>>) -> bool {
    let Err(watcher::Error::WatchStartFailed(kube::Error::Api(status))) = event else {
        return false;
    };
    status.code == 410
}

/// Returns what makes waiting on pointless.
fn refused(action: &str, service: &str, error: &watcher::Error) -> Option<TargetError> {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status,
        _ => return None,
    };
    let forbidden = matches!(status.code, 401 | 403);
    forbidden.then(|| refusal(action, Some(service), &kube::Error::Api(status.clone())))
}
