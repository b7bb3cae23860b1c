//! The project a command works on: deployment file, environment, target, person.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use code_deploy_engine::Target;
use code_deploy_engine::spec::{self, Spec};
use code_deploy_record::{Redactor, RunFolder, RunId, RunOutcome, RunState, RunsFolder};
use code_deploy_targets::{DockerTarget, KubernetesTarget, LocalTarget, Lookup, Settings};

use crate::failure::Failure;
use crate::machine::Machine;

/// The targets that this program deploys to.
pub const TARGETS: [&str; 3] = ["local", DOCKER, KUBERNETES];

/// A target that this version of the program knows by name only.
const NOT_YET: &str = "cloud-aws";

/// The target that is a Docker engine of this machine.
pub const DOCKER: &str = "docker-desktop";

/// The target that is a namespace of a Kubernetes cluster.
pub const KUBERNETES: &str = "k8s";

/// A project: a folder with a deployment file.
#[derive(Debug, Clone)]
pub struct Project {
    /// The deployment file.
    pub file: PathBuf,
    /// Its folder.
    pub folder: PathBuf,
}

impl Project {
    /// Finds the project: the file given, the one in the folder given, or the nearest `deploy.yaml` from `from` upwards.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(given: Option<&Path>, from: &Path) -> Result<Self, Failure> {
        let file = match given {
            Some(folder) if folder.is_dir() => folder.join(spec::FILE_NAME),
            Some(path) => path.to_owned(),
            None => spec::find(from)?,
        };
        if !file.is_file() {
            let what = format!("there is no file {}", file.display());
            let next = "Name the deployment file with `--file`.";
            return Err(Failure::usage(what, next));
        }
        let absolute = std::path::absolute(&file).unwrap_or(file);
        let folder = absolute.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Self {
            file: absolute,
            folder,
        })
    }

    /// Returns the folder of the project's runs.
    pub fn runs(&self) -> RunsFolder {
        RunsFolder::of_project(&self.folder)
    }

    /// Reads the deployment file for an environment and a target. Programs that make manifests may have to be waited for.
    ///
    /// # Errors
    /// When something in it is wrong.
    pub async fn spec(
        &self,
        machine: &Machine,
        environment: &str,
        target: &str,
    ) -> Result<Arc<Spec>, Failure> {
        known_target(target)?;
        let (machine, file) = (machine.clone(), self.file.clone());
        let (environment, target) = (environment.to_owned(), target.to_owned());
        let read = tokio::task::spawn_blocking(move || {
            let lookup = |name: &str| machine.variable(name);
            Spec::load(&file, &environment, &target, &lookup)
        });
        let read = read.await.map_err(|error| {
            Failure::cannot_start(format!("reading the deployment file was cut off: {error}"))
        })?;
        Ok(Arc::new(read?))
    }

    /// Returns the run of that name, or the last one.
    ///
    /// # Errors
    /// When there is none.
    pub fn run(&self, name: Option<&str>) -> Result<RunFolder, Failure> {
        let runs = self.runs();
        let id: RunId = match name {
            Some(name) => name.parse().map_err(|error| {
                Failure::usage(format!("{error}"), "`code-deploy runs` lists the runs.")
            })?,
            None => runs.list()?.pop().ok_or_else(|| {
                let what = format!("there is no run in {} yet", self.folder.display());
                Failure::refused(
                    code_deploy_engine::code::NO_SUCH_RUN,
                    what,
                    "Start one: `code-deploy dev local`.",
                )
            })?,
        };
        runs.run(&id).map_err(|error| match error {
            code_deploy_record::Error::NoSuchRun { .. } => self.no_such_run(&id, &runs),
            error => Failure::from(error),
        })
    }

    fn no_such_run(&self, id: &RunId, runs: &RunsFolder) -> Failure {
        let known = runs.list().unwrap_or_default();
        let known: Vec<String> = known.iter().map(ToString::to_string).collect();
        let near = crate::commands::did_you_mean(id.as_str(), &known);
        let what = format!("there is no run `{id}` in {}", self.folder.display());
        let next = format!("{near}`code-deploy runs` lists the runs.");
        Failure::refused(code_deploy_engine::code::NO_SUCH_RUN, what, next)
    }

    /// Returns environment and target of the last run, if there is one that can be read.
    pub fn last_place(&self) -> Option<(String, String)> {
        let run = self.runs().list().ok()?.pop()?;
        let started = self.runs().run(&run).ok()?.started().ok()?;
        Some((started.environment, started.target))
    }

    /// Returns the run that steering without a name means: the last one of the environment and
    /// target that are named, one that was refused left out as long as there is another. A refused
    /// run changed nothing, so nobody wants it back.
    ///
    /// # Errors
    /// When there is none.
    pub fn run_to_steer(
        &self,
        environment: Option<&str>,
        target: Option<&str>,
    ) -> Result<RunFolder, Failure> {
        let mut runs = self.all_runs()?;
        runs.retain(|(_, state)| {
            let wanted = |named: Option<&str>, place: &str| named.is_none_or(|name| name == place);
            let started = state.started.as_ref();
            started
                .is_some_and(|s| wanted(environment, &s.environment) && wanted(target, &s.target))
        });
        let refused = |state: &RunState| matches!(state.finished, Some((RunOutcome::Refused, ..)));
        let meant = runs.iter().rposition(|(_, state)| !refused(state));
        let meant = meant.or_else(|| runs.len().checked_sub(1));
        let place = [environment, target].into_iter().flatten();
        let place = place.collect::<Vec<_>>().join(" ");
        meant.map(|at| runs.swap_remove(at).0).ok_or_else(|| {
            let what = match place.as_str() {
                "" => format!("there is no run in {} yet", self.folder.display()),
                place => format!("there is no run of {place} in {}", self.folder.display()),
            };
            let next = "`code-deploy runs` lists the runs.";
            Failure::refused(code_deploy_engine::code::NO_SUCH_RUN, what, next)
        })
    }

    /// Returns the folder for the notebooks of a run.
    pub fn notebooks_of(&self, run: &RunId) -> PathBuf {
        RunsFolder::notebooks_of(&self.folder, run)
    }

    /// Returns the folder of the last run of an environment and target, if there is one.
    ///
    /// # Errors
    /// When the folder of the runs cannot be read.
    pub fn last_of(&self, environment: &str, target: &str) -> Result<Option<PathBuf>, Failure> {
        let mut runs = self.all_runs()?.into_iter().rev();
        let found = runs.find(|(_, state)| {
            let started = state.started.as_ref();
            started.is_some_and(|one| one.environment == environment && one.target == target)
        });
        Ok(found.map(|(folder, _)| folder.path().to_owned()))
    }

    /// Returns all runs of the project with where they stand, oldest first. A record that cannot
    /// be read is left out; `verify` says why.
    pub fn all_runs(&self) -> Result<Vec<(RunFolder, RunState)>, Failure> {
        let runs = self.runs();
        let folders = runs.list()?.into_iter().filter_map(|id| runs.run(&id).ok());
        Ok(folders
            .filter_map(|run| run.state().ok().map(|state| (run, state)))
            .collect())
    }
}

fn known_target(target: &str) -> Result<(), Failure> {
    if TARGETS.contains(&target) {
        return Ok(());
    }
    if target == NOT_YET {
        let what = format!("this version of the program cannot deploy to `{target}` yet");
        let next = "Use the target `local`, `docker-desktop` or `k8s`.";
        return Err(Failure::refused("CD0502", what, next));
    }
    let known = TARGETS.map(str::to_owned);
    let near = crate::commands::nearest(target, &known);
    let near = near
        .map(|near| format!(" Did you mean `{near}`?"))
        .unwrap_or_default();
    let what = format!("there is no target `{target}`");
    Err(Failure::refused(
        "CD0503",
        what,
        format!("Known targets: {}.{near}", TARGETS.join(", ")),
    ))
}

/// What a command means to do with a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// Change what runs, and write what that needs.
    Change,
    /// Look only: nothing is written.
    LookAt,
}

/// Returns the target that a specification names.
///
/// # Errors
/// When it cannot be prepared.
pub fn target_of(
    machine: &Machine,
    spec: &Arc<Spec>,
    redactor: &Redactor,
    to: To,
) -> Result<Arc<dyn Target>, Failure> {
    let settings = settings(machine, spec, redactor);
    Ok(match (spec.target.as_str(), to) {
        (DOCKER, _) => Arc::new(DockerTarget::new(settings)),
        (KUBERNETES, _) => Arc::new(KubernetesTarget::new(settings)),
        (_, To::Change) => Arc::new(LocalTarget::new(settings)?),
        (_, To::LookAt) => Arc::new(LocalTarget::to_look_at(settings)),
    })
}

/// Returns what a target needs to know of this program.
pub fn settings(machine: &Machine, spec: &Arc<Spec>, redactor: &Redactor) -> Settings {
    Settings {
        spec: Arc::clone(spec),
        program: machine.program.clone(),
        runtime: machine.runtime.clone(),
        lookup: lookup(machine),
        redactor: redactor.clone(),
    }
}

/// Returns what looks variables of this program's environment up.
pub fn lookup(machine: &Machine) -> Lookup {
    let machine = machine.clone();
    Arc::new(move |name: &str| machine.variable(name))
}
