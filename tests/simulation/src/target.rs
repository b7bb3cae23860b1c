//! The simulated place to deploy to.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use code_deploy_engine::Target;
use code_deploy_engine::spec::{Limit, Routing, Spec};
use code_deploy_engine::target::{
    Capacity, Instance, InstanceLog, Lease, Observed, ServiceAddress, Shares, Stopped, TargetError,
    TargetEvent, Wanted,
};
use code_deploy_record::disk::Create;
use code_deploy_record::{Disk as _, Release, Secret};

use crate::disk::{LOGS, SimulatedDisk};
use crate::faults::{Fault, Point};
use crate::world::{self, Inner, Process, What, World};

/// The header that reaches a release on purpose.
pub const ON_PURPOSE: &str = "x-simulated-release";

/// The place as one process sees it.
#[derive(Debug, Clone)]
pub struct Place {
    /// The world.
    pub world: World,
    /// Who asks.
    pub process: Process,
    /// The disk, for logs.
    pub disk: SimulatedDisk,
    /// Whether its engine does not look who holds the lock, so that nothing of it is lost.
    pub alone: bool,
    /// The services in order: the address of each follows from its place.
    pub services: Vec<String>,
}

/// Lets happen what concerns the world and not a call.
pub fn of_the_world(world: &mut Inner, fault: Fault) {
    match fault {
        Fault::Jump(seconds) => world.jump(TimeDelta::seconds(seconds)),
        Fault::Second => world.want(world::Wanted::Second),
        Fault::Suspend => world.want(world::Wanted::Suspend),
        Fault::Ill(time) => {
            let instances: Vec<_> = world.instances().keys().cloned().collect();
            if let Some(last) = instances.len().checked_sub(1) {
                let which = world.storm.between(0, last as u64) as usize;
                let until = world.now() + time;
                world.ill.insert(instances[which].clone(), until);
            }
        }
        _ => {}
    }
}

/// Lets something go wrong at a point that waits; returns what goes wrong there.
pub async fn pass(world: &World, process: Process, point: Point) -> Option<Fault> {
    let (fault, wanted) = {
        let mut inner = world.look();
        let dead = inner.dead.contains(&process);
        let fault = (!dead).then(|| inner.storm.strike(point)).flatten();
        if let Some(fault) = fault {
            inner.note(
                Some(process),
                What::Fault(format!("{fault:?} at {point:?}")),
            );
        }
        match fault {
            Some(Fault::KillBefore) => inner.kill(process, "before a call"),
            Some(Fault::Disk(broken)) => inner.storm.disk = Some(broken),
            Some(other) => of_the_world(&mut inner, other),
            None => {}
        }
        (fault, inner.wanted.is_some())
    };
    if wanted {
        // The driver looks before this goes on.
        tokio::task::yield_now().await;
    }
    if world.look().dead.contains(&process) || fault == Some(Fault::Hang) {
        std::future::pending::<()>().await;
    }
    fault
}

/// Returns the error of a call that fails by a fault.
#[must_use]
pub fn failure(what: &str, transient: bool) -> TargetError {
    TargetError {
        code: "CD0599",
        service: None,
        what: format!("{what} failed by a fault of the simulation"),
        next: "Look at the seed.".to_owned(),
        transient,
    }
}

impl Place {
    async fn observing(&self) -> Result<(), TargetError> {
        match pass(&self.world, self.process, Point::Observe).await {
            Some(Fault::Fail { transient }) => Err(failure("a look", transient)),
            _ => Ok(()),
        }
    }

    /// Makes a change as a whole, in half, late, or not.
    pub async fn change<T>(
        &self,
        what: &str,
        whole: impl FnOnce(&mut Inner) -> T,
        half: impl FnOnce(&mut Inner),
    ) -> Result<T, TargetError> {
        let fault = pass(&self.world, self.process, Point::Change).await;
        match fault {
            Some(Fault::Fail { transient }) => return Err(failure(what, transient)),
            Some(Fault::Half) => {
                half(&mut self.world.look());
                return Err(failure(what, true));
            }
            Some(Fault::Late(time)) if time.as_millis() % 2 == 0 => tokio::time::sleep(time).await,
            _ => {}
        }
        // What a process had handed over before it was suspended is lost when another has taken over.
        let lost = {
            let world = self.world.look();
            world.dead.contains(&self.process)
                || (world.holder != Some(self.process) && !self.alone)
        };
        if lost {
            std::future::pending::<()>().await;
        }
        let made = whole(&mut self.world.look());
        match fault {
            Some(Fault::FailAfter { transient }) => return Err(failure(what, transient)),
            Some(Fault::KillAfter) => {
                self.world.look().kill(self.process, "after a call");
                std::future::pending::<()>().await;
            }
            Some(Fault::Late(time)) if time.as_millis() % 2 == 1 => tokio::time::sleep(time).await,
            _ => {}
        }
        Ok(made)
    }

    fn instance(&self, id: &str, one: &world::Instance) -> Instance {
        Instance {
            id: id.to_owned(),
            service: one.service.clone(),
            release: one.release.parse().unwrap(),
            address: SocketAddr::from((instance_address(one.number), 80)),
            pid: None,
            started: one.started,
            running: true,
            restarts: 0,
            health: None,
        }
    }

    fn begin(&self, wanted: &Wanted, replicas: u32, world: &mut Inner) -> Vec<Instance> {
        let release = wanted.release.to_string();
        let mut started = Vec::new();
        for number in 1..=replicas {
            let id = format!("{}-{release}-{number}", wanted.service);
            if !world.instances().contains_key(&id) {
                world.started += 1;
                let one = world::Instance {
                    service: wanted.service.clone(),
                    release: release.clone(),
                    number: world.started,
                    started: world.wall(),
                };
                world.add(id.clone(), one);
                let (service, release) = (wanted.service.clone(), release.clone());
                world.note(Some(self.process), What::Started { service, release });
            }
            started.extend(
                world
                    .instances()
                    .get(&id)
                    .map(|one| self.instance(&id, one)),
            );
        }
        started
    }

    fn end(&self, service: &str, release: &Release, left: u32, world: &mut Inner) -> Stopped {
        let own: Vec<_> = world
            .instances_of(service)
            .filter(|(_, one)| *release.as_str() == one.release)
            .map(|(id, _)| id.clone())
            .skip(left as usize)
            .collect();
        for id in &own {
            world.remove(id);
        }
        let left = world.running(service, release.as_str());
        if !own.is_empty() {
            let (service, release) = (service.to_owned(), release.to_string());
            world.note(
                Some(self.process),
                What::Stopped {
                    service,
                    release,
                    left,
                },
            );
        }
        Stopped {
            service: service.to_owned(),
            release: release.clone(),
            ended: own.len() as u32,
            forced: 0,
            cut: 0,
        }
    }

    fn serve<'a>(&self, shares: impl Iterator<Item = (&'a String, &'a Shares)>, world: &mut Inner) {
        for (service, shares) in shares {
            let shares = shares
                .iter()
                .map(|(release, share)| (release.to_string(), *share));
            let shares = shares.filter(|(_, share)| *share > 0).collect();
            world.traffic.insert(service.clone(), shares);
        }
        // What is counted from the next second on is of these shares alone.
        world.sampled = world.wall().timestamp();
        let served = world.traffic.clone();
        world.note(Some(self.process), What::Served(served));
    }
}

/// Returns the address of the instance of that number.
#[must_use]
pub fn instance_address(number: u32) -> Ipv4Addr {
    let [_, b, c, d] = number.to_be_bytes();
    Ipv4Addr::new(10, b + 1, c, d)
}

/// Returns the address of the service at that place, counted from 1.
fn service_address(place: u16) -> SocketAddr {
    let [high, low] = place.to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(10, 0, high, low), 80))
}

/// Returns the number of the instance at an address, whether there is one or not.
#[must_use]
pub fn number_of(address: Ipv4Addr) -> u32 {
    let [_, b, c, d] = address.octets();
    u32::from_be_bytes([0, b.saturating_sub(1), c, d])
}

/// Returns where the log of an instance is.
fn log_path(id: &str) -> PathBuf {
    Path::new(LOGS).join(format!("{id}.log"))
}

#[async_trait]
impl Target for Place {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn cannot_honour(&self, _: &Spec) -> Vec<Limit> {
        Vec::new()
    }

    async fn capacity(&self) -> Result<Capacity, TargetError> {
        Err(failure("measuring a place that has no size", false))
    }

    async fn observe(&self) -> Result<Observed, TargetError> {
        self.observing().await?;
        let world = self.world.look();
        let instances: Vec<_> = world
            .instances()
            .iter()
            .map(|(id, one)| self.instance(id, one))
            .collect();
        let addresses = self
            .services
            .iter()
            .zip(1..)
            .map(|(service, place)| ServiceAddress {
                service: service.clone(),
                address: service_address(place),
                routing: Routing::default(),
            });
        let whole = |shares: &world::Shares| match shares.iter().next() {
            Some((release, 100)) if shares.len() == 1 => Some(release.clone()),
            _ => None,
        };
        let mut stable: Vec<_> = world.traffic.values().map(whole).collect();
        stable.dedup();
        let stable = match stable.as_slice() {
            [Some(release)] if world.traffic.len() == self.services.len() => {
                Some(release.parse().unwrap())
            }
            _ => None,
        };
        Ok(Observed {
            instances,
            addresses: addresses.collect(),
            fronts: BTreeMap::new(),
            traffic: shares_of(&world.traffic),
            stable,
            listening: Vec::new(),
        })
    }

    async fn instances(&self, service: &str) -> Result<Vec<Instance>, TargetError> {
        self.observing().await?;
        let world = self.world.look();
        let own = world.instances_of(service);
        Ok(own.map(|(id, one)| self.instance(id, one)).collect())
    }

    async fn open(&self, services: &[ServiceAddress]) -> Result<Vec<ServiceAddress>, TargetError> {
        Ok(services.to_vec())
    }

    async fn close(&self) -> Result<(), TargetError> {
        Ok(())
    }

    async fn start(&self, wanted: &Wanted) -> Result<Vec<Instance>, TargetError> {
        let half = wanted.replicas / 2;
        let started = self
            .change(
                "a start",
                |world| self.begin(wanted, wanted.replicas, world),
                |world| drop(self.begin(wanted, half, world)),
            )
            .await?;
        for one in &started {
            let log = self.disk.append(&log_path(&one.id), Create::IfMissing);
            if let Ok(mut log) = log {
                drop(log.append(b"started\n"));
            }
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
        let stubborn = {
            let mut world = self.world.look();
            let stubborn = world.storm.unstoppable > 0;
            world.storm.unstoppable = world.storm.unstoppable.saturating_sub(1);
            stubborn
        };
        if stubborn {
            return Err(failure(
                "a stop",
                self.world.look().storm.between(0, 1) == 0,
            ));
        }
        let running = self.world.look().running(service, release.as_str()) as u32;
        let half = replicas + running.saturating_sub(replicas) / 2;
        self.change(
            "a stop",
            |world| self.end(service, release, replicas, world),
            |world| drop(self.end(service, release, half, world)),
        )
        .await
    }

    async fn set_traffic(&self, shares: &BTreeMap<String, Shares>) -> Result<(), TargetError> {
        let half = shares.len() / 2;
        self.change(
            "a move of traffic",
            |world| self.serve(shares.iter(), world),
            |world| self.serve(shares.iter().take(half), world),
        )
        .await
    }

    async fn traffic(&self) -> Result<BTreeMap<String, Shares>, TargetError> {
        self.observing().await?;
        Ok(shares_of(&self.world.look().traffic))
    }

    async fn renew_lease(&self, lease: Option<Lease>) -> Result<(), TargetError> {
        let renew = |world: &mut Inner| {
            let before = world.lease.as_ref().map(|lease| lease.stable.clone());
            let now = lease.as_ref().map(|lease| lease.stable.to_string());
            world.lease = lease.as_ref().map(|lease| world::Lease {
                stable: lease.stable.to_string(),
                ttl: lease.ttl,
                until: world.now() + lease.ttl,
            });
            if before != now {
                world.note(Some(self.process), What::Leased(now));
            }
        };
        self.change("a renewal of the lease", renew, |_| {}).await
    }

    async fn events(&self) -> Result<Vec<TargetEvent>, TargetError> {
        Ok(Vec::new())
    }

    async fn sample_into(&self, folder: Option<PathBuf>) -> Result<(), TargetError> {
        self.world.look().samples = folder;
        Ok(())
    }

    async fn logs(
        &self,
        service: &str,
        release: &Release,
    ) -> Result<Vec<InstanceLog>, TargetError> {
        self.observing().await?;
        let world = self.world.look();
        let own = world.instances_of(service);
        let own = own.filter(|(_, one)| one.release == release.as_str());
        let log = |id: &String| InstanceLog {
            instance: id.clone(),
            path: log_path(id),
        };
        Ok(own.map(|(id, _)| log(id)).collect())
    }

    fn reach(&self, release: &Release) -> Vec<(String, Secret)> {
        vec![(ON_PURPOSE.to_owned(), Secret::new(release.to_string()))]
    }

    async fn remove_all(&self, _: Duration) -> Result<Vec<Stopped>, TargetError> {
        Ok(Vec::new())
    }
}

fn shares_of(traffic: &BTreeMap<String, world::Shares>) -> BTreeMap<String, Shares> {
    let each = traffic.iter().map(|(service, shares)| {
        let shares = shares.iter();
        let shares = shares.map(|(release, share)| (release.parse().unwrap(), *share));
        (service.clone(), shares.collect())
    });
    each.collect()
}
