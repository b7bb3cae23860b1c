//! The lease under which traffic may be split: when nobody renews it, all traffic goes back to the
//! stable release, whatever became of the engine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::unix_us;
use crate::control::{Lease, LeaseExpiry, LeaseStatus, Weights};
use crate::error::Error;
use crate::router::{Router, service_state, unknown_release, unknown_service};
use crate::state::State;
use crate::sync::lock;

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(3600);
/// Pause between two tries to return traffic to a release that has no healthy instance yet.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// When the lease runs out; none when there is no lease.
#[derive(Debug, Default)]
pub(crate) struct LeaseClock {
    deadline: Option<Instant>,
    /// Whether it was told that traffic waits for a stable release to go back to.
    told: bool,
}

impl Router {
    /// Takes a lease, in place of one that is held, or gives it up.
    pub(crate) async fn lease(&self, lease: Option<Lease>) -> Result<(), Error> {
        let mut control = self.control.lock().await;
        if let Some(lease) = &lease {
            self.check_lease(lease)?;
        } else {
            self.refuse_if_split()?;
        }
        let mut next = control.state.clone();
        next.lease.clone_from(&lease);
        control.commit(next).await?;
        self.set_deadline(lease.as_ref());
        let (kind, text) = match lease {
            Some(lease) => (
                "lease-taken",
                format!("by {} for {:?}", lease.holder, lease.ttl),
            ),
            None => ("lease-given-up", "by its holder".to_owned()),
        };
        self.shared.events.push(kind, None, text);
        Ok(())
    }

    fn check_lease(&self, lease: &Lease) -> Result<(), Error> {
        if lease.holder.is_empty() || lease.holder.len() > 256 {
            return Err(Error::refused(
                "bad-lease",
                "the holder must be 1 to 256 bytes",
            ));
        }
        if !(SHORTEST..=LONGEST).contains(&lease.ttl) {
            let text = format!(
                "a lease lasts {SHORTEST:?} to {LONGEST:?}, not {:?}",
                lease.ttl
            );
            return Err(Error::refused("bad-lease", text));
        }
        for (service, release) in &lease.stable {
            match self
                .shared
                .table
                .with(service, |s| s.weight(release).is_some())
            {
                None => return Err(unknown_service(service)),
                Some(false) => return Err(unknown_release(service, release)),
                Some(true) => {}
            }
        }
        let split = self.split_services();
        if let Some(service) = split
            .iter()
            .find(|service| !lease.stable.contains_key(*service))
        {
            let text =
                format!("traffic of {service} is split, so the lease must name its stable release");
            return Err(Error::refused("bad-lease", text));
        }
        Ok(())
    }

    fn refuse_if_split(&self) -> Result<(), Error> {
        match self.split_services().first() {
            None => Ok(()),
            Some(service) => {
                let text = format!("traffic of {service} is split; give it to one release first");
                Err(Error::refused("traffic-split", text))
            }
        }
    }

    fn split_services(&self) -> Vec<String> {
        self.shared.table.with_all(|services| {
            let split = |weights: Weights| weights.values().filter(|w| **w > 0).count() > 1;
            services
                .iter()
                .filter(|(_, s)| split(s.weights()))
                .map(|(n, _)| n.clone())
                .collect()
        })
    }

    /// Begins the lease's time anew.
    pub(crate) async fn renew(&self) -> Result<(), Error> {
        let control = self.control.lock().await;
        if let Some(lease) = control.state.lease.as_ref().filter(|_| self.lease_runs()) {
            self.set_deadline(Some(lease));
            return Ok(());
        }
        let last = control.state.last_expiry.as_ref();
        let text = match last {
            Some(expiry) => format!(
                "there is no lease to renew; the last one was not renewed: {}",
                expiry.reason
            ),
            None => "there is no lease to renew; take one first".to_owned(),
        };
        Err(Error::refused("no-lease", text))
    }

    /// Tells whether a lease is held that has not run out.
    pub(crate) fn lease_runs(&self) -> bool {
        lock(&self.lease_clock)
            .deadline
            .is_some_and(|deadline| Instant::now() < deadline)
    }

    /// Begins the time of a lease from before a restart anew.
    pub(crate) fn restore_lease(&self, state: &State) {
        self.set_deadline(state.lease.as_ref());
    }

    fn set_deadline(&self, lease: Option<&Lease>) {
        let deadline = lease.map(|lease| Instant::now() + lease.ttl);
        *lock(&self.lease_clock) = LeaseClock {
            deadline,
            told: false,
        };
        self.lease_changed.notify_one();
    }

    /// Returns what status shows of the lease.
    pub(crate) fn lease_status(&self, state: &State) -> Option<LeaseStatus> {
        let lease = state.lease.clone()?;
        let left = lock(&self.lease_clock)
            .deadline
            .map(|d| d.saturating_duration_since(Instant::now()));
        let left_ms = u64::try_from(left.unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
        Some(LeaseStatus { lease, left_ms })
    }

    /// Watches the lease until the router stops.
    pub(crate) async fn watch_lease(self: Arc<Self>) {
        loop {
            let deadline = lock(&self.lease_clock).deadline;
            let out = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            // Cancel safe: each arm only waits, and a change stays stored until it is seen.
            tokio::select! {
                () = self.shared.stop.cancelled() => return,
                () = self.shared.handed.cancelled() => return,
                () = self.lease_changed.notified() => {}
                () = out => {
                    if !self.return_traffic().await {
                        tokio::time::sleep(TRY_AGAIN).await;
                    }
                }
            }
        }
    }

    /// Sends all traffic back to the stable releases; returns whether that is done.
    async fn return_traffic(&self) -> bool {
        let mut control = self.control.lock().await;
        // The lease is looked after by the router that goes on.
        if control.file.is_none() {
            return true;
        }
        let Some(lease) = control.state.lease.clone() else {
            return true;
        };
        if self.lease_runs() {
            return true;
        }
        let (returned, waiting) = self.what_returns(&lease);
        if returned.is_empty() && !waiting.is_empty() {
            self.tell_waiting(&lease, &waiting);
            return false;
        }
        let weights: BTreeMap<String, Weights> = returned
            .iter()
            .map(|(service, release)| (service.clone(), Weights::from([(release.clone(), 100)])))
            .collect();
        let mut next = control.state.clone();
        for (service, weights) in &weights {
            let Ok(stored) = service_state(&mut next, service) else {
                continue;
            };
            for release in &mut stored.releases {
                release.weight = weights.get(&release.name).copied().unwrap_or_default();
            }
        }
        let expiry = expiry(&lease, &returned, &waiting);
        next.lease = (!waiting.is_empty()).then(|| Lease {
            stable: waiting.clone(),
            ..lease
        });
        next.last_expiry = Some(expiry.clone());
        // Traffic first: what the disk says about it must not keep users on a release that nobody
        // looks after.
        self.shared.table.switch(&weights);
        self.shared
            .events
            .push("lease-expired", None, expiry.reason);
        if let Err(error) = control.commit(next.clone()).await {
            control.state = next;
            self.shared
                .events
                .push("state-not-saved", None, error.to_string());
        }
        if waiting.is_empty() {
            lock(&self.lease_clock).deadline = None;
        }
        waiting.is_empty()
    }

    fn tell_waiting(&self, lease: &Lease, waiting: &BTreeMap<String, String>) {
        let told = std::mem::replace(&mut lock(&self.lease_clock).told, true);
        if !told {
            let reason = expiry(lease, &BTreeMap::new(), waiting).reason;
            self.shared.events.push("lease-expired", None, reason);
        }
    }

    /// Returns services whose traffic goes back now, and those whose stable release has no healthy
    /// instance to go back to.
    fn what_returns(&self, lease: &Lease) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
        let (mut returned, mut waiting) = (BTreeMap::new(), BTreeMap::new());
        for (service, release) in &lease.stable {
            let seen = self
                .shared
                .table
                .with(service, |s| (s.weight(release), s.has_healthy(release)));
            let to = match seen {
                Some((Some(weight), true)) if weight < 100 => &mut returned,
                Some((Some(weight), false)) if weight < 100 => &mut waiting,
                _ => continue,
            };
            to.insert(service.clone(), release.clone());
        }
        (returned, waiting)
    }
}

fn expiry(
    lease: &Lease,
    returned: &BTreeMap<String, String>,
    waiting: &BTreeMap<String, String>,
) -> LeaseExpiry {
    let list = |services: &BTreeMap<String, String>| {
        let parts: Vec<_> = services
            .iter()
            .map(|(s, r)| format!("{s} to {r}"))
            .collect();
        parts.join(", ")
    };
    let mut reason = format!(
        "{} did not renew its lease within {:?}",
        lease.holder, lease.ttl
    );
    if returned.is_empty() && waiting.is_empty() {
        reason = format!("{reason}; all traffic was at the stable releases already");
    }
    if !returned.is_empty() {
        reason = format!("{reason}; all traffic went back: {}", list(returned));
    }
    if !waiting.is_empty() {
        reason = format!(
            "{reason}; no healthy instance yet to go back to: {}",
            list(waiting)
        );
    }
    LeaseExpiry {
        at_us: unix_us(),
        holder: lease.holder.clone(),
        returned: returned.clone(),
        reason,
    }
}
