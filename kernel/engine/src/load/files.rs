//! The files of the client, written by one thread so that a slow disk delays no request.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use code_deploy_record::SampleWriter;
use serde::Serialize;
use tokio::sync::mpsc;

use super::ledger::{Batch, Failure};
use super::{ClientConfig, LoadError};

/// Where the client's results are written.
#[derive(Debug)]
pub(super) struct Files {
    samples: SampleWriter,
    failures: File,
    failures_path: PathBuf,
    status_path: PathBuf,
}

impl Files {
    /// Opens all files, so that one that cannot be written is known before the first request.
    pub(super) fn open(config: &ClientConfig) -> Result<Self, LoadError> {
        let samples = SampleWriter::open(&config.samples_folder, &config.samples_name)?;
        let failures_path = config.failures_file.clone();
        let mut options = OpenOptions::new();
        let failures = options
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&failures_path)
            .map_err(LoadError::io("open", &failures_path))?;
        let status_path = config.status_file.clone();
        Ok(Self {
            samples,
            failures,
            failures_path,
            status_path,
        })
    }

    /// Writes batches until there are no more.
    pub(super) fn write_all(mut self, mut batches: mpsc::Receiver<Batch>) -> Result<(), LoadError> {
        while let Some(batch) = batches.blocking_recv() {
            self.samples.append(&batch.samples)?;
            self.list(&batch.failures)?;
            write_atomic(&self.status_path, &batch.totals)?;
        }
        self.samples.sync()?;
        self.failures
            .sync_data()
            .map_err(LoadError::io("flush", &self.failures_path))
    }

    fn list(&mut self, failures: &[Failure]) -> Result<(), LoadError> {
        let mut lines = Vec::new();
        for failure in failures {
            serde_json::to_writer(&mut lines, failure).map_err(|source| LoadError::Format {
                path: self.failures_path.clone(),
                source,
            })?;
            lines.push(b'\n');
        }
        let wrote = self.failures.write_all(&lines);
        wrote.map_err(LoadError::io("append to", &self.failures_path))
    }
}

/// Replaces a file by `value` as JSON, as a whole or not at all.
pub(super) fn write_atomic(path: &Path, value: &impl Serialize) -> Result<(), LoadError> {
    let mut bytes = serde_json::to_vec(value).map_err(|source| LoadError::Format {
        path: path.to_owned(),
        source,
    })?;
    bytes.push(b'\n');
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    // Made readable by its owner only, and gone if it does not get to its name.
    let mut file = tempfile::NamedTempFile::new_in(folder)
        .map_err(LoadError::io("create a file in", folder))?;
    file.write_all(&bytes)
        .map_err(LoadError::io("write", path))?;
    file.as_file()
        .sync_all()
        .map_err(LoadError::io("flush", path))?;
    file.persist(path)
        .map_err(|error| LoadError::io("replace", path)(error.error))?;
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(LoadError::io("flush", folder))
}

/// Reads a file of at most `limit` bytes; a longer one is cut, and so is no JSON any more.
pub(super) fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, LoadError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(LoadError::io("read", path))?;
    Ok(bytes)
}
