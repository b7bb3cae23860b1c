//! The routers in front of services: a container of its own for each, which has the service's name
//! in its networks.
//!
//! Each service has a router of its own because two services may listen on the same port, and a
//! name leads to one address only.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, HostConfig, Mount, MountType, RestartPolicy, RestartPolicyNameEnum,
};
use code_deploy_engine::spec::Service;
use code_deploy_engine::target::{ServiceAddress, Shares, TargetError};
use code_deploy_record::{Digest, RunsFolder};
use code_deploy_router::{CHOSEN_PROGRAM, ControlClient, HostClient, RouterConfig, Status};

use super::DockerTarget;
use super::container::{bindings, networking};
use super::names::{Part, SERVICE};
use super::ports::fixed_port;
use super::program;
use super::store::Known;
use crate::disk::{create_private, read_json, write_json};
use crate::failure::{code, failed, files};
use crate::lock::ChangeLock;
use crate::steering::{Steering, service_config, shares};

/// How long a router may take until it answers after its start.
const START_LIMIT: Duration = Duration::from_secs(15);

/// How long a router that died may take until the engine has brought it back.
const BACK_LIMIT: Duration = Duration::from_secs(5);

/// The file in which a router keeps what is in force, in its folder.
const STATE: &str = "state.json";

/// The file with what a router was made with, in its folder.
const CONFIG: &str = "config.json";

/// The pause between two tries to reach a router that is starting.
const KNOCK: Duration = Duration::from_millis(50);

impl DockerTarget {
    /// Returns what steers the router of a service.
    pub(super) fn steering(&self, service: &str) -> Steering {
        let log = format!("`docker logs {}`", self.names.router(service));
        Steering::new(ControlClient::new(self.socket(service)), log)
    }

    /// Returns the folder where this session has a router's socket. Its name follows from the
    /// router's folder, which may have a path too long for a socket.
    fn own_socket_folder(&self, service: &str) -> PathBuf {
        let folder = self.router_folder(service);
        let name = Digest::of(folder.as_os_str().as_encoded_bytes()).short();
        self.settings.runtime.join(format!("router-{name}"))
    }

    /// Returns a router's socket. A session without a login, or another one, has another folder for
    /// sockets than that with which the router was made.
    pub(super) fn socket(&self, service: &str) -> PathBuf {
        let made: Result<RouterConfig, _> = read_json(&self.router_folder(service).join(CONFIG));
        made.map_or_else(
            |_| self.own_socket_folder(service).join("control.sock"),
            |config| config.control_socket,
        )
    }

    fn router_folder(&self, service: &str) -> PathBuf {
        self.root.join("routers").join(service)
    }

    fn runs_folder(&self) -> PathBuf {
        RunsFolder::of_project(&self.settings.spec.project)
            .path()
            .to_owned()
    }

    /// Makes the router of a service run, and puts the service's settings in place.
    pub(super) async fn open_service(
        &self,
        wanted: &ServiceAddress,
    ) -> Result<ServiceAddress, TargetError> {
        let service = self.service(&wanted.service)?;
        let token = self.needed_token()?;
        let _change = self.router_lock(&service.name).await?;
        let known = self.router_of(&service.name).await?;
        let known = self.without_half_made(known).await?;
        let kept = known.as_ref().and_then(|one| one.published);
        let fixed = fixed_port(service, &wanted.routing);
        let at = match (&known, kept) {
            (Some(known), Some(at)) if fixed.is_none_or(|port| port == at.port()) => {
                self.start_router(known).await?;
                at
            }
            (Some(known), _) => return Err(known.cannot_move_to(fixed)),
            (None, _) => self.make_router(service, fixed).await?,
        };
        self.wait_router(&service.name).await?;
        if known.is_some() {
            let drain = wanted.routing.drain.get();
            self.upgrade_router(&service.name, drain).await?;
        }
        let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, service.port));
        let mut config = service_config(service, &wanted.routing, listen, token);
        config.contained = true;
        self.steering(&service.name).put_service(config).await?;
        Ok(ServiceAddress {
            address: at,
            ..wanted.clone()
        })
    }

    async fn make_router(
        &self,
        service: &Service,
        fixed: Option<u16>,
    ) -> Result<SocketAddr, TargetError> {
        let name = self.names.router(&service.name);
        self.not_foreign(&service.name, &name).await?;
        let image = self.program_image().await?;
        let config = self.write_router_config(&service.name)?;
        for _ in 1..super::PORTS {
            let port = self.port(fixed, &service.name)?;
            let made = self.try_router(service, &name, &image, &config, port).await;
            match made {
                Err(error) if error.code == code::PORT_TAKEN && fixed.is_none() => {}
                made => return made.map(|()| port),
            }
        }
        let port = self.port(fixed, &service.name)?;
        self.try_router(service, &name, &image, &config, port)
            .await
            .map(|()| port)
    }

    async fn try_router(
        &self,
        service: &Service,
        name: &str,
        image: &str,
        config: &std::path::Path,
        port: SocketAddr,
    ) -> Result<(), TargetError> {
        let spec = &self.settings.spec;
        let compose = self.compose(spec, &service.name)?;
        let networks = self.networks(spec, &service.name, compose)?;
        let addresses = ChangeLock::of(&self.root, "addresses", "addresses.lock").await?;
        let places = self
            .places(&networks, std::slice::from_ref(&service.name))
            .await?;
        let mut labels = self.names.labels(Part::Router);
        labels.insert(SERVICE.to_owned(), service.name.clone());
        labels.extend(
            self.names
                .compose_labels(&format!("{}-router", service.name), 1),
        );
        labels.insert(
            "com.docker.compose.config-hash".to_owned(),
            Digest::of(image.as_bytes()).to_string(),
        );
        let inside = format!("{}/tcp", service.port);
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            entrypoint: Some(vec![program::PROGRAM.to_owned()]),
            cmd: Some(vec![
                "internal".to_owned(),
                "router-host".to_owned(),
                "--config".to_owned(),
                config.display().to_string(),
            ]),
            labels: Some(labels.into_iter().collect()),
            exposed_ports: Some(vec![inside.clone()]),
            host_config: Some(HostConfig {
                port_bindings: Some(bindings(&inside, port)),
                mounts: Some(self.router_mounts(&service.name)),
                restart_policy: Some(RestartPolicy {
                    name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
                    maximum_retry_count: None,
                }),
                network_mode: places.first().map(|place| place.network.clone()),
                ..HostConfig::default()
            }),
            networking_config: Some(networking(&places)),
            ..ContainerCreateBody::default()
        };
        let id = self
            .make_container(&service.name, name, body, &places)
            .await?;
        drop(addresses);
        let started = self.start_container(&id, &service.name).await;
        if started.is_err() {
            self.discard(&id).await;
        }
        started
    }

    fn router_mounts(&self, service: &str) -> Vec<Mount> {
        let folders = [
            self.router_folder(service),
            self.own_socket_folder(service),
            self.runs_folder(),
        ];
        let mounts = folders.into_iter().map(|folder| {
            let path = folder.display().to_string();
            Mount {
                typ: Some(MountType::BIND),
                source: Some(path.clone()),
                target: Some(path),
                ..Mount::default()
            }
        });
        mounts.collect()
    }

    fn write_router_config(&self, service: &str) -> Result<PathBuf, TargetError> {
        let (folder, sockets) = (self.router_folder(service), self.own_socket_folder(service));
        for folder in [&folder, &sockets, &self.runs_folder()] {
            create_private(folder).map_err(files(Some(service), "create", folder))?;
        }
        let path = folder.join(CONFIG);
        let mut config = RouterConfig::new(folder.join(STATE), sockets.join("control.sock"));
        config.samples = format!("router-{service}");
        write_json(&path, &config).map_err(files(Some(service), "write", &path))?;
        Ok(path)
    }

    /// Waits until a router answers. There is no event for this: it is asked again and again.
    async fn wait_router(&self, service: &str) -> Result<(), TargetError> {
        let until = tokio::time::Instant::now() + START_LIMIT;
        let steering = self.steering(service);
        loop {
            let error = match steering.client().status().await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            if tokio::time::Instant::now() >= until {
                let name = self.names.router(service);
                let what = format!(
                    "the router {name} does not answer within {START_LIMIT:?}: {}",
                    code_deploy_engine::error::with_sources(&error)
                );
                let next = format!("Look at `docker logs {name}`, then run again.");
                return Err(failed(code::ROUTER_START, Some(service), what, next));
            }
            tokio::time::sleep(KNOCK).await;
        }
    }

    /// Starts routers again that ended without being stopped by `--stop`. Returns which.
    pub(super) async fn recover_routers(&self) -> Result<Vec<String>, TargetError> {
        let mut started = Vec::new();
        let routers = self.routers().await?;
        for seen in routers.into_iter().filter(|one| !one.is_up()) {
            let _change = self.router_lock(&seen.service).await?;
            // Whoever held the lock may have stopped it, or started it again.
            let now = self.router_of(&seen.service).await?;
            let Some(router) = now.filter(|one| !one.is_up()) else {
                continue;
            };
            self.start_router(&router).await?;
            self.wait_router(&router.service).await?;
            started.push(router.name);
        }
        Ok(started)
    }

    async fn router_lock(&self, service: &str) -> Result<ChangeLock, TargetError> {
        let what = format!("the router of {service}");
        ChangeLock::of(&self.root, &what, &format!("router-{service}.lock")).await
    }

    /// Starts a router that was made. The folder of its socket is gone when the machine was started
    /// anew.
    async fn start_router(&self, router: &Known) -> Result<(), TargetError> {
        if let Some(folder) = self.socket(&router.service).parent() {
            let failed = files(Some(&router.service), "create", folder);
            create_private(folder).map_err(failed)?;
        }
        self.start_container(&router.id, &router.service).await
    }

    /// Returns the router of a service, if it has one.
    pub(super) async fn router_of(&self, service: &str) -> Result<Option<Known>, TargetError> {
        let routers = self.routers().await?;
        Ok(routers.into_iter().find(|one| one.service == service))
    }

    /// Removes a router that a killed run made and never started: it may not be in all its
    /// networks.
    async fn without_half_made(&self, known: Option<Known>) -> Result<Option<Known>, TargetError> {
        match known {
            Some(known) if known.was_never_started() => {
                self.remove_container(&known).await.map(|()| None)
            }
            known => Ok(known),
        }
    }

    /// Returns what a router has in force; nothing when it was stopped. One that has just died is
    /// waited for while the engine starts it again: what it says then is what it said before.
    pub(super) async fn status_of(&self, router: &Known) -> Result<Option<Status>, TargetError> {
        let until = tokio::time::Instant::now() + BACK_LIMIT;
        loop {
            let error = match self.steering_of(router).status().await {
                Ok(status) => return Ok(Some(status)),
                Err(error) => error,
            };
            let now = self.inspect(router.id.clone()).await?;
            if !now.is_some_and(|now| now.is_up()) {
                return Ok(None);
            }
            if tokio::time::Instant::now() >= until {
                return Err(error);
            }
            tracing::debug!(%error, "the router is asked again");
            tokio::time::sleep(KNOCK).await;
        }
    }

    /// Returns the shares of every service as its router serves them. A router that was stopped
    /// serves nothing.
    pub(super) async fn served(
        &self,
        routers: &[Known],
    ) -> Result<BTreeMap<String, Shares>, TargetError> {
        let mut served = BTreeMap::new();
        for router in routers.iter().filter(|one| one.is_up()) {
            if let Some(status) = self.status_of(router).await? {
                served.extend(shares(&status)?);
            }
        }
        Ok(served)
    }

    /// Returns the steering of a router; kept, so that no event is told twice.
    pub(super) fn steering_of(&self, router: &Known) -> std::sync::Arc<Steering> {
        let mut known = self
            .steerings
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let made = known
            .entry(router.service.clone())
            .or_insert_with(|| std::sync::Arc::new(self.steering(&router.service)));
        std::sync::Arc::clone(made)
    }

    /// Sets the shares of all services. Every release that gets a share has a healthy instance
    /// before the first is set, so that no service is left behind the others for long.
    pub(super) async fn share(&self, wanted: &BTreeMap<String, Shares>) -> Result<(), TargetError> {
        for (service, shares) in wanted {
            self.steering(service).wait_healthy(service, shares).await?;
        }
        for (service, shares) in wanted {
            let one = BTreeMap::from([(service.clone(), shares.clone())]);
            self.steering(service).set_weights(&one).await?;
        }
        Ok(())
    }

    /// Stops the routers and removes them with what they keep.
    pub(super) async fn remove_routers(&self, grace: Duration) -> Result<(), TargetError> {
        let routers = self.routers().await?;
        let ends = routers.iter().map(|router| async move {
            let _change = self.router_lock(&router.service).await?;
            // Asked by its socket, it would end, and the engine would start it again.
            self.happenings.is_asked_to_end(router);
            self.end_container(router, grace).await?;
            self.remove_container(router).await
        });
        futures::future::try_join_all(ends).await?;
        self.remove_programs()?;
        // Also of those that somebody else removed.
        let folders = std::fs::read_dir(self.root.join("routers"));
        let folders = folders.into_iter().flatten().flatten();
        for folder in folders {
            self.forget_router(&folder.file_name().to_string_lossy())?;
        }
        Ok(())
    }

    /// Removes what a router kept: the next one begins with nothing.
    fn forget_router(&self, service: &str) -> Result<(), TargetError> {
        let folder = self.router_folder(service);
        let socket = self.socket(service);
        let sockets = socket.parent().map(PathBuf::from);
        let host = HostClient::of(&socket).socket().to_owned();
        let (state, config) = (folder.join(STATE), folder.join(CONFIG));
        let removed = [state, config, folder.join(CHOSEN_PROGRAM), host, socket]
            .map(|path| (std::fs::remove_file(&path), path));
        let sockets = sockets.map(|path| (std::fs::remove_dir(&path), path));
        for (removed, path) in removed.into_iter().chain(sockets) {
            match removed {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(files(None, "remove", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
