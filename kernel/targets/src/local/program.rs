//! This program, started again as a process of its own.

use std::path::{Path, PathBuf};

use code_deploy_engine::spec::Spec;
use tokio::process::Command;

/// The program, and what of its environment others are not to have.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    path: PathBuf,
    hidden: Vec<String>,
}

impl Program {
    /// The program with all of its environment.
    pub fn whole(path: PathBuf) -> Self {
        let hidden = Vec::new();
        Self { path, hidden }
    }

    /// The program without the secrets that the deployment takes from its environment: a process that
    /// outlives it would hold them as long as it lives.
    pub fn without_secrets(path: &Path, spec: &Spec) -> Self {
        Self {
            path: path.to_owned(),
            hidden: spec.secret_variables().into_iter().collect(),
        }
    }

    /// Returns the command that starts it, without arguments yet.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        for name in &self.hidden {
            command.env_remove(name);
        }
        command
    }
}
