//! A folder in which the built program is used as a person uses it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use code_deploy_record::{RunFolder, RunState, RunsFolder};

use crate::machine::Machine;
use crate::stage::Part;

/// What is other in the demonstration's deployment file where its load is not what a test is about, nor
/// how fast this machine is at the moment.
const LITTLE_LOAD: [(&str, &str); 3] = [
    ("percent: 99, below: 500ms", "percent: 99, below: 5s"),
    ("throughput: 120", "throughput: 50"),
    ("  rate: 150\n  duration: 5s", "  rate: 150\n  duration: 1s"),
];

/// What is other, too, for an upgrade that is not measured: runs are short, and gates look at what is
/// wrong on a busy machine as well.
const SHORT: [(&str, &str); 6] = [
    ("{ percent: 5, soak: 6s }", "{ percent: 5, soak: 2s }"),
    ("{ percent: 25, soak: 4s }", "{ percent: 25, soak: 1s }"),
    ("{ percent: 50, soak: 4s }", "{ percent: 50, soak: 1s }"),
    ("{ percent: 100, soak: 3s }", "{ percent: 100, soak: 1s }"),
    ("latency_floor: 50ms", "latency_floor: 400ms"),
    ("min_requests: 20", "min_requests: 5"),
];

/// A folder of its own, with short paths and no repository above it. What was deployed from it is
/// stopped when it goes.
pub struct Place {
    folder: tempfile::TempDir,
    /// The environment that is deployed to, and where.
    environment: &'static str,
    target: &'static str,
    variables: Vec<(&'static str, String)>,
    /// What is in front of a command that runs elsewhere than in the test's own namespaces.
    inside: Vec<String>,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Returns a port that nobody listens at and no connection is given meanwhile: those that the system gives begin
/// at 32768 (<https://docs.kernel.org/networking/ip-sysctl.html>, `ip_local_port_range`).
fn port_of_nobody() -> u16 {
    let first = 20_000 + u16::try_from(std::process::id() % 12_000).unwrap();
    let free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (first..32_768).chain(20_000..first).find(free).unwrap()
}

impl Place {
    pub fn new() -> Self {
        Self::of("local", Vec::new())
    }

    /// Returns a place from which is deployed to the stage's Docker engine. The shop is published
    /// at a port that nobody has.
    pub fn with_docker() -> Self {
        Self::with_engine(crate::stage::docker())
    }

    /// Returns such a place whose demonstration is deployed to another environment than `dev`.
    pub fn with_docker_in(environment: &'static str) -> Self {
        let mut place = Self::with_docker();
        place.environment = environment;
        place
    }

    fn with_engine(address: String) -> Self {
        let port = port_of_nobody().to_string();
        let variables = vec![("DOCKER_HOST", address), ("SHOP_PORT", port)];
        Self::of("docker-desktop", variables)
    }

    /// Returns a place on a machine of the test's own, from which is deployed to its Docker engine.
    pub fn on(machine: &Machine) -> Self {
        let mut place = Self::with_engine(machine.docker());
        place.inside = machine.inside();
        place
    }

    /// Returns a place from which is deployed to a Kubernetes cluster: that of a file, with images
    /// of an engine.
    pub fn with_cluster(kubeconfig: String, engine: String) -> Self {
        let variables = vec![("KUBECONFIG", kubeconfig), ("DOCKER_HOST", engine)];
        let mut place = Self::of("k8s", variables);
        place.environment = "staging";
        place
    }

    fn of(target: &'static str, variables: Vec<(&'static str, String)>) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            environment: "dev",
            target,
            variables,
            inside: Vec::new(),
        }
    }

    /// Gives the program a variable of the environment, in place of the one it had.
    pub fn set(&mut self, name: &'static str, value: String) {
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, value));
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the demonstration's folder.
    pub fn demo(&self) -> PathBuf {
        self.path().join("code-deploy-demo")
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Runs the program in this folder.
    pub fn run(&self, arguments: &[&str]) -> Said {
        self.run_in(self.path(), arguments)
    }

    /// Runs the program in another folder.
    pub fn run_in(&self, folder: &Path, arguments: &[&str]) -> Said {
        Said::from(self.command(folder, arguments).output().unwrap())
    }

    /// Returns the program in a folder, not started yet.
    pub fn command(&self, folder: &Path, arguments: &[&str]) -> Command {
        let mut command = match self.inside.split_first() {
            None => Command::new(Part::CodeDeploy.path()),
            Some((program, words)) => {
                let mut command = Command::new(program);
                // Whoever enters other namespaces is at their root.
                command
                    .args(words)
                    .arg(format!("--wd={}", folder.display()));
                command.arg("--").arg(Part::CodeDeploy.path());
                command
            }
        };
        command
            .current_dir(folder)
            .args(arguments)
            .env("XDG_RUNTIME_DIR", self.path())
            .env("XDG_STATE_HOME", self.path().join("state"))
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Writes the demonstration's deployment file, so that the demonstration takes it as it stands.
    #[track_caller]
    pub fn lay_out_with_little_load(&self) {
        let file = include_str!("../../../shop/deploy.yaml");
        self.write("code-deploy-demo/deploy.yaml", file);
        LITTLE_LOAD
            .iter()
            .for_each(|(from, to)| self.edit(from, to));
    }

    /// Deploys 1.0.0 of the demonstration, and names 1.1.0 as the release to be deployed next. Runs
    /// of this place are short.
    #[track_caller]
    pub fn lay_out_upgrade(&self) {
        self.lay_out_with_little_load();
        SHORT.iter().for_each(|(from, to)| self.edit(from, to));
        let said = self.run(&[self.environment, self.target, "--demo", "--to", "1.0.0"]);
        assert_eq!(said.code, Some(0), "{}\n{}", said.out, said.err);
        self.edit("release: \"1.0.0\"", "release: \"1.1.0\"");
    }

    /// Puts other text in place of what stands in the demonstration's deployment file.
    #[track_caller]
    pub fn edit(&self, from: &str, to: &str) {
        let path = self.demo().join("deploy.yaml");
        let file = std::fs::read_to_string(&path).unwrap();
        assert!(file.contains(from), "`{from}` is not in:\n{file}");
        std::fs::write(path, file.replacen(from, to, 1)).unwrap();
    }

    /// Writes the notebooks that are ready beside the demonstration's deployment file, and installs
    /// the kernel; returns the folder where Jupyter finds it.
    #[track_caller]
    pub fn lay_out_notebooks(&self) -> PathBuf {
        let ready = ["notebooks", "--ready", "-e", "dev", "-t", "local"];
        let said = self.run_in(&self.demo(), &[ready.as_slice(), &["--out", "."]].concat());
        assert_eq!(said.code, Some(0), "{said:?}");
        let prefix = self.path().join("prefix");
        let said = self.run(&["kernel", "install", "--prefix", prefix.to_str().unwrap()]);
        assert_eq!(said.code, Some(0), "{said:?}");
        prefix.join("share/jupyter")
    }

    /// Returns the runs of the demonstration, oldest first, with where each stands.
    pub fn demo_runs(&self) -> Vec<(RunFolder, RunState)> {
        let runs = RunsFolder::of_project(&self.demo());
        let folders = runs
            .list()
            .unwrap()
            .into_iter()
            .map(|id| runs.run(&id).unwrap());
        folders
            .map(|folder| (folder.clone(), folder.state().unwrap()))
            .collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.demo().is_dir() {
            let said = self.run(&[self.environment, self.target, "--demo", "--stop"]);
            if !std::thread::panicking() {
                assert_eq!(said.code, Some(0), "{said:?}");
            }
        }
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Said {
    /// Asserts that the command was refused with that code, and said all of that.
    #[track_caller]
    pub fn refused(&self, exit: i32, code: &str, words: &[&str]) {
        assert_eq!(self.code, Some(exit), "{self:?}");
        let said = format!("{}{}", self.out, self.err);
        for word in [code].iter().chain(words) {
            assert!(said.contains(word), "`{word}` is not in:\n{said}");
        }
    }
}
