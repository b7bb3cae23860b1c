//! The lease under which traffic may be split, renewed for as long as this process lives.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Finding, Release, Secret};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Target;
use crate::spec::Spec;
use crate::target::{
    Capacity, Instance, InstanceLog, Lease, Observed, ServiceAddress, Shares, Stopped, TargetError,
    TargetEvent, Wanted,
};

/// Changes of the lease that wait: steps change it one at a time.
const WAITING: usize = 4;

/// The time between two renewals when no lease is held.
const IDLE: Duration = Duration::from_secs(3600);

struct Change {
    lease: Option<Lease>,
    done: oneshot::Sender<Result<(), TargetError>>,
}

/// A target whose lease is renewed in the background from when a step asks for one until a step
/// ends it. One task alone asks the target, so that a renewal never comes after the end.
pub(crate) struct LeasedTarget {
    inner: Arc<dyn Target>,
    changes: mpsc::Sender<Change>,
}

impl LeasedTarget {
    /// Wraps a target; the renewal runs on `tracker` until `stop`.
    pub(crate) fn new(
        inner: Arc<dyn Target>,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let (changes, waiting) = mpsc::channel(WAITING);
        tracker.spawn(keep(Arc::clone(&inner), waiting, stop));
        Self { inner, changes }
    }
}

async fn keep(
    target: Arc<dyn Target>,
    mut changes: mpsc::Receiver<Change>,
    stop: CancellationToken,
) {
    let mut held: Option<Lease> = None;
    loop {
        let pause = held.as_ref().map_or(IDLE, |lease| lease.ttl / 3);
        // Every arm is cancel safe: a change stays in the channel until it is received.
        tokio::select! {
            () = stop.cancelled() => return,
            change = changes.recv() => {
                let Some(Change { lease, done }) = change else { return };
                let renewed = target.renew_lease(lease.clone()).await;
                if renewed.is_ok() {
                    held = lease;
                }
                // A step that was cut off does not wait for its answer any more.
                drop(done.send(renewed));
            }
            () = tokio::time::sleep(pause) => {
                if held.is_some() && let Err(error) = target.renew_lease(held.clone()).await {
                    tracing::warn!(%error, "the lease for split traffic was not renewed");
                }
            }
        }
    }
}

#[async_trait]
impl Target for LeasedTarget {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn cannot_honour(&self, spec: &Spec) -> Vec<Finding> {
        self.inner.cannot_honour(spec)
    }

    async fn capacity(&self) -> Result<Capacity, TargetError> {
        self.inner.capacity().await
    }

    async fn observe(&self) -> Result<Observed, TargetError> {
        self.inner.observe().await
    }

    async fn recover(&self) -> Result<Option<String>, TargetError> {
        self.inner.recover().await
    }

    async fn open(&self, services: &[ServiceAddress]) -> Result<Vec<ServiceAddress>, TargetError> {
        self.inner.open(services).await
    }

    async fn close(&self) -> Result<(), TargetError> {
        self.inner.close().await
    }

    async fn start(&self, wanted: &Wanted) -> Result<Vec<Instance>, TargetError> {
        self.inner.start(wanted).await
    }

    async fn stop(
        &self,
        service: &str,
        release: &Release,
        grace: Duration,
    ) -> Result<Stopped, TargetError> {
        self.inner.stop(service, release, grace).await
    }

    async fn scale_down(
        &self,
        service: &str,
        release: &Release,
        replicas: u32,
        grace: Duration,
    ) -> Result<Stopped, TargetError> {
        self.inner
            .scale_down(service, release, replicas, grace)
            .await
    }

    async fn set_traffic(&self, shares: &BTreeMap<String, Shares>) -> Result<(), TargetError> {
        self.inner.set_traffic(shares).await
    }

    async fn traffic(&self) -> Result<BTreeMap<String, Shares>, TargetError> {
        self.inner.traffic().await
    }

    async fn renew_lease(&self, lease: Option<Lease>) -> Result<(), TargetError> {
        let (done, renewed) = oneshot::channel();
        let ended = || TargetError {
            code: "CD0461",
            service: None,
            what: "the lease for split traffic cannot be changed: the run's engine is ending"
                .to_owned(),
            next: "Resume the run or roll it back.".to_owned(),
            transient: false,
        };
        self.changes
            .send(Change { lease, done })
            .await
            .map_err(|_| ended())?;
        renewed.await.map_err(|_| ended())?
    }

    async fn events(&self) -> Result<Vec<TargetEvent>, TargetError> {
        self.inner.events().await
    }

    async fn sample_into(&self, folder: Option<PathBuf>) -> Result<(), TargetError> {
        self.inner.sample_into(folder).await
    }

    async fn logs(
        &self,
        service: &str,
        release: &Release,
    ) -> Result<Vec<InstanceLog>, TargetError> {
        self.inner.logs(service, release).await
    }

    fn reach(&self, release: &Release) -> Vec<(String, Secret)> {
        self.inner.reach(release)
    }

    async fn remove_all(&self, grace: Duration) -> Result<Vec<Stopped>, TargetError> {
        self.inner.remove_all(grace).await
    }
}
