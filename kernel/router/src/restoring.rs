//! What a router begins with: what it had saved, or what the router before it hands over.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, OnceCell, watch};

use crate::clock::unix_us;
use crate::config::{RouterConfig, ServiceConfig};
use crate::control::{ReleaseStatus, Status, Weights};
use crate::error::Error;
use crate::health::{Health, HealthStatus};
use crate::keeping::{Held, Keeper};
use crate::router::{Control, Router};
use crate::samples;
use crate::server::{self, Listener};
use crate::shared::Shared;
use crate::state::{ReleaseState, ServiceState, State, StateFile};
use crate::sync::lock;

/// What a router begins with.
#[derive(Debug)]
pub(crate) struct Beginning {
    pub(crate) file: StateFile,
    pub(crate) state: State,
    /// Listening sockets that are open already.
    pub(crate) sockets: Held,
    /// What was in force in the router before, as it knew it: health and counts stand in no file.
    pub(crate) before: Option<Status>,
}

impl Router {
    /// Restores what the state file holds: listeners on their ports, releases, weights, lease.
    /// Connections are accepted only from [`Shared::begun`] on.
    ///
    /// # Errors
    /// [`Error::Listen`] when a port is taken.
    pub(crate) async fn restore(
        config: &RouterConfig,
        beginning: Beginning,
        shared: Arc<Shared>,
    ) -> Result<Arc<Self>, Error> {
        let Beginning {
            file,
            state,
            mut sockets,
            before,
        } = beginning;
        let router = Arc::new(Self::empty(config, file, shared));
        let mut control = router.control.lock().await;
        for service in state.services.values() {
            let (socket, address) = match sockets.remove(&service.config.listen) {
                Some(kept) => server::adopt(&service.config, kept)?,
                None => server::bind(&service.config).await?,
            };
            let (sender, _) = watch::channel(Arc::new(service.config.clone()));
            router.restore_releases(service, before.as_ref(), &sender);
            let listener = Listener::start(&router.shared, socket, address, sender);
            control
                .listeners
                .insert(service.config.name.clone(), listener);
        }
        // Of a service that was put by a router which was killed before it was saved.
        for unknown in sockets.into_values() {
            router.keeper.forget(unknown.into()).await;
        }
        if let Some(dir) = &state.record_dir {
            match samples::open(dir, &router.samples_name).await {
                Ok(writer) => router.recorder.install(&router.shared, Some(writer)).await,
                Err(error) => router.recorder.fail(&error),
            }
        }
        control.state = state;
        drop(control);
        router.offer_listeners().await;
        Ok(router)
    }

    fn empty(config: &RouterConfig, file: StateFile, shared: Arc<Shared>) -> Self {
        let control = Control {
            state: State::default(),
            listeners: HashMap::new(),
            file: Some(Arc::new(file)),
            socket: None,
        };
        Self {
            shared,
            control: tokio::sync::Mutex::new(control),
            lease_clock: Mutex::default(),
            lease_changed: Notify::new(),
            recorder: Arc::default(),
            keeper: Keeper::new(config.keeper_socket.clone()),
            grace: Mutex::new(config.shutdown_grace),
            samples_name: config.samples.clone(),
            started_us: unix_us(),
            program: config.program.clone(),
            build: OnceCell::new(),
            predecessor: Mutex::new(None),
        }
    }

    /// Puts services of the configuration in place that the state file did not know.
    ///
    /// # Errors
    /// [`Error::Listen`] when a port is taken, [`Error::Refused`] for a service that is not valid.
    pub(crate) async fn put_missing(&self, config: &RouterConfig) -> Result<(), Error> {
        let control = self.control.lock().await;
        let services = config.services.iter();
        let missing: Vec<ServiceConfig> = services
            .filter(|service| !control.state.services.contains_key(&service.name))
            .cloned()
            .collect();
        drop(control);
        for service in missing {
            self.put_service(service).await?;
        }
        Ok(())
    }

    fn restore_releases(
        &self,
        service: &ServiceState,
        before: Option<&Status>,
        config: &watch::Sender<Arc<ServiceConfig>>,
    ) {
        let name = &service.config.name;
        self.shared.table.with_all(|services| {
            services
                .entry(name.clone())
                .or_default()
                .set_weights(&Weights::new())
        });
        let known = before.and_then(|status| status.services.get(name));
        for release in &service.releases {
            let mut all = known.into_iter().flat_map(|service| &service.releases);
            let known = all.find(|one| one.release == release.name);
            let release_name: Arc<str> = release.name.as_str().into();
            for backend in &release.backends {
                let health = health_of(release, known, &backend.id);
                self.put_backend(name, &release_name, backend, health, config);
            }
            if let Some(known) = known {
                let tally = self.shared.tallies.of(name, &release.name);
                tally.go_on_from(known.counts);
            }
        }
        let weights = service
            .releases
            .iter()
            .map(|r| (r.name.clone(), r.weight))
            .collect();
        self.shared
            .table
            .switch(&BTreeMap::from([(name.clone(), weights)]));
    }

    /// Returns the process from which this router took over, if that still finishes what it had begun.
    pub(crate) fn predecessor(&self) -> Option<u32> {
        *lock(&self.predecessor)
    }
}

/// Releases that had traffic had a healthy instance when it was given to them, so theirs count as healthy until
/// checks say otherwise, or the router before has found otherwise; else a restart would refuse traffic for seconds.
fn health_of(release: &ReleaseState, known: Option<&ReleaseStatus>, id: &str) -> Health {
    let health = Health::new(match release.weight {
        0 => HealthStatus::Unknown,
        _ => HealthStatus::Healthy,
    });
    let mut backends = known.into_iter().flat_map(|release| &release.backends);
    match backends.find(|backend| backend.id == id) {
        Some(backend) => health.found(backend.health),
        None => health,
    }
}
