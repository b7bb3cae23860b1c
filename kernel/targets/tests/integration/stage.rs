//! A project in a scratch folder with two services, and the local target for it.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use code_deploy_engine::Spec;
use code_deploy_engine::http::HttpClient;
use code_deploy_engine::spec::{Restart, SecretRef, Service};
use code_deploy_engine::target::{
    Instance, Observed, ServiceAddress, Shares, Target as _, TargetError, Wanted,
};
use code_deploy_record::{Redactor, Release};
use code_deploy_targets::LocalTarget;
use code_deploy_targets::Settings;
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// The program that targets of the tests start.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_local-test-program");

/// No condition that a test waits for takes this long on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(30);

const DEPLOY: &str = r#"application: stage
services:
  api: &service
    probes: { startup: /startupz, readiness: /readyz, liveness: /livez }
    process:
      command: ["{program}", "serve"]
      environment: { PORT: "{port}" }
  web: *service
environments:
  dev: {}
  test: {}
"#;

const COMPOSE: &str = "services:
  api:
    image: api
    stop_grace_period: 2s
    expose: ['8080']
  web:
    image: web
    stop_grace_period: 2s
    expose: ['8080']
    depends_on: [api]
    environment:
      API_URL: http://api:8080/v1
";

/// The value of the secret `TOKEN`.
pub const SECRET: &str = "correct-horse-battery-staple";

pub struct Stage {
    pub folder: TempDir,
    pub spec: Spec,
}

impl Stage {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// Sets the stage with the service `web` changed.
    pub fn with(change: impl Fn(&mut Service)) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("local-target-")
            .tempdir()
            .unwrap();
        std::fs::write(folder.path().join("deploy.yaml"), DEPLOY).unwrap();
        std::fs::write(folder.path().join("compose.yaml"), COMPOSE).unwrap();
        let spec = Self::spec(folder.path(), "dev", change);
        Self { folder, spec }
    }

    pub fn spec(folder: &Path, environment: &str, change: impl Fn(&mut Service)) -> Spec {
        let path = folder.join("deploy.yaml");
        let mut spec = Spec::load(&path, environment, "local", &|_| None).unwrap();
        let web = spec.services.iter_mut().find(|s| s.name == "web").unwrap();
        change(web);
        spec
    }

    /// Sets the stage with a service that is started in some ways.
    pub fn serving(ways: &[&str], restart: Restart) -> Self {
        Self::with(|web| {
            web.restart = restart;
            let command = &mut web.file.process.as_mut().unwrap().command;
            command.extend(ways.iter().map(|way| (*way).to_owned()));
        })
    }

    pub fn target(&self) -> LocalTarget {
        self.target_of(&self.spec)
    }

    pub fn target_of(&self, spec: &Spec) -> LocalTarget {
        Self::target_at(spec, self.folder.path().join("run"))
    }

    pub fn target_with_sockets_in(&self, runtime: PathBuf) -> LocalTarget {
        Self::target_at(&self.spec, runtime)
    }

    fn target_at(spec: &Spec, runtime: PathBuf) -> LocalTarget {
        Self::target_by(spec, runtime, Path::new(PROGRAM))
    }

    /// Returns the target as another build of the program has it.
    pub fn target_of_build(&self, program: &Path) -> LocalTarget {
        Self::target_by(&self.spec, self.folder.path().join("run"), program)
    }

    fn target_by(spec: &Spec, runtime: PathBuf, program: &Path) -> LocalTarget {
        let settings = Settings {
            spec: Arc::new(spec.clone()),
            program: program.to_owned(),
            runtime,
            lookup: Arc::new(|name| match name {
                "STAGE_TOKEN" => Some(SECRET.to_owned()),
                "PATH" => std::env::var("PATH").ok(),
                "HOME" => Some("/nowhere".to_owned()),
                _ => None,
            }),
            redactor: Redactor::default(),
        };
        LocalTarget::new(settings).unwrap()
    }

    /// Returns a target with both services open.
    pub async fn opened(&self) -> LocalTarget {
        let target = self.target();
        target.open(&self.services()).await.unwrap();
        target
    }

    pub fn services(&self) -> Vec<ServiceAddress> {
        let services = self.spec.services.iter();
        services
            .map(|service| ServiceAddress {
                service: service.name.clone(),
                address: "127.0.0.1:0".parse().unwrap(),
                routing: service.file.routing.clone(),
            })
            .collect()
    }

    pub fn root(&self) -> PathBuf {
        self.target().places().root().to_owned()
    }

    pub fn instance_folders(&self) -> Vec<PathBuf> {
        entries(&self.root().join("instances"))
    }

    pub fn kept_logs(&self) -> Vec<PathBuf> {
        entries(&self.root().join("logs"))
    }

    /// Returns the processes that work in or for the stage's folder.
    pub fn processes(&self) -> Vec<u32> {
        processes_of(self.folder.path())
    }

    /// Returns the supervisors' processes.
    pub fn supervisors(&self) -> Vec<u32> {
        let mut found = self.processes();
        found.retain(|pid| command_line(*pid).contains("internal\0instance"));
        found
    }
}

impl Drop for Stage {
    /// A failing test leaves no process behind.
    fn drop(&mut self) {
        while let [pid, ..] = self.processes()[..] {
            kill(pid);
        }
    }
}

/// Returns another build of the program: a copy with more bytes behind its end, which do nothing.
pub fn another_build(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    let content = std::fs::read(PROGRAM).unwrap();
    std::fs::write(&path, [content.as_slice(), name.as_bytes()].concat()).unwrap();
    let runs = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(&path, runs).unwrap();
    path
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut entries: Vec<_> = entries.map(|entry| entry.path()).collect();
    entries.sort();
    entries
}

fn processes_of(folder: &Path) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let ours = |pid: &u32| {
        let line = command_line(*pid);
        let works = std::fs::read_link(format!("/proc/{pid}/cwd"));
        !line.is_empty()
            && (line.contains(&*folder.to_string_lossy())
                || works.is_ok_and(|works| works.starts_with(folder)))
    };
    pids.filter(ours).collect()
}

pub fn command_line(pid: u32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).into_owned()
}

pub fn kill(pid: u32) {
    signal(pid, Signal::SIGKILL);
}

pub fn signal(pid: u32, signal: Signal) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    // A process that is gone already is what is wanted.
    nix::sys::signal::kill(pid, signal).ok();
}

pub fn release(text: &str) -> Release {
    text.parse().unwrap()
}

pub fn wanted(service: &str, version: &str, replicas: u32) -> Wanted {
    Wanted {
        run: "20260101T000000Z-dev-1".parse().unwrap(),
        service: service.to_owned(),
        release: release(version),
        replicas,
        start_limit: LIMIT,
    }
}

pub fn shares(service: &str, of: &[(&str, u16)]) -> BTreeMap<String, Shares> {
    let shares = of.iter().map(|(name, share)| (release(name), *share));
    BTreeMap::from([(service.to_owned(), shares.collect())])
}

pub fn address(observed: &Observed, service: &str) -> String {
    let found = observed.addresses.iter().find(|a| a.service == service);
    found.unwrap().address.to_string()
}

/// Returns the body of the answer, which must be a success.
pub async fn get(address: &str, path: &str) -> String {
    let answer = HttpClient::new()
        .get(&format!("http://{address}{path}"), LIMIT)
        .await
        .unwrap();
    assert!(answer.status.is_success(), "{path}: {}", answer.status);
    answer.text().into_owned()
}

/// Asks again and again until there is an answer, at most [`LIMIT`].
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, ask: impl Fn() -> F) -> T {
    let asking = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(LIMIT, asking).await;
    found.unwrap_or_else(|_| panic!("within {LIMIT:?} not: {what}"))
}

pub async fn only_instance(target: &LocalTarget) -> Instance {
    let mut instances = target.observe().await.unwrap().instances;
    assert_eq!(instances.len(), 1, "{instances:?}");
    instances.remove(0)
}

pub fn with_secret(service: &mut Service) {
    let process = service.file.process.as_mut().unwrap();
    let reference = SecretRef::Env("STAGE_TOKEN".to_owned());
    process.secrets.insert("TOKEN".to_owned(), reference);
}

pub fn text(error: &TargetError) -> String {
    format!("{} {error} {}", error.code, error.next)
}
