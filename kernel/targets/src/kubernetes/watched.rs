//! The pods of ours as a watch tells of them, so that what happens to them is not asked for again and again.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use code_deploy_engine::target::{TargetError, TargetEvent};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use kube::runtime::reflector::{Store, store};
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::KubernetesTarget;
use super::names::selecting;
use super::store::Known;
use super::wait::watched;

/// How long whoever asks what happened waits until a watch that has just begun tells what there is. With the longest
/// silence of the cluster it is less than the engine gives a look at the target.
const FIRST: Duration = Duration::from_secs(5);

/// The watch of the pods: it begins when it is first needed and ends with this value.
#[derive(Default)]
pub(super) struct Watched {
    tasks: TaskTracker,
    watch: Mutex<Option<Watch>>,
}

struct Watch {
    known: Store<Pod>,
    task: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watched {
    /// Returns the pods that have those labels; nothing while the cluster has not told of them. `anew` begins another
    /// watch: one whose connection is dead says nothing of that for minutes.
    async fn pods(&self, all: Api<Pod>, labels: &str, anew: bool) -> Option<Vec<Known>> {
        let known = self.known(all, labels, anew);
        let ready = tokio::time::timeout(FIRST, known.wait_until_ready()).await;
        if !matches!(ready, Ok(Ok(()))) {
            tracing::warn!("the cluster does not tell what there is of pods");
            return None;
        }
        let pods = known.state();
        let pods = pods.iter().filter_map(|pod| Known::of(pod));
        Some(pods.filter(Known::counts).collect())
    }

    fn known(&self, all: Api<Pod>, labels: &str, anew: bool) -> Store<Pod> {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let under_way = watch.take().filter(|one| !anew && !one.task.is_finished());
        let under_way = under_way.unwrap_or_else(|| self.begin(all, labels));
        let known = under_way.known.clone();
        *watch = Some(under_way);
        known
    }

    fn begin(&self, all: Api<Pod>, labels: &str) -> Watch {
        let (known, changes) = store();
        // Older servers refuse lists that are streamed.
        let config = watcher::Config::default().any_semantic().labels(labels);
        let watched = watched(all, config).default_backoff().reflect(changes);
        let task = self.tasks.spawn(watched.for_each(|told| {
            if let Err(error) = told {
                tracing::warn!(%error, "the watch of the pods is begun again");
            }
            std::future::ready(())
        }));
        Watch { known, task }
    }
}

impl KubernetesTarget {
    /// Returns what happened on its own since the last call: to pods, and that the cluster did not answer.
    ///
    /// A watch that is open does not show that nobody answers any more. So one small question is asked with each call,
    /// which the server answers from its storage: it measures silence, and carries nothing else.
    ///
    /// # Errors
    /// What the cluster says; `CD0530` when it stays silent.
    pub(super) async fn happened(&self) -> Result<Vec<TargetEvent>, TargetError> {
        let connection = self.cluster.connect().await?;
        let (all, one) = (connection.all::<Pod>(), ListParams::default().limit(1));
        let list = || all.list(&one);
        connection.ask("list pods", None, list).await?;
        let mut events = connection.silences.since_last();
        let labels = selecting(&self.names.everything());
        let anew = !events.is_empty();
        if let Some(pods) = self.watched.pods(all.clone(), &labels, anew).await {
            events.extend(self.happenings.since_last(&pods));
        }
        Ok(events)
    }
}
