//! The Lease that keeps runners of other machines away while one works on the application and environment
//! (<https://kubernetes.io/docs/concepts/architecture/leases/>).

use std::time::Duration;

use code_deploy_engine::target::{Hold, TargetError};
use code_deploy_record::{LockHolder, RunId, RunLock, RunsFolder};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{DeleteParams, PostParams, Preconditions};
use tokio::time::Instant;

use super::KubernetesTarget;
use super::cluster::Connection;
use crate::failure::{code, failed};

/// The time between two looks whether a holder that seems asleep renews its lease.
const LOOK: Duration = Duration::from_secs(1);

/// A holder that seemed asleep: the version of its lease, and since when that has not changed.
type Asleep = Option<(Option<String>, Instant)>;

impl KubernetesTarget {
    /// Holds the Lease for a runner. Another holder that has not renewed it for as long as it lasts is watched
    /// for a whole lease, by a clock that nobody sets, and taken over from only then.
    ///
    /// # Errors
    /// What keeps a run from beginning at all; what the cluster says.
    pub(super) async fn hold_place(&self, holder: &LockHolder) -> Result<Hold, TargetError> {
        self.fit.get_or_try_init(|| self.check_fit()).await?;
        let mut asleep: Asleep = None;
        loop {
            let found = self.lease().await?;
            if let Some(lease) = found.as_ref().filter(|lease| !is_for(lease, holder)) {
                if !seems_asleep(lease) {
                    return Ok(Hold::Theirs(words(lease)));
                }
                if !has_slept(&mut asleep, lease) {
                    tokio::time::sleep(LOOK).await;
                    continue;
                }
            }
            if self.write(found, holder).await? {
                // Until now another process may have moved traffic.
                self.moves.noted();
                return Ok(Hold::Ours);
            }
        }
    }

    /// Renews the Lease of a runner.
    ///
    /// # Errors
    /// What the cluster says.
    pub(super) async fn renew_place(&self, holder: &LockHolder) -> Result<Hold, TargetError> {
        loop {
            let found = self.lease().await?;
            if let Some(lease) = found.as_ref().filter(|lease| !is_for(lease, holder)) {
                return Ok(Hold::Theirs(words(lease)));
            }
            if self.write(found, holder).await? {
                return Ok(Hold::Ours);
            }
        }
    }

    /// Removes the Lease of a runner; nobody else's.
    ///
    /// # Errors
    /// What the cluster says.
    pub(super) async fn let_place_go(&self, holder: &LockHolder) -> Result<(), TargetError> {
        match self.lease().await? {
            Some(lease) if is_for(&lease, holder) => self.remove_lease(&lease).await,
            _ => Ok(()),
        }
    }

    /// Refuses while a runner of another machine, or of another project on this one, holds the Lease and lives; removes
    /// one that nobody renews. Runners of this project keep each other away by its lock.
    ///
    /// # Errors
    /// `CD0538`; what the cluster says.
    pub(super) async fn refuse_if_held_elsewhere(&self) -> Result<(), TargetError> {
        let Some(lease) = self.lease().await? else {
            return Ok(());
        };
        let host = rustix::system::uname();
        let here = format!("@{}/", host.nodename().to_string_lossy());
        let of_here = identity_of(&lease).split_once(&here);
        let is_own = of_here.is_some_and(|(_, run)| self.is_of_project(run));
        if is_own || seems_asleep(&lease) {
            return self.remove_lease(&lease).await;
        }
        let what = format!("{} works on it; nothing was stopped", words(&lease));
        let next = "Wait until that run has ended, or stop it where it runs.";
        Err(failed(code::HELD, None, what, next))
    }

    /// Returns whether a run is one of this project.
    fn is_of_project(&self, run: &str) -> bool {
        let runs = RunsFolder::of_project(&self.settings.spec.project);
        run.parse::<RunId>().is_ok() && runs.path().join(run).exists()
    }

    async fn lease(&self) -> Result<Option<Lease>, TargetError> {
        let connection = self.cluster.connect().await?;
        let name = self.names.lease();
        let all = connection.all::<Lease>();
        let found = connection.ask("look at the lease", None, || all.get_opt(&name));
        match found.await? {
            Some(lease) if !self.names.are_ours(lease.metadata.labels.as_ref()) => {
                let what = format!(
                    "the name {name} is taken: namespace {} has a lease of that name which this program did \
                     not make for this application and environment; it was not touched",
                    connection.namespace
                );
                let next = "Look at it (`kubectl describe lease`); rename it or deploy to another namespace.";
                Err(failed(code::FOREIGN, None, what, next))
            }
            found => Ok(found),
        }
    }

    /// Writes the Lease for a runner over what was found. Returns whether nobody has written it meanwhile.
    async fn write(&self, found: Option<Lease>, holder: &LockHolder) -> Result<bool, TargetError> {
        let connection = self.cluster.connect().await?;
        let all = connection.all::<Lease>();
        let (wanted, params) = (self.stated(found.as_ref(), holder), PostParams::default());
        let name = self.names.lease();
        let write = || async {
            let written = match &found {
                Some(_) => all.replace(&name, &params, &wanted).await,
                None => all.create(&params, &wanted).await,
            };
            if_unchanged(written.map(drop))
        };
        connection.ask("write the lease", None, write).await
    }

    fn stated(&self, found: Option<&Lease>, holder: &LockHolder) -> Lease {
        let mut lease = found.cloned().unwrap_or_default();
        let before = lease.spec.take().unwrap_or_default();
        let same = before.holder_identity.as_deref() == Some(identity(holder).as_str());
        let now = Some(MicroTime(Timestamp::now()));
        lease.metadata.name = Some(self.names.lease());
        lease.metadata.labels = Some(self.names.common());
        lease.spec = Some(LeaseSpec {
            acquire_time: if same {
                before.acquire_time
            } else {
                now.clone()
            },
            holder_identity: Some(identity(holder)),
            lease_duration_seconds: i32::try_from(RunLock::LEASE.as_secs()).ok(),
            lease_transitions: match (found, same) {
                (Some(_), false) => Some(before.lease_transitions.unwrap_or_default() + 1),
                _ => before.lease_transitions,
            },
            renew_time: now,
            ..LeaseSpec::default()
        });
        lease
    }

    async fn remove_lease(&self, lease: &Lease) -> Result<(), TargetError> {
        let connection: &Connection = self.cluster.connect().await?;
        let (all, name) = (connection.all::<Lease>(), self.names.lease());
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: lease.metadata.uid.clone(),
                resource_version: lease.metadata.resource_version.clone(),
            }),
            ..DeleteParams::default()
        };
        let remove = || async {
            match all.delete(&name, &params).await {
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(true),
                removed => if_unchanged(removed.map(drop)),
            }
        };
        connection
            .ask("remove the lease", None, remove)
            .await
            .map(drop)
    }
}

/// Who holds the Lease, as it stands there.
fn identity(holder: &LockHolder) -> String {
    format!("{}@{}/{}", holder.user, holder.host, holder.run)
}

fn identity_of(lease: &Lease) -> &str {
    let spec = lease.spec.as_ref();
    spec.and_then(|spec| spec.holder_identity.as_deref())
        .unwrap_or_default()
}

/// Returns whether a lease is one of that runner's run, or of nobody.
fn is_for(lease: &Lease, holder: &LockHolder) -> bool {
    let found = identity_of(lease);
    found.is_empty() || found == identity(holder)
}

/// Returns whether it looks as if a lease had run out. A clock of another machine may be set otherwise.
fn seems_asleep(lease: &Lease) -> bool {
    let spec = lease.spec.as_ref();
    let renewed = spec.and_then(|spec| spec.renew_time.as_ref());
    let lasts = SignedDuration::try_from(RunLock::LEASE).unwrap_or_default();
    renewed.is_none_or(|renewed| Timestamp::now().duration_since(renewed.0).abs() > lasts)
}

/// Returns whether a lease has been the same for as long as one lasts.
fn has_slept(asleep: &mut Asleep, lease: &Lease) -> bool {
    let version = lease.metadata.resource_version.clone();
    match asleep {
        Some((known, since)) if *known == version => since.elapsed() >= RunLock::LEASE,
        _ => {
            *asleep = Some((version, Instant::now()));
            false
        }
    }
}

/// Returns who holds a lease, in words.
fn words(lease: &Lease) -> String {
    let (who, run) = identity_of(lease).split_once('/').unwrap_or_default();
    format!("run {run} of {who}")
}

/// Returns whether a change was carried out; not when the object has changed since it was read.
fn if_unchanged(changed: kube::Result<()>) -> kube::Result<bool> {
    match changed {
        Ok(()) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}
