//! What stands on disk of the instances of an environment, and how it comes there and goes.
//!
//! Nothing here waits for a process; everything here may wait for the disk, and therefore runs
//! beside the asynchronous runtime ([`Store::run`]).

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use code_deploy_engine::spec::Service;
use code_deploy_engine::target::{Instance, InstanceLog, TargetError, Wanted};
use code_deploy_record::Release;

use super::environment;
use super::instance::{InstanceConfig, InstanceFolder};
use super::places::Places;
use crate::disk::{create_private, write_private};
use crate::failure::{code, failed, files, transient};
use crate::settings::Settings;

const PROCESS_HELP: &str =
    "Name the program in the deployment file under `services.NAME.process.command`.";

/// An instance that was started and not stopped.
pub(crate) type Known = (InstanceFolder, InstanceConfig);

#[derive(Clone)]
pub(crate) struct Store {
    pub settings: Arc<Settings>,
    pub places: Places,
}

impl Store {
    /// Does some work on the disk without holding up the runtime.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, TargetError> + Send + 'static,
    ) -> Result<T, TargetError> {
        let store = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        done.unwrap_or_else(|error| {
            let what = format!("work on the environment's folder was cut off: {error}");
            Err(transient(code::INTERRUPTED, None, what, "Run again."))
        })
    }

    /// Returns every instance that was started and not stopped.
    pub fn instances(&self) -> Result<Vec<Known>, TargetError> {
        let mut found = Vec::new();
        for folder in self.folders()? {
            match folder.config() {
                Ok(config) => found.push((folder, config)),
                // A start that was cut off before there was anything to look after.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(files(None, "read", folder.path())(error)),
            }
        }
        found.sort_by(|a, b| a.1.id.cmp(&b.1.id));
        Ok(found)
    }

    fn folders(&self) -> Result<Vec<InstanceFolder>, TargetError> {
        let path = self.places.instances();
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(files(None, "list", &path)(error)),
        };
        let folders = entries.map(|entry| entry.map(|entry| InstanceFolder::at(entry.path())));
        let folders: Result<Vec<_>, _> = folders.collect();
        folders.map_err(files(None, "list", &path))
    }

    /// Returns the instances of one release of a service, in the order of their numbers.
    pub fn of_release(&self, service: &str, release: &Release) -> Result<Vec<Known>, TargetError> {
        let mut instances = self.instances()?;
        instances.retain(|(_, config)| config.service == service && config.release == *release);
        instances.sort_by_key(|(_, config)| config.index);
        Ok(instances)
    }

    /// Writes the folder of a new instance: what it is, and its secrets. Nothing stays when that
    /// fails.
    pub fn prepare(
        &self,
        wanted: &Wanted,
        index: u32,
        addresses: &BTreeMap<String, SocketAddr>,
    ) -> Result<Known, TargetError> {
        let service = self.service(&wanted.service)?;
        let id = self.instance_id(&wanted.service, &wanted.release, index);
        let folder = InstanceFolder::new(&self.places.instances(), &id);
        self.make_room(&folder, wanted)?;
        let config = self.write(service, &folder, id, wanted, index, addresses);
        if config.is_err() {
            remove_folder(&folder)?;
        }
        config.map(|config| (folder, config))
    }

    /// What a start left that was cut off goes; an instance of something else stays.
    fn make_room(&self, folder: &InstanceFolder, wanted: &Wanted) -> Result<(), TargetError> {
        match folder.config() {
            Ok(other) => {
                let what = format!(
                    "the name {} is in use by service {} release {}; nothing was started",
                    other.id, other.service, other.release
                );
                let next = "Give the service or the release another name.";
                Err(failed(code::NAME_TAKEN, Some(&wanted.service), what, next))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => remove_folder(folder),
            Err(error) => Err(files(Some(&wanted.service), "read", folder.path())(error)),
        }
    }

    fn write(
        &self,
        service: &Service,
        folder: &InstanceFolder,
        id: String,
        wanted: &Wanted,
        index: u32,
        addresses: &BTreeMap<String, SocketAddr>,
    ) -> Result<InstanceConfig, TargetError> {
        let (settings, name) = (&self.settings, Some(service.name.as_str()));
        let address = free_address().map_err(|error| {
            let what = format!("there is no free port on 127.0.0.1: {error}; nothing was started");
            transient(
                code::PORT_TAKEN,
                name,
                what,
                "Free some ports and run again.",
            )
        })?;
        let words = environment::Words {
            program: &settings.program,
            port: address.port(),
            release: &wanted.release,
            data: self.places.data(),
            addresses,
        };
        let inherited = self.inherited();
        let search = inherited.get("PATH").map_or("", String::as_str);
        let command = environment::command(service, &settings.spec.project, &words, search)
            .map_err(|what| failed(code::PROGRAM, name, what, PROCESS_HELP))?;
        let mut variables = environment::environment(service, &words, &inherited);
        folder
            .create()
            .map_err(files(name, "create", folder.path()))?;
        self.write_secrets(service, folder, &mut variables)?;
        let config = InstanceConfig {
            id,
            run: wanted.run.clone(),
            service: service.name.clone(),
            release: wanted.release.clone(),
            index,
            command,
            folder: settings.spec.project.clone(),
            environment: variables,
            address,
            restart: service.restart,
            stop_grace_ms: u64::try_from(service.stop_grace.get().as_millis()).unwrap_or(u64::MAX),
        };
        folder
            .write_config(&config)
            .map_err(files(name, "write to", folder.path()))?;
        Ok(config)
    }

    fn write_secrets(
        &self,
        service: &Service,
        folder: &InstanceFolder,
        variables: &mut BTreeMap<String, String>,
    ) -> Result<(), TargetError> {
        let process = service.file.process.iter();
        for (name, secret) in process.flat_map(|process| &process.secrets) {
            let value = environment::resolve(secret, &self.settings.spec, &*self.settings.lookup)
                .map_err(|what| {
                let what = format!("secret {name}: {what}; nothing was started");
                let next = "Provide the secret and run again.";
                failed(code::SECRET, Some(&service.name), what, next)
            })?;
            self.settings.redactor.know(name.as_str(), value.clone());
            let path = folder.secret(name);
            create_private(&folder.path().join("secrets"))
                .and_then(|()| write_private(&path, value.expose().as_bytes()))
                .map_err(files(Some(&service.name), "write", &path))?;
            variables.insert(name.clone(), path.to_string_lossy().into_owned());
        }
        Ok(())
    }

    /// Keeps the log of an instance that is gone beside those of the others, and removes the
    /// rest of its folder.
    pub fn retire(
        &self,
        folder: &InstanceFolder,
        config: &InstanceConfig,
    ) -> Result<(), TargetError> {
        let service = Some(config.service.as_str());
        let logs = self.logs_folder();
        create_private(&logs).map_err(files(service, "create", &logs))?;
        let name = format!("{}--{}", config.run, config.id);
        // An instance may be started and stopped more than once in a run; each log is kept.
        let kept = (1_u32..)
            .map(|time| match time {
                1 => logs.join(format!("{name}.jsonl")),
                _ => logs.join(format!("{name}~{time}.jsonl")),
            })
            .find(|path| !path.exists());
        if let Some(kept) = kept {
            match std::fs::rename(folder.log(), &kept) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(files(service, "keep the log as", &kept)(error));
                }
                _ => {}
            }
        }
        remove_folder(folder)
    }

    /// Removes folders of starts that were cut off before there was anything to look after.
    pub fn sweep(&self) -> Result<(), TargetError> {
        for folder in self.folders()? {
            if !folder.is_configured() {
                remove_folder(&folder)?;
            }
        }
        Ok(())
    }

    /// Returns the logs of what runs of a release, or else those that were kept of it.
    pub fn logs(&self, service: &str, release: &Release) -> Result<Vec<InstanceLog>, TargetError> {
        let running = self.of_release(service, release)?.into_iter();
        let logs: Vec<_> = running
            .map(|(folder, config)| InstanceLog {
                instance: config.id,
                path: folder.log(),
            })
            .collect();
        if logs.is_empty() {
            return self.kept_logs(service, release);
        }
        Ok(logs)
    }

    fn kept_logs(&self, service: &str, release: &Release) -> Result<Vec<InstanceLog>, TargetError> {
        let folder = self.logs_folder();
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(files(Some(service), "list", &folder)(error)),
        };
        let prefix = self.instance_prefix(service, release);
        let kept = entries.flatten().filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let (_, instance) = name.strip_suffix(".jsonl")?.split_once("--")?;
            let instance = instance.split_once('~').map_or(instance, |(id, _)| id);
            let index = instance.strip_prefix(&prefix)?;
            index.parse::<u32>().ok()?;
            Some(InstanceLog {
                instance: instance.to_owned(),
                path: entry.path(),
            })
        });
        let mut kept: Vec<_> = kept.collect();
        kept.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(kept)
    }

    pub fn service(&self, name: &str) -> Result<&Service, TargetError> {
        let spec = &self.settings.spec;
        spec.service(name).ok_or_else(|| {
            let what = format!("{} has no such service", spec.path.display());
            let next = "Name it as the deployment file and the Compose file do.";
            failed(code::NO_SUCH_SERVICE, Some(name), what, next)
        })
    }

    fn inherited(&self) -> BTreeMap<String, String> {
        let found = environment::INHERITED.iter();
        let found = found.filter_map(|name| {
            let value = (self.settings.lookup)(name)?;
            Some(((*name).to_owned(), value))
        });
        found.collect()
    }

    fn logs_folder(&self) -> PathBuf {
        self.places.root().join("logs")
    }

    fn instance_prefix(&self, service: &str, release: &Release) -> String {
        let spec = &self.settings.spec;
        format!(
            "{}-{}-{service}-{release}-",
            spec.application, spec.environment
        )
    }

    fn instance_id(&self, service: &str, release: &Release, index: u32) -> String {
        format!("{}{index}", self.instance_prefix(service, release))
    }
}

/// Describes an instance as it is now.
pub(crate) fn describe((folder, config): &Known) -> Instance {
    let state = folder.state();
    let process = state.as_ref().and_then(|state| state.process);
    Instance {
        id: config.id.clone(),
        service: config.service.clone(),
        release: config.release.clone(),
        address: config.address,
        pid: process.map(|process| process.pid),
        started: state
            .as_ref()
            .map(|state| state.started)
            .unwrap_or_default(),
        running: process.is_some_and(|process| process.runs()),
        restarts: state.map_or(0, |state| state.restarts),
        health: None,
    }
}

fn remove_folder(folder: &InstanceFolder) -> Result<(), TargetError> {
    match std::fs::remove_dir_all(folder.path()) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(files(None, "remove", folder.path())(error))
        }
        _ => Ok(()),
    }
}

/// Returns a port that is free now. Another program may take it before the instance does; the
/// start notices that and takes another.
fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
