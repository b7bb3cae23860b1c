//! What stands on the engine of an application and environment.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{
    EventsOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder,
    ListNetworksOptionsBuilder, RemoveContainerOptionsBuilder, StopContainerOptionsBuilder,
};
use chrono::{DateTime, TimeDelta, Utc};
use code_deploy_engine::target::{Health, Instance, TargetError};
use code_deploy_record::{Clock as _, Redactor, Release, RunId, SystemClock};
use futures::TryStreamExt as _;
use futures::future::try_join_all;

use super::DockerTarget;
use super::engine::Refusal;
use super::names::{INDEX, PART, Part, RELEASE, RUN, SERVICE};
use crate::failure::{code, failed};

/// How far back the engine is asked how a container ended.
const REMEMBERED: TimeDelta = TimeDelta::minutes(10);

/// The exit code of a process that was ended by force.
const KILLED: i64 = 137;

/// A container of this application and environment, as the engine knows it.
#[derive(Debug, Clone)]
pub struct Known {
    pub id: String,
    pub name: String,
    pub service: String,
    /// The release; routers have none.
    pub release: Option<Release>,
    pub index: u32,
    /// The digest of the image that it was made from.
    pub image: String,
    pub run: Option<RunId>,
    pub running: bool,
    /// Whether it has ended and the engine is about to start it again.
    pub restarting: bool,
    pub pid: Option<u32>,
    pub started: DateTime<Utc>,
    pub restarts: u32,
    /// How it ended last; nothing while it runs, when the engine has forgotten.
    pub exit_code: Option<i64>,
    pub out_of_memory: bool,
    /// What its health check found last; nothing when it has none.
    pub health: Option<Health>,
    /// Where its port is published on this machine.
    pub published: Option<SocketAddr>,
    /// Its addresses by network.
    pub addresses: HashMap<String, Ipv4Addr>,
    /// Why it could not be started, in the engine's words.
    pub error: String,
}

impl Known {
    /// Describes an instance as the engine of deployments knows it.
    pub fn describe(&self) -> Option<Instance> {
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Some(Instance {
            id: self.name.clone(),
            service: self.service.clone(),
            release: self.release.clone()?,
            address: self.published.unwrap_or(nowhere),
            pid: self.pid,
            started: self.started,
            running: self.running,
            restarts: self.restarts,
            health: self.health.clone(),
        })
    }

    /// Returns whether its health check has passed; nothing when it has none.
    pub fn healthy(&self) -> Option<bool> {
        self.health.as_ref().map(|health| health.passed)
    }

    /// Returns whether it runs, or the engine is about to start it again.
    pub fn is_up(&self) -> bool {
        self.running || self.restarting
    }

    /// Returns whether it was made and never ran.
    pub fn was_never_started(&self) -> bool {
        // The engine has the first year for what did not happen.
        !self.is_up() && self.started.timestamp() <= 0
    }

    /// Says in words how it ended last.
    pub fn end(&self) -> String {
        match (self.out_of_memory, self.error.as_str()) {
            (true, _) => "out of memory".to_owned(),
            (_, "") => self.exit_code.map_or_else(
                || "how is not known".to_owned(),
                |code| format!("exit code {code}"),
            ),
            (_, error) => error.to_owned(),
        }
    }
}

impl DockerTarget {
    /// Returns the instances of services, in the order of their names.
    pub(super) async fn instances(&self) -> Result<Vec<Known>, TargetError> {
        self.containers(Part::Instance).await
    }

    /// Returns the routers of services, in the order of their names.
    pub(super) async fn routers(&self) -> Result<Vec<Known>, TargetError> {
        self.containers(Part::Router).await
    }

    /// Returns the instances of one release of a service, in the order of their numbers.
    pub(super) async fn of_release(
        &self,
        service: &str,
        release: &Release,
    ) -> Result<Vec<Known>, TargetError> {
        let mut known = self.instances().await?;
        known.retain(|one| one.service == service && one.release.as_ref() == Some(release));
        known.sort_by_key(|one| one.index);
        Ok(known)
    }

    async fn containers(&self, part: Part) -> Result<Vec<Known>, TargetError> {
        let mut filter = self.names.filter();
        let labels = filter.entry("label".to_owned()).or_default();
        labels.push(format!("{PART}={}", part.word()));
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filter)
            .build();
        let listed = self
            .engine
            .ask(|docker| {
                let options = options.clone();
                async move { docker.list_containers(Some(options)).await }
            })
            .await
            .map_err(|refusal| refusal.into_error(None, "list containers"))?;
        let ours = listed.into_iter().filter_map(|one| {
            let labels = one.labels.unwrap_or_default();
            self.names.are_ours(&labels).then_some(one.id?)
        });
        let inspected = try_join_all(ours.map(|id| self.inspect(id))).await?;
        let mut known: Vec<Known> = inspected.into_iter().flatten().collect();
        known.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(known)
    }

    /// Returns a container; nothing when it is gone.
    pub(super) async fn inspect(&self, id: String) -> Result<Option<Known>, TargetError> {
        match self.look_up(&id).await {
            Ok(found) => Ok(Some(known(found, &self.settings.redactor))),
            Err(refusal) if refusal.is_missing() => Ok(None),
            Err(refusal) => Err(refusal.into_error(None, &format!("describe container {id}"))),
        }
    }

    async fn look_up(&self, id: &str) -> Result<ContainerInspectResponse, Refusal> {
        self.engine
            .ask(|docker| {
                let id = id.to_owned();
                async move {
                    docker
                        .inspect_container(&id, None::<InspectContainerOptions>)
                        .await
                }
            })
            .await
    }

    /// Returns a container of ours of that name which was made and never started.
    pub(super) async fn made_unheard(
        &self,
        service: &str,
        name: &str,
    ) -> Result<Option<String>, TargetError> {
        self.not_foreign(service, name).await?;
        let known = self.inspect(name.to_owned()).await?;
        Ok(known.filter(Known::was_never_started).map(|known| known.id))
    }

    /// Refuses a name that a container has which this project did not make.
    pub(super) async fn not_foreign(&self, service: &str, name: &str) -> Result<(), TargetError> {
        let found = match self.look_up(name).await {
            Ok(found) => found,
            Err(refusal) if refusal.is_missing() => return Ok(()),
            Err(refusal) => {
                return Err(refusal.into_error(Some(service), &format!("look for {name}")));
            }
        };
        let labels = found.config.and_then(|config| config.labels);
        if self.names.are_ours(&labels.unwrap_or_default()) {
            return Ok(());
        }
        let what = format!(
            "there is a container {name} that was not made for {} in {}; it was not touched, and \
             nothing was started",
            self.names.project(),
            self.names.folder()
        );
        let next = format!(
            "Remove or rename it (`docker rename {name} OTHER`), or give the application or the \
             environment another name."
        );
        Err(failed(code::FOREIGN, Some(service), what, next))
    }

    /// Asks a container to end, makes it end after its grace, and returns whether it had to be
    /// made to.
    pub(super) async fn end_container(
        &self,
        known: &Known,
        grace: std::time::Duration,
    ) -> Result<bool, TargetError> {
        let seconds = i32::try_from(grace.as_secs().max(1)).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::default().t(seconds).build();
        let limit = grace + std::time::Duration::from_secs(60);
        let asked = self
            .engine
            .ask(|docker| {
                let (id, options) = (known.id.clone(), options.clone());
                async move {
                    let docker = docker.with_timeout(limit);
                    docker.stop_container(&id, Some(options)).await
                }
            })
            .await;
        match asked {
            Ok(()) => {}
            Err(refusal) if refusal.is_missing() || refusal.is_conflict() => {}
            Err(refusal) => {
                let action = format!("stop {}", known.name);
                return Err(refusal.into_error(Some(&known.service), &action));
            }
        }
        let ended = self.inspect(known.id.clone()).await?;
        Ok(known.running && ended.is_some_and(|ended| ended.exit_code == Some(KILLED)))
    }

    /// Returns with which exit code a container that runs again ended last, as the engine's events of the last
    /// minutes have it.
    pub(super) async fn last_exit(&self, known: &Known) -> Option<i64> {
        let now = SystemClock.now();
        let filters = HashMap::from([
            ("container".to_owned(), vec![known.id.clone()]),
            ("event".to_owned(), vec!["die".to_owned()]),
        ]);
        let options = EventsOptionsBuilder::default()
            .since(&(now - REMEMBERED).timestamp().to_string())
            .until(&now.format("%s.%9f").to_string())
            .filters(&filters)
            .build();
        let told = self.engine.ask(|docker| {
            let options = options.clone();
            async move { docker.events(Some(options)).try_collect::<Vec<_>>().await }
        });
        let told = told.await.inspect_err(|error| {
            tracing::debug!(container = known.name, ?error, "the engine tells no events");
        });
        let last = told.ok()?.pop()?;
        last.actor?.attributes?.get("exitCode")?.parse().ok()
    }

    /// Removes a container that has ended, with the volumes that have no name.
    pub(super) async fn remove_container(&self, known: &Known) -> Result<(), TargetError> {
        let options = RemoveContainerOptionsBuilder::default()
            .v(true)
            .force(true)
            .build();
        let removed = self
            .engine
            .ask(|docker| {
                let (id, options) = (known.id.clone(), options.clone());
                async move { docker.remove_container(&id, Some(options)).await }
            })
            .await;
        match removed {
            Ok(()) => Ok(()),
            Err(refusal) if refusal.is_missing() || refusal.is_conflict() => Ok(()),
            Err(refusal) => {
                let action = format!("remove {}", known.name);
                Err(refusal.into_error(Some(&known.service), &action))
            }
        }
    }

    /// Removes the networks of this application and environment that nobody is in.
    pub(super) async fn remove_networks(&self) -> Result<(), TargetError> {
        let options = ListNetworksOptionsBuilder::default()
            .filters(&self.names.filter())
            .build();
        let listed = self
            .engine
            .ask(|docker| {
                let options = options.clone();
                async move { docker.list_networks(Some(options)).await }
            })
            .await
            .map_err(|refusal| refusal.into_error(None, "list networks"))?;
        for network in listed {
            let ours = self.names.are_ours(&network.labels.unwrap_or_default());
            let Some(id) = network.id.filter(|_| ours) else {
                continue;
            };
            let removed = self
                .engine
                .ask(|docker| {
                    let id = id.clone();
                    async move { docker.remove_network(&id).await }
                })
                .await;
            match removed {
                Ok(()) => {}
                // Somebody else's container is in it, or it is gone.
                Err(Refusal::Answer(403 | 404 | 409, _)) => {}
                Err(refusal) => return Err(refusal.into_error(None, "remove a network")),
            }
        }
        Ok(())
    }
}

fn known(found: ContainerInspectResponse, redactor: &Redactor) -> Known {
    let config = found.config.unwrap_or_default();
    let labels = config.labels.unwrap_or_default();
    let label = |name: &str| labels.get(name).cloned();
    let state = found.state.unwrap_or_default();
    let host = found.host_config.unwrap_or_default();
    let networks = found
        .network_settings
        .and_then(|settings| settings.networks);
    let addresses = networks.unwrap_or_default().into_iter();
    let addresses = addresses.filter_map(|(network, endpoint)| {
        let wanted = endpoint.ipam_config.and_then(|config| config.ipv4_address);
        let is = endpoint.ip_address.filter(|text| !text.is_empty());
        Some((network, wanted.or(is)?.parse().ok()?))
    });
    let started = state.started_at.and_then(|text| text.parse().ok());
    let restarting = state.restarting.unwrap_or(false);
    let running = state.running.unwrap_or(false) && !restarting;
    Known {
        id: found.id.unwrap_or_default(),
        name: found
            .name
            .unwrap_or_default()
            .trim_start_matches('/')
            .to_owned(),
        service: label(SERVICE).unwrap_or_default(),
        release: label(RELEASE).and_then(|text| text.parse().ok()),
        index: label(INDEX).and_then(|text| text.parse().ok()).unwrap_or(0),
        image: found.image.unwrap_or_default(),
        run: label(RUN).and_then(|text| text.parse().ok()),
        running,
        restarting,
        pid: state
            .pid
            .and_then(|pid| u32::try_from(pid).ok())
            .filter(|pid| *pid > 0),
        started: started.unwrap_or_default(),
        restarts: u32::try_from(found.restart_count.unwrap_or(0)).unwrap_or(0),
        exit_code: state.exit_code.filter(|_| !running),
        out_of_memory: state.oom_killed.unwrap_or(false),
        health: state
            .health
            .and_then(|told| super::health::found(&told, redactor)),
        published: host.port_bindings.and_then(published),
        addresses: addresses.collect(),
        error: state.error.unwrap_or_default(),
    }
}

fn published(bindings: bollard::models::PortMap) -> Option<SocketAddr> {
    let binding = bindings.into_values().flatten().flatten().next()?;
    let ip: IpAddr = binding.host_ip?.parse().ok()?;
    Some(SocketAddr::new(ip, binding.host_port?.parse().ok()?))
}
