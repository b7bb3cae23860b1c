//! Services as Deployments of a Kubernetes cluster, with the cluster's own means of traffic.

mod access;
mod admission;
mod brought;
mod budgets;
mod capacity;
mod changes;
mod cluster;
mod counts;
mod difference;
mod evicting;
mod fit;
mod gateway;
mod happenings;
mod hidden;
mod hold;
mod inventory;
mod judged;
mod kubeconfig;
mod leading;
mod limits;
mod locate;
mod logs;
mod manifest;
mod meaning;
mod merge;
mod names;
mod objects;
mod overlay;
mod patience;
mod plugin;
mod pod;
mod prepared;
mod proxy;
mod quota;
mod refusal;
mod route;
mod routes;
mod sampling;
mod scalers;
mod served;
mod settling;
mod signed;
mod start;
mod stated;
mod stop;
mod store;
mod told;
mod traffic;
mod trouble;
mod wait;
mod watched;
mod weights;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_engine::Spec;
use code_deploy_engine::spec::{KubernetesFile, Limit, Service};
use code_deploy_engine::target::{
    Balancing, Capacity, Change, Heading, Hold, Instance, InstanceLog, Lease, Listing, Observed,
    ServiceAddress, Shares, Stopped, Target, TargetError, TargetEvent, Wanted,
};
use code_deploy_record::{Finding, LockHolder, Release, RunsFolder, Secret, Source};
use k8s_openapi::api::core::v1::Service as ClusterService;
use tokio::sync::OnceCell;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::failure::{code, failed};
use crate::settings::Settings;
use brought::Brought;
use changes::Answers;
use cluster::Cluster;
use happenings::Happenings;
use leading::Leading;
use manifest::Leads;
use names::{Names, Part};
use route::Routed;
use sampling::Sampling;
use settling::Moves;
use store::release_of;
use watched::Watched;

/// A namespace of a Kubernetes cluster: each release of a service is a Deployment, and the Service
/// of its name leads to the release that gets the traffic.
///
/// Nothing of this program runs in the cluster. Several values of this type, in one process or in
/// several of this machine, may work on the same environment: changes of a service wait for one
/// another.
pub struct KubernetesTarget {
    settings: Arc<Settings>,
    place: KubernetesFile,
    names: Names,
    cluster: Cluster,
    /// Whether the cluster was found fit when it was first asked.
    fit: OnceCell<()>,
    /// The version in which the cluster serves HTTPRoutes, once it was asked and does.
    route_version: OnceCell<&'static str>,
    /// By which objects the cluster says whom its Services lead to, once it was asked.
    leading: OnceCell<Leading>,
    /// What the user's own manifests bring, once the cluster was asked which kinds it has.
    brought: OnceCell<Vec<Brought>>,
    /// The folder of this environment on this machine: locks and logs.
    root: PathBuf,
    /// When this value was made.
    made: Instant,
    moves: Moves,
    happenings: Happenings,
    watched: Watched,
    /// What is to be known of the way back of the run that was admitted last.
    way_back: Mutex<Option<Finding>>,
    /// What the cluster made of the objects of a run, until that is compared with what is there.
    answers: Answers,
    sampling: Sampling,
    tasks: TaskTracker,
    followed: Mutex<BTreeMap<String, AbortHandle>>,
}

impl Drop for KubernetesTarget {
    fn drop(&mut self) {
        let followed = self.followed.get_mut();
        for task in followed.unwrap_or_else(PoisonError::into_inner).values() {
            task.abort();
        }
    }
}

impl KubernetesTarget {
    /// Returns the target; nothing is written, and the cluster is not asked before it has to be.
    /// Which one it is say the environment's `kubernetes` and `KUBECONFIG`, as with kubectl.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let spec = &settings.spec;
        let chosen = spec.file.environments.get(&spec.environment);
        let place = chosen.map(|one| one.kubernetes.clone()).unwrap_or_default();
        let runs = RunsFolder::of_project(&spec.project);
        Self {
            names: Names::of(spec),
            cluster: Cluster::new(
                place.clone(),
                Arc::clone(&settings.lookup),
                settings.redactor.clone(),
            ),
            fit: OnceCell::new(),
            route_version: OnceCell::new(),
            leading: OnceCell::new(),
            brought: OnceCell::new(),
            root: runs.path().join("kubernetes").join(&spec.environment),
            place,
            settings: Arc::new(settings),
            made: Instant::now(),
            moves: Moves::default(),
            happenings: Happenings::default(),
            watched: Watched::default(),
            way_back: Mutex::default(),
            answers: Answers::default(),
            sampling: Sampling::default(),
            tasks: TaskTracker::new(),
            followed: Mutex::default(),
        }
    }

    fn service(&self, name: &str) -> Result<&Service, TargetError> {
        let spec = &self.settings.spec;
        spec.service(name).ok_or_else(|| self.no_such_service(name))
    }

    fn no_such_service(&self, name: &str) -> TargetError {
        let what = format!("{} has no such service", self.settings.spec.path.display());
        let next = "Name it as the deployment file and the Compose file do.";
        failed(code::NO_SUCH_SERVICE, Some(name), what, next)
    }

    fn cannot(&self, service: &str, what: &str) -> TargetError {
        let what = format!("{what}; nothing was started");
        let next = "Mend the Compose file and run again.";
        failed(code::COMPOSE_VALUE, Some(service), what, next)
    }

    fn name_of(&self, service: &str, release: &Release) -> Result<String, TargetError> {
        let name = self.names.release(service, release);
        name.map_err(|what| self.cannot(service, &what))
    }

    fn address(&self, service: &ClusterService) -> Option<ServiceAddress> {
        let name = names_service(service)?;
        let routing = self.settings.spec.service(&name);
        let routing = routing.map(|one| one.file.routing.clone());
        let spec = service.spec.as_ref()?;
        let port = spec.ports.as_ref()?.first()?.port;
        let address = SocketAddr::new(
            spec.cluster_ip.as_ref()?.parse().ok()?,
            u16::try_from(port).ok()?,
        );
        Some(ServiceAddress {
            service: name,
            address,
            routing: routing.unwrap_or_default(),
        })
    }

    fn port(&self, service: &str) -> u16 {
        self.settings
            .spec
            .service(service)
            .map_or(0, |one| one.port)
    }
}

fn names_service(service: &ClusterService) -> Option<String> {
    store::labelled(&service.metadata, names::SERVICE)
}

#[async_trait]
impl Target for KubernetesTarget {
    fn name(&self) -> &'static str {
        "k8s"
    }

    /// What depends on the cluster is told once it has answered: whoever makes a plan has asked it.
    fn cannot_honour(&self, spec: &Spec) -> Vec<Limit> {
        let mut limits = limits::limits(spec);
        let known = self.cluster.known().filter(|one| !one.knows_pause());
        let told = known.map(|one| limits::without_pause(spec, &one.version));
        let told = told.into_iter().flatten().chain(self.way_back());
        limits.extend(told.map(Limit::from));
        limits
    }

    fn balancing(&self) -> Balancing {
        Balancing::Connections
    }

    /// No router of ours stands in a cluster: the instances say what reached them.
    fn counted_by(&self) -> Source {
        Source::Instance
    }

    async fn admit(
        &self,
        release: &Release,
        replicas: &BTreeMap<String, u32>,
        heading: Heading,
    ) -> Result<(), TargetError> {
        self.fit.get_or_try_init(|| self.check_fit()).await?;
        self.admits(release, replicas, heading).await
    }

    async fn changes(
        &self,
        release: &Release,
        from: Option<&Release>,
        replicas: &BTreeMap<String, u32>,
    ) -> Result<Vec<Change>, TargetError> {
        self.changes_between(from, release, replicas).await
    }

    async fn hold(&self, holder: &LockHolder) -> Result<Hold, TargetError> {
        self.hold_place(holder).await
    }

    async fn renew_hold(&self, holder: &LockHolder) -> Result<Hold, TargetError> {
        self.renew_place(holder).await
    }

    async fn let_go(&self, holder: &LockHolder) -> Result<(), TargetError> {
        self.let_place_go(holder).await
    }

    async fn capacity(&self) -> Result<Capacity, TargetError> {
        self.measured().await
    }

    async fn inventory(&self) -> Result<Vec<Listing>, TargetError> {
        self.listed().await
    }

    async fn observe(&self) -> Result<Observed, TargetError> {
        let (pods, services) = (self.pods().await?, self.services(Part::Service).await?);
        let (mut traffic, standing) =
            (self.served(&services, &pods).await?, self.standing().await?);
        routes::as_routed(&mut traffic, &standing);
        let instances: Vec<Instance> = pods
            .iter()
            .filter_map(|pod| pod.describe(self.port(&pod.service)))
            .collect();
        let addresses: Vec<ServiceAddress> = services
            .iter()
            .filter_map(|service| self.address(service))
            .collect();
        let listening = addresses.iter().map(|place| place.address);
        let own = instances.iter().filter(|one| one.running);
        let listening = listening.chain(own.map(|one| one.address)).collect();
        let stable = crate::stable::release(&traffic, &instances);
        Ok(Observed {
            instances,
            addresses,
            fronts: self.fronts(&standing, &traffic),
            traffic,
            stable,
            listening,
        })
    }

    /// The cluster looks after what runs there. What would stop a run is found here, before it
    /// begins: no namespace, no rights, folders that are not those of a node, no way there.
    async fn recover(&self) -> Result<Option<String>, TargetError> {
        let fit = self.fit.get_or_try_init(|| self.check_fit());
        fit.await.map(|()| None)
    }

    async fn open(&self, services: &[ServiceAddress]) -> Result<Vec<ServiceAddress>, TargetError> {
        self.check_fit().await?;
        let connection = self.cluster.connect().await?;
        let mut wanted = Vec::new();
        for one in services {
            let service = self.service(&one.service)?;
            wanted.push((service, self.stable_of(connection, service).await?));
        }
        self.apply_brought(connection).await?;
        let mut opened = Vec::new();
        for (service, manifest) in wanted {
            let applied = connection
                .apply::<ClusterService>(&service.name, &manifest)
                .await?;
            opened.extend(self.address(&applied));
        }
        self.open_routes().await?;
        Ok(opened)
    }

    async fn close(&self) -> Result<(), TargetError> {
        if !self.pods().await?.iter().any(|pod| pod.running) {
            self.remove_services().await?;
            let connection = self.cluster.connect().await?;
            self.remove_brought(connection).await?;
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
        self.stop_left(service, release, grace).await
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
        self.lead(shares).await
    }

    fn unsettled(&self) -> Duration {
        self.still_following()
    }

    async fn traffic(&self) -> Result<BTreeMap<String, Shares>, TargetError> {
        let (pods, services) = (self.pods().await?, self.services(Part::Service).await?);
        let mut traffic = self.served(&services, &pods).await?;
        routes::as_routed(&mut traffic, &self.standing().await?);
        Ok(traffic)
    }

    /// Nothing of ours stands in a cluster that could let a lease run out: the findings say what a
    /// killed run leaves.
    async fn renew_lease(&self, _: Option<Lease>) -> Result<(), TargetError> {
        Ok(())
    }

    async fn events(&self) -> Result<Vec<TargetEvent>, TargetError> {
        self.happened().await
    }

    async fn sample_into(&self, folder: Option<PathBuf>) -> Result<(), TargetError> {
        let Some(folder) = folder else {
            self.sampling.end().await;
            return Ok(());
        };
        let connection = self.cluster.connect().await?;
        let labels = names::selecting(&self.names.everything());
        let spec = Arc::clone(&self.settings.spec);
        self.sampling
            .begin(connection.all(), &labels, spec, folder)
            .await
    }

    async fn logs(
        &self,
        service: &str,
        release: &Release,
    ) -> Result<Vec<InstanceLog>, TargetError> {
        self.logs_of(service, release).await
    }

    fn reach(&self, _: &Release) -> Vec<(String, Secret)> {
        Vec::new()
    }

    async fn addresses_of(
        &self,
        release: &Release,
    ) -> Result<Option<Vec<ServiceAddress>>, TargetError> {
        let ways = self.services(Part::Way).await?;
        let of_release = ways
            .iter()
            .filter(|way| release_of(&way.metadata).as_ref() == Some(release));
        Ok(Some(
            of_release.filter_map(|way| self.address(way)).collect(),
        ))
    }

    async fn manifests(&self, wanted: &Wanted) -> Result<Vec<(String, String)>, TargetError> {
        let connection = self.cluster.connect().await?;
        let spec = self.settings.spec_of(&wanted.release)?;
        let given = self.given(&spec, &wanted.service, &wanted.release)?;
        let made = self
            .manifests_of(&given, wanted, wanted.replicas, connection)
            .await?;
        let service = self.service(&wanted.service)?;
        let stable = manifest::stable(&self.names, service, &Leads::Nobody);
        let stable = stable.map_err(|what| self.cannot(&wanted.service, &what))?;
        let mut named = vec![
            ("Deployment", made.deployment),
            ("Service", made.way),
            ("Service", stable),
        ];
        if self.route_is_wanted(&wanted.service) {
            let routes = self.needed_routes().await?;
            let route = self.route_manifest(&routes, &wanted.service, &Routed::Service)?;
            named.push(("HTTPRoute", route));
        }
        let named = named.into_iter();
        Ok(named
            .map(|(kind, one)| (format!("{kind} {}", one.name), one.text))
            .collect())
    }

    async fn opening_manifests(&self) -> Result<Vec<(String, String)>, TargetError> {
        let brought = self.brought().await?.iter();
        let texts = brought.map(|one| (one.origin.title(), one.manifest.text.clone()));
        Ok(texts.collect())
    }

    async fn remove_all(&self, grace: Duration) -> Result<Vec<Stopped>, TargetError> {
        self.stop_everything(grace).await
    }

    async fn left_on_purpose(&self) -> Result<Vec<String>, TargetError> {
        self.claims_left().await
    }
}
