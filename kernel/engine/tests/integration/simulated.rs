//! A simulated target: instances and service addresses are listeners of this process that answer
//! by themselves; nothing is started or routed. It keeps what it was asked, in order.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;
use code_deploy_engine::Target;
use code_deploy_engine::spec::{Limit, Spec};
use code_deploy_engine::target::{
    Capacity, Change, Health, Hold, Instance, InstanceLog, Lease, Observed, ServiceAddress, Shares,
    Stopped, TargetError, TargetEvent, Wanted,
};
use code_deploy_record::{
    Clock as _, LockHolder, Release, Sample, SampleWriter, Secret, Source, SystemClock,
};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;

const ON_PURPOSE: &str = "x-simulated-release";

/// What goes wrong on purpose.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// A release that never becomes ready.
    pub unready: Option<Release>,
    /// A release whose catalog answers nobody well, nor then who needs it.
    pub ill: Option<Release>,
    /// A release of whose requests one in ten fails in the samples.
    pub failing: Option<Release>,
    /// A release that gets twenty points more of the requests in the samples than its share, where traffic is split.
    pub favoured: Option<Release>,
    /// A release whose instances cannot be stopped.
    pub unstoppable: Option<Release>,
    /// How long instances take to end that are stopped.
    pub drain: Duration,
    /// Whether the place runs a health check in each instance.
    pub checks: bool,
    /// Whether images have a health check of their own, by service.
    pub images: BTreeMap<String, bool>,
    /// A release whose health check fails, where the place runs one.
    pub unwell: Option<Release>,
    /// Who holds the place in another's stead.
    pub held_by: Option<String>,
}

#[derive(Default)]
struct World {
    addresses: BTreeMap<String, SocketAddr>,
    instances: BTreeMap<String, (Instance, AbortHandle)>,
    traffic: BTreeMap<String, Shares>,
    turn: u32,
    samples: Option<PathBuf>,
    feeding: bool,
    faults: Faults,
    asked: Vec<String>,
    foretold: Vec<Change>,
}

/// A place that is only simulated. Cheap to clone; clones share it.
#[derive(Clone)]
pub struct Simulated {
    world: Arc<Mutex<World>>,
    folder: PathBuf,
    tasks: TaskTracker,
    host: Ipv4Addr,
    renewals: watch::Sender<u32>,
}

/// A loopback address of its own for each place, of this process and of those beside it: a port
/// that one gives back is never taken by another, so a connection tells about its instance only.
fn own_host() -> Ipv4Addr {
    static PLACES: AtomicU32 = AtomicU32::new(0);
    let place = PLACES.fetch_add(1, Ordering::Relaxed);
    assert!(place < 1 << 10, "more places than addresses");
    // Neither the first addresses, where other programs listen, nor the last, a broadcast.
    let process = std::process::id() % ((1 << 14) - 2) + 1;
    let [_, b, c, d] = (process << 10 | place).to_be_bytes();
    Ipv4Addr::new(127, b, c, d)
}

impl Simulated {
    pub fn new(folder: PathBuf) -> Self {
        std::fs::create_dir_all(&folder).unwrap();
        Self {
            world: Arc::default(),
            folder,
            tasks: TaskTracker::new(),
            host: own_host(),
            renewals: watch::Sender::new(0),
        }
    }

    /// Waits until a runner says once more that it lives.
    pub async fn renewed(&self) {
        let mut renewals = self.renewals.subscribe();
        renewals.changed().await.unwrap();
    }

    fn held(&self) -> Hold {
        let by = self.world().faults.held_by.clone();
        by.map_or(Hold::Ours, Hold::Theirs)
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub fn set_faults(&self, faults: Faults) {
        self.world().faults = faults;
    }

    /// Has it say that a run would change that.
    pub fn foretell(&self, changes: Vec<Change>) {
        self.world().foretold = changes;
    }

    /// What was asked so far, in order.
    pub fn asked(&self) -> Vec<String> {
        self.world().asked.clone()
    }

    pub fn shares(&self) -> BTreeMap<String, Shares> {
        let mut traffic = self.world().traffic.clone();
        for shares in traffic.values_mut() {
            shares.retain(|_, share| *share > 0);
        }
        traffic
    }

    pub fn running(&self, release: &str) -> usize {
        let world = self.world();
        world
            .instances
            .values()
            .filter(|(one, _)| one.release.as_str() == release)
            .count()
    }

    async fn listen(&self, service: String, release: Option<Release>) -> (SocketAddr, AbortHandle) {
        let listener = TcpListener::bind((self.host, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let world = Arc::clone(&self.world);
        let answer = move |uri: Uri, headers: HeaderMap| {
            let release = match &release {
                Some(release) => Some(release.clone()),
                None => route(&mut world.lock().unwrap(), &service, &headers),
            };
            let world = world.lock().unwrap();
            let unready = world.faults.unready.clone();
            let ill = is_ill(&world, &service, release.as_ref());
            let release = release.filter(|_| !ill);
            async move { reply(release, unready, uri.path()) }
        };
        let app = axum::Router::new().fallback(answer);
        let task = self.tasks.spawn(async move {
            axum::serve(listener, app).await.unwrap();
        });
        (address, task.abort_handle())
    }

    /// Brings a release up with all traffic, as an earlier run would have left it.
    pub async fn seed(&self, spec: &Spec, release: &str) {
        let release: Release = release.parse().unwrap();
        let mut shares = BTreeMap::new();
        for service in &spec.services {
            let wanted = Wanted {
                run: "seed".parse().unwrap(),
                service: service.name.clone(),
                release: release.clone(),
                replicas: service.replicas,
                start_limit: Duration::from_secs(5),
            };
            self.start(&wanted).await.unwrap();
            shares.insert(service.name.clone(), Shares::from([(release.clone(), 100)]));
        }
        self.set_traffic(&shares).await.unwrap();
        self.world().asked.clear();
    }

    /// Gives every service its address.
    pub async fn address_all(&self, spec: &Spec) {
        for service in &spec.services {
            let (address, _) = self.listen(service.name.clone(), None).await;
            self.world().addresses.insert(service.name.clone(), address);
        }
    }

    fn feed(&self) {
        if std::mem::replace(&mut self.world().feeding, true) {
            return;
        }
        let simulated = self.clone();
        self.tasks.spawn(async move {
            loop {
                simulated.write_samples();
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        });
    }

    fn write_samples(&self) {
        // Held while writing: nothing is written after the target was told to stop.
        let world = self.world();
        let Some(folder) = world.samples.clone() else {
            return;
        };
        let (traffic, failing) = (world.traffic.clone(), world.faults.failing.clone());
        let favoured = world.faults.favoured.clone();
        let mut samples = Vec::new();
        for (service, shares) in traffic {
            for (release, share) in shares.into_iter().filter(|(_, share)| *share > 0) {
                let second = SystemClock.now().timestamp();
                let mut sample = Sample::empty(second, &service, release.as_str(), Source::Router);
                let more = match &favoured {
                    Some(favoured) if share < 100 && *favoured == release => 20,
                    Some(_) if share < 100 => -20,
                    _ => 0,
                };
                sample.count = u64::from(share.saturating_add_signed(more)) * 20;
                for _ in 0..sample.count {
                    sample.latency.count(2_000);
                }
                if failing.as_ref() == Some(&release) {
                    sample.errors.insert("5xx".to_owned(), sample.count / 10);
                }
                samples.push(sample);
            }
        }
        SampleWriter::open(&folder, "router")
            .unwrap()
            .append(&samples)
            .unwrap();
    }
}

fn route(world: &mut World, service: &str, headers: &HeaderMap) -> Option<Release> {
    let named = headers
        .get(ON_PURPOSE)
        .and_then(|value| value.to_str().ok());
    if let Some(named) = named {
        return named.parse().ok();
    }
    world.turn = (world.turn + 37) % 100;
    let turn = world.turn;
    let mut end = 0;
    for (release, share) in world.traffic.get(service)? {
        end += u32::from(*share);
        if turn < end {
            return Some(release.clone());
        }
    }
    None
}

/// Whether a service answers nobody well: the ill release's catalog, and who asks that one.
fn is_ill(world: &World, service: &str, release: Option<&Release>) -> bool {
    let Some(ill) = &world.faults.ill else {
        return false;
    };
    match service {
        "catalog" => release == Some(ill),
        _ => world.traffic["catalog"]
            .get(ill)
            .is_some_and(|share| *share > 0),
    }
}

/// What the place's own health check finds in an instance of a release.
fn health(faults: &Faults, release: &Release) -> Option<Health> {
    let passed = faults.unwell.as_ref() != Some(release);
    let detail = match passed {
        true => "its health check passes",
        false => "its health check failed 3 times in a row: exit code 1, no way to the database",
    };
    faults.checks.then(|| Health {
        passed,
        detail: detail.to_owned(),
    })
}

fn reply(
    release: Option<Release>,
    unready: Option<Release>,
    path: &str,
) -> axum::response::Response {
    let Some(release) = release else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    if path == "/ready" && unready.as_ref() == Some(&release) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    (
        [("x-release", release.to_string())],
        "simulated_requests_total 1\n",
    )
        .into_response()
}

#[async_trait]
impl Target for Simulated {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn cannot_honour(&self, _: &Spec) -> Vec<Limit> {
        Vec::new()
    }

    async fn hold(&self, _: &LockHolder) -> Result<Hold, TargetError> {
        Ok(self.held())
    }

    async fn renew_hold(&self, _: &LockHolder) -> Result<Hold, TargetError> {
        self.renewals.send_modify(|renewals| *renewals += 1);
        Ok(self.held())
    }

    async fn changes(
        &self,
        _: &Release,
        _: Option<&Release>,
        _: &BTreeMap<String, u32>,
    ) -> Result<Vec<Change>, TargetError> {
        Ok(self.world().foretold.clone())
    }

    async fn capacity(&self) -> Result<Capacity, TargetError> {
        Ok(Capacity {
            host: "simulated".to_owned(),
            system: "none".to_owned(),
            processors: 1,
            processors_free: 1.0,
            memory: 1,
            memory_free: 1,
            disk_free: 1,
            disk_path: self.folder.clone(),
            network: BTreeMap::new(),
        })
    }

    async fn observe(&self) -> Result<Observed, TargetError> {
        let world = self.world();
        let instances: Vec<_> = world
            .instances
            .values()
            .map(|(one, _)| Instance {
                health: health(&world.faults, &one.release),
                ..one.clone()
            })
            .collect();
        let addresses = world
            .addresses
            .iter()
            .map(|(service, address)| ServiceAddress {
                service: service.clone(),
                address: *address,
                routing: code_deploy_engine::spec::Routing::default(),
            });
        let whole = |shares: &Shares| {
            shares
                .iter()
                .find(|(_, share)| **share == 100)
                .map(|(release, _)| release.clone())
        };
        let stable: Vec<_> = world.traffic.values().map(whole).collect();
        let first = stable.first().cloned().flatten();
        let same = stable.iter().all(|one| *one == first);
        let runs = instances
            .iter()
            .any(|one| Some(&one.release) == first.as_ref());
        Ok(Observed {
            addresses: addresses.collect(),
            fronts: BTreeMap::new(),
            traffic: world.traffic.clone(),
            stable: first.filter(|_| same && runs),
            listening: Vec::new(),
            instances,
        })
    }

    async fn image_health_checks(
        &self,
        _: &Release,
    ) -> Result<BTreeMap<String, bool>, TargetError> {
        Ok(self.world().faults.images.clone())
    }

    async fn open(&self, services: &[ServiceAddress]) -> Result<Vec<ServiceAddress>, TargetError> {
        Ok(services.to_vec())
    }

    async fn close(&self) -> Result<(), TargetError> {
        Ok(())
    }

    async fn start(&self, wanted: &Wanted) -> Result<Vec<Instance>, TargetError> {
        self.world()
            .asked
            .push(format!("start {} {}", wanted.service, wanted.release));
        let mut started = Vec::new();
        for number in 1..=wanted.replicas {
            let id = format!("{}-{}-{number}", wanted.service, wanted.release);
            let known = self.world().instances.get(&id).map(|(one, _)| one.clone());
            if let Some(known) = known {
                started.push(known);
                continue;
            }
            let release = Some(wanted.release.clone());
            let (address, task) = self.listen(wanted.service.clone(), release).await;
            let instance = Instance {
                id: id.clone(),
                service: wanted.service.clone(),
                release: wanted.release.clone(),
                address,
                pid: None,
                started: SystemClock.now(),
                running: true,
                restarts: 0,
                health: None,
            };
            std::fs::write(self.folder.join(format!("{id}.log")), "started\n").unwrap();
            self.world().instances.insert(id, (instance.clone(), task));
            started.push(instance);
        }
        Ok(started)
    }

    async fn stop(
        &self,
        service: &str,
        release: &Release,
        grace: Duration,
    ) -> Result<Stopped, TargetError> {
        self.scale_down(service, release, 0, grace).await
    }

    async fn scale_down(
        &self,
        service: &str,
        release: &Release,
        replicas: u32,
        _: Duration,
    ) -> Result<Stopped, TargetError> {
        let drain = self.world().faults.drain;
        tokio::time::sleep(drain).await;
        let mut world = self.world();
        world.asked.push(format!("stop {service} {release}"));
        if world.faults.unstoppable.as_ref() == Some(release) {
            return Err(TargetError {
                code: "CD0599",
                service: Some(service.to_owned()),
                what: "its instances do not end".to_owned(),
                next: "Look at the process table.".to_owned(),
                transient: false,
            });
        }
        let own = |one: &Instance| one.service == service && one.release == *release;
        let ids: Vec<_> = world
            .instances
            .iter()
            .filter(|(_, (one, _))| own(one))
            .map(|(id, _)| id.clone())
            .skip(replicas as usize)
            .collect();
        for id in &ids {
            let (_, task) = world.instances.remove(id).unwrap();
            task.abort();
        }
        Ok(Stopped {
            service: service.to_owned(),
            release: release.clone(),
            ended: u32::try_from(ids.len()).unwrap(),
            forced: 0,
            cut: 0,
        })
    }

    async fn set_traffic(&self, shares: &BTreeMap<String, Shares>) -> Result<(), TargetError> {
        let mut world = self.world();
        let first = shares.values().next().cloned().unwrap_or_default();
        let text: Vec<_> = first
            .iter()
            .map(|(release, share)| format!("{release}={share}"))
            .collect();
        world.asked.push(format!("traffic {}", text.join(" ")));
        world.traffic.extend(shares.clone());
        Ok(())
    }

    async fn traffic(&self) -> Result<BTreeMap<String, Shares>, TargetError> {
        Ok(self.world().traffic.clone())
    }

    async fn renew_lease(&self, lease: Option<Lease>) -> Result<(), TargetError> {
        let word = if lease.is_some() { "held" } else { "ended" };
        self.world().asked.push(format!("lease {word}"));
        Ok(())
    }

    async fn events(&self) -> Result<Vec<TargetEvent>, TargetError> {
        Ok(Vec::new())
    }

    async fn sample_into(&self, folder: Option<PathBuf>) -> Result<(), TargetError> {
        let on = folder.is_some();
        self.world().samples = folder;
        if on {
            self.feed();
        }
        Ok(())
    }

    async fn logs(
        &self,
        service: &str,
        release: &Release,
    ) -> Result<Vec<InstanceLog>, TargetError> {
        let world = self.world();
        let own = world.instances.values().map(|(one, _)| one);
        let own = own.filter(|one| one.service == service && one.release == *release);
        let log = |one: &Instance| InstanceLog {
            instance: one.id.clone(),
            path: self.folder.join(format!("{}.log", one.id)),
        };
        Ok(own.map(log).collect())
    }

    fn reach(&self, release: &Release) -> Vec<(String, Secret)> {
        vec![(ON_PURPOSE.to_owned(), Secret::new(release.to_string()))]
    }

    async fn remove_all(&self, _: Duration) -> Result<Vec<Stopped>, TargetError> {
        Ok(Vec::new())
    }
}
