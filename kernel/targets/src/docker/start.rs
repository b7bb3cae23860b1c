//! Starting instances, and waiting until they answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bollard::models::{ContainerCreateBody, NetworkConnectRequest, VolumeCreateRequest};
use bollard::query_parameters::{CreateContainerOptionsBuilder, StartContainerOptions};
use code_deploy_engine::Spec;
use code_deploy_engine::spec::{ComposeService, Service};
use code_deploy_engine::target::{Instance, TargetError, Wanted};
use code_deploy_record::{Digest, Release};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::container::{Given, Place, body, endpoint};
use super::engine::Refusal;
use super::image::Image;
use super::mounts::{self, Hidden, NamedVolume};
use super::names::{INDEX, Part, RELEASE, RUN, SERVICE};
use super::network::Network;
use super::store::Known;
use super::told::Told;
use super::{DockerTarget, PORTS};
use crate::failure::{code, failed, transient};
use crate::keys::Keys;
use crate::lock::ChangeLock;

/// The pause between two calls to a starting instance.
const KNOCK: Duration = Duration::from_millis(100);

/// The pause between two looks at an instance of which the engine itself says when its health check has passed.
const LOOK: Duration = Duration::from_secs(1);

/// How long one call to a starting instance may take.
const KNOCK_LIMIT: Duration = Duration::from_secs(1);

/// How long a connection must stay open to count: the engine accepts it before the instance does.
const STAYS: Duration = Duration::from_millis(300);

/// How often an instance may end before it counts as not started.
const ENDS: u32 = 3;

/// What the instances of a release have in common.
struct Recipe<'a> {
    service: &'a Service,
    compose: &'a ComposeService,
    spec: &'a Spec,
    image: Image,
    networks: Vec<Network>,
}

impl DockerTarget {
    /// Starts what is missing. When that fails, what this call started is stopped again; what
    /// ran before stays.
    pub(super) async fn start_wanted(&self, wanted: &Wanted) -> Result<Vec<Instance>, TargetError> {
        let _change = ChangeLock::of_service(&self.root, &wanted.service).await?;
        let spec = self.settings.spec_of(&wanted.release)?;
        let service = self.service_of(&spec, &wanted.service)?;
        let compose = self.compose(&spec, &service.name)?;
        let recipe = Recipe {
            service,
            compose,
            spec: &spec,
            image: self
                .image_to_start(service, compose, &wanted.release)
                .await?,
            networks: self.networks(&spec, &service.name, compose)?,
        };
        let (mut all, missing) = self.present_and_missing(wanted).await?;
        let mut made = Vec::new();
        let mut failure = None;
        let starts = missing
            .into_iter()
            .map(|index| self.bring_up(&recipe, wanted, index));
        for started in futures::future::join_all(starts).await {
            match started {
                Ok(known) => {
                    all.push(known.clone());
                    made.push(known);
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        if failure.is_none() {
            let waits = all
                .iter()
                .map(|known| self.wait_started(service, known, wanted.start_limit));
            failure = futures::future::try_join_all(waits).await.err();
        }
        let told = match failure {
            None => self.tell_router(&recipe, &wanted.release).await,
            Some(error) => Err(error),
        };
        match told {
            Ok(instances) => Ok(instances),
            Err(error) => Err(self.take_back(service, &made, error).await),
        }
    }

    /// Returns the instances that run, and the numbers of those that do not, after what is left of
    /// them was removed.
    async fn present_and_missing(
        &self,
        wanted: &Wanted,
    ) -> Result<(Vec<Known>, Vec<u32>), TargetError> {
        let known = self.of_release(&wanted.service, &wanted.release).await?;
        let (mut present, mut missing) = (Vec::new(), Vec::new());
        for index in 1..=wanted.replicas {
            match known.iter().find(|known| known.index == index) {
                Some(known) if known.running => {
                    present.push(known.clone());
                    continue;
                }
                Some(left) => self.retire(left, Duration::ZERO).await.map(|_| ())?,
                None => {
                    let name = self.names.instance(&wanted.service, &wanted.release, index);
                    self.not_foreign(&wanted.service, &name).await?;
                }
            }
            missing.push(index);
        }
        Ok((present, missing))
    }

    async fn take_back(
        &self,
        service: &Service,
        made: &[Known],
        mut error: TargetError,
    ) -> TargetError {
        for known in made {
            // The router may know it already. That it does not is no failure here.
            let steering = self.steering(&service.name);
            let forgotten = steering.forget(&service.name, &known.name, Duration::ZERO);
            if let Err(other) = forgotten.await {
                tracing::debug!(error = %other, instance = known.name, "not forgotten");
            }
            if let Err(other) = self.retire(known, service.stop_grace.get()).await {
                error
                    .what
                    .push_str(&format!("; {} is left: {other}", known.name));
            }
        }
        if !made.is_empty() {
            error.what.push_str("\nWhat was started was stopped again.");
        }
        error
    }

    /// Makes one instance and starts it; nothing of it stays when it does not start.
    async fn bring_up(
        &self,
        recipe: &Recipe<'_>,
        wanted: &Wanted,
        index: u32,
    ) -> Result<Known, TargetError> {
        let mut attempt = 1;
        loop {
            let id = self.make_instance(recipe, wanted, index).await?;
            let error = match self.start_container(&id, &wanted.service).await {
                Ok(()) => match self.inspect(id.clone()).await? {
                    Some(known) => return Ok(known),
                    None => gone(&wanted.service),
                },
                Err(error) => error,
            };
            self.discard(&id).await;
            if error.code != code::PORT_TAKEN || attempt == PORTS {
                return Err(error);
            }
            attempt += 1;
        }
    }

    async fn make_instance(
        &self,
        recipe: &Recipe<'_>,
        wanted: &Wanted,
        index: u32,
    ) -> Result<String, TargetError> {
        let (service, name) = (
            recipe.service,
            self.names.instance(&wanted.service, &wanted.release, index),
        );
        let bad = |what: String| {
            let what = format!("{what}; nothing was started");
            let next = "Mend the Compose file and run again.";
            failed(code::COMPOSE_VALUE, Some(&service.name), what, next)
        };
        let (mut mounts, volumes) =
            mounts::volumes(recipe.spec, &self.names, recipe.compose).map_err(bad)?;
        for volume in &volumes {
            self.volume(recipe.spec, volume, &service.name).await?;
        }
        let hidden = Hidden {
            spec: recipe.spec,
            service: recipe.compose,
            lookup: &self.settings.lookup,
            redactor: &self.settings.redactor,
            folder: self.secrets_folder(&name),
        };
        let unknown = |what: String| {
            let what = format!("{what}; nothing was started");
            let next = "Provide it and run again.";
            failed(code::SECRET, Some(&service.name), what, next)
        };
        mounts.extend(hidden.mounts().map_err(unknown)?);
        let mut environment = service.environment.clone();
        environment.extend(hidden.variables().map_err(unknown)?);
        let published = self.port(None, &service.name)?;
        let addresses = ChangeLock::of(&self.root, "addresses", "addresses.lock").await?;
        let places = self.places(&recipe.networks, &[]).await?;
        let given = Given {
            image: recipe.image.reference.clone(),
            labels: self.instance_labels(recipe, wanted, index),
            environment,
            mounts,
            places: places.clone(),
            published,
        };
        let mut body = body(service, recipe.compose, given).map_err(bad)?;
        hash(&mut body);
        let made = self
            .make_container(&service.name, &name, body, &places)
            .await;
        drop(addresses);
        made
    }

    fn instance_labels(
        &self,
        recipe: &Recipe<'_>,
        wanted: &Wanted,
        index: u32,
    ) -> BTreeMap<String, String> {
        let mut labels = recipe.compose.labels.clone();
        labels.extend(self.names.labels(Part::Instance));
        labels.extend(self.names.compose_labels(&wanted.service, index));
        let own = [
            (RUN, wanted.run.to_string()),
            (SERVICE, wanted.service.clone()),
            (RELEASE, wanted.release.to_string()),
            (INDEX, index.to_string()),
            ("com.docker.compose.image", recipe.image.id.clone()),
        ];
        labels.extend(own.map(|(name, value)| (name.to_owned(), value)));
        labels
    }

    /// Makes a container, in all its networks. Nothing of it stays when that fails.
    pub(super) async fn make_container(
        &self,
        service: &str,
        name: &str,
        body: ContainerCreateBody,
        places: &[Place],
    ) -> Result<String, TargetError> {
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let made = self
            .engine
            .ask(|docker| {
                let (options, body) = (options.clone(), body.clone());
                async move { docker.create_container(Some(options), body).await }
            })
            .await;
        let id = match made {
            Ok(made) => made.id,
            // Made, and the engine was gone before it had said so.
            Err(refusal) if refusal.is_conflict() => {
                match self.made_unheard(service, name).await? {
                    Some(id) => id,
                    None => return Err(refusal.into_error(Some(service), &format!("make {name}"))),
                }
            }
            Err(refusal) => return Err(refusal.into_error(Some(service), &format!("make {name}"))),
        };
        for place in places.iter().skip(1) {
            let request = NetworkConnectRequest {
                container: id.clone(),
                endpoint_config: Some(endpoint(place)),
            };
            let joined = self
                .engine
                .ask(|docker| {
                    let (network, request) = (place.network.clone(), request.clone());
                    async move { docker.connect_network(&network, request).await }
                })
                .await;
            if let Err(refusal) = joined.or_else(Refusal::unless_joined) {
                self.discard(&id).await;
                let action = format!("join {name} to {}", place.network);
                return Err(refusal.into_error(Some(service), &action));
            }
        }
        Ok(id)
    }

    /// Starts a container that was made; one that runs stays as it is.
    pub(super) async fn start_container(&self, id: &str, service: &str) -> Result<(), TargetError> {
        let started = self
            .engine
            .ask(|docker| {
                let id = id.to_owned();
                async move {
                    docker
                        .start_container(&id, None::<StartContainerOptions>)
                        .await
                }
            })
            .await;
        match started {
            Ok(()) => Ok(()),
            Err(Refusal::Answer(304, _)) => Ok(()),
            Err(Refusal::Answer(_, reason)) if is_port(&reason) => {
                let what = format!("a port was taken meanwhile: {reason}");
                let next = "Run again; a port that the Compose file gives must be free.";
                Err(transient(code::PORT_TAKEN, Some(service), what, next))
            }
            Err(refusal) => Err(refusal.into_error(Some(service), "start a container")),
        }
    }

    /// Removes a container that did not come to anything.
    pub(super) async fn discard(&self, id: &str) {
        match self.inspect(id.to_owned()).await {
            Ok(Some(known)) => {
                if let Err(error) = self.remove_container(&known).await {
                    tracing::warn!(%error, id, "a container is left");
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, id, "a container is left"),
        }
    }

    /// Returns whether a volume is there. One that others were to make must be.
    pub(super) async fn volume_there(
        &self,
        volume: &NamedVolume,
        service: &str,
    ) -> Result<bool, TargetError> {
        let known = self
            .engine
            .ask(|docker| {
                let name = volume.name.clone();
                async move { docker.inspect_volume(&name).await }
            })
            .await;
        match known {
            Ok(_) => Ok(true),
            Err(refusal) if refusal.is_missing() && volume.external => {
                let name = &volume.name;
                let what = format!(
                    "there is no volume {name}, which the Compose file calls external; nothing was started"
                );
                let next = format!("Make it (`docker volume create {name}`) and run again.");
                Err(failed(code::COMPOSE_VALUE, Some(service), what, next))
            }
            Err(refusal) if refusal.is_missing() => Ok(false),
            Err(refusal) => {
                let action = format!("look for the volume {}", volume.name);
                Err(refusal.into_error(Some(service), &action))
            }
        }
    }

    /// Makes a volume that has a name, if it is not there. It is never removed: it holds data.
    async fn volume(
        &self,
        spec: &Spec,
        volume: &NamedVolume,
        service: &str,
    ) -> Result<(), TargetError> {
        if self.volume_there(volume, service).await? {
            return Ok(());
        }
        let declared = Keys(&spec.compose.whole)
            .under("volumes")
            .under(&volume.key);
        let mut labels = self.names.labels(Part::Volume);
        labels.insert("com.docker.compose.volume".to_owned(), volume.key.clone());
        let request = VolumeCreateRequest {
            name: Some(volume.name.clone()),
            driver: declared.text("driver"),
            driver_opts: declared.map("driver_opts"),
            labels: Some(labels.into_iter().collect()),
            ..VolumeCreateRequest::default()
        };
        self.engine
            .ask(|docker| {
                let request = request.clone();
                async move { docker.create_volume(request).await }
            })
            .await
            .map(|_| ())
            .map_err(|refusal| {
                let action = format!("make the volume {}", volume.name);
                refusal.into_error(Some(service), &action)
            })
    }

    /// Makes the running instances of a release, and only those, known to the router.
    async fn tell_router(
        &self,
        recipe: &Recipe<'_>,
        release: &Release,
    ) -> Result<Vec<Instance>, TargetError> {
        let service = &recipe.service.name;
        let known = self.of_release(service, release).await?;
        let known: Vec<Known> = known.into_iter().filter(|one| one.running).collect();
        let network = recipe.networks.first().map(|network| network.name.as_str());
        let backends = known.iter().filter_map(|one| {
            let address = one.addresses.get(network?)?;
            let address = SocketAddr::from((*address, recipe.service.port));
            Some((one.name.clone(), address))
        });
        self.steering(service)
            .put_release(service, release, backends.collect())
            .await?;
        Ok(known.iter().filter_map(Known::describe).collect())
    }

    /// Waits until an instance answers its startup probe; without one, until its health check has
    /// passed or, without that too, it keeps a connection open.
    async fn wait_started(
        &self,
        service: &Service,
        known: &Known,
        limit: Duration,
    ) -> Result<(), TargetError> {
        let until = tokio::time::Instant::now() + limit;
        let mut last = "it does not listen yet".to_owned();
        let mut told = Told::of(&self.engine, &known.id).await;
        while tokio::time::Instant::now() < until {
            let Some(now) = self.inspect(known.id.clone()).await? else {
                return Err(gone(&service.name));
            };
            if !now.running && (now.restarts >= ENDS || now.pid.is_none()) {
                last = format!("its process ended ({})", now.end());
                if now.restarts >= ENDS || !is_restarted(service) {
                    break;
                }
            }
            match self.look(service, &now).await {
                Ok(()) => return Ok(()),
                Err(why) if now.running => last = why,
                Err(_) => {}
            }
            let by_engine = service.file.probes.startup.is_none() && now.health.is_some();
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            let pause = if by_engine { LOOK } else { KNOCK };
            told.something(pause.min(left)).await;
        }
        Err(self.not_started(known, limit, &last).await)
    }

    async fn look(&self, service: &Service, known: &Known) -> Result<(), String> {
        let address = known.published.ok_or("its port is not published")?;
        match (&service.file.probes.startup, &known.health) {
            (Some(path), _) => {
                let url = format!("http://{address}{path}");
                match self.http.get(&url, KNOCK_LIMIT).await {
                    Ok(answer) if answer.status.is_success() => Ok(()),
                    Ok(answer) => Err(format!("GET {path} answers {}", answer.status)),
                    Err(error) => Err(format!("GET {path}: {error}")),
                }
            }
            (None, Some(health)) if health.passed => Ok(()),
            (None, Some(health)) => Err(health.detail.clone()),
            (None, None) => keeps_open(address).await,
        }
    }

    async fn not_started(&self, known: &Known, limit: Duration, last: &str) -> TargetError {
        let lines = self.last_lines(known).await;
        let log = if lines.is_empty() {
            "It wrote no log.".to_owned()
        } else {
            format!("The end of its log:\n{}", lines.join("\n"))
        };
        let what = format!(
            "instance {} did not start within {limit:?}: {last}.\n{log}",
            known.name
        );
        let next = "Mend what the log says and run again.";
        failed(code::NOT_STARTED, Some(&known.service), what, next)
    }
}

/// The label by which `docker compose` tells whether a container is still as its file says.
fn hash(body: &mut ContainerCreateBody) {
    let shape = format!("{:?} {:?} {:?}", body.image, body.cmd, body.env);
    let digest = Digest::of(shape.as_bytes()).to_string();
    let labels = body.labels.get_or_insert_default();
    labels.insert("com.docker.compose.config-hash".to_owned(), digest);
}

fn is_restarted(service: &Service) -> bool {
    service.restart != code_deploy_engine::spec::Restart::No
}

fn is_port(reason: &str) -> bool {
    ["port is already allocated", "address already in use"]
        .iter()
        .any(|known| reason.contains(known))
}

async fn keeps_open(address: SocketAddr) -> Result<(), String> {
    let connected = tokio::time::timeout(KNOCK_LIMIT, TcpStream::connect(address)).await;
    let mut stream = connected
        .map_err(|_| format!("no connection within {KNOCK_LIMIT:?}"))?
        .map_err(|error| format!("it does not listen ({error})"))?;
    match tokio::time::timeout(STAYS, stream.read_u8()).await {
        Err(_) | Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err("it does not listen yet".to_owned()),
    }
}

fn gone(service: &str) -> TargetError {
    let what = "its container was removed by somebody else while it was started";
    let next = "Find out by whom (`docker events`), and run again.";
    failed(code::NOT_STARTED, Some(service), what, next)
}
