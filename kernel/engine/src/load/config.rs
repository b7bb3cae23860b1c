//! What the client sends, where to, and where it writes what became of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use code_deploy_record::Source;
use serde::{Deserialize, Serialize};

use super::LoadError;
use super::files::{read_limited, write_atomic};
use crate::duration::Span;
use crate::spec::{LoadProfile, LoadRequest};

/// No load lasts longer than a day.
const LONGEST: Duration = Duration::from_hours(24);

/// A file with more bytes than this is no configuration of a client.
const LARGEST_FILE: u64 = 4 * 1024 * 1024;

/// Everything a client needs; can be handed to a process of its own as a JSON file. It holds no
/// secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientConfig {
    /// Scheme (http or https), host and port of the service: `http://127.0.0.1:8080`.
    pub base_url: String,
    /// The service's name in the samples.
    pub service: String,
    /// [`Source::Client`] for the outside client, [`Source::Load`] for a load test.
    pub source: Source,
    /// Requests a second, 1 to 100,000.
    pub rate: u32,
    /// What is sent, each in proportion to its weight. `{n}` stands for the number of the request
    /// and `{uuid}` for a UUID that is new for each request, in paths, header values and bodies.
    pub requests: Vec<LoadRequest>,
    /// How long one request may take, counted from when it is sent.
    pub timeout: Span,
    /// How long the client sends at most, up to a day.
    pub max_duration: Span,
    /// How many requests become due at most.
    #[serde(default)]
    pub max_requests: Option<u64>,
    /// How many requests may be in flight at once, and so how many connections there are. A request
    /// that is due beyond that is counted as failed.
    #[serde(default = "default_in_flight")]
    pub max_in_flight: usize,
    /// The response header that names the release that answered.
    #[serde(default = "default_release_header")]
    pub release_header: String,
    /// The folder of the samples files.
    pub samples_folder: PathBuf,
    /// The name of the samples file, without `.jsonl`; begins with the source's word.
    pub samples_name: String,
    /// Where failed requests are listed, one JSON object a line, 10,000 at most.
    pub failures_file: PathBuf,
    /// Where the totals stand, replaced every second.
    pub status_file: PathBuf,
}

fn default_in_flight() -> usize {
    512
}

fn default_release_header() -> String {
    "x-release".to_owned()
}

impl ClientConfig {
    /// Returns the client for a profile of the deployment file. Its files are in `samples` under
    /// `name`, which begins with the source's word: `client-1.jsonl`, `client-1-failures.jsonl`,
    /// `client-1.status.json`.
    #[must_use]
    pub fn for_profile(
        profile: &LoadProfile,
        base_url: &str,
        source: Source,
        samples: &Path,
        name: &str,
    ) -> Self {
        Self {
            base_url: base_url.to_owned(),
            service: profile.service.clone(),
            source,
            rate: profile.rate,
            requests: profile.requests.clone(),
            timeout: profile.timeout,
            max_duration: profile.duration,
            max_requests: None,
            max_in_flight: default_in_flight(),
            release_header: default_release_header(),
            samples_folder: samples.to_owned(),
            samples_name: name.to_owned(),
            failures_file: samples.join(format!("{name}-failures.jsonl")),
            status_file: samples.join(format!("{name}.status.json")),
        }
    }

    /// Has every request sent over a connection of its own.
    pub fn close_connections(&mut self) {
        for request in &mut self.requests {
            let header = ("connection".to_owned(), "close".to_owned());
            request.headers.extend([header]);
        }
    }

    /// Reads a configuration that [`write`](Self::write) wrote.
    ///
    /// # Errors
    /// [`LoadError::Io`], [`LoadError::Format`].
    pub fn read(path: &Path) -> Result<Self, LoadError> {
        let bytes = read_limited(path, LARGEST_FILE)?;
        serde_json::from_slice(&bytes).map_err(|source| LoadError::Format {
            path: path.to_owned(),
            source,
        })
    }

    /// Writes the configuration as a whole or not at all, readable by its owner only.
    ///
    /// # Errors
    /// [`LoadError::Io`].
    pub fn write(&self, path: &Path) -> Result<(), LoadError> {
        write_atomic(path, self)
    }

    /// Checks what can be checked without sending.
    pub(super) fn check(&self) -> Result<(), LoadError> {
        let wrong = |setting, what: &str| {
            Err(LoadError::Setting {
                setting,
                what: what.to_owned(),
            })
        };
        if !(1..=100_000).contains(&self.rate) {
            return wrong("rate", "it must be from 1 to 100000 requests a second");
        }
        if self.requests.is_empty() || self.requests.iter().all(|request| request.weight == 0) {
            return wrong("requests", "at least one must have a weight above 0");
        }
        if self.max_duration.get().is_zero() || self.max_duration.get() > LONGEST {
            return wrong("max_duration", "it must be above 0 and at most 24 h");
        }
        if self.timeout.get().is_zero() || self.timeout.get() > Duration::from_mins(5) {
            return wrong("timeout", "it must be above 0 and at most 5 m");
        }
        if !(1..=65_536).contains(&self.max_in_flight) {
            return wrong("max_in_flight", "it must be from 1 to 65536");
        }
        if !self.samples_name.starts_with(self.source.word()) {
            return wrong("samples_name", "it must begin with the word of its source");
        }
        Ok(())
    }
}
