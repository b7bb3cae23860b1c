//! Services as containers of a Docker engine of this machine, each service behind a router that is
//! a container too.

mod admission;
mod build;
mod container;
mod context;
mod endpoint;
mod engine;
mod happenings;
mod health;
mod image;
mod limits;
mod logs;
mod mounts;
mod names;
mod network;
mod ports;
mod program;
mod registry;
mod router;
mod start;
mod stop;
mod store;
mod told;
mod upgrade;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_engine::Spec;
use code_deploy_engine::http::HttpClient;
use code_deploy_engine::listening;
use code_deploy_engine::spec::{ComposeService, Limit, Service};
use code_deploy_engine::target::{
    Capacity, Heading, Image, ImageWanted, Instance, InstanceLog, Lease, Observed, OnLine,
    ServiceAddress, Shares, Stopped, Target, TargetError, TargetEvent, Wanted,
};
use code_deploy_record::{Release, RunsFolder, Secret};
use tokio::sync::OnceCell;
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;

use crate::failure::{code, failed, files};
use crate::notices::Notices;
use crate::settings::{Lookup, Settings};
use crate::steering::{Steering, lease_on, reach};
use crate::{capacity, token};
use engine::Engine;
use happenings::Happenings;
pub(crate) use mounts::{absolute, hidden_value, written as mounted};
use names::Names;
use store::Known;

/// How often another port is taken when somebody else was faster.
const PORTS: u32 = 3;

/// A Docker engine of this machine: services run as containers, which outlive the program, each
/// behind a router that does too.
///
/// Several values of this type, in one process or in several, may work on the same environment:
/// changes of a service wait for one another.
pub struct DockerTarget {
    settings: Arc<Settings>,
    names: Names,
    engine: Engine,
    /// The folder of this environment: locks, logs, secrets, what routers keep.
    root: PathBuf,
    /// Who deploys, by number.
    user: String,
    /// The image of the program, once it is known to be there.
    own_image: OnceCell<String>,
    /// The build of the program, once it was asked for.
    own_build: OnceCell<String>,
    http: HttpClient,
    /// The token with which requests reach a release on purpose, once it is known.
    token: OnceLock<Secret>,
    happenings: Happenings,
    notices: Notices,
    steerings: Mutex<BTreeMap<String, Arc<Steering>>>,
    tasks: TaskTracker,
    followed: Mutex<BTreeMap<String, AbortHandle>>,
}

impl Drop for DockerTarget {
    fn drop(&mut self) {
        let followed = self.followed.get_mut();
        for task in followed
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .values()
        {
            task.abort();
        }
    }
}

impl DockerTarget {
    /// Returns the target. Nothing is written, and the engine is not asked yet: it is that of `DOCKER_HOST`, or else of
    /// the context of Docker's client, or else the machine's.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let process = (rustix::process::getuid(), rustix::process::getgid());
        let target = Self {
            names: Names::of(&settings.spec),
            engine: Engine::new(Arc::clone(&settings.lookup)),
            root: root_of(&settings),
            user: format!("{}:{}", process.0.as_raw(), process.1.as_raw()),
            settings: Arc::new(settings),
            own_image: OnceCell::new(),
            own_build: OnceCell::new(),
            http: HttpClient::new(),
            token: OnceLock::new(),
            happenings: Happenings::default(),
            notices: Notices::default(),
            steerings: Mutex::default(),
            tasks: TaskTracker::new(),
            followed: Mutex::default(),
        };
        // Whatever the target is asked for, a token that is there must not leave.
        target.known_token();
        target
    }

    /// Returns the token with which requests reach a release on purpose, if one was made.
    fn known_token(&self) -> Option<&Secret> {
        match self.token.get() {
            Some(token) => Some(token),
            None => token::read(&self.root).map(|token| self.keep_token(token)),
        }
    }

    /// Returns the token, which is made when the first router is to know it: a run that is refused leaves nothing.
    fn needed_token(&self) -> Result<&Secret, TargetError> {
        match self.known_token() {
            Some(token) => Ok(token),
            None => token::read_or_make(&self.root).map(|token| self.keep_token(token)),
        }
    }

    fn keep_token(&self, token: Secret) -> &Secret {
        self.settings.redactor.know("router token", token.clone());
        self.token.get_or_init(|| token)
    }

    /// Makes an image of the program under those names, for a demonstration whose services are
    /// parts of the program.
    ///
    /// # Errors
    /// When the engine does not take it.
    pub async fn make_demonstration(&self, references: &[String]) -> Result<(), TargetError> {
        let made = self.program_image().await?;
        for reference in references {
            program::name(&self.engine, &made, reference).await?;
        }
        Ok(())
    }

    /// Pushes the demonstration's images to the registry that their names begin with.
    ///
    /// # Errors
    /// When the registry does not take them.
    pub async fn push_demonstration(
        &self,
        references: &[String],
        on_line: &OnLine<'_>,
    ) -> Result<(), TargetError> {
        let or_else = "name another registry with `--registry`";
        for reference in references {
            self.push(None, reference, or_else, on_line).await?;
        }
        Ok(())
    }

    /// Returns the image of the program, which runs as whoever deploys: what it writes into folders
    /// of the machine is theirs.
    async fn program_image(&self) -> Result<String, TargetError> {
        let made = self
            .own_image
            .get_or_try_init(|| program::image(&self.engine, &self.settings.program, &self.user));
        made.await.cloned()
    }

    fn service(&self, name: &str) -> Result<&Service, TargetError> {
        self.service_of(&self.settings.spec, name)
    }

    fn service_of<'a>(&self, spec: &'a Spec, name: &str) -> Result<&'a Service, TargetError> {
        spec.service(name).ok_or_else(|| {
            let what = format!("{} has no such service", spec.path.display());
            let next = "Name it as the deployment file and the Compose file do.";
            failed(code::NO_SUCH_SERVICE, Some(name), what, next)
        })
    }

    fn compose<'a>(&self, spec: &'a Spec, name: &str) -> Result<&'a ComposeService, TargetError> {
        spec.compose.services.get(name).ok_or_else(|| {
            let what = format!("{} has no such service", spec.compose.path.display());
            let next = "Name it as the deployment file and the Compose file do.";
            failed(code::NO_SUCH_SERVICE, Some(name), what, next)
        })
    }

    fn secrets_folder(&self, instance: &str) -> PathBuf {
        self.root.join("hidden").join(instance)
    }

    fn forget_secrets(&self, instance: &str) -> Result<(), TargetError> {
        let folder = self.secrets_folder(instance);
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(files(None, "remove", &folder)(error))
            }
            _ => Ok(()),
        }
    }
}

/// Describes the engine that is meant where `lookup` gives the program's variables:
/// `Docker 20.10.24 at unix:///var/run/docker.sock`.
///
/// # Errors
/// When it does not answer, or is one that this program cannot deploy to.
pub async fn describe_engine(lookup: Lookup) -> Result<String, TargetError> {
    let engine = Engine::new(lookup);
    engine.check_here().await?;
    engine.describe().await
}

fn root_of(settings: &Settings) -> PathBuf {
    let spec = &settings.spec;
    let runs = RunsFolder::of_project(&spec.project);
    runs.path().join("docker").join(&spec.environment)
}

#[async_trait]
impl Target for DockerTarget {
    fn name(&self) -> &'static str {
        "docker-desktop"
    }

    fn cannot_honour(&self, spec: &Spec) -> Vec<Limit> {
        limits::limits(spec)
    }

    async fn capacity(&self) -> Result<Capacity, TargetError> {
        self.engine.check_here().await?;
        let mut measured = capacity::measure(&self.settings.spec.data_folder()).await?;
        let engine = self.engine.describe().await?;
        measured.system = format!("{}, {engine}", measured.system);
        Ok(measured)
    }

    async fn observe(&self) -> Result<Observed, TargetError> {
        let (known, routers) = (self.instances().await?, self.routers().await?);
        let instances: Vec<Instance> = known.iter().filter_map(Known::describe).collect();
        let traffic = self.served(&routers).await?;
        let running = routers.iter().filter(|router| router.is_up());
        let addresses: Vec<ServiceAddress> = running
            .filter_map(|router| {
                let (service, address) = (&router.service, router.published?);
                Some(self.settings.address_of(service, address))
            })
            .collect();
        let all = known.iter().chain(&routers).filter(|one| one.running);
        let listening = listening::of_ports(all.filter_map(|one| one.published));
        let stable = crate::stable::release(&traffic, &instances);
        Ok(Observed {
            instances,
            addresses,
            fronts: BTreeMap::new(),
            traffic,
            stable,
            listening,
        })
    }

    async fn admit(
        &self,
        release: &Release,
        replicas: &BTreeMap<String, u32>,
        _: Heading,
    ) -> Result<(), TargetError> {
        self.admits(release, replicas).await
    }

    async fn provide_image(
        &self,
        wanted: &ImageWanted<'_>,
        on_line: &OnLine<'_>,
    ) -> Result<Option<Image>, TargetError> {
        self.provide(wanted, on_line).await.map(Some)
    }

    async fn image(&self, service: &str, release: &Release) -> Result<Option<Image>, TargetError> {
        self.provided(service, release).await
    }

    async fn running_images(
        &self,
        service: &str,
        release: &Release,
    ) -> Result<BTreeMap<String, String>, TargetError> {
        let known = self.of_release(service, release).await?;
        let running = known.into_iter().filter(|one| one.running);
        Ok(running.map(|one| (one.name, one.image)).collect())
    }

    async fn image_health_checks(
        &self,
        release: &Release,
    ) -> Result<BTreeMap<String, bool>, TargetError> {
        self.checks_of_images(release).await
    }

    async fn recover(&self) -> Result<Option<String>, TargetError> {
        let started = self.recover_routers().await?;
        Ok((!started.is_empty()).then(|| {
            format!(
                "routers had ended and were started again: {}",
                started.join(", ")
            )
        }))
    }

    async fn open(&self, services: &[ServiceAddress]) -> Result<Vec<ServiceAddress>, TargetError> {
        self.engine.check_here().await?;
        // All names are looked at before anything is started.
        for wanted in services {
            self.service(&wanted.service)?;
            self.not_foreign(&wanted.service, &self.names.router(&wanted.service))
                .await?;
        }
        let mut opened = Vec::new();
        for wanted in services {
            opened.push(self.open_service(wanted).await?);
        }
        self.forget_programs()?;
        Ok(opened)
    }

    async fn close(&self) -> Result<(), TargetError> {
        if self.instances().await?.is_empty() {
            self.remove_routers(Duration::from_secs(1)).await?;
            self.remove_networks().await?;
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
        self.share(shares).await
    }

    async fn traffic(&self) -> Result<BTreeMap<String, Shares>, TargetError> {
        let routers = self.routers().await?;
        self.served(&routers).await
    }

    async fn renew_lease(&self, lease: Option<Lease>) -> Result<(), TargetError> {
        for service in &self.settings.spec.services {
            let name = service.name.as_str();
            let own = lease
                .as_ref()
                .map(|lease| lease_on(lease, [name].into_iter()));
            match self.steering(name).renew_lease(own).await {
                // A router that does not run holds no lease.
                Err(error) if lease.is_none() && error.transient => {}
                renewed => renewed?,
            }
        }
        Ok(())
    }

    async fn events(&self) -> Result<Vec<TargetEvent>, TargetError> {
        let (routers, mut instances) = (self.routers().await?, self.instances().await?);
        for instance in &mut instances {
            if instance.exit_code.is_none() && self.happenings.was_started_again(instance) {
                instance.exit_code = self.last_exit(instance).await;
            }
        }
        let mut events = self.engine.silences.since_last();
        events.extend(self.notices.since_last());
        events.extend(self.happenings.since_last(&instances, &routers));
        for router in routers.iter().filter(|one| one.running) {
            events.extend(self.steering_of(router).events().await?);
        }
        Ok(events)
    }

    async fn sample_into(&self, folder: Option<PathBuf>) -> Result<(), TargetError> {
        for router in self.routers().await?.iter().filter(|one| one.running) {
            self.steering_of(router).record(folder.clone()).await?;
        }
        Ok(())
    }

    async fn logs(
        &self,
        service: &str,
        release: &Release,
    ) -> Result<Vec<InstanceLog>, TargetError> {
        self.logs_of(service, release).await
    }

    fn reach(&self, release: &Release) -> Vec<(String, Secret)> {
        // Before there is one, no router knows any, and none leads anybody.
        let token = self.known_token().cloned();
        reach(release, &token.unwrap_or_else(token::new))
    }

    async fn remove_all(&self, grace: Duration) -> Result<Vec<Stopped>, TargetError> {
        self.stop_everything(grace).await
    }
}
