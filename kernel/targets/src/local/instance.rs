//! An instance on disk: what it is, and how its process is doing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use code_deploy_engine::spec::Restart;
use code_deploy_record::{Redactor, Release, RunId};
use serde::{Deserialize, Serialize};

use super::process::ProcessId;
use crate::disk::{create_private, read_json, write_json};

/// What an instance is: written before it is started, never changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceConfig {
    /// Its name, unique on this machine: `shop-dev-catalog-1.1.0-2`.
    pub id: String,
    /// The run that started it.
    pub run: RunId,
    /// The service.
    pub service: String,
    /// The release.
    pub release: Release,
    /// Which of the service's instances of that release it is, from 1.
    pub index: u32,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The folder in which it is started.
    pub folder: PathBuf,
    /// Its whole environment. Secrets stand in files of their own; here are their paths.
    pub environment: BTreeMap<String, String>,
    /// Where it listens.
    pub address: SocketAddr,
    /// What happens when its process ends.
    pub restart: Restart,
    /// How long its process may take to end when asked, in milliseconds.
    pub stop_grace_ms: u64,
}

/// How an instance is doing, as its supervisor last wrote it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceState {
    /// The supervisor.
    pub supervisor: ProcessId,
    /// The instance's own process, when it runs.
    pub process: Option<ProcessId>,
    /// When its process was last started.
    pub started: DateTime<Utc>,
    /// How often it was started again.
    pub restarts: u32,
    /// How its process last ended, in words.
    pub last_end: Option<String>,
    /// Whether the supervisor has given up or was asked to end.
    pub ended: bool,
    /// Whether the supervisor was asked to end.
    #[serde(default)]
    pub asked: bool,
    /// Whether the process did not end when asked, and was made to.
    #[serde(default)]
    pub forced: bool,
}

/// The folder of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceFolder {
    path: PathBuf,
}

impl InstanceFolder {
    /// Returns the folder of an instance among those of an environment. It need not exist.
    #[must_use]
    pub fn new(instances: &Path, id: &str) -> Self {
        Self {
            path: instances.join(id),
        }
    }

    /// Returns the folder at `path`.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Returns the folder's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the file to which the instance's output is written.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path.join("log.jsonl")
    }

    /// Returns the file to which the supervisor's own output is written.
    #[must_use]
    pub fn supervisor_log(&self) -> PathBuf {
        self.path.join("supervisor.log")
    }

    /// Returns the file that holds a secret for the instance.
    #[must_use]
    pub fn secret(&self, name: &str) -> PathBuf {
        self.path.join("secrets").join(name)
    }

    /// Creates the folder, private to the user.
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn create(&self) -> std::io::Result<()> {
        create_private(&self.path)
    }

    /// Reads what the instance is.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn config(&self) -> std::io::Result<InstanceConfig> {
        read_json(&self.path.join("config.json"))
    }

    /// Writes what the instance is.
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn write_config(&self, config: &InstanceConfig) -> std::io::Result<()> {
        write_json(&self.path.join("config.json"), config)
    }

    /// Reads how the instance is doing; nothing when its supervisor never wrote.
    #[must_use]
    pub fn state(&self) -> Option<InstanceState> {
        read_json(&self.path.join("state.json")).ok()
    }

    /// Writes how the instance is doing.
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn write_state(&self, state: &InstanceState) -> std::io::Result<()> {
        write_json(&self.path.join("state.json"), state)
    }

    /// Returns whether it stands here what the instance is.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        self.path.join("config.json").exists()
    }

    /// Writes which process was started to look after the instance.
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn write_supervisor(&self, supervisor: &ProcessId) -> std::io::Result<()> {
        write_json(&self.path.join("supervisor.json"), supervisor)
    }

    /// Returns the process that looks after the instance, or did; nothing when none was started.
    #[must_use]
    pub fn supervisor(&self) -> Option<ProcessId> {
        let state = self.state().map(|state| state.supervisor);
        state.or_else(|| read_json(&self.path.join("supervisor.json")).ok())
    }

    /// Returns whether the instance is one that ran until what looked after it ended: it was killed, or the
    /// machine was started again. One that ended for good, or was asked to, is none.
    #[must_use]
    pub fn was_left_alone(&self) -> bool {
        self.state()
            .is_some_and(|state| !state.ended && !state.asked && !state.supervisor.runs())
    }

    /// Forgets how the instance was, before something looks after it anew.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn forget_state(&self) -> std::io::Result<()> {
        match std::fs::remove_file(self.path.join("state.json")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Returns whether a supervisor looks after the instance now.
    #[must_use]
    pub fn supervised(&self) -> bool {
        self.state()
            .is_some_and(|state| !state.ended && state.supervisor.runs())
    }

    /// Returns the last lines of the instance's log, at most that many, without what is secret.
    #[must_use]
    pub fn last_lines(&self, count: usize, redactor: &Redactor) -> Vec<String> {
        last_lines(&self.log(), count, redactor)
    }

    /// Returns the last lines that the supervisor wrote itself, at most that many, without what is
    /// secret.
    #[must_use]
    pub fn supervisor_lines(&self, count: usize, redactor: &Redactor) -> Vec<String> {
        last_lines(&self.supervisor_log(), count, redactor)
    }
}

fn last_lines(path: &Path, count: usize, redactor: &Redactor) -> Vec<String> {
    let text = tail(path, 64 * 1024).unwrap_or_default();
    // Before it is cut into lines: what tells a secret of several lines stands in its first.
    let text = redactor.clean(&text);
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    let from = lines.len().saturating_sub(count);
    lines.get(from..).unwrap_or_default().to_vec()
}

fn tail(path: &Path, bytes: u64) -> std::io::Result<String> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
    let mut text = Vec::new();
    file.take(bytes).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
