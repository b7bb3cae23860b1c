//! The built artifacts tried out away from what runs: on addresses of their own, with data of
//! their own, both gone afterwards.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::ports::{Ports, is_ours};
use crate::http::HttpClient;
use crate::phases::look::{cut, list};
use crate::phases::migrate;
use crate::spec::{ProcessFile, Service, Spec};
use crate::step::StepError;
use crate::{Context, Progress, journey, left};

/// How long an entry point may take until it answers.
const START: Duration = Duration::from_secs(30);

/// How long it may take to end when asked.
const END: Duration = Duration::from_secs(10);

/// How often a trial is begun anew because another process took a port.
const TRIES: usize = 3;

/// The end of the log of an entry point that is shown, in bytes.
const LOG: usize = 4096;

/// The characters of its last line that are said with what became of it.
const WORDS: usize = 200;

/// How long an answer is doubted at an address where no process is seen that was started for this.
const DOUBT: Duration = Duration::from_secs(2);

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// What trying out gave.
#[derive(Default)]
pub(super) struct Scratch {
    pub folder: PathBuf,
    pub started: Vec<Started>,
    pub walked: Vec<(String, Result<usize, String>)>,
    /// Why no entry point was started.
    pub not_started: Option<String>,
    /// Why no journey was walked.
    pub not_walked: Option<String>,
}

/// An entry point that was started.
pub(super) struct Started {
    pub service: String,
    pub pid: Option<u32>,
    pub answer: String,
    pub ended: String,
    pub well: bool,
    /// The end of its log, when it did not start well.
    pub log: String,
}

struct Words<'a> {
    context: &'a Context,
    addresses: &'a BTreeMap<String, SocketAddr>,
    data: &'a Path,
}

impl Words<'_> {
    fn put(&self, text: &str, port: u16) -> String {
        let mut text = text
            .replace("{program}", &self.context.program.to_string_lossy())
            .replace("{port}", &port.to_string())
            .replace("{release}", self.context.to.as_str())
            .replace("{data}", &self.data.to_string_lossy());
        for (service, address) in self.addresses {
            text = text.replace(
                &format!("{{address:{service}}}"),
                &format!("http://{address}"),
            );
        }
        text
    }

    /// Leads `http://SERVICE:PORT` of a Compose file to the scratch address.
    fn lead(&self, value: &str) -> String {
        let Some((scheme, rest)) = value.split_once("://") else {
            return value.to_owned();
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let host = authority.split(':').next().unwrap_or_default();
        match self.addresses.get(host) {
            Some(address) => format!("{scheme}://{address}{tail}"),
            None => value.to_owned(),
        }
    }

    fn environment(&self, service: &Service, port: u16) -> BTreeMap<String, String> {
        let composed = service
            .environment
            .iter()
            .map(|(name, value)| (name.clone(), self.lead(value)));
        let process = service
            .file
            .process
            .iter()
            .flat_map(|process| &process.environment);
        let own = process.map(|(name, value)| (name.clone(), self.put(value, port)));
        composed.chain(own).collect()
    }
}

/// Returns the configuration of every service as the deployment file gives it: values with the
/// words that the target replaces, secrets by reference.
pub(super) fn configurations(context: &Context) -> BTreeMap<String, Value> {
    let services = context.spec.services.iter().map(|service| {
        let process = service.file.process.as_ref();
        let mut environment = service.environment.clone();
        environment.extend(process.iter().flat_map(|one| one.environment.clone()));
        let secrets: BTreeMap<_, _> = process.iter().flat_map(|one| one.secrets.clone()).collect();
        let command = process.map(|one| one.command.clone());
        let value = json!({ "command": command, "environment": environment, "secrets": secrets });
        (service.name.clone(), value)
    });
    services.collect()
}

/// Returns the values of which a word in braces is left that nothing replaces.
pub(super) fn incomplete(context: &Context) -> Vec<String> {
    let place = SocketAddr::from(([127, 0, 0, 1], 1));
    let addresses = context
        .spec
        .services
        .iter()
        .map(|one| (one.name.clone(), place))
        .collect();
    let words = Words {
        context,
        addresses: &addresses,
        data: Path::new("/data"),
    };
    let mut left = Vec::new();
    for service in &context.spec.services {
        let own = service
            .file
            .process
            .iter()
            .flat_map(|process| process.environment.iter());
        for (name, value) in own {
            let put = words.put(value, 1);
            if put.contains("{address:") || put.contains("${") {
                left.push(format!("{} {name}", service.name));
            }
        }
    }
    left
}

/// Says which services cannot be started away from what runs. With its secrets a service would reach
/// what they open, so one that has some is not tried.
fn not_started(spec: &Spec) -> Option<String> {
    let of = |kind: fn(&ProcessFile) -> bool| -> Vec<_> {
        let services = spec.services.iter();
        let such = services.filter(|one| one.file.process.as_ref().is_some_and(kind));
        such.map(|one| one.name.as_str()).collect()
    };
    let without = spec
        .services
        .iter()
        .filter(|one| one.file.process.is_none());
    let mut without: Vec<_> = without.map(|one| one.name.as_str()).collect();
    without.extend(of(|process| process.command.is_empty()));
    let secrets = of(|process| !process.secrets.is_empty());
    let why: Vec<_> = [
        (without, "name no `process` to start"),
        (
            secrets,
            "have secrets, and are not started away from what runs",
        ),
    ]
    .into_iter()
    .filter(|(services, _)| !services.is_empty())
    .map(|(services, why)| format!("{} {why}", list(services)))
    .collect();
    (!why.is_empty()).then(|| why.join("; "))
}

/// Starts every service once, walks the critical paths, and ends all of them.
pub(super) async fn try_out(context: &Context) -> Result<Scratch, StepError> {
    let folder = context.run.path().join("scratch");
    let folder = std::path::absolute(&folder).unwrap_or(folder);
    let mut scratch = Scratch {
        folder: folder.clone(),
        ..Scratch::default()
    };
    scratch.not_started = not_started(&context.spec);
    if let Some(why) = &scratch.not_started {
        scratch.not_walked = Some(why.clone());
        return Ok(scratch);
    }
    let mut tries = 1;
    while !attempt(context, &mut scratch).await? && tries < TRIES {
        tries += 1;
        scratch.started.clear();
        scratch.walked.clear();
    }
    Ok(scratch)
}

/// Tries the artifacts out once; false when a port was another process's, so that nothing is known.
async fn attempt(context: &Context, scratch: &mut Scratch) -> Result<bool, StepError> {
    let folder = scratch.folder.clone();
    remove(&folder)?;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(|error| failed(&folder, &error))?;
    migrate::prepare(context, &folder).await?;
    let mut children = Vec::new();
    let run = run(context, scratch, &mut children).await;
    for (started, child) in scratch.started.iter_mut().zip(children) {
        started.ended = end(child).await;
        if !started.well {
            let path = folder.join(format!("{}.log", started.service));
            let log = tokio::fs::read(&path).await.unwrap_or_default();
            let log = log.get(log.len().saturating_sub(LOG)..).unwrap_or_default();
            started.log = context.redactor.clean(&String::from_utf8_lossy(log));
            if let Some(line) = last_words(&started.log) {
                started.answer.push_str(&format!("; its log ends: {line}"));
            }
        }
    }
    remove(&folder)?;
    run
}

/// Starts every service and walks the critical paths; false when a port was another process's.
async fn run(
    context: &Context,
    scratch: &mut Scratch,
    children: &mut Vec<Child>,
) -> Result<bool, StepError> {
    let names = context.spec.services.iter().map(|one| one.name.as_str());
    let mut ports = Ports::take(names).map_err(|error| failed(&scratch.folder, &error))?;
    let addresses = ports.addresses().clone();
    let folder = scratch.folder.clone();
    let words = Words {
        context,
        addresses: &addresses,
        data: &folder,
    };
    for service in &context.spec.services {
        let Some(address) = addresses.get(&service.name).copied() else {
            continue;
        };
        context.safe_point()?;
        ports.let_go(&service.name);
        let mut child = spawn(service, &words, address.port())?;
        let (answer, start) = wait(context, service, address, &mut child).await?;
        let (service, pid) = (service.name.clone(), child.id());
        scratch.started.push(Started {
            service,
            pid,
            answer,
            ended: String::new(),
            well: start == Start::Well,
            log: String::new(),
        });
        children.push(child);
        if start == Start::PortTaken {
            return Ok(false);
        }
    }
    let state = context.state();
    let planted = state
        .started
        .as_ref()
        .and_then(|started| started.planted_fault.clone());
    let journeys: Vec<_> = context
        .spec
        .journeys
        .iter()
        .filter(|journey| journey.smoke)
        .collect();
    if let Some(fault) = planted {
        scratch.not_walked = Some(format!(
            "the fault `{fault}` is planted on purpose: finding it is left to the gates"
        ));
    } else if journeys.is_empty() {
        scratch.not_walked = Some("no journey is marked as a critical path".to_owned());
    } else {
        for journey in journeys {
            let Some(address) = addresses.get(&journey.service) else {
                continue;
            };
            let base = format!("http://{address}");
            let walked = journey::run(context, journey, &base, &[]).await;
            scratch
                .walked
                .push((journey.name.clone(), walked.outcome()));
        }
    }
    Ok(true)
}

fn spawn(service: &Service, words: &Words<'_>, port: u16) -> Result<Child, StepError> {
    let command: Vec<_> = service
        .file
        .process
        .iter()
        .flat_map(|one| &one.command)
        .map(|part| words.put(part, port))
        .collect();
    let Some((program, arguments)) = command.split_first() else {
        return Err(failed(
            words.data,
            &std::io::Error::other("the command is empty"),
        ));
    };
    let path = words.data.join(format!("{}.log", service.name));
    let log = std::fs::File::create(&path).map_err(|error| failed(&path, &error))?;
    let errors = log.try_clone().map_err(|error| failed(&path, &error))?;
    let project = &words.context.spec.project;
    let program = if program.contains('/') {
        project.join(program)
    } else {
        PathBuf::from(program)
    };
    let mut command = Command::new(&program);
    left::mark(&mut command, &words.context.run);
    for secret in words.context.spec.secret_variables() {
        command.env_remove(secret);
    }
    command
        .args(arguments)
        .current_dir(project)
        .envs(words.environment(service, port))
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(&program, &error))
}

/// How a start came out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    Well,
    Not,
    /// It ended, and another process listens on its port.
    PortTaken,
}

/// Waits until the service says that it has started or is alive, or accepts connections when it
/// has no such probe.
async fn wait(
    context: &Context,
    service: &Service,
    address: SocketAddr,
    child: &mut Child,
) -> Result<(String, Start), StepError> {
    let (began, client) = (Instant::now(), HttpClient::new());
    let probes = &service.file.probes;
    let path = probes.startup.as_ref().or(probes.liveness.as_ref());
    let mut seen = format!("it does not listen on {address}, and `{{port}}` is what tells it to");
    let mut doubted = None;
    while began.elapsed() < START {
        if let Ok(Some(status)) = child.try_wait() {
            return Ok(ended_early(address, &status.to_string()).await);
        }
        let well = match path {
            None => tokio::net::TcpStream::connect(address).await.is_ok(),
            Some(path) => match client
                .get(&format!("http://{address}{path}"), Duration::from_secs(2))
                .await
            {
                Ok(answer) => {
                    seen = format!("{path} answers {}", answer.status);
                    answer.status.is_success()
                }
                Err(_) => false,
            },
        };
        if well {
            let ours = is_ours(context, address).await;
            let ours = ours.map_err(|error| failed(Path::new("/proc"), &error))?;
            // A service whose sockets cannot be seen, as that of another user, is believed when it
            // has not ended meanwhile: without its port it would have.
            let since = *doubted.get_or_insert_with(Instant::now);
            if ours || since.elapsed() >= DOUBT {
                let answer = format!("answered after {} ms", began.elapsed().as_millis());
                return Ok((answer, Start::Well));
            }
        }
        let what = format!("starts {} once", service.name);
        context.progress(Progress {
            what,
            elapsed: began.elapsed(),
            limit: Some(START),
            share: None,
        });
        tokio::time::sleep(LOOK).await;
    }
    let answer = format!("not within {} s: {seen}", START.as_secs());
    Ok((answer, Start::Not))
}

/// Returns the last line of a log that says something, cut to a length that a sentence can hold.
fn last_words(log: &str) -> Option<String> {
    let line = log.lines().rev().find(|line| !line.trim().is_empty())?;
    Some(cut(line.trim(), WORDS))
}

async fn ended_early(address: SocketAddr, status: &str) -> (String, Start) {
    if tokio::net::TcpStream::connect(address).await.is_ok() {
        let port = address.port();
        let answer = format!("it ended with {status}; another process listens on its port {port}");
        return (answer, Start::PortTaken);
    }
    (format!("it ended with {status}"), Start::Not)
}

async fn end(mut child: Child) -> String {
    let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) else {
        return "it had ended before".to_owned();
    };
    // The child is ours and not waited for yet, so that its number cannot mean another process.
    if let Err(error) = kill(Pid::from_raw(pid), Signal::SIGTERM) {
        return format!("it could not be asked to end: {error}");
    }
    match tokio::time::timeout(END, child.wait()).await {
        Ok(Ok(status)) => format!("when asked, with {status}"),
        Ok(Err(error)) => error.to_string(),
        Err(_) => match child.kill().await {
            Ok(()) => format!("made to, after {} s", END.as_secs()),
            Err(error) => error.to_string(),
        },
    }
}

fn remove(folder: &Path) -> Result<(), StepError> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(folder, &error)),
        _ => Ok(()),
    }
}

fn failed(path: &Path, error: &std::io::Error) -> StepError {
    let what = format!("trying the artifacts out: {}: {error}", path.display());
    StepError::permanent(
        "CD0705",
        what,
        "Look at the path, and at `process.command` of the service.",
    )
}
