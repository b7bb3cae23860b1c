//! Services as processes of this machine, behind the router.

mod capacity;
mod environment;
mod instance;
mod listening;
mod places;
mod process;
mod router;
mod supervisor;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_engine::http::HttpClient;
use code_deploy_engine::spec::{Service, Spec};
use code_deploy_engine::target::{
    Capacity, Instance, InstanceLog, Lease, Observed, ServiceAddress, Shares, Stopped, Target,
    TargetError, TargetEvent, Wanted,
};
use code_deploy_record::{Finding, Redactor, Release, Secret};
use tokio::process::Command;
use tokio::sync::Mutex;

pub use places::Places;
pub use process::ProcessId;
pub use supervisor::supervise;

use instance::{InstanceConfig, InstanceFolder, create_private, write_private};
use router::RouterProcess;

/// What every call to a starting instance may take, and the pause between two.
const KNOCK: Duration = Duration::from_millis(50);

/// How long a supervisor may take beyond its instance's grace.
const SUPERVISOR_SLACK: Duration = Duration::from_secs(5);

/// Looks up a variable of the program's environment.
pub type Lookup = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What the local target needs to know of the program that uses it.
pub struct LocalSettings {
    /// The deployment file, read.
    pub spec: Arc<Spec>,
    /// The program itself, which is started again as router and supervisor.
    pub program: PathBuf,
    /// A folder of the user for sockets, with a short path.
    pub runtime: PathBuf,
    /// Looks up a variable of the program's environment.
    pub lookup: Lookup,
    /// Gets to know the secrets that instances are given.
    pub redactor: Redactor,
}

/// This machine: services run as processes of their own, which outlive the program, behind a
/// router that does too.
pub struct LocalTarget {
    settings: LocalSettings,
    places: Places,
    router: RouterProcess,
    http: HttpClient,
    token: Secret,
    /// One change of instances at a time, so that two starts do not take the same port.
    changes: Mutex<()>,
}

impl LocalTarget {
    /// Returns the target. Makes the token with which requests reach a release on purpose, if
    /// there is none yet; changes nothing else.
    ///
    /// # Errors
    /// When the folder of the environment cannot be written.
    pub fn new(settings: LocalSettings) -> Result<Self, TargetError> {
        let spec = &settings.spec;
        let places = Places::new(
            &spec.project,
            &spec.environment,
            spec.data_folder(),
            settings.runtime.clone(),
        );
        let token = read_or_make_token(&places)?;
        settings.redactor.know("router token", token.clone());
        let router = RouterProcess::new(places.clone(), settings.program.clone());
        let http = HttpClient::new();
        Ok(Self {
            settings,
            places,
            router,
            http,
            token,
            changes: Mutex::new(()),
        })
    }

    /// Returns where things of this environment are.
    #[must_use]
    pub fn places(&self) -> &Places {
        &self.places
    }

    fn service(&self, name: &str) -> Result<&Service, TargetError> {
        let known = self.settings.spec.service(name);
        known.ok_or_else(|| {
            failed(
                Some(name),
                "the deployment file has no such service",
                "",
                false,
            )
        })
    }

    /// Returns every instance that was ever started and not stopped, with its configuration.
    fn instances(&self) -> Vec<(InstanceFolder, InstanceConfig)> {
        let Ok(entries) = std::fs::read_dir(self.places.instances()) else {
            return Vec::new();
        };
        let mut found: Vec<_> = entries
            .flatten()
            .map(|entry| InstanceFolder::at(entry.path()))
            .filter_map(|folder| folder.config().ok().map(|config| (folder, config)))
            .collect();
        found.sort_by(|a, b| a.1.id.cmp(&b.1.id));
        found
    }

    fn of_release(
        &self,
        service: &str,
        release: &Release,
    ) -> Vec<(InstanceFolder, InstanceConfig)> {
        let mut instances = self.instances();
        instances.retain(|(_, config)| config.service == service && config.release == *release);
        instances
    }

    fn inherited(&self) -> BTreeMap<String, String> {
        let found = environment::INHERITED.iter();
        found
            .filter_map(|name| {
                (self.settings.lookup)(name).map(|value| ((*name).to_owned(), value))
            })
            .collect()
    }

    async fn start_one(
        &self,
        service: &Service,
        wanted: &Wanted,
        index: u32,
        addresses: &BTreeMap<String, SocketAddr>,
    ) -> Result<(), TargetError> {
        let spec = &self.settings.spec;
        let id = instance_id(spec, &service.name, &wanted.release, index);
        let folder = InstanceFolder::new(&self.places.instances(), &id);
        let address = free_address().map_err(io(&service.name, "find a free port"))?;
        let words = environment::Words {
            program: &self.settings.program,
            port: address.port(),
            release: &wanted.release,
            data: self.places.data(),
            addresses,
        };
        let inherited = self.inherited();
        let search = inherited
            .get("PATH")
            .map(String::as_str)
            .unwrap_or_default();
        let command = environment::command(service, &spec.project, &words, search)
            .map_err(|what| failed(Some(&service.name), what, PROCESS_HELP, false))?;
        let mut variables = environment::environment(service, &words, &inherited);
        folder
            .create()
            .map_err(io(&service.name, "create the instance's folder"))?;
        self.write_secrets(service, &folder, &mut variables)?;
        let config = InstanceConfig {
            id,
            run: wanted.run.clone(),
            service: service.name.clone(),
            release: wanted.release.clone(),
            index,
            command,
            folder: spec.project.clone(),
            environment: variables,
            address,
            restart: service.restart,
            stop_grace_ms: u64::try_from(service.stop_grace.get().as_millis()).unwrap_or(u64::MAX),
        };
        folder
            .write_config(&config)
            .map_err(io(&service.name, "write the instance's folder"))?;
        self.spawn_supervisor(&folder, &service.name)
    }

    fn write_secrets(
        &self,
        service: &Service,
        folder: &InstanceFolder,
        variables: &mut BTreeMap<String, String>,
    ) -> Result<(), TargetError> {
        for (name, secret) in service
            .file
            .process
            .iter()
            .flat_map(|process| &process.secrets)
        {
            let value = environment::resolve(secret, &self.settings.spec, &*self.settings.lookup)
                .map_err(|what| {
                let what = format!("secret {name}: {what}");
                failed(
                    Some(&service.name),
                    what,
                    "Provide the secret and try again.",
                    false,
                )
            })?;
            self.settings.redactor.know(name.as_str(), value.clone());
            let path = folder.secret(name);
            let written = create_private(&folder.path().join("secrets"))
                .and_then(|()| write_private(&path, value.expose().as_bytes()));
            written.map_err(io(&service.name, "write a secret's file"))?;
            variables.insert(name.clone(), path.to_string_lossy().into_owned());
        }
        Ok(())
    }

    fn spawn_supervisor(&self, folder: &InstanceFolder, service: &str) -> Result<(), TargetError> {
        let log = router::append_private(&folder.supervisor_log())
            .map_err(io(service, "open the supervisor's log"))?;
        let errors = log
            .try_clone()
            .map_err(io(service, "open the supervisor's log"))?;
        Command::new(&self.settings.program)
            .args(["internal", "instance", "--folder"])
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map(drop)
            .map_err(io(service, "start the supervisor"))
    }

    /// Waits until an instance answers its startup probe, or accepts connections when it has
    /// none. There is no event for this: the instance is asked again and again.
    async fn wait_started(
        &self,
        service: &Service,
        folder: &InstanceFolder,
        limit: Duration,
    ) -> Result<(), TargetError> {
        let config = folder
            .config()
            .map_err(io(&service.name, "read the instance's folder"))?;
        let until = tokio::time::Instant::now() + limit;
        let probe = service.file.probes.startup.as_deref();
        let mut seen = "it does not listen yet".to_owned();
        while tokio::time::Instant::now() < until {
            if folder.state().is_some_and(|state| state.ended) {
                seen = "its process ended".to_owned();
                break;
            }
            match self.knock(config.address, probe).await {
                Ok(()) => return Ok(()),
                Err(what) => seen = what,
            }
            tokio::time::sleep(KNOCK).await;
        }
        let lines = folder.last_lines(5).join("\n");
        let end = folder
            .state()
            .and_then(|state| state.last_end)
            .unwrap_or_default();
        let what = format!(
            "instance {} did not start within {limit:?}: {seen}. {end}\nThe end of its log \
             ({}):\n{lines}",
            config.id,
            folder.log().display(),
        );
        Err(failed(
            Some(&service.name),
            what,
            "Mend what the log says and run again.",
            false,
        ))
    }

    async fn knock(&self, address: SocketAddr, probe: Option<&str>) -> Result<(), String> {
        let limit = Duration::from_secs(1);
        let Some(path) = probe else {
            let connected = tokio::time::timeout(limit, tokio::net::TcpStream::connect(address));
            let connected = connected
                .await
                .map_err(|_| format!("no connection within {limit:?}"))?;
            return connected.map(drop).map_err(|error| error.to_string());
        };
        let url = format!("http://{address}{path}");
        match self.http.get(&url, limit).await {
            Ok(answer) if answer.status.is_success() => Ok(()),
            Ok(answer) => Err(format!("GET {path} answers {}", answer.status)),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn stop_one(
        &self,
        folder: &InstanceFolder,
        config: &InstanceConfig,
        grace: Duration,
    ) -> Result<bool, TargetError> {
        let refused = || io(&config.service, "end the instance");
        let mut forced = false;
        if let Some(state) = folder.state() {
            state.supervisor.terminate().map_err(refused())?;
            let own = Duration::from_millis(config.stop_grace_ms) + SUPERVISOR_SLACK;
            if !state
                .supervisor
                .ended_within(grace.max(own))
                .await
                .map_err(refused())?
            {
                state.supervisor.kill().map_err(refused())?;
                forced = true;
            }
            // A supervisor that was killed leaves its process behind.
            if let Some(process) = folder.state().and_then(|state| state.process) {
                process.kill().map_err(refused())?;
                process
                    .ended_within(SUPERVISOR_SLACK)
                    .await
                    .map_err(refused())?;
            }
            let end = folder
                .state()
                .and_then(|state| state.last_end)
                .unwrap_or_default();
            forced |= end.contains("SIGKILL");
        }
        self.retire(folder, config)
            .map_err(io(&config.service, "put the instance's log away"))?;
        Ok(forced)
    }

    /// Keeps the log of an instance that is gone beside those of the others, and removes the
    /// rest of its folder, secrets first.
    fn retire(&self, folder: &InstanceFolder, config: &InstanceConfig) -> std::io::Result<()> {
        let logs = self.places.root().join("logs");
        create_private(&logs)?;
        let kept = logs.join(format!("{}--{}.jsonl", config.run, config.id));
        match std::fs::rename(folder.log(), kept) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match std::fs::remove_dir_all(folder.path()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn describe(folder: &InstanceFolder, config: &InstanceConfig) -> Instance {
        let state = folder.state();
        let process = state.as_ref().and_then(|state| state.process);
        Instance {
            id: config.id.clone(),
            service: config.service.clone(),
            release: config.release.clone(),
            address: config.address,
            pid: process.map(|process| process.pid),
            started: state
                .as_ref()
                .map(|state| state.started)
                .unwrap_or_default(),
            running: process.is_some_and(|process| process.runs()),
            restarts: state.map_or(0, |state| state.restarts),
        }
    }

    async fn addresses(&self) -> Result<BTreeMap<String, SocketAddr>, TargetError> {
        let bound = self.router.addresses().await?;
        Ok(bound.unwrap_or_default())
    }

    /// Makes the running instances of a release, and only those, known to the router.
    async fn tell_router(
        &self,
        service: &str,
        release: &Release,
    ) -> Result<Vec<Instance>, TargetError> {
        let instances: Vec<_> = self
            .of_release(service, release)
            .iter()
            .filter(|(folder, _)| folder.supervised())
            .map(|(folder, config)| Self::describe(folder, config))
            .collect();
        let backends = instances
            .iter()
            .map(|i| (i.id.clone(), i.address))
            .collect();
        self.router.put_release(service, release, backends).await?;
        Ok(instances)
    }
}

const PROCESS_HELP: &str =
    "Name the program in the deployment file under `services.NAME.process.command`.";

#[async_trait]
impl Target for LocalTarget {
    fn name(&self) -> &'static str {
        "local"
    }

    fn cannot_honour(&self, spec: &Spec) -> Vec<Finding> {
        code_deploy_engine::spec::local_limits(spec)
    }

    async fn capacity(&self) -> Result<Capacity, TargetError> {
        let measured = capacity::measure(self.places.data()).await;
        measured.map_err(|error| {
            failed(
                None,
                format!("cannot measure this machine: {error}"),
                "",
                true,
            )
        })
    }

    async fn observe(&self) -> Result<Observed, TargetError> {
        let instances: Vec<_> = self
            .instances()
            .iter()
            .map(|(folder, config)| Self::describe(folder, config))
            .collect();
        let served = self.router.traffic().await?.unwrap_or_default();
        let routing = |name: &str| {
            self.settings
                .spec
                .service(name)
                .map(|s| s.file.routing.clone())
                .unwrap_or_default()
        };
        let addresses: Vec<_> = self
            .addresses()
            .await?
            .into_iter()
            .map(|(service, address)| {
                let routing = routing(&service);
                ServiceAddress {
                    service,
                    address,
                    routing,
                }
            })
            .collect();
        let stable = stable_release(&served, &instances);
        let mut pids: Vec<u32> = instances
            .iter()
            .filter_map(|instance| instance.pid)
            .collect();
        pids.extend(self.router.pid());
        let listening = listening::of_processes(&pids);
        Ok(Observed {
            instances,
            addresses,
            traffic: served,
            stable,
            listening,
        })
    }

    async fn open(&self, services: &[ServiceAddress]) -> Result<Vec<ServiceAddress>, TargetError> {
        create_private(self.places.data()).map_err(|error| {
            failed(
                None,
                format!("cannot create the data folder: {error}"),
                "",
                false,
            )
        })?;
        self.router.start().await?;
        let mut opened = Vec::new();
        for wanted in services {
            let service = self.service(&wanted.service)?;
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
        if self.instances().is_empty() {
            self.router.stop(Duration::from_secs(1)).await?;
        }
        Ok(())
    }

    async fn start(&self, wanted: &Wanted) -> Result<Vec<Instance>, TargetError> {
        let service = self.service(&wanted.service)?;
        let one_at_a_time = self.changes.lock().await;
        let addresses = self.addresses().await?;
        let present = self.of_release(&wanted.service, &wanted.release);
        let mut folders = Vec::new();
        for index in 1..=wanted.replicas {
            let known = present.iter().find(|(_, config)| config.index == index);
            if let Some((folder, config)) = known {
                if folder.supervised() {
                    folders.push(folder.clone());
                    continue;
                }
                self.stop_one(folder, config, Duration::ZERO).await?;
            }
            self.start_one(service, wanted, index, &addresses).await?;
            let id = instance_id(&self.settings.spec, &service.name, &wanted.release, index);
            folders.push(InstanceFolder::new(&self.places.instances(), &id));
        }
        drop(one_at_a_time);
        let waits = folders
            .iter()
            .map(|f| self.wait_started(service, f, wanted.start_limit));
        futures::future::try_join_all(waits).await?;
        self.tell_router(&wanted.service, &wanted.release).await
    }

    async fn stop(
        &self,
        service: &str,
        release: &Release,
        grace: Duration,
    ) -> Result<Stopped, TargetError> {
        let cut = self.router.remove_release(service, release, grace).await?;
        let instances = self.of_release(service, release);
        let stops = instances
            .iter()
            .map(|(folder, config)| self.stop_one(folder, config, grace));
        let forced = futures::future::try_join_all(stops).await?;
        let forced_count = forced.iter().filter(|forced| **forced).count();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(Stopped {
            service: service.to_owned(),
            release: release.clone(),
            ended: count(forced.len() - forced_count),
            forced: count(forced_count),
            cut,
        })
    }

    async fn set_traffic(&self, shares: &BTreeMap<String, Shares>) -> Result<(), TargetError> {
        self.router.set_weights(shares).await
    }

    async fn traffic(&self) -> Result<BTreeMap<String, Shares>, TargetError> {
        Ok(self.router.traffic().await?.unwrap_or_default())
    }

    async fn renew_lease(&self, lease: Option<Lease>) -> Result<(), TargetError> {
        let services: Vec<_> = self
            .settings
            .spec
            .services
            .iter()
            .map(|s| s.name.clone())
            .collect();
        self.router.renew_lease(lease, &services).await
    }

    async fn events(&self) -> Result<Vec<TargetEvent>, TargetError> {
        self.router.events().await
    }

    async fn sample_into(&self, folder: Option<PathBuf>) -> Result<(), TargetError> {
        self.router.record(folder).await
    }

    async fn logs(
        &self,
        service: &str,
        release: &Release,
    ) -> Result<Vec<InstanceLog>, TargetError> {
        let running = self.of_release(service, release).into_iter();
        let mut logs: Vec<_> = running
            .map(|(folder, config)| InstanceLog {
                instance: config.id,
                path: folder.log(),
            })
            .collect();
        if logs.is_empty() {
            logs = self.retired_logs(service, release);
        }
        Ok(logs)
    }

    fn reach(&self, release: &Release) -> Vec<(String, Secret)> {
        vec![
            (
                router::RELEASE_HEADER.to_owned(),
                Secret::new(release.to_string()),
            ),
            (router::TOKEN_HEADER.to_owned(), self.token.clone()),
        ]
    }

    async fn remove_all(&self, grace: Duration) -> Result<Vec<Stopped>, TargetError> {
        self.router.stop(grace).await?;
        let mut stopped: BTreeMap<(String, Release), Stopped> = BTreeMap::new();
        for (folder, config) in self.instances() {
            let forced = self.stop_one(&folder, &config, grace).await?;
            let key = (config.service.clone(), config.release.clone());
            let entry = stopped.entry(key).or_insert_with(|| Stopped {
                service: config.service.clone(),
                release: config.release.clone(),
                ended: 0,
                forced: 0,
                cut: 0,
            });
            entry.ended += u32::from(!forced);
            entry.forced += u32::from(forced);
        }
        Ok(stopped.into_values().collect())
    }
}

impl LocalTarget {
    fn retired_logs(&self, service: &str, release: &Release) -> Vec<InstanceLog> {
        let Ok(entries) = std::fs::read_dir(self.places.root().join("logs")) else {
            return Vec::new();
        };
        let prefix = format!(
            "{}-{}-{service}-{release}-",
            self.settings.spec.application, self.settings.spec.environment
        );
        let mut logs: Vec<_> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let (_, instance) = name.strip_suffix(".jsonl")?.split_once("--")?;
                let ours = instance.starts_with(&prefix);
                ours.then(|| InstanceLog {
                    instance: instance.to_owned(),
                    path: entry.path(),
                })
            })
            .collect();
        logs.sort_by(|a, b| a.path.cmp(&b.path));
        logs
    }
}

fn instance_id(spec: &Spec, service: &str, release: &Release, index: u32) -> String {
    format!(
        "{}-{}-{service}-{release}-{index}",
        spec.application, spec.environment
    )
}

/// The stable release is the one that has all traffic of every service and has an instance.
fn stable_release(served: &BTreeMap<String, Shares>, instances: &[Instance]) -> Option<Release> {
    let mut releases = served.values().map(|shares| {
        let all = shares.iter().find(|(_, share)| **share == 100);
        all.map(|(release, _)| release)
    });
    let first = releases.next()??;
    let same = releases.all(|release| release == Some(first));
    let runs = instances
        .iter()
        .any(|instance| instance.release == *first && instance.running);
    (same && runs).then(|| first.clone())
}

/// Takes a port that is free now. Between this and the instance's own listening another program
/// might take it; the instance then fails to start and says so.
fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

fn read_or_make_token(places: &Places) -> Result<Secret, TargetError> {
    let path = places.token();
    let refused = |error: std::io::Error| {
        let what = format!(
            "cannot keep the router's token in {}: {error}",
            path.display()
        );
        failed(None, what, "Make the project's folder writable.", false)
    };
    match std::fs::read_to_string(&path) {
        Ok(token) if token.len() == 32 => return Ok(Secret::new(token)),
        _ => {}
    }
    let token = format!("{:032x}", rand::random::<u128>());
    create_private(places.root()).map_err(refused)?;
    write_private(&path, token.as_bytes()).map_err(refused)?;
    Ok(Secret::new(token))
}

pub(crate) fn failed(
    service: Option<&str>,
    what: impl Into<String>,
    next: impl Into<String>,
    transient: bool,
) -> TargetError {
    let service = service.map(str::to_owned);
    TargetError {
        code: "CD0501",
        service,
        what: what.into(),
        next: next.into(),
        transient,
    }
}

fn io(service: &str, action: &'static str) -> impl FnOnce(std::io::Error) -> TargetError {
    let service = service.to_owned();
    move |error| {
        failed(
            Some(&service),
            format!("cannot {action}: {error}"),
            "",
            false,
        )
    }
}
