//! A Docker engine: an update by the program beside one by the engine's own client.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use code_deploy_record::{Clock as _, SystemClock};

use super::Measured;
use super::program::run;
use super::project::{IMAGE, Images, Project, Way, docker_at};
use crate::Error;

/// The platform's own way, in words.
pub const TOOL: &str = "docker run, until its health check has passed";

/// The container of the platform's own way.
const NAME: &str = "code-deploy-bench-own";

/// The network of that container.
const NETWORK: &str = NAME;

/// Goes both ways so many times.
///
/// # Errors
/// When one of them does not lead to an update.
pub fn measure(program: &Path, docker: &str, rounds: usize) -> Result<Measured, Error> {
    let way = Way {
        target: "docker-desktop",
        kind: "blue-green",
        steps: "{ percent: 100, soak: 0s }",
        replicas: 1,
        starts: &["release.green."],
        variables: vec![("DOCKER_HOST", docker.to_owned())],
    };
    let _images = Images::make(docker, rounds + 1)?;
    let project = Project::new(program, &way)?;
    project.deploy(1)?;
    let _network = Network::make(docker)?;
    let mut measured = Measured::default();
    for round in 1..=rounds {
        measured.own.push(own(docker, round + 1)?);
        measured.ours.push(project.deploy(round + 1)?);
    }
    Ok(measured)
}

/// A network as a Compose file has one: to join it is a part of a start. It goes with the value.
struct Network<'a>(&'a str);

impl<'a> Network<'a> {
    fn make(docker: &'a str) -> Result<Self, Error> {
        run(docker_at(docker).args(["network", "create", NETWORK]))?;
        Ok(Self(docker))
    }
}

impl Drop for Network<'_> {
    fn drop(&mut self) {
        // One that is left shows in `docker network ls`.
        let _ = run(docker_at(self.0).args(["network", "rm", NETWORK]));
    }
}

/// Starts a release as a person does without the program, and removes it when it was found healthy.
fn own(docker: &str, release: usize) -> Result<f64, Error> {
    let since = SystemClock.now().timestamp().to_string();
    let began = Instant::now();
    let mut start = docker_at(docker);
    start.args(["run", "--detach", "--name", NAME]);
    start.args(["--restart", "unless-stopped"]);
    start.args(["--network", NETWORK, "--publish", "127.0.0.1::8080"]);
    let started = run(start.arg(format!("{IMAGE}:{release}")));
    let healthy = started.and_then(|_| until_healthy(docker, &since));
    let seconds = began.elapsed().as_secs_f64();
    run(docker_at(docker).args(["rm", "--force", NAME]))?;
    healthy.map(|()| seconds)
}

/// Waits for the engine to say that the container is healthy.
fn until_healthy(docker: &str, since: &str) -> Result<(), Error> {
    let filter = format!("container={NAME}");
    let mut events = docker_at(docker);
    events.args(["events", "--since", since, "--filter", &filter]);
    events
        .args(["--format", "{{.Action}}"])
        .stdout(Stdio::piped());
    let mut told = events
        .spawn()
        .map_err(Error::io("run", Path::new("docker")))?;
    let out = told.stdout.take().map(BufReader::new);
    let mut lines = out
        .into_iter()
        .flat_map(|out| out.lines().map_while(Result::ok));
    let last = lines.find(|line| line.starts_with("health_status") || line == "die");
    let ended = told.kill().and_then(|()| told.wait());
    ended.map_err(Error::io("end", Path::new("docker")))?;
    match last.as_deref() {
        Some("health_status: healthy") => Ok(()),
        other => Err(Error::Answer(format!("{NAME} is not healthy: {other:?}"))),
    }
}
