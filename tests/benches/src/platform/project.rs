//! The application that is updated: one service with a health check, made from nothing.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use code_deploy_record::{EventBody, RunsFolder};

use super::program::run;
use super::{Update, Users};
use crate::Error;

/// The service, compiled for an image that has nothing else.
const SERVER: &str = include_str!("../../peers/server.rs");

/// The repository of its images.
pub const IMAGE: &str = "code-deploy-bench-server";

/// The folder with the files: what the program keeps for its user stands beside it.
const PROJECT: &str = "project";

/// The health check that its images have by themselves: as the Compose file's, for whoever does not read that.
const HEALTH: &str =
    "HEALTHCHECK --interval=500ms --timeout=2s --retries=10 CMD [\"/server\", \"probe\"]";

/// The Compose file. A process that ends at once when it is asked to makes ends comparable.
const COMPOSE: &str = "name: bench
services:
  server:
    image: code-deploy-bench-server:${CODE_DEPLOY_RELEASE}
    pull_policy: if_not_present
    environment:
      RELEASE: \"${CODE_DEPLOY_RELEASE}\"
    expose: [\"8080\"]
    stop_signal: SIGKILL
    stop_grace_period: 1s
    restart: unless-stopped
    healthcheck:
      test: [CMD, /server, probe]
      interval: 500ms
      timeout: 2s
      retries: 10
    deploy: { replicas: REPLICAS }
";

/// The deployment file: the gates of every deployment, and no time in which nothing but waiting happens.
const DEPLOY: &str = "application: bench
release: \"RELEASE\"
services:
  server:
    role: backend
    owner: nobody
    probes: { readiness: / }
    metrics: /metrics
strategy:
  kind: KIND
  steps: [STEPS]
  rehearse_rollback: false
  health: { interval: 300ms, passes: 3, timeout: 2s, deadline: 60s }
  analysis: { min_requests: 1, latency_floor: 5s, error_share_margin: 100.0 }
  keep_old: 0s
environments:
  dev:
    overrides: { failed: note }
objectives:
  - { name: availability, service: server, availability: 1.0 }
client:
  service: server
  rate: 50
  duration: 2h
  requests: [{ path: / }]
load:
  service: server
  rate: 50
  duration: 1s
  requests: [{ path: / }]
";

/// How the service is deployed.
pub struct Way {
    pub target: &'static str,
    pub kind: &'static str,
    pub steps: &'static str,
    pub replicas: u32,
    /// What the names of the steps begin with in which instances of the release are started.
    pub starts: &'static [&'static str],
    pub variables: Vec<(&'static str, String)>,
}

/// A folder from which the program deploys. What it deployed is stopped when it goes.
pub struct Project<'a> {
    folder: tempfile::TempDir,
    program: PathBuf,
    way: &'a Way,
}

impl<'a> Project<'a> {
    /// Writes the files of the project.
    ///
    /// # Errors
    /// When that cannot be done.
    pub fn new(program: &Path, way: &'a Way) -> Result<Self, Error> {
        let folder = tempfile::tempdir();
        let folder = folder.map_err(Error::io("make a folder in", &std::env::temp_dir()))?;
        let project = folder.path().join(PROJECT);
        std::fs::create_dir(&project).map_err(Error::io("make", &project))?;
        let path = project.join("compose.yaml");
        let file = COMPOSE.replace("REPLICAS", &way.replicas.to_string());
        std::fs::write(&path, file).map_err(Error::io("write", &path))?;
        let program = program.canonicalize().map_err(Error::io("find", program))?;
        Ok(Self {
            folder,
            program,
            way,
        })
    }

    /// Deploys a release; returns what that took.
    ///
    /// # Errors
    /// When it does not succeed.
    pub fn deploy(&self, release: usize) -> Result<Update, Error> {
        let file = DEPLOY
            .replace("RELEASE", &release.to_string())
            .replace("KIND", self.way.kind)
            .replace("STEPS", self.way.steps);
        let path = self.folder.path().join(PROJECT).join("deploy.yaml");
        std::fs::write(&path, file).map_err(Error::io("write", &path))?;
        let began = Instant::now();
        run(&mut self.command(&["dev", self.way.target, "--yes"]))?;
        let command = began.elapsed().as_secs_f64();
        let (start, phase, users) = self.recorded()?;
        Ok(Update {
            start,
            phase,
            command,
            users,
        })
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        let folder = self.folder.path();
        command.current_dir(folder.join(PROJECT)).args(words);
        command.env("XDG_RUNTIME_DIR", folder);
        command.env("XDG_STATE_HOME", folder.join("state"));
        let variables = self.way.variables.iter();
        command.envs(variables.map(|(name, value)| (name, value)));
        command
    }

    fn starts(&self, step: &str) -> bool {
        self.way.starts.iter().any(|start| step.starts_with(start))
    }

    /// Returns what the last run's record has: the seconds of the steps that start the release, and of the whole
    /// phase, and the requests of the outside client.
    fn recorded(&self) -> Result<(f64, f64, Users), Error> {
        let runs = RunsFolder::of_project(&self.folder.path().join(PROJECT));
        let last = runs.list()?.pop();
        let last = last.ok_or_else(|| Error::Answer("there is no run".to_owned()))?;
        let (mut start, mut phase, mut began) = (0.0, 0.0, None);
        let run = runs.run(&last)?;
        for event in run.events()? {
            let event = event?;
            match event.body {
                EventBody::PhaseStarted { phase } if phase.get() == 6 => began = Some(event.time),
                EventBody::PhaseFinished { phase: number, .. } if number.get() == 6 => {
                    let lasted = began.map(|began| (event.time - began).as_seconds_f64());
                    phase = lasted.unwrap_or_default();
                }
                EventBody::StepFinished {
                    step, duration_us, ..
                } if self.starts(step.as_str()) => start += duration_us as f64 / 1e6,
                _ => {}
            }
        }
        let clients = run.state()?.clients.into_values();
        let users = clients.map(|one| Users {
            sent: one.sent,
            failed: one.failed,
        });
        Ok((start, phase, users.sum()))
    }
}

impl Drop for Project<'_> {
    fn drop(&mut self) {
        let stopped = run(&mut self.command(&["dev", self.way.target, "--stop"]));
        if let Err(error) = stopped {
            // The figures stand; what is left is named. Nobody may be there to read that.
            let _ = writeln!(std::io::stderr(), "what was deployed runs on: {error}");
        }
    }
}

/// The images of the service on an engine, a tag for each release. They go with the value.
pub struct Images {
    docker: String,
    releases: usize,
}

impl Images {
    /// Compiles the service and makes its images.
    ///
    /// # Errors
    /// When there is no `rustc`, `tar` or `docker`, or one of them fails.
    pub fn make(docker: &str, releases: usize) -> Result<Self, Error> {
        let folder = tempfile::tempdir();
        let folder = folder.map_err(Error::io("make a folder in", &std::env::temp_dir()))?;
        let path = folder.path().join("server.rs");
        std::fs::write(&path, SERVER).map_err(Error::io("write", &path))?;
        let within = |program: &str| {
            let mut command = Command::new(program);
            command.current_dir(folder.path());
            command
        };
        let static_ = ["--edition=2024", "-O", "-Ctarget-feature=+crt-static"];
        run(within("rustc").args(static_).arg("server.rs"))?;
        run(within("tar").args(["-cf", "server.tar", "server"]))?;
        let entry = "ENTRYPOINT [\"/server\"]";
        let made = ["import", "--change", entry, "--change", HEALTH];
        let first = format!("{IMAGE}:1");
        let archive = folder.path().join("server.tar");
        run(docker_at(docker).args(made).arg(archive).arg(&first))?;
        for release in 2..=releases {
            run(docker_at(docker).args(["tag", &first, &format!("{IMAGE}:{release}")]))?;
        }
        let docker = docker.to_owned();
        Ok(Self { docker, releases })
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        let names = (1..=self.releases).map(|release| format!("{IMAGE}:{release}"));
        let mut remove = docker_at(&self.docker);
        // An image that is left costs a megabyte.
        let _ = run(remove.args(["image", "rm", "--force"]).args(names));
    }
}

/// Returns the engine's own client for the engine at an address.
pub fn docker_at(address: &str) -> Command {
    let mut command = Command::new("docker");
    command.env("DOCKER_HOST", address);
    command
}
