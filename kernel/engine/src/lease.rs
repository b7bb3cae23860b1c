//! The target as the engine's tasks ask it: nothing is changed that could not be recorded or by a
//! process that is fenced off, and the lease under which traffic may be split is renewed for as
//! long as this process lives and may act.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Fence, LockHolder, Release, Secret, Source};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::spec::{Limit, Spec};
use crate::surroundings::Sabotage;
use crate::target::{
    Balancing, Capacity, Heading, Hold, Image, ImageWanted, Instance, InstanceLog, Lease, Listing,
    Observed, OnLine, ServiceAddress, Shares, Stopped, TargetError, TargetEvent, Wanted,
};
use crate::{Journal, Surroundings, Target};

/// Changes of the lease that wait: steps change it one at a time.
const WAITING: usize = 4;

/// The time between two renewals when no lease is held.
const IDLE: Duration = Duration::from_secs(3600);

/// How long one renewal may take: a lease outlasts two that hang.
const RENEWAL: Duration = Duration::from_secs(3);

struct Change {
    lease: Option<Lease>,
    done: oneshot::Sender<Result<(), TargetError>>,
}

/// A target whose lease is renewed in the background from when a step asks for one until a step
/// ends it. One task alone asks the target, so that a renewal never comes after the end.
pub(crate) struct LeasedTarget {
    inner: Arc<dyn Target>,
    may_act: MayAct,
    changes: mpsc::Sender<Change>,
}

/// Whether this process may change anything: its journal can be written, and it holds the lock.
#[derive(Debug, Clone)]
pub(crate) struct MayAct {
    pub(crate) journal: Journal,
    pub(crate) fence: Fence,
    pub(crate) surroundings: Surroundings,
    /// Who holds the place now, in words, once another machine has taken it over.
    pub(crate) taken_by: Arc<OnceLock<String>>,
}

impl MayAct {
    /// # Errors
    /// `CD0300` when the journal cannot be written; `CD0320` when another process has taken the
    /// lock.
    pub(crate) async fn check(&self) -> Result<(), TargetError> {
        if self.journal.is_broken() {
            return Err(refusal(
                crate::code::NO_RECORD,
                "nothing is changed, because the run's journal cannot be written".to_owned(),
                "Make the disk writable again (`df`, `mount`), then `code-deploy resume` goes on \
                 and `code-deploy rollback` goes back.",
            ));
        }
        if let Some(who) = self.taken_by.get() {
            return Err(refusal(
                crate::code::FENCED_OFF,
                format!("nothing is changed: {who} has taken the target over"),
                "Look there how that run stands.",
            ));
        }
        if self.surroundings.sabotaged(Sabotage::IgnoresFence) {
            return Ok(());
        }
        let fence = self.fence.clone();
        let held = self
            .surroundings
            .on_disk("looking at the lock", move || fence.check());
        held.await.map_err(|error| {
            refusal(
                crate::code::FENCED_OFF,
                format!("nothing is changed: {}", error.problem.what),
                "`code-deploy status` shows who carries the run out now.",
            )
        })
    }
}

/// How long a look at the target may take.
const LOOK: Duration = Duration::from_secs(60);

/// Waits for an answer of the target, but not for ever.
///
/// # Errors
/// `CD0464` when it does not answer within a minute; what the target says.
pub(crate) async fn answer<T>(
    what: &str,
    asked: impl Future<Output = Result<T, TargetError>>,
) -> Result<T, TargetError> {
    let answered = tokio::time::timeout(LOOK, asked).await;
    answered.unwrap_or_else(|_| {
        Err(TargetError {
            code: "CD0464",
            service: None,
            what: format!("{what} did not end within {} s", LOOK.as_secs()),
            next: "Look at the router's or the platform's state.".to_owned(),
            transient: true,
        })
    })
}

fn refusal(code: &'static str, what: String, next: &str) -> TargetError {
    TargetError {
        code,
        service: None,
        what,
        next: next.to_owned(),
        transient: false,
    }
}

impl LeasedTarget {
    /// Wraps a target; the renewal runs on `tracker` until `stop`.
    pub(crate) fn new(
        inner: Arc<dyn Target>,
        may_act: MayAct,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let (changes, waiting) = mpsc::channel(WAITING);
        tracker.spawn(keep(Arc::clone(&inner), may_act.clone(), waiting, stop));
        Self {
            inner,
            may_act,
            changes,
        }
    }
}

async fn keep(
    target: Arc<dyn Target>,
    may_act: MayAct,
    mut changes: mpsc::Receiver<Change>,
    stop: CancellationToken,
) {
    let mut held: Option<Lease> = None;
    loop {
        let pause = held.as_ref().map_or(IDLE, |lease| lease.ttl / 3);
        // Every arm is cancel safe: a change stays in the channel until it is received.
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            change = changes.recv() => {
                let Some(Change { lease, done }) = change else { return };
                let renewed = renew(target.as_ref(), &may_act, lease.clone()).await;
                if renewed.is_ok() {
                    held = lease;
                }
                // A step that was cut off does not wait for its answer any more.
                drop(done.send(renewed));
            }
            () = tokio::time::sleep(pause) => {
                if held.is_none() {
                    continue;
                }
                // Who may not act lets the lease run out: traffic then goes to the stable release.
                let renewed = renew(target.as_ref(), &may_act, held.clone()).await;
                if let Err(error) = renewed {
                    tracing::warn!(%error, "the lease for split traffic was not renewed");
                }
            }
        }
    }
}

/// Renews the lease, or ends it, unless this process may not act; a call that hangs does not keep
/// the next one from being made while the lease still holds.
async fn renew(
    target: &dyn Target,
    may_act: &MayAct,
    lease: Option<Lease>,
) -> Result<(), TargetError> {
    may_act.check().await?;
    let renewed = tokio::time::timeout(RENEWAL, target.renew_lease(lease)).await;
    renewed.unwrap_or_else(|_| {
        Err(TargetError {
            code: "CD0463",
            service: None,
            what: format!(
                "the lease for split traffic was not renewed within {} s",
                RENEWAL.as_secs()
            ),
            next: "Look at the router's or the platform's state.".to_owned(),
            transient: true,
        })
    })
}

#[async_trait]
impl Target for LeasedTarget {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn cannot_honour(&self, spec: &Spec) -> Vec<Limit> {
        self.inner.cannot_honour(spec)
    }

    async fn capacity(&self) -> Result<Capacity, TargetError> {
        answer("measuring what the place has", self.inner.capacity()).await
    }

    async fn observe(&self) -> Result<Observed, TargetError> {
        answer("finding out what runs", self.inner.observe()).await
    }

    async fn inventory(&self) -> Result<Vec<Listing>, TargetError> {
        answer("finding out what the place has", self.inner.inventory()).await
    }

    async fn instances(&self, service: &str) -> Result<Vec<Instance>, TargetError> {
        answer("finding out what runs", self.inner.instances(service)).await
    }

    async fn admit(
        &self,
        release: &Release,
        replicas: &BTreeMap<String, u32>,
        heading: Heading,
    ) -> Result<(), TargetError> {
        answer(
            "looking for what stands in the way",
            self.inner.admit(release, replicas, heading),
        )
        .await
    }

    async fn changes(
        &self,
        release: &Release,
        from: Option<&Release>,
        replicas: &BTreeMap<String, u32>,
    ) -> Result<Vec<crate::target::Change>, TargetError> {
        let asked = self.inner.changes(release, from, replicas);
        answer("comparing with what is there", asked).await
    }

    async fn hold(&self, holder: &LockHolder) -> Result<Hold, TargetError> {
        answer("holding the target", self.inner.hold(holder)).await
    }

    async fn renew_hold(&self, holder: &LockHolder) -> Result<Hold, TargetError> {
        answer("holding the target", self.inner.renew_hold(holder)).await
    }

    async fn let_go(&self, holder: &LockHolder) -> Result<(), TargetError> {
        answer("letting the target go", self.inner.let_go(holder)).await
    }

    async fn provide_image(
        &self,
        wanted: &ImageWanted<'_>,
        on_line: &OnLine<'_>,
    ) -> Result<Option<Image>, TargetError> {
        self.may_act.check().await?;
        self.inner.provide_image(wanted, on_line).await
    }

    async fn image(&self, service: &str, release: &Release) -> Result<Option<Image>, TargetError> {
        answer("looking at an image", self.inner.image(service, release)).await
    }

    async fn running_images(
        &self,
        service: &str,
        release: &Release,
    ) -> Result<BTreeMap<String, String>, TargetError> {
        let asked = self.inner.running_images(service, release);
        answer("looking at what instances run", asked).await
    }

    async fn image_health_checks(
        &self,
        release: &Release,
    ) -> Result<BTreeMap<String, bool>, TargetError> {
        let asked = self.inner.image_health_checks(release);
        answer("looking at the health checks of images", asked).await
    }

    async fn recover(&self) -> Result<Option<String>, TargetError> {
        self.may_act.check().await?;
        answer("looking after the place", self.inner.recover()).await
    }

    async fn open(&self, services: &[ServiceAddress]) -> Result<Vec<ServiceAddress>, TargetError> {
        self.may_act.check().await?;
        self.inner.open(services).await
    }

    async fn close(&self) -> Result<(), TargetError> {
        self.may_act.check().await?;
        self.inner.close().await
    }

    async fn start(&self, wanted: &Wanted) -> Result<Vec<Instance>, TargetError> {
        self.may_act.check().await?;
        self.inner.start(wanted).await
    }

    async fn stop(
        &self,
        service: &str,
        release: &Release,
        grace: Duration,
    ) -> Result<Stopped, TargetError> {
        self.may_act.check().await?;
        self.inner.stop(service, release, grace).await
    }

    async fn scale_down(
        &self,
        service: &str,
        release: &Release,
        replicas: u32,
        grace: Duration,
    ) -> Result<Stopped, TargetError> {
        self.may_act.check().await?;
        self.inner
            .scale_down(service, release, replicas, grace)
            .await
    }

    async fn set_traffic(&self, shares: &BTreeMap<String, Shares>) -> Result<(), TargetError> {
        self.may_act.check().await?;
        self.inner.set_traffic(shares).await
    }

    fn unsettled(&self) -> Duration {
        self.inner.unsettled()
    }

    async fn traffic(&self) -> Result<BTreeMap<String, Shares>, TargetError> {
        answer("reading what is served", self.inner.traffic()).await
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
        answer("asking what happened", self.inner.events()).await
    }

    async fn sample_into(&self, folder: Option<PathBuf>) -> Result<(), TargetError> {
        self.may_act.check().await?;
        self.inner.sample_into(folder).await
    }

    async fn logs(
        &self,
        service: &str,
        release: &Release,
    ) -> Result<Vec<InstanceLog>, TargetError> {
        answer("finding the logs", self.inner.logs(service, release)).await
    }

    fn reach(&self, release: &Release) -> Vec<(String, Secret)> {
        self.inner.reach(release)
    }

    fn balancing(&self) -> Balancing {
        self.inner.balancing()
    }

    fn counted_by(&self) -> Source {
        self.inner.counted_by()
    }

    async fn addresses_of(
        &self,
        release: &Release,
    ) -> Result<Option<Vec<ServiceAddress>>, TargetError> {
        answer("finding a release", self.inner.addresses_of(release)).await
    }

    async fn manifests(&self, wanted: &Wanted) -> Result<Vec<(String, String)>, TargetError> {
        answer("making manifests", self.inner.manifests(wanted)).await
    }

    async fn opening_manifests(&self) -> Result<Vec<(String, String)>, TargetError> {
        answer("making manifests", self.inner.opening_manifests()).await
    }

    async fn remove_all(&self, grace: Duration) -> Result<Vec<Stopped>, TargetError> {
        self.may_act.check().await?;
        self.inner.remove_all(grace).await
    }

    async fn left_on_purpose(&self) -> Result<Vec<String>, TargetError> {
        answer("looking for what is left", self.inner.left_on_purpose()).await
    }
}
