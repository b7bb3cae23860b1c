//! What the types of a deployment file cannot say: names that must exist, numbers within their
//! range, texts that must not be secret.

mod gateway;
mod journey;
mod load;
mod rollout;

use std::path::{Path, PathBuf};

use code_deploy_record::{Catalog, ItemId, PublicKey, Release};

pub(super) use journey::journeys;

use super::compose::Compose;
use super::document::Document;
use super::error::{SpecError, code};
use super::model::{DatabaseFile, DeployFile, ProcessFile, ServiceFile};
use super::nearest::{did_you_mean, or_list};
use super::placeholder::placeholders;
use super::secrets::gives_away;
use super::services::{find_cycle, known};

type Checked = Result<(), Box<SpecError>>;

/// The most migrations that a folder may hold.
const MAX_MIGRATIONS: usize = 10_000;

/// Checks a deployment file against itself, its Compose file and the project's folder.
pub(super) fn check(
    document: &Document,
    file: &DeployFile,
    compose: &Compose,
    project: &Path,
) -> Checked {
    let check = Check {
        document,
        file,
        compose,
        project,
    };
    check.names()?;
    check.services()?;
    rollout::check(&check)?;
    check.environments()?;
    gateway::check(&check)?;
    for (name, database) in &file.databases {
        check.database(name, database)?;
    }
    load::check(&check)?;
    check.people()?;
    check.items()
}

/// Returns the files that a deployment file names, besides the Compose file and what that names.
pub(super) fn files(
    document: &Document,
    file: &DeployFile,
    project: &Path,
) -> Result<Vec<PathBuf>, Box<SpecError>> {
    let mut files: Vec<PathBuf> = file
        .journeys
        .iter()
        .map(|path| project.join(path))
        .collect();
    for (name, database) in &file.databases {
        if let Some(folder) = &database.migrations {
            files.extend(migrations(document, name, &project.join(folder))?);
        }
    }
    Ok(files)
}

struct Check<'a> {
    document: &'a Document,
    file: &'a DeployFile,
    compose: &'a Compose,
    project: &'a Path,
}

impl Check<'_> {
    fn error(
        &self,
        code: &'static str,
        path: &[&str],
        what: impl Into<String>,
        help: impl Into<String>,
    ) -> Box<SpecError> {
        self.document.error(code, path, what, help)
    }

    fn known(&self, name: &str, path: &[&str]) -> Checked {
        known(self.document, self.compose, name, path)
    }

    fn names(&self) -> Checked {
        let name = &self.file.application;
        let valid = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.len() <= 40
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if !valid {
            return Err(self.error(
                code::WRONG_TYPE,
                &["application"],
                format!("`{}` is not a name for an application", shortened(name)),
                "Write lower-case letters, digits and `-`, a letter first, at most 40.",
            ));
        }
        for name in self.file.environments.keys() {
            if name.parse::<code_deploy_record::RunId>().is_err() || name.len() > 40 {
                return Err(self.error(
                    code::WRONG_TYPE,
                    &["environments", name],
                    format!("`{}` is not a name for an environment", shortened(name)),
                    "Write letters, digits, `-` and `_`, at most 40.",
                ));
            }
        }
        match self
            .file
            .release
            .as_ref()
            .map(|text| text.parse::<Release>())
        {
            Some(Err(error)) => {
                let help = "Write it as `1.1.0`, in quotes.";
                Err(self.error(code::WRONG_TYPE, &["release"], error.to_string(), help))
            }
            _ => Ok(()),
        }
    }

    fn services(&self) -> Checked {
        let mut ports = std::collections::BTreeMap::new();
        for (name, service) in &self.file.services {
            self.paths(name, service)?;
            if let Some(process) = &service.process {
                self.process(name, process)?;
            }
            let port = service.routing.port;
            if port == 0 {
                continue;
            }
            if let Some(other) = ports.insert(port, name) {
                return Err(self.error(
                    code::OUT_OF_RANGE,
                    &["services", name, "routing", "port"],
                    format!("the services `{other}` and `{name}` want the same port {port}"),
                    "Give each its own port, or 0 for any free one.",
                ));
            }
        }
        Ok(())
    }

    fn paths(&self, name: &str, service: &ServiceFile) -> Checked {
        let probes = &service.probes;
        let paths: [(&[&str], &Option<String>); 6] = [
            (&["probes", "startup"], &probes.startup),
            (&["probes", "readiness"], &probes.readiness),
            (&["probes", "liveness"], &probes.liveness),
            (&["metrics"], &service.metrics),
            (&["openapi"], &service.openapi),
            (&["log_marker"], &service.log_marker),
        ];
        for (keys, path) in paths {
            if let Some(path) = path {
                let keys: Vec<&str> = ["services", name].iter().chain(keys).copied().collect();
                self.url_path(path, &keys)?;
            }
        }
        Ok(())
    }

    fn url_path(&self, path: &str, keys: &[&str]) -> Checked {
        let valid = path.starts_with('/') && !path.contains(char::is_whitespace);
        if valid {
            return Ok(());
        }
        let what = format!("`{}` is not the path of a request", shortened(path));
        let help = "Write what follows the host and port, beginning with `/`.";
        Err(self.error(code::WRONG_TYPE, keys, what, help))
    }

    fn process(&self, name: &str, process: &ProcessFile) -> Checked {
        let base = ["services", name, "process"];
        if process.command.is_empty() {
            let what = format!("`{name}` has no program to start");
            let help =
                "Write the program and its arguments: [\"bin/server\", \"--port\", \"{port}\"].";
            let path: Vec<&str> = base.iter().chain(&["command"]).copied().collect();
            return Err(self.error(code::MISSING_KEY, &path, what, help));
        }
        for (index, word) in process.command.iter().enumerate() {
            let index = index.to_string();
            let path: Vec<&str> = base.iter().copied().chain(["command", &index]).collect();
            self.placeholders(word, &path)?;
        }
        for (variable, value) in &process.environment {
            let path: Vec<&str> = base
                .iter()
                .copied()
                .chain(["environment", variable.as_str()])
                .collect();
            self.no_secret(
                variable,
                value,
                &path,
                &format!(
                    "Move it to `services.{name}.process.secrets`: `{variable}: env:{variable}` or \
                 `{variable}: file:PATH`. The service then gets the path of a private file."
                ),
            )?;
            self.placeholders(value, &path)?;
        }
        Ok(())
    }

    fn placeholders(&self, text: &str, path: &[&str]) -> Checked {
        const KNOWN: [&str; 5] = ["address:SERVICE", "data", "port", "program", "release"];
        for name in placeholders(text) {
            match name.split_once(':') {
                Some(("address", service)) => self.known(service, path)?,
                None if KNOWN.contains(&name) => {}
                _ => {
                    let what = format!("`{{{name}}}` stands for nothing here");
                    let help = did_you_mean(name, "placeholders", KNOWN.into_iter());
                    return Err(self.error(code::UNKNOWN_NAME, path, what, help));
                }
            }
        }
        Ok(())
    }

    fn no_secret(&self, name: &str, value: &str, path: &[&str], help: &str) -> Checked {
        // A whole value in braces is filled in by the program and is no secret of the file.
        if !gives_away(name, value) {
            return Ok(());
        }
        let what = format!("`{name}` holds a secret in plain text");
        Err(self.error(code::SECRET_VALUE, path, what, help))
    }

    fn environments(&self) -> Checked {
        let names = || self.file.environments.keys().map(String::as_str);
        for (name, environment) in &self.file.environments {
            for (index, needed) in environment.requires.iter().enumerate() {
                if !self.file.environments.contains_key(needed) {
                    let path = ["environments", name, "requires", &index.to_string()];
                    let what = format!("there is no environment `{needed}`");
                    let help = did_you_mean(needed, "environments", names());
                    return Err(self.error(code::UNKNOWN_ENVIRONMENT, &path, what, help));
                }
            }
            for (service, replicas) in &environment.replicas {
                let path = ["environments", name, "replicas", service];
                self.known(service, &path)?;
                self.range(
                    f64::from(*replicas),
                    1.0,
                    1000.0,
                    &path,
                    "a number of instances",
                )?;
            }
            for (variable, value) in &environment.variables {
                let path = ["environments", name, "variables", variable];
                self.no_secret(
                    variable,
                    value,
                    &path,
                    &format!("Take it out and set `{variable}` where the program is started."),
                )?;
            }
        }
        let needs = |name: &str| {
            let found = self.file.environments.get(name);
            found
                .map(|found| found.requires.clone())
                .unwrap_or_default()
        };
        let circle = find_cycle(self.file.environments.keys().cloned(), &needs);
        match circle.first() {
            None => Ok(()),
            Some(first) => Err(self.error(
                code::CYCLE,
                &["environments", first, "requires"],
                format!(
                    "environments require each other in a circle: {}",
                    circle.join(" -> ")
                ),
                "Take one of them out: none could ever be deployed first.",
            )),
        }
    }

    fn range(&self, value: f64, from: f64, to: f64, path: &[&str], what: &str) -> Checked {
        if (from..=to).contains(&value) {
            return Ok(());
        }
        Err(self.error(
            code::OUT_OF_RANGE,
            path,
            format!("{value} is not {what}"),
            format!("Give a number from {from} to {to}."),
        ))
    }

    fn database(&self, name: &str, database: &DatabaseFile) -> Checked {
        for (index, service) in database.used_by.iter().enumerate() {
            let path = ["databases", name, "used_by", &index.to_string()];
            self.known(service, &path)?;
        }
        let Some(folder) = &database.migrations else {
            return match database.release_migrations.keys().next() {
                None => Ok(()),
                Some(_) => Err(self.error(
                    code::MISSING_KEY,
                    &["databases", name, "migrations"],
                    format!("`{name}` names migrations of releases, but no folder of migrations"),
                    "Write `migrations:` with the folder.",
                )),
            };
        };
        let files = migrations(self.document, name, &self.project.join(folder))?;
        let numbers: std::collections::BTreeSet<i64> = files
            .iter()
            .filter_map(|path| migration_number(path))
            .collect();
        for (release, last) in &database.release_migrations {
            if *last == 0 || numbers.contains(last) {
                continue;
            }
            let list: Vec<String> = numbers.iter().map(i64::to_string).collect();
            return Err(self.error(
                code::UNKNOWN_NAME,
                &["databases", name, "release_migrations", release],
                format!("there is no migration {last} in `{}`", folder.display()),
                format!(
                    "The migrations are {}.",
                    or_list(list.iter().map(String::as_str))
                ),
            ));
        }
        Ok(())
    }

    fn people(&self) -> Checked {
        for (name, key) in &self.file.approvals.signers {
            if let Err(error) = PublicKey::parse(key) {
                let path = ["approvals", "signers", name];
                let what = format!("the key of {name} cannot be used: {error}");
                let help =
                    "Write the line of the `.pub` file of a key of type ed25519 or ecdsa (P-256).";
                return Err(self.error(code::WRONG_TYPE, &path, what, help));
            }
        }
        for (index, contact) in self.file.contacts.iter().enumerate() {
            for (which, service) in contact.services.iter().enumerate() {
                let (index, which) = (index.to_string(), which.to_string());
                self.known(service, &["contacts", &index, "services", &which])?;
            }
        }
        let names = || {
            self.file
                .contacts
                .iter()
                .map(|contact| contact.name.as_str())
        };
        for (index, step) in self.file.escalation.iter().enumerate() {
            if !names().any(|name| name == step.contact) {
                let path = ["escalation", &index.to_string(), "contact"];
                let what = format!("there is no contact `{}`", step.contact);
                let help = did_you_mean(&step.contact, "contacts", names());
                return Err(self.error(code::UNKNOWN_NAME, &path, what, help));
            }
        }
        Ok(())
    }

    fn items(&self) -> Checked {
        let attested = self
            .file
            .attestations
            .iter()
            .map(|one| &one.item)
            .enumerate();
        let waived = self.file.waivers.iter().map(|one| &one.item).enumerate();
        let all = attested
            .map(|(index, item)| ("attestations", index, item))
            .chain(waived.map(|(index, item)| ("waivers", index, item)));
        // A catalogue that cannot be read is the program's own fault and shows elsewhere.
        let Ok(catalog) = Catalog::shipped() else {
            return Ok(());
        };
        for (list, index, item) in all {
            self.item(catalog, list, index, item)?;
        }
        Ok(())
    }

    fn item(&self, catalog: &Catalog, list: &str, index: usize, item: &ItemId) -> Checked {
        if catalog.item(item).is_some() {
            return Ok(());
        }
        Err(self.error(
            code::UNKNOWN_NAME,
            &[list, &index.to_string(), "item"],
            format!("the catalogue has no item {item}"),
            "`code-deploy record items` lists those of a run.",
        ))
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

/// Returns the number that a migration's file name begins with.
fn migration_number(path: &Path) -> Option<i64> {
    let name = path.file_name()?.to_str()?;
    name.split_once('_')?.0.parse().ok()
}

/// Returns the files of a folder of migrations, by name.
fn migrations(
    document: &Document,
    name: &str,
    folder: &Path,
) -> Result<Vec<PathBuf>, Box<SpecError>> {
    let path = ["databases", name, "migrations"];
    let entries = std::fs::read_dir(folder).map_err(|error| {
        document.error(
            code::UNREADABLE,
            &path,
            format!(
                "the folder of migrations `{}` cannot be read: {error}",
                folder.display()
            ),
            "Write its path, relative to this file.",
        )
    })?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "sql"))
        .take(MAX_MIGRATIONS + 1)
        .collect();
    if files.len() > MAX_MIGRATIONS {
        let what = format!("the folder of migrations holds more than {MAX_MIGRATIONS} files");
        return Err(document.error(code::OUT_OF_RANGE, &path, what, "Check the path."));
    }
    files.sort();
    Ok(files)
}
