//! Starting instances, and waiting until they answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use code_deploy_engine::http::HttpClient;
use code_deploy_engine::listening;
use code_deploy_engine::spec::Service;
use code_deploy_engine::target::{Instance, TargetError, Wanted};
use code_deploy_record::{Redactor, Release};

use super::LocalTarget;
use super::instance::InstanceFolder;
use super::process::ProcessId;
use super::program::Program;
use super::store::{Known, Store, describe};
use crate::disk::append_private;
use crate::failure::{code, failed, files, transient};
use crate::lock::ChangeLock;

/// The pause between two calls to a starting instance.
const KNOCK: Duration = Duration::from_millis(50);

/// How long one call to a starting instance may take.
const KNOCK_LIMIT: Duration = Duration::from_secs(1);

/// How often another port is taken when somebody else was faster.
const PORTS: u32 = 3;

/// How long an instance that is started again may take until it answers, before it is left to its probes.
const REVIVED: Duration = Duration::from_secs(20);

/// How many lines of a log an error shows.
const SHOWN: usize = 10;

impl LocalTarget {
    /// Starts what is missing. When that fails, what this call started is stopped again; what
    /// ran before stays.
    pub(super) async fn start_wanted(&self, wanted: &Wanted) -> Result<Vec<Instance>, TargetError> {
        let service = self.store.service(&wanted.service)?;
        let _change = ChangeLock::of_service(self.store.places.root(), &wanted.service).await?;
        let addresses = self.addresses().await?;
        let (present, missing) = self.present_and_missing(wanted).await?;
        let starts = missing
            .iter()
            .map(|index| self.bring_up(service, wanted, *index, &addresses));
        // An instance may be of a start that was cut off, and not answer yet.
        let waits = present
            .iter()
            .map(|known| wait_started(&self.store, &self.http, service, known, wanted.start_limit));
        let (results, waited) = futures::future::join(
            futures::future::join_all(starts),
            futures::future::try_join_all(waits),
        )
        .await;
        let mut started = Vec::new();
        let mut failure = waited.err();
        for result in results {
            match result {
                Ok(known) => started.push(known),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        let told = match failure {
            None => self.tell_router(&wanted.service, &wanted.release).await,
            Some(error) => Err(error),
        };
        match told {
            Ok(instances) => Ok(instances),
            Err(error) => Err(self.take_back(&started, error).await),
        }
    }

    /// Starts again what looks after instances that ran until it ended by itself, each with the port that it had,
    /// and waits until they answer. Returns their names.
    pub(super) async fn revive(&self) -> Result<Vec<String>, TargetError> {
        let mut revived = Vec::new();
        for (_, config) in self.left_alone(None).await? {
            let service = config.service;
            let _change = ChangeLock::of_service(self.store.places.root(), &service).await?;
            // Looked at again under the lock: a start or a stop may have been under way.
            for known in self.left_alone(Some(service.clone())).await? {
                self.revive_one(&known).await?;
                revived.push(known.1.id);
            }
        }
        Ok(revived)
    }

    async fn left_alone(&self, service: Option<String>) -> Result<Vec<Known>, TargetError> {
        let of = move |config: &str| service.as_deref().is_none_or(|service| service == config);
        self.store
            .run(move |store| {
                let mut known = store.instances()?;
                known.retain(|(folder, config)| of(&config.service) && folder.was_left_alone());
                Ok(known)
            })
            .await
    }

    async fn revive_one(&self, known: &Known) -> Result<(), TargetError> {
        let (folder, config) = known;
        if let Some(supervisor) = folder.supervisor() {
            let grace = Duration::from_millis(config.stop_grace_ms);
            self.end_session(known, &supervisor, grace).await?;
        }
        let forgotten = folder.forget_state();
        forgotten.map_err(files(
            Some(&config.service),
            "remove a file of",
            folder.path(),
        ))?;
        spawn_supervisor(&self.store, known).await?;
        let service = self.store.service(&config.service)?;
        let started = wait_started(&self.store, &self.http, service, known, REVIVED).await;
        if let Err(error) = started {
            tracing::warn!(%error, instance = config.id, "started again, and it does not answer");
        }
        Ok(())
    }

    /// Returns the instances that are looked after, and the numbers of those that are not, after
    /// what is left of them was ended.
    async fn present_and_missing(
        &self,
        wanted: &Wanted,
    ) -> Result<(Vec<Known>, Vec<u32>), TargetError> {
        let (service, release) = (wanted.service.clone(), wanted.release.clone());
        let known = self
            .store
            .run(move |store| store.of_release(&service, &release))
            .await?;
        let (mut present, mut missing) = (Vec::new(), Vec::new());
        for index in 1..=wanted.replicas {
            match known.iter().find(|(_, config)| config.index == index) {
                Some(known) if known.0.supervised() => {
                    present.push(known.clone());
                    continue;
                }
                Some(left) => {
                    self.end(left).await?;
                }
                None => {}
            }
            missing.push(index);
        }
        Ok((present, missing))
    }

    async fn take_back(&self, started: &[Known], mut error: TargetError) -> TargetError {
        for known in started {
            // The router may know it already. That it does not is no failure here.
            let forgotten = self
                .router
                .forget(&known.1.service, &known.1.id, Duration::ZERO);
            if let Err(other) = forgotten.await {
                tracing::debug!(error = %other, instance = known.1.id, "not forgotten");
            }
            if let Err(other) = self.end(known).await {
                error
                    .what
                    .push_str(&format!("; {} runs still: {other}", known.1.id));
            }
        }
        error
    }

    /// Starts one instance and waits until it answers; nothing of it stays when it does not.
    async fn bring_up(
        &self,
        service: &Service,
        wanted: &Wanted,
        index: u32,
        addresses: &BTreeMap<String, SocketAddr>,
    ) -> Result<Known, TargetError> {
        let mut attempt = 1;
        loop {
            let (what, known_addresses) = (wanted.clone(), addresses.clone());
            let known = self
                .store
                .run(move |store| store.prepare(&what, index, &known_addresses))
                .await?;
            let spawned = spawn_supervisor(&self.store, &known).await;
            let started = match spawned {
                Ok(()) => {
                    wait_started(&self.store, &self.http, service, &known, wanted.start_limit).await
                }
                Err(error) => Err(error),
            };
            let Err(mut error) = started else {
                return Ok(known);
            };
            if let Err(other) = self.end(&known).await {
                error.what.push_str(&format!("; it runs still: {other}"));
                return Err(error);
            }
            if error.code != code::PORT_TAKEN || attempt == PORTS {
                error.what.push_str("\nIt was stopped again.");
                return Err(error);
            }
            attempt += 1;
        }
    }

    /// Makes the running instances of a release, and only those, known to the router.
    async fn tell_router(
        &self,
        service: &str,
        release: &Release,
    ) -> Result<Vec<Instance>, TargetError> {
        let (name, wanted) = (service.to_owned(), release.clone());
        let instances: Vec<Instance> = self
            .store
            .run(move |store| {
                let known = store.of_release(&name, &wanted)?;
                let supervised = known.iter().filter(|(folder, _)| folder.supervised());
                Ok(supervised.map(describe).collect())
            })
            .await?;
        let backends = instances.iter().map(|i| (i.id.clone(), i.address));
        self.router
            .put_release(service, release, backends.collect())
            .await?;
        Ok(instances)
    }
}

async fn spawn_supervisor(store: &Store, (folder, config): &Known) -> Result<(), TargetError> {
    let (folder, service) = (folder.clone(), config.service.clone());
    let runtime = tokio::runtime::Handle::current();
    let work = move |store: &Store| {
        // A child is registered with the runtime when it is started.
        let _inside = runtime.enter();
        let path = folder.supervisor_log();
        let log = append_private(&path).map_err(files(Some(&service), "open", &path))?;
        let errors = log
            .try_clone()
            .map_err(files(Some(&service), "open", &path))?;
        let child = Program::without_secrets(&store.settings.program, &store.settings.spec)
            .command()
            .args(["internal", "instance", "--folder"])
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|error| {
                let program = store.settings.program.display();
                let what = format!("cannot start {program} as supervisor: {error}");
                let next = "Make sure that this program can be started, and run again.";
                failed(code::NOT_STARTED, Some(&service), what, next)
            })?;
        match child.id().and_then(ProcessId::of) {
            Some(process) => folder.write_supervisor(&process).map_err(files(
                Some(&service),
                "write to",
                folder.path(),
            )),
            // It ended already; its log says why.
            None => Ok(()),
        }
    };
    store.run(work).await
}

/// What is seen of an instance that is starting.
enum Seen {
    Answers,
    NotYet(String),
    Ended,
    Stranger,
}

/// Waits until an instance answers its startup probe, or accepts connections when it has none.
/// There is no event for this: the instance is asked again and again.
async fn wait_started(
    store: &Store,
    http: &HttpClient,
    service: &Service,
    known: &Known,
    limit: Duration,
) -> Result<(), TargetError> {
    let until = tokio::time::Instant::now() + limit;
    let probe = service.file.probes.startup.as_deref();
    let mut last = "it does not listen yet".to_owned();
    while tokio::time::Instant::now() < until {
        match look(store, http, known, probe).await? {
            Seen::Answers => return Ok(()),
            Seen::NotYet(what) => last = what,
            Seen::Stranger => return Err(port_taken(known)),
            Seen::Ended => {
                last = "its process ended".to_owned();
                break;
            }
        }
        tokio::time::sleep(KNOCK).await;
    }
    let known = known.clone();
    let error =
        store.run(move |store| Ok(not_started(&known, limit, &last, &store.settings.redactor)));
    Err(error.await?)
}

/// An answer counts only when the instance itself holds the port, and its supervisor has told which process it is:
/// what is started is shown with it.
async fn look(
    store: &Store,
    http: &HttpClient,
    known: &Known,
    probe: Option<&str>,
) -> Result<Seen, TargetError> {
    let answered = knock(http, known.1.address, probe).await;
    let (folder, port) = (known.0.clone(), known.1.address.port());
    let own = store.run(move |_| {
        let state = folder.state();
        let told = state.as_ref().is_some_and(|state| state.process.is_some());
        let ended = match (state, folder.supervisor()) {
            (Some(state), _) => state.ended || !state.supervisor.runs(),
            (None, supervisor) => supervisor.is_none_or(|supervisor| !supervisor.runs()),
        };
        let session = folder.supervisor().map(|process| process.session());
        let pids: Vec<u32> = session
            .iter()
            .flatten()
            .map(|process| process.pid)
            .collect();
        let listens = listening::of_processes(&pids);
        let own = listens.iter().any(|address| address.port() == port);
        Ok((ended, told, own))
    });
    let (ended, told, own) = own.await?;
    let answers = matches!(answered, Ok(()) | Err(Refusal::Answer(_)));
    // The instance may have answered and ended since; then nobody listens any more.
    let stranger = answers && !own && knock(http, known.1.address, None).await.is_ok();
    Ok(match (answered, own, ended) {
        _ if stranger => Seen::Stranger,
        (Ok(()), true, _) if told => Seen::Answers,
        (_, _, true) => Seen::Ended,
        (Ok(()), true, _) => Seen::NotYet(
            "it answers, but its supervisor has not told which process it is".to_owned(),
        ),
        (Ok(()), false, _) => Seen::NotYet("it listens no more".to_owned()),
        (Err(Refusal::Answer(what) | Refusal::Silence(what)), _, _) => Seen::NotYet(what),
    })
}

/// Why an instance does not count as started.
enum Refusal {
    /// Something answered, but not with success.
    Answer(String),
    /// Nothing answered.
    Silence(String),
}

async fn knock(http: &HttpClient, address: SocketAddr, probe: Option<&str>) -> Result<(), Refusal> {
    let connecting = tokio::net::TcpStream::connect(address);
    match tokio::time::timeout(KNOCK_LIMIT, connecting).await {
        Err(_) => {
            let what = format!("no connection within {KNOCK_LIMIT:?}");
            return Err(Refusal::Silence(what));
        }
        Ok(Err(error)) => {
            let what = format!("it does not listen on {address} ({error})");
            return Err(Refusal::Silence(what));
        }
        Ok(Ok(_)) => {}
    }
    let Some(path) = probe else { return Ok(()) };
    match http
        .get(&format!("http://{address}{path}"), KNOCK_LIMIT)
        .await
    {
        Ok(answer) if answer.status.is_success() => Ok(()),
        Ok(answer) => Err(Refusal::Answer(format!(
            "GET {path} answers {}",
            answer.status
        ))),
        Err(error) => Err(Refusal::Silence(format!("GET {path}: {error}"))),
    }
}

fn not_started(
    (folder, config): &Known,
    limit: Duration,
    last: &str,
    redactor: &Redactor,
) -> TargetError {
    let end = folder.state().and_then(|state| state.last_end);
    let end = end.map(|end| format!(" ({end})")).unwrap_or_default();
    let what = format!(
        "instance {} did not start within {limit:?}: {last}{end}.\n{}",
        config.id,
        end_of_log(folder, redactor)
    );
    let next = "Mend what the log says and run again.";
    failed(code::NOT_STARTED, Some(&config.service), what, next)
}

fn end_of_log(folder: &InstanceFolder, redactor: &Redactor) -> String {
    let lines = folder.last_lines(SHOWN, redactor);
    if lines.is_empty() {
        let own = folder.supervisor_lines(SHOWN, redactor).join("\n");
        return format!("It wrote no log. {own}");
    }
    format!("The end of its log:\n{}", lines.join("\n"))
}

fn port_taken((_, config): &Known) -> TargetError {
    let what = format!(
        "instance {} was given port {}, but a process that is not of this instance listens there",
        config.id,
        config.address.port()
    );
    let next = "Run again: another port is taken. A service must stay in the foreground and \
                listen on {port} itself.";
    transient(code::PORT_TAKEN, Some(&config.service), what, next)
}
