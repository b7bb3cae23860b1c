//! Reads what instances count, once a second, into the samples of a run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use code_deploy_engine::http::HttpClient;
use code_deploy_engine::spec::Spec;
use code_deploy_engine::target::TargetError;
use code_deploy_record::{Clock as _, Sample, SampleWriter, Source, SystemClock};
use futures::StreamExt as _;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::reflector::{Store, store};
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::counts::{Counted, empty};
use super::store::Known;
use super::wait::watched;
use crate::failure::{code, failed};

/// How often instances are read.
const EVERY: Duration = Duration::from_secs(1);

/// How long one reading may take.
const LIMIT: Duration = Duration::from_millis(900);

/// Files of this process so far: one value writes a file.
static FILES: AtomicU32 = AtomicU32::new(1);

/// The reading under way, if there is one.
#[derive(Default)]
pub struct Sampling {
    tasks: TaskTracker,
    under_way: Mutex<Option<UnderWay>>,
}

struct UnderWay {
    folder: PathBuf,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sampling {
    /// Begins to write samples into that folder; does nothing when that is done already.
    ///
    /// # Errors
    /// When the file of the samples cannot be written.
    pub async fn begin(
        &self,
        pods: Api<Pod>,
        labels: &str,
        spec: Arc<Spec>,
        folder: PathBuf,
    ) -> Result<(), TargetError> {
        let mut under_way = self.under_way.lock().await;
        let same = |one: &UnderWay| one.folder == folder && !one.task.is_finished();
        if under_way.as_ref().is_some_and(same) {
            return Ok(());
        }
        if let Some(before) = under_way.take() {
            before.end().await;
        }
        let writer = open(&folder)?;
        let stop = CancellationToken::new();
        let config = watcher::Config::default().any_semantic().labels(labels);
        let task = self
            .tasks
            .spawn(keep(pods, config, spec, writer, stop.clone()));
        *under_way = Some(UnderWay { folder, stop, task });
        Ok(())
    }

    /// Ends it, with what was read written down.
    pub async fn end(&self) {
        if let Some(under_way) = self.under_way.lock().await.take() {
            under_way.end().await;
        }
    }
}

impl UnderWay {
    async fn end(mut self) {
        self.stop.cancel();
        if let Err(error) = (&mut self.task).await {
            tracing::debug!(%error, "the reading of instances was cut off");
        }
    }
}

fn open(folder: &Path) -> Result<SampleWriter, TargetError> {
    let number = FILES.fetch_add(1, Ordering::Relaxed);
    let word = Source::Instance.word();
    let name = format!("{word}-{}-{number}", std::process::id());
    SampleWriter::open(folder, &name).map_err(|error| {
        let what = format!("samples cannot be written: {error}");
        let next = "Make the folder of the run writable, with room on its disk, and run again.";
        failed(code::FILES, None, what, next)
    })
}

async fn keep(
    pods: Api<Pod>,
    config: watcher::Config,
    spec: Arc<Spec>,
    mut writer: SampleWriter,
    stop: CancellationToken,
) {
    let (known, changes) = store();
    let events = watched(pods, config).default_backoff().reflect(changes);
    let follow = events.for_each(|_| std::future::ready(()));
    let read = read_on(known, spec, &mut writer, &stop);
    // Both end with `stop`: what one loses when the other is first matters to nobody.
    tokio::select! {
        () = read => {}
        () = follow => {}
    }
    if let Err(error) = writer.sync() {
        tracing::warn!(%error, "samples were not written");
    }
}

async fn read_on(
    known: Store<Pod>,
    spec: Arc<Spec>,
    writer: &mut SampleWriter,
    stop: &CancellationToken,
) {
    let client = HttpClient::new();
    let mut before: BTreeMap<String, Counted> = BTreeMap::new();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        // Cancel safe: a tick that is lost is read in the next.
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let pods: Vec<Known> = known
            .state()
            .iter()
            .filter_map(|pod| Known::of(pod))
            .collect();
        let asked = pods
            .iter()
            .filter(|pod| pod.running)
            .filter_map(|pod| Some(read(&client, &spec, pod, url(&spec, pod)?)));
        let answers = join_all(asked).await;
        let second = SystemClock.now().timestamp();
        let samples = samples(&mut before, answers, second);
        if let Err(error) = writer.append(&samples) {
            tracing::warn!(%error, "samples were not written");
        }
        before.retain(|name, _| pods.iter().any(|pod| pod.name == *name));
    }
}

fn url(spec: &Spec, pod: &Known) -> Option<String> {
    let service = spec.service(&pod.service)?;
    let path = service.file.metrics.as_ref()?;
    let instance = pod.describe(service.port)?;
    Some(format!("http://{}{path}", instance.address))
}

async fn read<'a>(
    client: &HttpClient,
    spec: &Spec,
    pod: &'a Known,
    url: String,
) -> Option<(&'a Known, Counted)> {
    let service = spec.service(&pod.service)?;
    let answer = client.get(&url, LIMIT).await.ok()?;
    let answer = answer.status.is_success().then_some(answer)?;
    match Counted::read(&answer.text(), service) {
        Ok(counted) => Some((pod, counted)),
        Err(why) => {
            tracing::debug!(url, why, "an instance does not say what it counted");
            None
        }
    }
}

/// Returns what was counted since the reading before. The first reading of an instance only says
/// from where on it is counted.
fn samples(
    before: &mut BTreeMap<String, Counted>,
    answers: Vec<Option<(&Known, Counted)>>,
    second: i64,
) -> Vec<Sample> {
    let mut samples: BTreeMap<(&str, &str), Sample> = BTreeMap::new();
    for (pod, counted) in answers.into_iter().flatten() {
        if let Some(was) = before.insert(pod.name.clone(), counted.clone()) {
            let key = (pod.service.as_str(), pod.release.as_str());
            let sample = samples
                .entry(key)
                .or_insert_with(|| empty(second, key.0, key.1));
            counted.since(&was).add_to(sample);
        }
    }
    samples.into_values().collect()
}
