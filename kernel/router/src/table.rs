//! The routing table: what every request and every switch looks at under one lock.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::backend::{Backend, InFlight};
use crate::balancer::{self, Weighted};
use crate::control::{BackendStatus, ReleaseStatus, Weights};
use crate::sticky::LINE;
use crate::sync::lock;
use crate::tally::Tally;

/// All services. One lock covers choosing a backend, counting the request there, and switching,
/// for all services together: after a switch no request can reach what was switched off.
#[derive(Debug, Default)]
pub(crate) struct Table {
    services: Mutex<BTreeMap<String, Service>>,
}

/// The releases of one service.
#[derive(Debug, Default)]
pub(crate) struct Service {
    releases: Vec<Release>,
    draining: Vec<Arc<Backend>>,
}

#[derive(Debug)]
struct Release {
    name: Arc<str>,
    weight: u16,
    credit: i32,
    backends: Vec<Arc<Backend>>,
    tally: Arc<Tally>,
}

impl Weighted for Release {
    fn weight(&self) -> i32 {
        i32::from(self.weight)
    }

    fn credit(&mut self) -> &mut i32 {
        &mut self.credit
    }
}

/// Which release a request is for.
#[derive(Clone, Debug)]
pub(crate) enum Want {
    /// The next by weight.
    Split,
    /// The next by weight, and tell which part of the line it has.
    NewUser,
    /// The one that has this point of the line.
    Point(u32),
    /// This one, whatever its weight; by weight where the service does not have it.
    Named(String),
    /// This one and no other.
    Same(Arc<str>),
}

/// A backend for a request, which is already counted there.
#[derive(Debug)]
pub(crate) struct Pick {
    pub(crate) in_flight: InFlight,
    pub(crate) tally: Arc<Tally>,
    /// The part of the line its release has, for a new user.
    pub(crate) part: Option<Range<u32>>,
    /// Whether its release was asked for by name.
    pub(crate) named: bool,
    /// Whether it was another release's turn, which had no instance available.
    pub(crate) taken_over: bool,
}

impl Pick {
    /// Counts a request at a backend of a release.
    fn of(
        release: &Release,
        backend: &Arc<Backend>,
        part: Option<Range<u32>>,
        named: bool,
        now: Instant,
    ) -> Self {
        Self {
            in_flight: backend.admit(now),
            tally: Arc::clone(&release.tally),
            part,
            named,
            taken_over: false,
        }
    }
}

/// No backend for a request.
#[derive(Debug)]
pub(crate) struct NoBackend {
    /// The release that it was for, when there is one.
    pub(crate) tally: Option<Arc<Tally>>,
    pub(crate) named: bool,
}

impl Table {
    /// Chooses a backend and counts the request there.
    pub(crate) fn pick(
        &self,
        service: &str,
        want: &Want,
        tried: &[Arc<str>],
        now: Instant,
    ) -> Result<Pick, NoBackend> {
        let mut services = lock(&self.services);
        let Some(service) = services.get_mut(service) else {
            return Err(NoBackend {
                tally: None,
                named: false,
            });
        };
        service.pick(want, tried, now)
    }

    /// Runs a function on one service under the lock.
    pub(crate) fn with<T>(&self, service: &str, act: impl FnOnce(&mut Service) -> T) -> Option<T> {
        lock(&self.services).get_mut(service).map(act)
    }

    /// Runs a function on all services under the lock.
    pub(crate) fn with_all<T>(&self, act: impl FnOnce(&mut BTreeMap<String, Service>) -> T) -> T {
        act(&mut lock(&self.services))
    }

    /// Returns how many requests and tunnels are under way, also at instances that drain.
    pub(crate) fn in_flight(&self) -> usize {
        self.with_all(|services| {
            let backends = services.values().flat_map(|service| service.all_backends());
            backends.map(|backend| backend.in_flight()).sum()
        })
    }

    /// Switches weights of several services at once.
    pub(crate) fn switch(&self, weights: &BTreeMap<String, Weights>) {
        let mut services = lock(&self.services);
        for (name, weights) in weights {
            if let Some(service) = services.get_mut(name) {
                service.set_weights(weights);
            }
        }
    }
}

impl Service {
    fn pick(&mut self, want: &Want, tried: &[Arc<str>], now: Instant) -> Result<Pick, NoBackend> {
        let (index, named) = self.wanted(want);
        let Some(first) = index.and_then(|index| self.releases.get(index)) else {
            return Err(NoBackend { tally: None, named });
        };
        let part = matches!(want, Want::NewUser).then(|| self.part_of(&first.name));
        let healthy = |backend: &Backend| backend.available(now);
        if let Some(backend) = balancer::less_loaded(&first.backends, tried, healthy) {
            return Ok(Pick::of(first, &backend, part, named, now));
        }
        let fixed = named || matches!(want, Want::Same(_));
        if !fixed && let Some((release, backend)) = self.stand_in(&first.name, tried, now) {
            release.tally.took_over();
            let mut pick = Pick::of(release, &backend, None, named, now);
            pick.taken_over = true;
            return Ok(pick);
        }
        let last = |backend: &Backend| backend.last_resort(now);
        match balancer::less_loaded(&first.backends, tried, last) {
            Some(backend) => Ok(Pick::of(first, &backend, part, named, now)),
            None => Err(NoBackend {
                tally: Some(Arc::clone(&first.tally)),
                named,
            }),
        }
    }

    fn wanted(&mut self, want: &Want) -> (Option<usize>, bool) {
        let position = |name: &str, releases: &[Release]| {
            releases.iter().position(|release| &*release.name == name)
        };
        match want {
            Want::Same(name) => (position(name, &self.releases), false),
            Want::Named(name) => match position(name, &self.releases) {
                Some(index) => (Some(index), true),
                None => (balancer::next_by_weight(&mut self.releases), false),
            },
            Want::Split | Want::NewUser => (balancer::next_by_weight(&mut self.releases), false),
            Want::Point(point) => {
                let index = self
                    .parts()
                    .find(|(_, part)| part.contains(point))
                    .map(|(i, _)| i);
                (index, false)
            }
        }
    }

    /// A release in use that can answer in place of one that cannot: the heaviest. Losing the
    /// request would serve nobody; the missing instances show in status, events and samples.
    fn stand_in(
        &self,
        missing: &str,
        tried: &[Arc<str>],
        now: Instant,
    ) -> Option<(&Release, Arc<Backend>)> {
        self.releases
            .iter()
            .filter(|release| release.weight > 0 && &*release.name != missing)
            .filter_map(|release| {
                let healthy = |backend: &Backend| backend.available(now);
                let found = balancer::less_loaded(&release.backends, tried, healthy);
                found.map(|found| (release, found))
            })
            .max_by_key(|(release, _)| release.weight)
    }

    /// The line shared by weight, the newest release first.
    fn parts(&self) -> impl Iterator<Item = (usize, Range<u32>)> {
        let mut from = 0;
        self.releases
            .iter()
            .enumerate()
            .rev()
            .map(move |(index, release)| {
                let part = from..from + u32::from(release.weight) * LINE / 100;
                from = part.end;
                (index, part)
            })
    }

    fn part_of(&self, name: &str) -> Range<u32> {
        self.parts()
            .find(|(index, _)| self.releases.get(*index).is_some_and(|r| &*r.name == name))
            .map_or(0..LINE, |(_, part)| part)
    }

    /// Switches weights; releases not named get none.
    pub(crate) fn set_weights(&mut self, weights: &Weights) {
        for release in &mut self.releases {
            release.weight = weights.get(&*release.name).copied().unwrap_or_default();
            release.credit = 0;
        }
    }

    /// Returns the weights as served.
    pub(crate) fn weights(&self) -> Weights {
        self.releases
            .iter()
            .map(|release| (release.name.to_string(), release.weight))
            .collect()
    }

    /// Returns the weight as served, if the release is there.
    pub(crate) fn weight(&self, release: &str) -> Option<u16> {
        self.releases
            .iter()
            .find(|r| &*r.name == release)
            .map(|r| r.weight)
    }

    /// Returns the instances of a release, if it is there.
    pub(crate) fn backends(&self, release: &str) -> Option<Vec<Arc<Backend>>> {
        self.releases
            .iter()
            .find(|r| &*r.name == release)
            .map(|r| r.backends.clone())
    }

    /// Tells whether a release has an instance that passed its health checks.
    pub(crate) fn has_healthy(&self, release: &str) -> bool {
        self.releases
            .iter()
            .filter(|r| &*r.name == release)
            .flat_map(|r| &r.backends)
            .any(|backend| backend.is_healthy())
    }

    /// Adds an instance; one of the same id at another address begins to drain and is returned.
    pub(crate) fn put(
        &mut self,
        backend: &Arc<Backend>,
        tally: impl FnOnce() -> Arc<Tally>,
    ) -> Option<Arc<Backend>> {
        let known = self
            .releases
            .iter()
            .position(|release| release.name == backend.release);
        let index = known.unwrap_or_else(|| {
            self.releases.push(Release {
                name: Arc::clone(&backend.release),
                weight: 0,
                credit: 0,
                backends: Vec::new(),
                tally: tally(),
            });
            self.releases.len() - 1
        });
        let backends = &mut self.releases.get_mut(index)?.backends;
        let old = backends.iter().position(|other| other.id == backend.id);
        let old = old.map(|position| backends.remove(position));
        backends.push(Arc::clone(backend));
        self.draining.extend(old.clone());
        old
    }

    /// Takes a release out of use; its instances, and those of it that drain already, are returned.
    pub(crate) fn retire_release(&mut self, release: &str) -> Vec<Arc<Backend>> {
        if let Some(index) = self.releases.iter().position(|r| &*r.name == release) {
            let gone = self.releases.remove(index);
            self.draining.extend(gone.backends);
        }
        self.draining
            .iter()
            .filter(|b| &*b.release == release)
            .cloned()
            .collect()
    }

    /// Takes an instance out of use.
    pub(crate) fn retire_backend(&mut self, id: &str) -> Option<Arc<Backend>> {
        let backends = self
            .releases
            .iter_mut()
            .map(|release| &mut release.backends);
        for backends in backends {
            if let Some(index) = backends.iter().position(|backend| &*backend.id == id) {
                let gone = backends.remove(index);
                self.draining.push(Arc::clone(&gone));
                return Some(gone);
            }
        }
        self.draining
            .iter()
            .find(|backend| &*backend.id == id)
            .cloned()
    }

    /// Takes everything out of use.
    pub(crate) fn retire_all(&mut self) -> Vec<Arc<Backend>> {
        for gone in self.releases.drain(..) {
            self.draining.extend(gone.backends);
        }
        self.draining.clone()
    }

    /// Forgets an instance that has drained.
    pub(crate) fn forget(&mut self, backend: &Arc<Backend>) {
        self.draining.retain(|other| !Arc::ptr_eq(other, backend));
    }

    /// Returns all instances, also those that drain.
    pub(crate) fn all_backends(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.releases
            .iter()
            .flat_map(|release| &release.backends)
            .chain(&self.draining)
    }

    /// Returns what status shows of releases and of what drains.
    pub(crate) fn status(&self) -> (Vec<ReleaseStatus>, Vec<BackendStatus>) {
        let releases = self.releases.iter().map(|release| ReleaseStatus {
            release: release.name.to_string(),
            weight: release.weight,
            backends: release
                .backends
                .iter()
                .map(|backend| backend.status())
                .collect(),
            counts: release.tally.counts(),
        });
        (
            releases.collect(),
            self.draining
                .iter()
                .map(|backend| backend.status())
                .collect(),
        )
    }
}
