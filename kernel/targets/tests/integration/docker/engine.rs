//! A project in a scratch folder with two services, the target for it, and the engine's own client
//! beside it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use code_deploy_engine::Spec;
use code_deploy_engine::target::{ServiceAddress, Target as _};
use code_deploy_record::Redactor;
use code_deploy_targets::{DockerTarget, Settings};
use tempfile::TempDir;

use crate::stage::PROGRAM;

/// The variable that promises an engine to the tests, and tells where it is.
const ENGINE: &str = "CODE_DEPLOY_STAGE_DOCKER";

const DEPLOY: &str = "application: APPLICATION
release: '1.0.0'
services:
  api: &service
    probes: { startup: /startupz, readiness: /readyz, liveness: /livez }
  web: *service
environments:
  dev: {}
";

/// The services of the Compose file; each is the test's program.
pub const COMPOSE: &str = "services:
  api: &service
    image: IMAGE
    command: ['serve']
    entrypoint: ['/bin/code-deploy']
    environment: { PORT: '8080', BIND: 0.0.0.0, RELEASE: '${CODE_DEPLOY_RELEASE:-none}' }
    stop_grace_period: 5s
    restart: unless-stopped
    expose: ['8080']
  web:
    <<: *service
    depends_on: [api]
";

/// One application a stage, so that stages do not meet on the engine.
static STAGES: AtomicU32 = AtomicU32::new(0);

pub struct Stage {
    pub folder: TempDir,
    pub application: String,
}

impl Stage {
    /// Sets the stage with a Compose file, in which `IMAGE` stands for the image of the test's
    /// program, and makes that image.
    pub async fn with(compose: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("docker-target-")
            .tempdir()
            .unwrap();
        let number = STAGES.fetch_add(1, Ordering::Relaxed);
        let application = format!("stage-{}-{number}", std::process::id());
        let image = format!("{application}:1");
        let write = |name: &str, text: String| {
            std::fs::write(folder.path().join(name), text).unwrap();
        };
        write("deploy.yaml", DEPLOY.replace("APPLICATION", &application));
        write("compose.yaml", compose.replace("IMAGE", &image));
        let stage = Self {
            folder,
            application,
        };
        let made = stage.target().make_demonstration(&[image]).await;
        made.unwrap();
        stage
    }

    pub async fn new() -> Self {
        Self::with(COMPOSE).await
    }

    pub fn spec(&self) -> Spec {
        let path = self.folder.path().join("deploy.yaml");
        Spec::load(&path, "dev", "docker-desktop", &|_| None).unwrap()
    }

    pub fn target(&self) -> DockerTarget {
        self.target_with_sockets_in(self.folder.path().join("run"))
    }

    pub fn target_with_sockets_in(&self, runtime: PathBuf) -> DockerTarget {
        self.target_by(Path::new(PROGRAM), runtime)
    }

    /// Returns the target as another build of the program has it.
    pub fn target_by(&self, program: &Path, runtime: PathBuf) -> DockerTarget {
        DockerTarget::new(Settings {
            spec: Arc::new(self.spec()),
            program: program.to_owned(),
            runtime,
            lookup: Arc::new(|name| match name {
                "DOCKER_HOST" => Some(host()),
                "STAGE_TOKEN" => Some("correct-horse-battery-staple".to_owned()),
                _ => None,
            }),
            redactor: Redactor::default(),
        })
    }

    /// Returns a target with both services open.
    pub async fn opened(&self) -> DockerTarget {
        let target = self.target();
        target.open(&self.services()).await.unwrap();
        target
    }

    pub fn services(&self) -> Vec<ServiceAddress> {
        let spec = self.spec();
        let services = spec.services.iter();
        services
            .map(|service| ServiceAddress {
                service: service.name.clone(),
                address: "127.0.0.1:0".parse().unwrap(),
                routing: service.file.routing.clone(),
            })
            .collect()
    }

    /// Returns the name of an instance's container.
    pub fn container(&self, service: &str, release: &str, index: u32) -> String {
        format!("{}-dev-{service}-{release}-{index}", self.application)
    }

    /// Returns the containers of the stage, also those that have ended.
    pub fn containers(&self) -> Vec<String> {
        let label = format!("label=code-deploy.application={}", self.application);
        let listed = docker(&["ps", "--all", "--filter", &label, "--format", "{{.Names}}"]);
        let mut names: Vec<_> = listed.lines().map(str::to_owned).collect();
        names.sort();
        names
    }
}

impl Drop for Stage {
    /// A failing test leaves nothing behind.
    fn drop(&mut self) {
        for container in self.containers() {
            docker(&["rm", "--force", "--volumes", &container]);
        }
        let label = format!("label=code-deploy.application={}", self.application);
        for kind in ["network", "volume"] {
            let listed = docker(&[kind, "ls", "--quiet", "--filter", &label]);
            for id in listed.lines() {
                docker(&[kind, "rm", id]);
            }
        }
        docker(&["rmi", &format!("{}:1", self.application)]);
    }
}

/// Returns where the engine is.
pub fn host() -> String {
    std::env::var(ENGINE).unwrap_or_else(|_| {
        panic!("{ENGINE} names no Docker engine; `cargo verify` brings one up and sets it")
    })
}

/// Runs the engine's own client and returns what it says, which must be a success.
pub fn docker(words: &[&str]) -> String {
    let mut command = std::process::Command::new("docker");
    let ran = command.args(words).env("DOCKER_HOST", host()).output();
    let ran = ran.unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "docker {words:?}: {said}");
    String::from_utf8(ran.stdout).unwrap().trim().to_owned()
}

/// Returns a value of what the engine knows of something.
pub fn inspect(name: &str, format: &str) -> String {
    docker(&["inspect", "--format", format, name])
}

/// Waits until a condition of the engine holds.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    crate::stage::eventually(what, || async { holds().then_some(()) }).await;
}

/// Returns whether a folder, or what it holds, is still there.
pub fn holds_files(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

/// A grace that is long enough for what ends when asked.
pub const GRACE: Duration = Duration::from_secs(5);
