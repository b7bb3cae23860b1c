//! Services as processes of this machine, behind the router.

mod environment;
mod happenings;
mod instance;
mod keeper;
mod places;
mod process;
mod program;
mod router;
mod start;
mod stop;
mod store;
mod supervisor;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_engine::http::HttpClient;
use code_deploy_engine::listening;
use code_deploy_engine::spec::{Limit, Spec};
use code_deploy_engine::target::{
    Capacity, Instance, InstanceLog, Lease, Observed, ServiceAddress, Shares, Stopped, Target,
    TargetError, TargetEvent, Wanted,
};
use code_deploy_record::{Release, Secret};

pub(crate) use environment::resolve;
pub use keeper::{keep_keeper, keep_router};
pub use places::Places;
pub use process::ProcessId;
pub use supervisor::supervise;

use crate::capacity;
use crate::disk::create_private;
use crate::failure::files;
use crate::settings::Settings;
use crate::steering::reach;
use crate::token;
use happenings::Happenings;
use program::Program;
use router::RouterProcess;
use store::{Store, describe};

/// This machine: services run as processes of their own, which outlive the program, behind a
/// router that does too.
///
/// Several values of this type, in one process or in several, may work on the same environment:
/// changes of a service wait for one another.
pub struct LocalTarget {
    store: Store,
    router: RouterProcess,
    http: HttpClient,
    token: Secret,
    happenings: Happenings,
}

impl LocalTarget {
    /// Returns the target. Makes the token with which requests reach a release on purpose, if
    /// there is none yet; changes nothing else.
    ///
    /// # Errors
    /// When the folder of the environment cannot be written.
    pub fn new(settings: Settings) -> Result<Self, TargetError> {
        let places = places_of(&settings);
        let token = token::read_or_make(places.root())?;
        Ok(Self::of(settings, places, token))
    }

    /// Returns the target for looking at it: nothing is written, also where there is no token yet.
    #[must_use]
    pub fn to_look_at(settings: Settings) -> Self {
        let places = places_of(&settings);
        let token = token::read(places.root()).unwrap_or_else(token::new);
        Self::of(settings, places, token)
    }

    fn of(settings: Settings, places: Places, token: Secret) -> Self {
        settings.redactor.know("router token", token.clone());
        let program = Program::without_secrets(&settings.program, &settings.spec);
        let router = RouterProcess::new(places.clone(), program);
        let settings = Arc::new(settings);
        Self {
            store: Store { settings, places },
            router,
            http: HttpClient::new(),
            token,
            happenings: Happenings::default(),
        }
    }

    /// Returns where things of this environment are.
    #[must_use]
    pub fn places(&self) -> &Places {
        &self.store.places
    }

    async fn addresses(&self) -> Result<BTreeMap<String, SocketAddr>, TargetError> {
        let bound = self.router.addresses().await?;
        Ok(bound.unwrap_or_default())
    }
}

#[async_trait]
impl Target for LocalTarget {
    fn name(&self) -> &'static str {
        "local"
    }

    fn cannot_honour(&self, spec: &Spec) -> Vec<Limit> {
        code_deploy_engine::spec::local_limits(spec)
    }

    async fn capacity(&self) -> Result<Capacity, TargetError> {
        capacity::measure(self.store.places.data()).await
    }

    async fn observe(&self) -> Result<Observed, TargetError> {
        let router = self.router.pid();
        let (instances, listening) = self
            .store
            .run(move |store| {
                let instances: Vec<Instance> = store.instances()?.iter().map(describe).collect();
                let pids = instances.iter().filter_map(|instance| instance.pid);
                let pids: Vec<u32> = pids.chain(router).collect();
                Ok((instances, listening::of_processes(&pids)))
            })
            .await?;
        let served = self.router.traffic().await?.unwrap_or_default();
        let bound = self.addresses().await?;
        let settings = &self.store.settings;
        let addresses = bound
            .iter()
            .map(|(service, address)| settings.address_of(service, *address))
            .collect();
        let stable = crate::stable::release(&served, &instances);
        Ok(Observed {
            instances,
            addresses,
            fronts: BTreeMap::new(),
            traffic: served,
            stable,
            listening,
        })
    }

    async fn recover(&self) -> Result<Option<String>, TargetError> {
        let router = self.router.recover().await?;
        let instances = self.revive().await?;
        let mut ended: Vec<String> = router.into_iter().map(str::to_owned).collect();
        if !instances.is_empty() {
            ended.push(format!("what looks after {}", instances.join(", ")));
        }
        let had = |ended: Vec<String>| {
            format!("{} had ended and was started again", ended.join(", and "))
        };
        Ok((!ended.is_empty()).then(|| had(ended)))
    }

    async fn open(&self, services: &[ServiceAddress]) -> Result<Vec<ServiceAddress>, TargetError> {
        let data = self.store.places.data();
        create_private(data).map_err(files(None, "create", data))?;
        // All names are looked at before anything is started.
        for wanted in services {
            self.store.service(&wanted.service)?;
        }
        self.router.start().await?;
        self.router.upgrade(longest_drain(services)).await?;
        let mut opened = Vec::new();
        for wanted in services {
            let service = self.store.service(&wanted.service)?;
            let address = self
                .router
                .put_service(service, &wanted.routing, wanted.address, &self.token)
                .await?;
            opened.push(ServiceAddress {
                address,
                ..wanted.clone()
            });
        }
        Ok(opened)
    }

    async fn close(&self) -> Result<(), TargetError> {
        let instances = self.store.run(|store| store.instances()).await?;
        if instances.is_empty() {
            self.router.stop(Duration::from_secs(1)).await?;
        }
        Ok(())
    }

    async fn start(&self, wanted: &Wanted) -> Result<Vec<Instance>, TargetError> {
        self.start_wanted(wanted).await
    }

    async fn stop(
        &self,
        service: &str,
        release: &Release,
        grace: Duration,
    ) -> Result<Stopped, TargetError> {
        self.stop_release(service, release, grace).await
    }

    async fn scale_down(
        &self,
        service: &str,
        release: &Release,
        replicas: u32,
        grace: Duration,
    ) -> Result<Stopped, TargetError> {
        self.scale_release_down(service, release, replicas, grace)
            .await
    }

    async fn set_traffic(&self, shares: &BTreeMap<String, Shares>) -> Result<(), TargetError> {
        self.router.set_weights(shares).await
    }

    async fn traffic(&self) -> Result<BTreeMap<String, Shares>, TargetError> {
        Ok(self.router.traffic().await?.unwrap_or_default())
    }

    async fn renew_lease(&self, lease: Option<Lease>) -> Result<(), TargetError> {
        let services: Vec<_> = self
            .store
            .settings
            .spec
            .services
            .iter()
            .map(|s| s.name.clone())
            .collect();
        self.router.renew_lease(lease, &services).await
    }

    async fn events(&self) -> Result<Vec<TargetEvent>, TargetError> {
        let mut events = self.router.events().await?;
        let instances = self.store.run(|store| store.instances()).await?;
        events.extend(self.happenings.since_last(&instances));
        Ok(events)
    }

    async fn sample_into(&self, folder: Option<PathBuf>) -> Result<(), TargetError> {
        self.router.record(folder).await
    }

    async fn logs(
        &self,
        service: &str,
        release: &Release,
    ) -> Result<Vec<InstanceLog>, TargetError> {
        let (service, release) = (service.to_owned(), release.clone());
        self.store
            .run(move |store| store.logs(&service, &release))
            .await
    }

    fn reach(&self, release: &Release) -> Vec<(String, Secret)> {
        reach(release, &self.token)
    }

    async fn remove_all(&self, grace: Duration) -> Result<Vec<Stopped>, TargetError> {
        self.stop_everything(grace).await
    }
}

/// Returns how long requests of the services may go on that are taken off what serves them.
fn longest_drain(services: &[ServiceAddress]) -> Duration {
    let drains = services.iter().map(|wanted| wanted.routing.drain.get());
    drains.max().unwrap_or_default()
}

fn places_of(settings: &Settings) -> Places {
    let (spec, own) = (&settings.spec, settings.runtime.clone());
    let places = Places::new(&spec.project, &spec.environment, spec.data_folder(), own);
    // A session without a login, or another one, has another folder for sockets.
    match router::socket_in_use(&places)
        .as_deref()
        .and_then(Path::parent)
    {
        Some(runtime) => places.with_sockets_in(runtime.to_owned()),
        None => places,
    }
}
