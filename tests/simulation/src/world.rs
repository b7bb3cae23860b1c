//! The simulated world: what runs, what is served, what time it is, who is alive, and everything
//! that was done to it, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Notify;

use crate::faults::Storm;

/// Shares of traffic of one service, by release.
pub type Shares = BTreeMap<String, u16>;

/// A process of the simulation. Each start of the program is another.
pub type Process = u32;

/// The world. Cheap to clone; clones share it.
#[derive(Debug, Clone)]
pub struct World(Arc<Mutex<Inner>>);

/// What there is.
#[derive(Debug)]
pub struct Inner {
    /// Everything that was done, in order.
    pub log: Vec<Entry>,
    /// Instances by name.
    instances: BTreeMap<String, Instance>,
    /// The names of the instances by their numbers.
    numbers: BTreeMap<u32, String>,
    /// The shares as served.
    pub traffic: BTreeMap<String, Shares>,
    /// The lease under which traffic is split, and when it runs out.
    pub lease: Option<Lease>,
    /// Effects of generic steps that are there now.
    pub effects: BTreeSet<String>,
    /// What goes wrong.
    pub storm: Storm,
    /// Processes that are dead.
    pub dead: BTreeSet<Process>,
    /// Lines of the last journal that are on disk for good.
    pub durable: u64,
    /// The folder into which the router writes samples.
    pub samples: Option<std::path::PathBuf>,
    /// Until which second the router's samples are written.
    pub sampled: i64,
    /// Releases of whose requests one in five fails.
    pub failing: BTreeSet<String>,
    /// Releases that never get ready.
    pub unready: BTreeSet<String>,
    /// Instances that do not answer until that time.
    pub ill: BTreeMap<String, Duration>,
    /// Which turn of the balancer comes next.
    pub turn: u32,
    /// Instances started so far.
    pub started: u32,
    /// Who holds the lock of the run.
    pub holder: Option<Process>,
    time: Time,
    wake: Arc<Notify>,
    /// What the process that runs is asked to do at its next wait.
    pub wanted: Option<Wanted>,
}

/// What the driver has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The process is dead.
    Bury,
    /// Another runner is started while this one is at work.
    Second,
    /// The process is suspended for a long time, and another takes over.
    Suspend,
}

#[derive(Debug)]
struct Time {
    /// World time when the present process was let run.
    base: Duration,
    /// When that was by its own clock.
    since: Option<tokio::time::Instant>,
    /// By how much the clock on the wall is wrong.
    jump: TimeDelta,
}

/// An instance.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its service.
    pub service: String,
    /// Its release.
    pub release: String,
    /// Its number, from which its address follows.
    pub number: u32,
    /// When it was started.
    pub started: DateTime<Utc>,
}

/// A lease under which traffic is split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Where all traffic goes.
    pub stable: String,
    /// How long it holds.
    pub ttl: Duration,
    /// When it runs out.
    pub until: Duration,
}

/// Something that was done or happened.
#[derive(Debug, Clone)]
pub struct Entry {
    /// When, by a clock that nobody sets.
    pub at: Duration,
    /// Who did it; nothing when it happened by itself.
    pub process: Option<Process>,
    /// Lines of the journal that were on disk for good then.
    pub durable: u64,
    /// What.
    pub what: What,
}

/// What was done or happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// An instance was started.
    Started {
        /// Of that service.
        service: String,
        /// Of that release.
        release: String,
    },
    /// Instances were stopped; so many are left.
    Stopped {
        /// Of that service.
        service: String,
        /// Of that release.
        release: String,
        /// What is left of it.
        left: usize,
    },
    /// The shares of services were set; here as all are served now.
    Served(BTreeMap<String, Shares>),
    /// A lease was held, with its stable release, or ended.
    Leased(Option<String>),
    /// A lease ran out, and all traffic went to the stable release.
    LeaseRanOut,
    /// A generic step's effect appeared or vanished.
    Effect {
        /// Which.
        name: String,
        /// Whether it is there now.
        there: bool,
    },
    /// A process took the lock under a fencing number.
    LockTaken(u64),
    /// A line was appended to a journal; on disk for good only when a flush follows.
    Appended,
    /// A fault was injected.
    Fault(String),
    /// A process began.
    Began,
    /// A process ended or died.
    Ended(String),
}

impl World {
    /// Returns a world in which nothing runs.
    #[must_use]
    pub fn new(storm: Storm) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            log: Vec::new(),
            instances: BTreeMap::new(),
            numbers: BTreeMap::new(),
            traffic: BTreeMap::new(),
            lease: None,
            effects: BTreeSet::new(),
            storm,
            dead: BTreeSet::new(),
            durable: 0,
            samples: None,
            sampled: 0,
            failing: BTreeSet::new(),
            unready: BTreeSet::new(),
            ill: BTreeMap::new(),
            turn: 0,
            started: 0,
            holder: None,
            time: Time {
                base: Duration::ZERO,
                since: None,
                jump: TimeDelta::zero(),
            },
            wake: Arc::new(Notify::new()),
            wanted: None,
        })))
    }

    /// Returns the world for a look or a change; a lease that has run out meanwhile has.
    pub fn look(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.catch_up();
        inner
    }

    /// Returns who wakes the driver.
    #[must_use]
    pub fn wake(&self) -> Arc<Notify> {
        Arc::clone(&self.look().wake)
    }

    /// Forgets what the driver was to do for a process that has ended.
    pub fn forget_wanted(&self) {
        let mut inner = self.look();
        inner.wanted = None;
        inner.wake = Arc::new(Notify::new());
    }
}

impl Inner {
    /// Returns the time by a clock that nobody sets, since the world began.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.time.base
            + self
                .time
                .since
                .map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Returns what the clock on the wall shows.
    #[must_use]
    pub fn wall(&self) -> DateTime<Utc> {
        let began = DateTime::from_timestamp(1_800_000_000, 0).unwrap_or_default();
        let now = TimeDelta::from_std(self.now()).unwrap_or_default();
        let now = TimeDelta::microseconds(now.num_microseconds().unwrap_or(0));
        began + now + self.time.jump
    }

    /// Sets the clock on the wall forward or back.
    pub fn jump(&mut self, by: TimeDelta) {
        self.time.jump += by;
    }

    /// Lets time run by the clock of the process that runs from here on.
    pub fn start_time(&mut self) {
        self.time.since = Some(tokio::time::Instant::now());
    }

    /// Keeps the time at which the present process is left.
    pub fn stop_time(&mut self) {
        self.time.base = self.now();
        self.time.since = None;
    }

    /// Lets time pass while no process runs.
    pub fn pass(&mut self, time: Duration) {
        self.time.base += time;
        self.catch_up();
    }

    /// Notes what was done or happened.
    pub fn note(&mut self, process: Option<Process>, what: What) {
        let (at, durable) = (self.now(), self.durable);
        self.log.push(Entry {
            at,
            process,
            durable,
            what,
        });
    }

    /// Kills a process: it changes nothing from here on.
    pub fn kill(&mut self, process: Process, how: &str) {
        self.dead.insert(process);
        self.note(Some(process), What::Fault(format!("killed {how}")));
        self.want(Wanted::Bury);
    }

    /// Has the driver do something as soon as the process that runs waits.
    pub fn want(&mut self, wanted: Wanted) {
        self.wanted = Some(wanted);
        self.wake.notify_one();
    }

    fn catch_up(&mut self) {
        let Some(lease) = self.lease.clone() else {
            return;
        };
        if self.now() < lease.until {
            return;
        }
        self.lease = None;
        let first = self.log.len();
        self.run_out(&lease);
        // It did so when its time was over, whoever looks when.
        for entry in self.log.iter_mut().skip(first) {
            entry.at = lease.until;
        }
    }

    fn run_out(&mut self, lease: &Lease) {
        if !self.is_split() {
            self.note(None, What::Leased(None));
            return;
        }
        for shares in self.traffic.values_mut() {
            *shares = Shares::from([(lease.stable.clone(), 100)]);
        }
        self.note(None, What::LeaseRanOut);
        let served = self.traffic.clone();
        self.note(None, What::Served(served));
    }

    /// Returns whether a service is served by two releases, or services by different ones.
    #[must_use]
    pub fn is_split(&self) -> bool {
        let releases: BTreeSet<_> = self
            .traffic
            .values()
            .flat_map(|shares| shares.iter().filter(|(_, share)| **share > 0))
            .map(|(release, _)| release)
            .collect();
        releases.len() > 1
    }

    /// Returns all instances by name.
    #[must_use]
    pub fn instances(&self) -> &BTreeMap<String, Instance> {
        &self.instances
    }

    /// Returns the instances of a service by name.
    pub fn instances_of(&self, service: &str) -> impl Iterator<Item = (&String, &Instance)> {
        // Names begin with the service's.
        let from = format!("{service}-");
        let own = self.instances.range(from.clone()..);
        let own = own.take_while(move |(id, _)| id.starts_with(&from));
        own.filter(move |(_, one)| one.service == service)
    }

    /// Returns the instance of that number with its name.
    #[must_use]
    pub fn instance(&self, number: u32) -> Option<(&String, &Instance)> {
        self.instances.get_key_value(self.numbers.get(&number)?)
    }

    /// Adds an instance.
    pub fn add(&mut self, id: String, one: Instance) {
        self.numbers.insert(one.number, id.clone());
        self.instances.insert(id, one);
    }

    /// Takes an instance away.
    pub fn remove(&mut self, id: &str) {
        if let Some(one) = self.instances.remove(id) {
            self.numbers.remove(&one.number);
        }
    }

    /// Returns how many instances of a service's release run.
    #[must_use]
    pub fn running(&self, service: &str, release: &str) -> usize {
        let own = self.instances_of(service);
        own.filter(|(_, one)| one.release == release).count()
    }

    /// Returns whether an instance answers as it should.
    #[must_use]
    pub fn is_well(&self, id: &str) -> bool {
        let Some(one) = self.instances.get(id) else {
            return false;
        };
        let ill = self.ill.get(id).is_some_and(|until| self.now() < *until);
        !ill && !self.unready.contains(&one.release)
    }
}

/// The clock on the wall.
#[derive(Debug, Clone)]
pub struct Wall(pub World);

impl code_deploy_record::Clock for Wall {
    fn now(&self) -> DateTime<Utc> {
        self.0.look().wall()
    }
}
