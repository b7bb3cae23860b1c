//! What the engine asks of the place it deploys to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use code_deploy_record::{LockHolder, Problem, Release, RunId, Secret, Severity, Source};
use serde::{Deserialize, Serialize};

use crate::spec::{Limit, Routing, Spec};

mod change;
mod health;
mod listing;

pub use change::{Change, ChangeState, FieldChange};
pub use health::Health;
pub use listing::{Listing, Topic};

/// A place to deploy to: processes of this machine, a Docker engine, a cluster, a cloud.
///
/// Every method states a wanted state and may be called again; none returns before the state is
/// reached or its limit has passed. Names of what is created follow from application,
/// environment, service and release, so that another process finds it again.
#[async_trait]
pub trait Target: Send + Sync {
    /// Returns the name by which the command line knows it: `local`.
    fn name(&self) -> &'static str;

    /// Returns what of the deployment file this target cannot honour. What is of severity `Critical` refuses the run,
    /// others are shown.
    fn cannot_honour(&self, spec: &Spec) -> Vec<Limit>;

    /// Returns what traffic is balanced by.
    fn balancing(&self) -> Balancing {
        Balancing::Requests
    }

    /// Returns who counts requests by release, and so which samples releases are judged by.
    fn counted_by(&self) -> Source {
        Source::Router
    }

    /// Measures what the place has: processors, memory, disk. Changes nothing.
    async fn capacity(&self) -> Result<Capacity, TargetError>;

    /// Finds out what runs now. Changes nothing, and works when nothing was ever deployed.
    async fn observe(&self) -> Result<Observed, TargetError>;

    /// Finds out what the place has beside what is deployed to it, for the record. Changes nothing. What cannot
    /// be found out is said in its listing: nothing of a run depends on it. A target that is this machine has
    /// nothing to add to its capacity.
    async fn inventory(&self) -> Result<Vec<Listing>, TargetError> {
        Ok(Vec::new())
    }

    /// Finds out which instances of one service there are. Changes nothing.
    async fn instances(&self, service: &str) -> Result<Vec<Instance>, TargetError> {
        let mut instances = self.observe().await?.instances;
        instances.retain(|instance| instance.service == service);
        Ok(instances)
    }

    /// Refuses what stands in the way of starting those instances of the release and only a person
    /// can settle: a name that somebody else's thing has, a state that the platform would not take.
    /// Asked before a run begins; changes nothing. A target where no name can be taken has nothing to
    /// refuse. Who goes back is not kept from it by what only may go wrong.
    async fn admit(
        &self,
        _release: &Release,
        _replicas: &BTreeMap<String, u32>,
        _heading: Heading,
    ) -> Result<(), TargetError> {
        Ok(())
    }

    /// Returns what [`start`](Self::start) of that release and [`open`](Self::open) would change of the objects that the
    /// place holds, by what the place itself makes of them, object by object; what is new is compared with that of
    /// the release `from`. Asked before anything is changed; changes nothing. Values of secrets are in no answer. A
    /// target that is told what to do rather than which objects to have has nothing to say.
    async fn changes(
        &self,
        _release: &Release,
        _from: Option<&Release>,
        _replicas: &BTreeMap<String, u32>,
    ) -> Result<Vec<Change>, TargetError> {
        Ok(Vec::new())
    }

    /// Holds the place for a runner against those who do not see its lock: runners of other machines.
    /// Somebody who has not renewed theirs for a whole [`RunLock::LEASE`](code_deploy_record::RunLock::LEASE) is
    /// taken over from, which takes as long. A target that only this machine reaches has nothing to do.
    async fn hold(&self, _holder: &LockHolder) -> Result<Hold, TargetError> {
        Ok(Hold::Ours)
    }

    /// Says that the runner for which the place is held lives; asked three times in a lease. Takes over from
    /// nobody.
    async fn renew_hold(&self, _holder: &LockHolder) -> Result<Hold, TargetError> {
        Ok(Hold::Ours)
    }

    /// Lets the place go, if it is held for that runner.
    async fn let_go(&self, _holder: &LockHolder) -> Result<(), TargetError> {
        Ok(())
    }

    /// Makes the image of a service's release ready to be started: built from the sources where the
    /// Compose file builds it, there or pulled otherwise. From then on instances of the release are
    /// started from exactly that image, whatever its tags come to mean. `on_line` gets each line
    /// that the builder says. A target that starts programs has no images.
    async fn provide_image(
        &self,
        _wanted: &ImageWanted<'_>,
        _on_line: &OnLine<'_>,
    ) -> Result<Option<Image>, TargetError> {
        Ok(None)
    }

    /// Returns the image that instances of a service's release are started from, as it is now;
    /// nothing when none was provided. Changes nothing.
    async fn image(
        &self,
        _service: &str,
        _release: &Release,
    ) -> Result<Option<Image>, TargetError> {
        Ok(None)
    }

    /// Returns the digest of the image that each running instance of a service's release was started from, by the
    /// instance's id, as the place itself knows it now. A target that starts programs has none.
    async fn running_images(
        &self,
        _service: &str,
        _release: &Release,
    ) -> Result<BTreeMap<String, String>, TargetError> {
        Ok(BTreeMap::new())
    }

    /// Returns by service whether the image that a release is started from has a `HEALTHCHECK` of its own. A service whose
    /// image is not there yet is not named, unless what it is built from says so; nor is any where nothing runs what an
    /// image has. Changes nothing.
    async fn image_health_checks(
        &self,
        _release: &Release,
    ) -> Result<BTreeMap<String, bool>, TargetError> {
        Ok(BTreeMap::new())
    }

    /// Starts again what of the place itself ended on its own and traffic depends on, as it was.
    /// Returns in words what that was, if there was anything; what was stopped on purpose stays
    /// stopped. A target that somebody else looks after has nothing to do here.
    async fn recover(&self) -> Result<Option<String>, TargetError> {
        Ok(None)
    }

    /// Makes the place ready for services: router, networks, folders; puts each service's
    /// address in place. Traffic of what runs already is not touched.
    async fn open(&self, services: &[ServiceAddress]) -> Result<Vec<ServiceAddress>, TargetError>;

    /// Takes back what [`open`](Self::open) made, if nothing is served any more.
    async fn close(&self) -> Result<(), TargetError>;

    /// Starts instances of a service's release until as many run as are wanted, and makes them
    /// known to the router with no share of traffic. Instances that run already are kept.
    async fn start(&self, wanted: &Wanted) -> Result<Vec<Instance>, TargetError>;

    /// Stops the instances of a service's release: no new requests first, then those in flight
    /// are waited for up to the grace, then each is asked to end, and after the grace made to.
    /// Logs are kept. Nothing to stop is no error.
    async fn stop(
        &self,
        service: &str,
        release: &Release,
        grace: Duration,
    ) -> Result<Stopped, TargetError>;

    /// Runs fewer instances of a release than now, draining each that goes as
    /// [`stop`](Self::stop) does; none is started. A target that cannot do that refuses, and a
    /// rolling strategy is then not possible on it.
    async fn scale_down(
        &self,
        service: &str,
        release: &Release,
        replicas: u32,
        grace: Duration,
    ) -> Result<Stopped, TargetError> {
        if replicas == 0 {
            return self.stop(service, release, grace).await;
        }
        Err(TargetError {
            code: "CD0590",
            service: Some(service.to_owned()),
            what: format!(
                "target {} cannot run {replicas} instances of {release} when more are running",
                self.name()
            ),
            next: "Use the strategy canary or blue-green on this target.".to_owned(),
            transient: false,
        })
    }

    /// Sets the shares of traffic of all named services at once, in percent, and returns when
    /// they are served so, as far as the place can tell: see [`unsettled`](Self::unsettled). A release with a share
    /// must have a healthy instance.
    async fn set_traffic(&self, shares: &BTreeMap<String, Shares>) -> Result<(), TargetError>;

    /// Returns for how long yet somebody may be led as before the last move of traffic, where parts of the place
    /// follow a move a while later and do not say when. Who judges requests, or tells how long a move took, waits for
    /// that long first; [`stop`](Self::stop) and [`scale_down`](Self::scale_down) do so by themselves. A target that
    /// moves traffic in one place has nothing to wait for.
    fn unsettled(&self) -> Duration {
        Duration::ZERO
    }

    /// Reads the shares where they are served.
    async fn traffic(&self) -> Result<BTreeMap<String, Shares>, TargetError>;

    /// Renews the lease under which traffic may be split. When it is not renewed in time, all
    /// traffic goes to the stable release without further asking. `None` ends the lease.
    async fn renew_lease(&self, lease: Option<Lease>) -> Result<(), TargetError>;

    /// Returns what happened on its own since the last call: a lease that ran out, an instance
    /// that ended or was restarted.
    async fn events(&self) -> Result<Vec<TargetEvent>, TargetError>;

    /// Has per-second samples written into that folder, or no more.
    async fn sample_into(&self, folder: Option<PathBuf>) -> Result<(), TargetError>;

    /// Returns the log files of a service's release, one per instance.
    async fn logs(&self, service: &str, release: &Release)
    -> Result<Vec<InstanceLog>, TargetError>;

    /// Returns the headers that make a request reach a release on purpose, whatever its share.
    fn reach(&self, release: &Release) -> Vec<(String, Secret)>;

    /// Returns where the services of a release are reached on purpose, whatever its share, on a
    /// target where that is not a matter of [`reach`](Self::reach)'s headers alone.
    async fn addresses_of(
        &self,
        _release: &Release,
    ) -> Result<Option<Vec<ServiceAddress>>, TargetError> {
        Ok(None)
    }

    /// Returns by name what a start states to the platform, as text, where that is worth keeping
    /// as evidence. Changes nothing.
    async fn manifests(&self, _wanted: &Wanted) -> Result<Vec<(String, String)>, TargetError> {
        Ok(Vec::new())
    }

    /// Returns by name what [`open`](Self::open) states to the platform for the deployment as a whole, as text, where
    /// that is worth keeping as evidence. Changes nothing.
    async fn opening_manifests(&self) -> Result<Vec<(String, String)>, TargetError> {
        Ok(Vec::new())
    }

    /// Stops everything of this application and environment. For `--stop`.
    async fn remove_all(&self, grace: Duration) -> Result<Vec<Stopped>, TargetError>;

    /// Returns what [`remove_all`](Self::remove_all) leaves on purpose, each in words that say how it is removed.
    /// Changes nothing.
    async fn left_on_purpose(&self) -> Result<Vec<String>, TargetError> {
        Ok(Vec::new())
    }
}

/// What traffic is balanced by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balancing {
    /// Each request goes to a release of its own. Addresses answer also while nothing is served.
    Requests,
    /// Each connection does, and keeps it for as long as it is kept. An address of which nobody
    /// serves refuses connections.
    Connections,
}

/// What a place has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Capacity {
    /// The machine's or the place's name.
    pub host: String,
    /// The operating system, in words.
    pub system: String,
    /// Processors.
    pub processors: u32,
    /// Share of the processors' time that is free, from 0 to 1.
    pub processors_free: f64,
    /// Memory in bytes.
    pub memory: u64,
    /// Free memory in bytes.
    pub memory_free: u64,
    /// Free disk where data of runs and services is kept, in bytes.
    pub disk_free: u64,
    /// The path measured.
    pub disk_path: PathBuf,
    /// Network interfaces by name, with their speed in megabits a second where it is known.
    pub network: BTreeMap<String, Option<u64>>,
}

/// What runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// The instances of the application in this environment.
    pub instances: Vec<Instance>,
    /// The address of each service.
    pub addresses: Vec<ServiceAddress>,
    /// Where users reach services, by service, where that is not their address but something of the
    /// place in front of it: scheme, host and port.
    #[serde(default)]
    pub fronts: BTreeMap<String, String>,
    /// The shares of traffic as served.
    pub traffic: BTreeMap<String, Shares>,
    /// The release that counts as stable: the one that has all traffic of all services. Nothing
    /// when nothing runs or traffic is split.
    pub stable: Option<Release>,
    /// Ports on which what runs listens.
    pub listening: Vec<SocketAddr>,
}

impl Observed {
    /// Returns the URL where users reach a service: that of what the place has in front of it, if there is something,
    /// otherwise its address as `http://HOST:PORT`.
    #[must_use]
    pub fn front_url(&self, service: &str) -> Option<String> {
        let front = self.fronts.get(service).cloned();
        front.or_else(|| self.address_url(service))
    }

    /// Returns the URL of a service's own address, if it has one: what only other services and checks ask for need
    /// not be reached by users.
    #[must_use]
    pub fn address_url(&self, service: &str) -> Option<String> {
        let mut addresses = self.addresses.iter();
        let place = addresses.find(|place| place.service == service)?;
        Some(place.url())
    }
}

/// The share of each release in percent; they sum to 100.
pub type Shares = BTreeMap<Release, u16>;

/// Which way a run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heading {
    /// To a release that is wanted.
    Forward,
    /// Back from what another run deployed.
    Back,
}

/// For whom a place is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// For the runner that asked.
    Ours,
    /// For another: in words, who that is.
    Theirs(String),
}

/// Where a service is reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceAddress {
    /// The service.
    pub service: String,
    /// The address where clients and other services reach it, whatever release answers. Port 0
    /// in what is wanted means any free one.
    pub address: SocketAddr,
    /// How requests are routed.
    pub routing: Routing,
}

impl ServiceAddress {
    /// Returns the address as `http://HOST:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// The instances wanted of a service's release.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The run that wants them.
    pub run: RunId,
    /// The service.
    pub service: String,
    /// The release.
    pub release: Release,
    /// How many.
    pub replicas: u32,
    /// How long a start may take until the instance is ready.
    pub start_limit: Duration,
}

/// What is given each line that a builder says.
pub type OnLine<'a> = dyn Fn(&str) + Send + Sync + 'a;

/// The image wanted of a service's release.
#[derive(Debug, Clone, Copy)]
pub struct ImageWanted<'a> {
    /// The service.
    pub service: &'a str,
    /// The release.
    pub release: &'a Release,
    /// The commit of the sources, if they are in a repository and as committed.
    pub revision: Option<&'a str>,
    /// Whether an image that was provided before is to be taken as it is: the sources are not those
    /// of a release that is gone back to.
    pub as_before: bool,
    /// Whether an image that is built is pushed to the registries that its names tell.
    pub push: bool,
    /// The file that the builder's words are written to.
    pub log: &'a Path,
}

/// An image of a service's release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The service.
    pub service: String,
    /// The name by which the Compose file or its conventions know it.
    pub reference: String,
    /// Its own digest: `sha256:` and 64 hexadecimal digits.
    pub id: String,
    /// All names that it has.
    pub tags: Vec<String>,
    /// The digests by which registries know it: `NAME@sha256:...`.
    pub registry_digests: Vec<String>,
    /// Its size in bytes.
    pub bytes: u64,
    /// The commit it was built from, as its label `org.opencontainers.image.revision` says.
    pub revision: Option<String>,
    /// How it was come by.
    pub source: ImageSource,
    /// The digests that registries have of it after it was pushed, each read back:
    /// `NAME@sha256:...`.
    #[serde(default)]
    pub pushed: Vec<String>,
}

impl Image {
    /// Returns the digests by which registries have it: those that were read back once it was pushed, otherwise those by
    /// which the engine knows it. What an engine has built it may give a digest that no registry has.
    #[must_use]
    pub fn in_registries(&self) -> &[String] {
        match (self.pushed.is_empty(), &self.source) {
            (false, _) => &self.pushed,
            (true, ImageSource::Built { .. }) => &[],
            (true, _) => &self.registry_digests,
        }
    }
}

/// How an image was come by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageSource {
    /// It was built, in so many stages.
    Built {
        /// How many stages its Dockerfile has.
        stages: usize,
    },
    /// It was pulled.
    Pulled,
    /// It was there.
    Present,
}

/// An instance that runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// Its name, unique in the target: `shop-dev-catalog-1.1.0-2`.
    pub id: String,
    /// The service.
    pub service: String,
    /// The release.
    pub release: Release,
    /// Where it listens itself.
    pub address: SocketAddr,
    /// The process, for targets that know processes.
    pub pid: Option<u32>,
    /// When it was started.
    pub started: DateTime<Utc>,
    /// Whether it runs now.
    pub running: bool,
    /// How often it was restarted.
    pub restarts: u32,
    /// What its health check found last that the place runs; nothing where it runs none, or does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// What stopping gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stopped {
    /// The service.
    pub service: String,
    /// The release.
    pub release: Release,
    /// How many instances ended when asked.
    pub ended: u32,
    /// How many had to be made to end.
    pub forced: u32,
    /// Requests in flight that were cut off.
    pub cut: u64,
}

/// A lease under which traffic is split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    /// How long it holds without being renewed.
    pub ttl: Duration,
    /// Where all traffic goes when it runs out.
    pub stable: Release,
}

/// Something that happened on its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetEvent {
    /// When.
    pub time: DateTime<Utc>,
    /// The service, if it is about one.
    pub service: Option<String>,
    /// From [`Severity::Medium`] on it is shown while the run goes on; what is below is only
    /// recorded.
    pub severity: Severity,
    /// In words.
    pub text: String,
}

/// The log of an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceLog {
    /// The instance.
    pub instance: String,
    /// The file; one JSON object or text line a line.
    pub path: PathBuf,
}

/// What a target could not do.
#[derive(Debug, thiserror::Error)]
#[error("{service}: {what}", service = .service.as_deref().unwrap_or("the target"))]
pub struct TargetError {
    /// The stable code: `CD0501`.
    pub code: &'static str,
    /// The service it is about.
    pub service: Option<String>,
    /// What went wrong, with limits and paths.
    pub what: String,
    /// What to do next.
    pub next: String,
    /// Whether trying again may help.
    pub transient: bool,
}

impl TargetError {
    /// Returns the error as a person reads it.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let (code, next) = (self.code.to_owned(), self.next.clone());
        Problem {
            code,
            what: self.to_string(),
            state: String::new(),
            next,
        }
    }
}
