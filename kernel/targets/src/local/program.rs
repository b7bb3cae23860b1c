//! This program, started again as a process of its own.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use code_deploy_engine::spec::Spec;
use code_deploy_engine::target::TargetError;
use code_deploy_router::program_build;
use tokio::process::Command;

use crate::failure::files;

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

    /// Returns whether that process runs the very file that would be started now.
    pub fn is_run_by(&self, pid: u32) -> bool {
        let running = std::fs::metadata(format!("/proc/{pid}/exe"));
        let own = std::fs::metadata(&self.path);
        let file = |found: std::fs::Metadata| (found.dev(), found.ino());
        running.is_ok_and(|running| own.is_ok_and(|own| file(running) == file(own)))
    }

    /// Returns the build of the file that would be started now.
    pub async fn build(&self) -> Result<String, TargetError> {
        let path = self.path.clone();
        let found = tokio::task::spawn_blocking(move || program_build(&path)).await;
        let found = found.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        found.map_err(files(None, "read", &self.path))
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
