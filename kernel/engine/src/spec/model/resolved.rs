//! What the engine works with: deployment file and Compose file together, for one environment.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use code_deploy_record::{Digest, Role};
use serde::{Deserialize, Serialize};

use super::super::compose::ComposeFacts;
use super::super::manifests::{Rendered, UserManifest};
use super::environment::Policy;
use super::file::DeployFile;
use super::journey::Journey;
use super::service::{SecretRef, ServiceFile};
use super::strategy::Strategy;
use crate::duration::Span;

/// Returns whether a target of that name is a Docker engine of this machine.
pub(crate) fn is_docker(target: &str) -> bool {
    target == "docker-desktop"
}

/// A deployment file together with its Compose file, checked, for one environment and target:
/// what the engine works with. Nothing in it is secret.
#[derive(Debug, Clone, Serialize)]
pub struct Spec {
    /// The deployment file.
    pub path: PathBuf,
    /// Its folder: the project.
    pub project: PathBuf,
    /// The digest of the deployment file and the files it names.
    pub digest: Digest,
    /// The application's name.
    pub application: String,
    /// The environment's name.
    pub environment: String,
    /// The target's name.
    pub target: String,
    /// The release named in the deployment file.
    pub release: Option<String>,
    /// The services in an order in which each comes after those it needs.
    pub services: Vec<Service>,
    /// The strategy for this environment.
    pub strategy: Strategy,
    /// The policy for this environment.
    pub policy: Policy,
    /// Environments in which the same release must have succeeded before.
    pub requires: Vec<String>,
    /// The user journeys.
    pub journeys: Vec<Journey>,
    /// The whole deployment file.
    pub file: DeployFile,
    /// What of the Compose file is not honoured, and by no finding of the target told, in words.
    pub compose_notes: Vec<String>,
    /// What else the Compose file says.
    pub compose: ComposeFacts,
    /// The user's own manifests of a Kubernetes cluster, in the order in which they stand.
    pub manifests: Vec<UserManifest>,
    /// What programs made of kustomizations and charts; the objects are among the manifests.
    pub rendered: Vec<Rendered>,
    /// The files that were read: the deployment file, and those it names.
    pub files: Vec<PathBuf>,
}

impl Spec {
    /// Returns the service of that name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name == name)
    }

    /// Returns the variables of this program's environment that hold secrets, as the files refer to
    /// them. Processes that are started and outlive it have no use for them.
    #[must_use]
    pub fn secret_variables(&self) -> BTreeSet<String> {
        let composed = self.compose.services.values();
        let composed = composed.flat_map(|service| service.secret_variables.values());
        let processes = self
            .services
            .iter()
            .filter_map(|one| one.file.process.as_ref());
        let of_processes = processes.flat_map(|process| process.secrets.values());
        let all = composed.chain(of_processes).chain(&self.file.seal.key);
        let variables = all.filter_map(|secret| match secret {
            SecretRef::Env(name) => Some(name.clone()),
            SecretRef::File(_) => None,
        });
        variables.collect()
    }

    /// Returns whether everything of the target runs on this machine and is reached at loopback
    /// only: as processes, or as containers of an engine here.
    #[must_use]
    pub fn on_this_machine(&self) -> bool {
        self.target == "local" || self.in_containers()
    }

    /// Returns whether the target is a Docker engine of this machine.
    #[must_use]
    pub fn in_containers(&self) -> bool {
        is_docker(&self.target)
    }

    /// Returns whether images that are built are pushed.
    #[must_use]
    pub fn pushes_images(&self) -> bool {
        let environment = self.file.environments.get(&self.environment);
        environment.is_some_and(|environment| environment.push_images)
    }

    /// Returns the folder where data of the environment is kept over releases.
    #[must_use]
    pub fn data_folder(&self) -> PathBuf {
        super::super::data_folder(&self.project, &self.environment)
    }
}

/// A service, from Compose file and deployment file together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Service {
    /// The name.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Who answers for it.
    pub owner: Option<String>,
    /// The image of the Compose file, variables replaced.
    pub image: Option<String>,
    /// The services it needs.
    pub needs: Vec<String>,
    /// The port on which it listens inside its network.
    pub port: u16,
    /// The port of this machine that the Compose file publishes it on.
    pub published: Option<u16>,
    /// How many instances are wanted.
    pub replicas: u32,
    /// The environment of the Compose file, variables replaced. Values of names that look like
    /// secrets are refused when the file is read.
    pub environment: BTreeMap<String, String>,
    /// What happens when an instance ends.
    pub restart: Restart,
    /// How long an instance may take to end when asked.
    pub stop_grace: Span,
    /// The most memory an instance may use, in bytes.
    pub memory_limit: Option<u64>,
    /// The most processors an instance may use.
    pub processor_limit: Option<f64>,
    /// What the deployment file adds.
    pub file: ServiceFile,
}

/// What happens when an instance ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Nothing.
    No,
    /// It is started again.
    Always,
    /// It is started again unless it was stopped on purpose.
    UnlessStopped,
    /// It is started again when it failed, at most that often.
    OnFailure(Option<u32>),
}
