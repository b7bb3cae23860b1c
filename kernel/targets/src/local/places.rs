//! Where things of the local target are.

use std::path::{Path, PathBuf};

use code_deploy_record::{Digest, RunsFolder};

/// The folders of one application and environment on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    root: PathBuf,
    data: PathBuf,
    runtime: PathBuf,
}

impl Places {
    /// Returns the places of an environment of the project in that folder. `runtime` is a folder
    /// of the user for sockets, whose path is short.
    #[must_use]
    pub fn new(project: &Path, environment: &str, data: PathBuf, runtime: PathBuf) -> Self {
        let runs = RunsFolder::of_project(project);
        let root = runs.path().join("local").join(environment);
        Self {
            root,
            data,
            runtime,
        }
    }

    /// Returns the places of an environment whose folder is known, for processes that look after
    /// a part of it and have nothing to do with its data.
    #[must_use]
    pub fn at(root: PathBuf, runtime: PathBuf) -> Self {
        let data = root.join("data");
        Self {
            root,
            data,
            runtime,
        }
    }

    /// Returns the same places with sockets in another folder.
    #[must_use]
    pub(crate) fn with_sockets_in(self, runtime: PathBuf) -> Self {
        Self { runtime, ..self }
    }

    /// Returns the folder that holds one folder per instance.
    #[must_use]
    pub fn instances(&self) -> PathBuf {
        self.root.join("instances")
    }

    /// Returns the folder of the router.
    #[must_use]
    pub fn router(&self) -> PathBuf {
        self.root.join("router")
    }

    /// Returns the router's control socket. Its name follows from the router's folder, which may
    /// have a path too long for a socket.
    #[must_use]
    pub fn router_socket(&self) -> PathBuf {
        self.socket("router")
    }

    /// Returns the socket of the process that looks after the router.
    #[must_use]
    pub fn keeper_socket(&self) -> PathBuf {
        self.socket("keeper")
    }

    fn socket(&self, whose: &str) -> PathBuf {
        let name = Digest::of(self.root.as_os_str().as_encoded_bytes()).short();
        self.runtime.join(format!("{whose}-{name}.sock"))
    }

    /// Returns the folder of data that is kept over releases.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Returns the folder above all but the data.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the folder for sockets.
    #[must_use]
    pub fn runtime(&self) -> &Path {
        &self.runtime
    }
}
