#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod bad_files;
mod bad_values;
mod compose_files;
mod good;
mod manifests;
mod ports;
mod rendered;

use std::path::{Path, PathBuf};

use super::*;

/// A project with a deployment file and a Compose file, both right until a test changes one.
pub(super) struct Project {
    folder: tempfile::TempDir,
}

pub(super) const COMPOSE: &str = "\
services:
  web:
    image: web:${TAG:-1}
    ports: ['8080:80']
    depends_on: [api]
  api:
    image: api:1
    expose: [9000]
";

pub(super) const DEPLOY: &str = "\
application: app
environments:
  dev: {}
  qa: {policy: test}
services:
  web:
    probes: {readiness: /readyz}
";

impl Project {
    pub(super) fn new() -> Self {
        let project = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        project.write("compose.yaml", COMPOSE);
        project.write(FILE_NAME, DEPLOY);
        project
    }

    pub(super) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn load(&self) -> Result<Spec, Box<SpecError>> {
        Spec::load(&self.path(FILE_NAME), "dev", "local", &|_| None)
    }

    /// Returns the error of loading, without the folder's name.
    pub(super) fn refused(&self) -> String {
        self.shown(&self.load().unwrap_err())
    }

    pub(super) fn shown(&self, error: &SpecError) -> String {
        let problem = error.problem();
        let text = format!("{} {}\n{}", problem.code, problem.what, problem.next);
        let folder = format!("{}/", self.folder.path().display());
        text.replace(&folder, "")
    }
}

/// Returns the error of a deployment file that has these lines more.
pub(super) fn with_deploy(lines: &str) -> String {
    let project = Project::new();
    project.write(FILE_NAME, format!("{DEPLOY}{lines}"));
    project.refused()
}

/// Returns the error of a Compose file.
pub(super) fn with_compose(text: &str) -> String {
    let project = Project::new();
    project.write("compose.yaml", text);
    project.refused()
}

/// Returns a file of the repository.
pub(super) fn of_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}
