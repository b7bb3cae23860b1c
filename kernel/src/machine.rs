//! This machine, user and program: the one place that reads the environment.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::failure::Failure;

/// What the program knows of where it runs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Machine {
    /// This program's file.
    pub program: PathBuf,
    /// The present folder.
    pub folder: PathBuf,
    /// The user's name.
    pub user: String,
    /// The machine's name.
    pub host: String,
    /// A folder of the user for sockets, with a short path.
    pub runtime: PathBuf,
    variables: Arc<BTreeMap<String, String>>,
}

impl Machine {
    /// Finds out about this machine, user and program.
    ///
    /// # Errors
    /// When the program's own file or the present folder cannot be found.
    pub fn present() -> Result<Self, Failure> {
        let lost = |what: &str, error: std::io::Error| {
            Failure::cannot_start(format!("{what} cannot be found: {error}"))
        };
        let program = std::env::current_exe().map_err(|e| lost("this program's file", e))?;
        let folder = std::env::current_dir().map_err(|e| lost("the present folder", e))?;
        let variables: BTreeMap<_, _> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let uid = nix::unistd::getuid();
        let user = nix::unistd::User::from_uid(uid)
            .ok()
            .flatten()
            .map(|user| user.name);
        let user = user.unwrap_or_else(|| format!("uid {uid}"));
        let host = nix::unistd::gethostname()
            .ok()
            .and_then(|name| name.into_string().ok());
        let host = host.unwrap_or_else(|| "unknown host".to_owned());
        let runtime = match variables.get("XDG_RUNTIME_DIR").map(PathBuf::from) {
            Some(folder) if folder.is_dir() => folder.join("code-deploy"),
            _ => PathBuf::from(format!("/tmp/code-deploy-{uid}")),
        };
        Ok(Self {
            program,
            folder,
            user,
            host,
            runtime,
            variables: Arc::new(variables),
        })
    }

    /// Returns the value of an environment variable.
    pub fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    /// Returns the user's folder for what outlives a session; nothing where the user has no home.
    pub fn state(&self) -> Option<PathBuf> {
        let set = |name: &str| self.variable(name).map(PathBuf::from);
        let absolute = |path: &PathBuf| path.is_absolute();
        let state = set("XDG_STATE_HOME").filter(absolute);
        let home = || set("HOME").filter(absolute);
        let state = state.or_else(|| Some(home()?.join(".local/state")))?;
        Some(state.join("code-deploy"))
    }

    /// Returns the variables by which Jupyter's places are told.
    pub fn jupyter_environment(&self) -> code_deploy_jupyter::kernelspec::Environment {
        self.variables
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    /// Returns a machine on which those variables have other values.
    #[must_use]
    pub fn with_variables(&self, changed: BTreeMap<String, String>) -> Self {
        let mut variables = (*self.variables).clone();
        variables.extend(changed);
        Self {
            variables: Arc::new(variables),
            ..self.clone()
        }
    }
}
