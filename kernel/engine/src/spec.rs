//! The deployment file, read and checked.

mod check;
mod compose;
mod document;
mod error;
mod health;
mod limits;
mod manifests;
mod model;
mod nearest;
mod node;
mod not_honoured;
mod placeholder;
mod policy;
mod role;
mod secrets;
mod services;

use std::path::{Path, PathBuf};

use code_deploy_record::Digest;

pub(crate) use compose::is_unpinned;
pub use compose::{ComposeFacts, ComposeService, Feature, bytes};
pub(crate) use document::Document;
pub(crate) use error::code;
pub use error::{CODES, Excerpt, SpecError};
pub use health::HealthCheck;
pub use limits::{database_limits, local_limits};
pub use manifests::{Rendered, UserManifest};
pub use model::*;
pub use not_honoured::{Limit, MEANT, NotHonoured};
pub(crate) use role::guess as guess_role;
pub use secrets::gives_away;

use compose::Compose;
use manifests::{Manifests, Reading};
use nearest::did_you_mean;

/// The name of a deployment file.
pub const FILE_NAME: &str = "deploy.yaml";

/// Finds the deployment file: `deploy.yaml` in a folder or the nearest one above it.
///
/// # Errors
/// There is none.
pub fn find(start: &Path) -> Result<PathBuf, Box<SpecError>> {
    start
        .ancestors()
        .map(|folder| folder.join(FILE_NAME))
        .find(|path| path.is_file())
        .ok_or_else(|| {
            SpecError::of_file(
                code::NOT_FOUND,
                start,
                format!("there is no {FILE_NAME} here or in a folder above"),
                "Write one with `code-deploy init`, name one with `--file`, or change to its folder; `code-deploy dev local --demo` needs none.",
            )
        })
}

/// Returns the JSON Schema of the deployment file, for editors.
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(DeployFile).to_value()
}

impl DeployFile {
    /// Reads a deployment file and nothing else: what it names is not looked at.
    ///
    /// # Errors
    /// The file cannot be read, or is not what a deployment file must be.
    pub fn read(path: &Path) -> Result<Self, Box<SpecError>> {
        Document::read(path, "deployment file")?.typed()
    }
}

impl Spec {
    /// Reads a deployment file with everything it names, for one environment and target. `vars`
    /// gives the variables of the process, for the Compose file's `${NAME}`; those that the
    /// environment sets come first, those of a `.env` file last. For the target `k8s`, programs make the manifests of
    /// kustomizations and charts, which may take a minute each. Blocks.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place and what would be right. Nothing is changed.
    pub fn load(
        path: &Path,
        environment: &str,
        target: &str,
        vars: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Box<SpecError>> {
        let document = Document::read(path, "deployment file")?;
        Self::of_document(&document, environment, target, vars, None)
    }

    /// Reads the files anew with other variables, as for another release. Manifests know no variables: they, what
    /// programs made, and with it the digest, stay as they were read.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place and what would be right. Nothing is changed.
    pub fn with_variables(
        &self,
        vars: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Box<SpecError>> {
        let document = Document::read(&self.path, "deployment file")?;
        let again =
            Self::of_document(&document, &self.environment, &self.target, vars, Some(self))?;
        Ok(Self {
            digest: self.digest,
            files: self.files.clone(),
            ..again
        })
    }

    /// Checks the text of a deployment file that is not written yet, as if it stood at `path`.
    pub(crate) fn load_text(
        path: &Path,
        text: String,
        environment: &str,
        target: &str,
        vars: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Box<SpecError>> {
        let document = Document::parse(path, text, "deployment file")?;
        Self::of_document(&document, environment, target, vars, None)
    }

    fn of_document(
        document: &Document,
        environment: &str,
        target: &str,
        vars: &dyn Fn(&str) -> Option<String>,
        before: Option<&Self>,
    ) -> Result<Self, Box<SpecError>> {
        let path = document.path.as_path();
        let file: DeployFile = document.typed()?;
        let chosen = environment_of(document, &file, environment)?;
        let project = project_of(path);
        let given = |name: &str| chosen.variables.get(name).cloned().or_else(|| vars(name));
        let lookup =
            |name: &str| given(name).or_else(|| own_variable(name, &file, &project, environment));
        let compose_path = compose_of(document, &file, &project)?;
        let mut compose = Compose::read(&compose_path, &lookup)?;
        let policy = policy::policy(document, &file, environment, chosen)?;
        let services = services::services(document, &file, chosen, &compose)?;
        compose::settle_ports(&mut compose, &services, target)?;
        check::check(document, &file, &compose, &project)?;
        let journeys = check::journeys(document, &file, &compose, &project)?;
        let strategy = chosen
            .strategy
            .clone()
            .unwrap_or_else(|| file.strategy.clone());
        let mut files = vec![path.to_owned(), compose_path];
        files.extend(compose.files.iter().cloned());
        files.extend(check::files(document, &file, &project)?);
        let reading = Reading {
            deployment: document,
            application: &file.application,
            environment,
            target,
            wanted: &chosen.kubernetes,
            project: &project,
            vars,
        };
        let manifests = manifests_of(before, &reading)?;
        files.extend(manifests.files);
        Ok(Self {
            path: path.to_owned(),
            digest: digest(&document.text, path, &project, &files, &manifests.rendered)?,
            project,
            application: file.application.clone(),
            environment: environment.to_owned(),
            target: target.to_owned(),
            release: file.release.clone(),
            services,
            strategy,
            policy,
            requires: chosen.requires.clone(),
            journeys,
            compose_notes: compose.notes,
            compose: compose.facts,
            manifests: manifests.objects,
            rendered: manifests.rendered,
            file,
            files,
        })
    }
}

impl Spec {
    /// Returns whether that digest is of the present files, had the deployment file named another release: one of those
    /// given. Only the value of `release:` may differ, and its quotes may not.
    ///
    /// # Errors
    /// A file cannot be read any more.
    pub fn differs_by_release_only(
        &self,
        then: &Digest,
        releases: &[&str],
    ) -> Result<bool, Box<SpecError>> {
        let Some(now) = &self.release else {
            return Ok(false);
        };
        let text = Document::read(&self.path, "deployment file")?.text;
        for release in releases {
            let text = naming(&text, now, release);
            let (path, files) = (&self.path, &self.files);
            if digest(&text, path, &self.project, files, &self.rendered)? == *then {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Returns the text of a deployment file with another release in its line that names one.
fn naming(text: &str, now: &str, release: &str) -> String {
    let lines = text.split_inclusive('\n');
    let lines = lines.map(|line| match line.strip_prefix("release:") {
        Some(value) => format!("release:{}", value.replacen(now, release, 1)),
        None => line.to_owned(),
    });
    lines.collect()
}

/// The variable of a Compose file that stands for the release being deployed.
pub const RELEASE_VARIABLE: &str = "CODE_DEPLOY_RELEASE";

/// The variable of a Compose file that stands for the folder of data kept over releases.
pub const DATA_VARIABLE: &str = "CODE_DEPLOY_DATA";

/// Returns a variable that a Compose file may use although nobody set it.
fn own_variable(
    name: &str,
    file: &DeployFile,
    project: &Path,
    environment: &str,
) -> Option<String> {
    match name {
        RELEASE_VARIABLE => file.release.clone(),
        DATA_VARIABLE => Some(data_folder(project, environment).display().to_string()),
        _ => None,
    }
}

/// Returns the folder where a project keeps the data of an environment over releases.
fn data_folder(project: &Path, environment: &str) -> PathBuf {
    let runs = code_deploy_record::RunsFolder::of_project(project);
    runs.path().join("data").join(environment)
}

fn project_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn environment_of<'a>(
    document: &Document,
    file: &'a DeployFile,
    name: &str,
) -> Result<&'a EnvironmentFile, Box<SpecError>> {
    file.environments.get(name).ok_or_else(|| {
        document.error(
            code::UNKNOWN_ENVIRONMENT,
            &["environments"],
            format!("there is no environment `{name}`"),
            did_you_mean(
                name,
                "environments",
                file.environments.keys().map(String::as_str),
            ),
        )
    })
}

/// Returns the path of the Compose file, which is there.
fn compose_of(
    document: &Document,
    file: &DeployFile,
    project: &Path,
) -> Result<PathBuf, Box<SpecError>> {
    let path = project.join(&file.compose);
    if path.is_file() {
        return Ok(path);
    }
    let named = file.compose.display();
    Err(document.error(
        code::UNREADABLE,
        &["compose"],
        format!("the Compose file `{named}` does not exist"),
        "Write `compose:` with its path, relative to this file.",
    ))
}

/// Returns the manifests as they were read before, or reads them.
fn manifests_of(before: Option<&Spec>, reading: &Reading<'_>) -> Result<Manifests, Box<SpecError>> {
    match before {
        Some(before) => Ok(Manifests::as_before(&before.manifests, &before.rendered)),
        None => manifests::read(reading),
    }
}

/// Returns the digest over the names and contents of the files, and over what was made of kustomizations and charts.
fn digest(
    text: &str,
    own: &Path,
    project: &Path,
    files: &[PathBuf],
    rendered: &[Rendered],
) -> Result<Digest, Box<SpecError>> {
    let mut lines = vec![format!("{} {FILE_NAME}\n", Digest::of(text.as_bytes()))];
    for path in files.iter().filter(|path| **path != own) {
        let content = std::fs::read(path).map_err(|error| {
            SpecError::of_file(
                code::UNREADABLE,
                path,
                format!("the file cannot be read: {error}"),
                "Check the permissions.",
            )
        })?;
        let name = path.strip_prefix(project).unwrap_or(path);
        lines.push(format!("{} {}\n", Digest::of(&content), name.display()));
    }
    let made = rendered.iter();
    lines.extend(made.map(|one| format!("{} made of {}\n", one.digest, one.source.display())));
    Ok(Digest::of(lines.concat().as_bytes()))
}

#[cfg(test)]
mod tests;
