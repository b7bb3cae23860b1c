//! What control requests do: check, save, then switch.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, OnceCell, watch};

use crate::backend::Backend;
use crate::checker;
use crate::config::ServiceConfig;
use crate::control::{BackendAddress, Bound, ServiceStatus, Status};
use crate::control_server::HANDED_OVER;
use crate::error::Error;
use crate::health::{Health, HealthStatus};
use crate::keeping::Keeper;
use crate::lease::LeaseClock;
use crate::names::{self, MAX_BACKENDS, MAX_RELEASES, MAX_SERVICES};
use crate::samples::{self, Recorder};
use crate::server::{self, Listener};
use crate::shared::Shared;
use crate::state::{ReleaseState, ServiceState, State, StateFile};
use crate::sync::lock;

/// A running router.
#[derive(Debug)]
pub(crate) struct Router {
    pub(crate) shared: Arc<Shared>,
    /// Changes are made one at a time: each holds this from its check to its switch.
    pub(crate) control: tokio::sync::Mutex<Control>,
    pub(crate) lease_clock: Mutex<LeaseClock>,
    pub(crate) lease_changed: Notify,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) keeper: Keeper,
    /// How long what is under way may go on once the router stops or another goes on.
    pub(crate) grace: Mutex<Duration>,
    pub(crate) samples_name: String,
    pub(crate) started_us: u64,
    /// The file of the program, where the system does not know it.
    pub(crate) program: Option<PathBuf>,
    pub(crate) build: OnceCell<String>,
    /// The process from which this router took over, until it has ended.
    pub(crate) predecessor: Mutex<Option<u32>>,
}

/// What only control requests touch.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) state: State,
    pub(crate) listeners: HashMap<String, Listener>,
    /// None once another router goes on: nothing is changed here any more.
    pub(crate) file: Option<Arc<StateFile>>,
    /// Another handle on the control socket, for the router that goes on.
    pub(crate) socket: Option<OwnedFd>,
}

impl Control {
    /// Saves the state that is about to be in force. Saved first: a router that is killed between
    /// the two comes back with what was asked for.
    ///
    /// # Errors
    /// [`Error::Refused`] once another router goes on; [`Error::File`].
    pub(crate) async fn commit(&mut self, next: State) -> Result<(), Error> {
        let Some(file) = self.file.clone() else {
            return Err(Error::refused(HANDED_OVER, "another router goes on"));
        };
        let copy = next.clone();
        let saved = tokio::task::spawn_blocking(move || file.save(&copy)).await;
        saved.map_err(|_| Error::TaskEnded {
            task: "state writer",
        })??;
        self.state = next;
        Ok(())
    }
}

impl Router {
    /// Puts a new instance into the table and begins to check it; returns the one that it replaces.
    pub(crate) fn put_backend(
        &self,
        service: &str,
        release: &Arc<str>,
        backend: &BackendAddress,
        health: Health,
        config: &watch::Sender<Arc<ServiceConfig>>,
    ) -> Option<Arc<Backend>> {
        let settings = Arc::clone(&config.borrow());
        let health = if settings.health.is_none() {
            Health::new(HealthStatus::Healthy)
        } else {
            health
        };
        let idle = settings.timeouts.upstream_idle;
        let backend = Backend::new(&backend.id, release, backend.address, health, idle);
        let tally = || self.shared.tallies.of(service, release);
        let replaced = self
            .shared
            .table
            .with(service, |s| s.put(&backend, tally))
            .flatten();
        checker::start(&self.shared, &backend, config.subscribe());
        replaced
    }

    /// Adds a service or changes its settings.
    pub(crate) async fn put_service(&self, mut config: ServiceConfig) -> Result<Bound, Error> {
        config.check()?;
        let mut control = self.control.lock().await;
        let name = config.name.clone();
        let known = control
            .listeners
            .get(&name)
            .map(|listener| listener.address);
        if known.is_none() && control.listeners.len() >= MAX_SERVICES {
            return Err(Error::refused(
                "too-many",
                format!("at most {MAX_SERVICES} services"),
            ));
        }
        let stays = known.is_some_and(|bound| {
            bound.ip() == config.listen.ip() && [0, bound.port()].contains(&config.listen.port())
        });
        let bound = if stays {
            None
        } else {
            Some(server::bind(&config).await?)
        };
        let address = bound.as_ref().map(|(_, address)| *address).or(known);
        config.listen = address.unwrap_or(config.listen);
        let mut next = control.state.clone();
        let releases = next
            .services
            .remove(&name)
            .map(|s| s.releases)
            .unwrap_or_default();
        next.services.insert(
            name.clone(),
            ServiceState {
                config: config.clone(),
                releases,
            },
        );
        control.commit(next).await?;
        self.apply_service(&mut control, config.clone(), bound)
            .await;
        self.shared.events.push(
            "service-put",
            Some(&name),
            format!("listening on {}", config.listen),
        );
        Ok(Bound {
            address: config.listen,
        })
    }

    async fn apply_service(
        &self,
        control: &mut Control,
        config: ServiceConfig,
        bound: Option<(tokio::net::TcpListener, std::net::SocketAddr)>,
    ) {
        let name = config.name.clone();
        let config = Arc::new(config);
        self.shared.table.with_all(|services| {
            services.entry(name.clone()).or_default();
        });
        let Some((socket, address)) = bound else {
            if let Some(listener) = control.listeners.get(&name) {
                listener.config.send_replace(config);
            }
            return;
        };
        let sender = match control.listeners.remove(&name) {
            Some(old) => {
                self.stop_listening(&old).await;
                old.config.send_replace(config);
                old.config
            }
            None => watch::channel(config).0,
        };
        let listener = Listener::start(&self.shared, socket, address, sender);
        if let Some(copy) = listener.copy() {
            self.keeper.keep(copy).await;
        }
        control.listeners.insert(name, listener);
    }

    /// Gives a copy of each listening socket to the keeper.
    pub(crate) async fn offer_listeners(&self) {
        let control = self.control.lock().await;
        for copy in control.listeners.values().filter_map(Listener::copy) {
            self.keeper.keep(copy).await;
        }
    }

    /// Stops accepting for a service, also by a router that comes later.
    pub(crate) async fn stop_listening(&self, listener: &Listener) {
        listener.stop();
        if let Some(copy) = listener.copy() {
            self.keeper.forget(copy).await;
        }
    }

    /// Closes the ports as soon as nobody accepts any more, where no keeper holds them.
    pub(crate) async fn close_copies(&self) {
        let mut control = self.control.lock().await;
        control
            .listeners
            .values_mut()
            .for_each(Listener::close_copy);
    }

    /// Adds instances to a release, or moves them to other addresses.
    pub(crate) async fn put_release(
        self: &Arc<Self>,
        service: &str,
        release: &str,
        backends: Vec<BackendAddress>,
    ) -> Result<(), Error> {
        names::check("release", release)?;
        let mut control = self.control.lock().await;
        let mut next = control.state.clone();
        let stored = service_state(&mut next, service)?;
        let fresh = merge(stored, release, &backends)?;
        control.commit(next).await?;
        let Some(listener) = control.listeners.get(service) else {
            return Err(unknown_service(service));
        };
        let name: Arc<str> = release.into();
        for backend in &fresh {
            let unknown = Health::new(HealthStatus::Unknown);
            let replaced = self.put_backend(service, &name, backend, unknown, &listener.config);
            if let Some(replaced) = replaced {
                self.drain_behind(service, replaced);
            }
        }
        let ids: Vec<_> = fresh
            .iter()
            .map(|b| format!("{} at {}", b.id, b.address))
            .collect();
        self.shared.events.push(
            "release-put",
            Some(service),
            format!("{release}: {}", ids.join(", ")),
        );
        Ok(())
    }

    /// Begins or stops writing samples.
    pub(crate) async fn record(&self, dir: Option<PathBuf>) -> Result<(), Error> {
        if dir.as_ref().is_some_and(|dir| !dir.is_absolute()) {
            return Err(Error::refused(
                "bad-path",
                "the samples folder must be an absolute path",
            ));
        }
        let mut control = self.control.lock().await;
        let mut next = control.state.clone();
        next.record_dir.clone_from(&dir);
        let writer = match &dir {
            Some(dir) => Some(samples::open(dir, &self.samples_name).await?),
            None => None,
        };
        control.commit(next).await?;
        self.recorder.install(&self.shared, writer).await;
        Ok(())
    }

    /// Stops the router, letting requests go on for a while.
    pub(crate) fn shutdown(&self, grace: Duration) {
        *lock(&self.grace) = grace;
        self.shared.stop.cancel();
    }

    /// Returns everything that is in force.
    pub(crate) async fn status(&self) -> Status {
        let control = self.control.lock().await;
        self.status_with(&control)
    }

    /// Returns everything that is in force; the caller sees to it that it stays so.
    pub(crate) fn status_with(&self, control: &Control) -> Status {
        let mut services = BTreeMap::new();
        for (name, listener) in &control.listeners {
            let seen = self.shared.table.with(name, |s| (s.weights(), s.status()));
            let Some((weights, (releases, draining))) = seen else {
                continue;
            };
            let connections = listener
                .connections
                .load(std::sync::atomic::Ordering::Relaxed);
            let address = listener.address;
            let status = ServiceStatus {
                address,
                weights,
                releases,
                draining,
                connections,
            };
            services.insert(name.clone(), status);
        }
        Status {
            pid: std::process::id(),
            started_us: self.started_us,
            services,
            lease: self.lease_status(&control.state),
            last_expiry: control.state.last_expiry.clone(),
            recording: control.state.record_dir.clone(),
            recording_error: self.recorder.problem(),
            stopping: self.shared.stop.is_cancelled(),
            last_event: self.shared.events.last(),
            predecessor: *lock(&self.predecessor),
        }
    }
}

/// Returns the state of a service.
pub(crate) fn service_state<'a>(
    state: &'a mut State,
    service: &str,
) -> Result<&'a mut ServiceState, Error> {
    state
        .services
        .get_mut(service)
        .ok_or_else(|| unknown_service(service))
}

pub(crate) fn unknown_service(service: &str) -> Error {
    Error::refused("no-such-service", format!("there is no service {service}"))
}

pub(crate) fn unknown_release(service: &str, release: &str) -> Error {
    Error::refused(
        "no-such-release",
        format!("service {service} has no release {release}"),
    )
}

/// Merges instances into the state of a release; returns those that are new or have moved.
fn merge(
    service: &mut ServiceState,
    release: &str,
    backends: &[BackendAddress],
) -> Result<Vec<BackendAddress>, Error> {
    let elsewhere = service
        .releases
        .iter()
        .filter(|other| other.name != release);
    let taken: Vec<String> = elsewhere
        .flat_map(|other| &other.backends)
        .map(|backend| backend.id.clone())
        .collect();
    if !service.releases.iter().any(|other| other.name == release) {
        if service.releases.len() >= MAX_RELEASES {
            let text = format!("at most {MAX_RELEASES} releases of a service at a time");
            return Err(Error::refused("too-many", text));
        }
        let (name, backends) = (release.to_owned(), Vec::new());
        service.releases.push(ReleaseState {
            name,
            weight: 0,
            backends,
        });
    }
    let mut fresh = Vec::new();
    for stored in service
        .releases
        .iter_mut()
        .filter(|stored| stored.name == release)
    {
        for backend in backends {
            names::check("instance", &backend.id)?;
            if taken.contains(&backend.id) {
                let text = format!("instance {} belongs to another release", backend.id);
                return Err(Error::refused("instance-taken", text));
            }
            if !stored.backends.contains(backend) {
                stored.backends.retain(|other| other.id != backend.id);
                stored.backends.push(backend.clone());
                fresh.push(backend.clone());
            }
        }
        if stored.backends.is_empty() || stored.backends.len() > MAX_BACKENDS {
            let text = format!("a release has 1 to {MAX_BACKENDS} instances");
            return Err(Error::refused("bad-backends", text));
        }
    }
    Ok(fresh)
}
