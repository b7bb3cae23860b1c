//! The readers of samples files: one that reads them through, and one that follows what is written.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::{Sample, Source};
use crate::disk::{Disk, ReadFile, SystemDisk};
use crate::folder::entries_or_none;
use crate::{Error, Result};

/// When a sample was taken: what of its line is read where nothing else counts.
#[derive(Deserialize)]
struct When {
    second: i64,
}

impl When {
    fn of_line(line: &[u8]) -> Option<i64> {
        serde_json::from_slice(line)
            .ok()
            .map(|Self { second }| second)
    }
}

/// A samples file that is read, line by line.
#[derive(Debug)]
struct SamplesFile {
    reader: BufReader<Box<dyn ReadFile>>,
    path: PathBuf,
    /// Where the next line begins.
    place: Place,
}

/// A place between two lines of a file.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    bytes: u64,
    lines: u64,
}

impl SamplesFile {
    fn open(disk: &dyn Disk, path: PathBuf, place: Place) -> Result<Self> {
        let mut file = disk.read(&path).map_err(Error::io("read", &path))?;
        file.seek(SeekFrom::Start(place.bytes))
            .map_err(Error::io("read", &path))?;
        Ok(Self {
            reader: BufReader::with_capacity(64 * 1024, file),
            path,
            place,
        })
    }

    /// Returns the next whole lines, of so many bytes or a line more, or nothing at the end of the last one.
    fn next_lines(&mut self, bytes: usize) -> Result<Option<SampleLines>> {
        let (before, mut text) = (self.place.lines, Vec::with_capacity(bytes * 2));
        while text.len() < bytes {
            let whole = text.len();
            let read = self.reader.read_until(b'\n', &mut text);
            let read = read.map_err(Error::io("read", &self.path))?;
            if read == 0 || text.last() != Some(&b'\n') {
                text.truncate(whole);
                break;
            }
            self.place.bytes += read as u64;
            self.place.lines += 1;
        }
        let path = self.path.clone();
        Ok((!text.is_empty()).then_some(SampleLines { path, before, text }))
    }

    /// Returns the next sample from that second on, or nothing at the end of the last whole line.
    fn next_sample(&mut self, since: i64) -> Result<Option<Sample>> {
        let mut text = Vec::new();
        loop {
            text.clear();
            let read = self.reader.read_until(b'\n', &mut text);
            let read = read.map_err(Error::io("read", &self.path))?;
            if text.last() != Some(&b'\n') {
                return Ok(None);
            }
            self.place.bytes += read as u64;
            self.place.lines += 1;
            let early = || When::of_line(&text).is_some_and(|second| second < since);
            if since > i64::MIN && early() {
                continue;
            }
            let sample = Sample::of_line(&text).map_err(|error| Error::BadSample {
                path: self.path.clone(),
                line: self.place.lines,
                what: error.to_string(),
            })?;
            if sample.is_some() {
                return Ok(sample);
            }
        }
    }
}

/// Whole lines of a samples file that were read together and are not taken apart yet.
#[derive(Debug)]
pub struct SampleLines {
    path: PathBuf,
    /// The lines before them.
    before: u64,
    text: Vec<u8>,
}

impl SampleLines {
    /// Returns the samples that the lines hold, in order. A line that was torn holds none.
    ///
    /// # Errors
    /// [`Error::BadSample`].
    pub fn samples(&self) -> Result<Vec<Sample>> {
        let lines = self.text.split_inclusive(|byte| *byte == b'\n').zip(1..);
        let samples = lines.map(|(line, number)| {
            Sample::of_line(line).map_err(|error| Error::BadSample {
                path: self.path.clone(),
                line: self.before + number,
                what: error.to_string(),
            })
        });
        samples.filter_map(Result::transpose).collect()
    }
}

/// Streams the samples of a file, or of all files of a folder one after the other.
#[derive(Debug)]
pub struct SampleReader {
    disk: Arc<dyn Disk>,
    waiting: Vec<PathBuf>,
    current: Option<SamplesFile>,
}

impl SampleReader {
    /// Opens one samples file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self> {
        let mut reader = Self {
            disk: SystemDisk::shared(),
            waiting: vec![path.to_owned()],
            current: None,
        };
        reader.advance()?;
        Ok(reader)
    }

    /// Opens all samples files of a folder whose names begin with `prefix` (a [`Source::word`],
    /// or nothing for all), in the order of their names.
    ///
    /// # Errors
    /// [`Error::Io`]. A folder that is not there holds no samples, which is no error.
    pub fn open_folder(folder: &Path, prefix: &str) -> Result<Self> {
        Self::on_disk(SystemDisk::shared(), folder, prefix)
    }

    pub(crate) fn on_disk(disk: Arc<dyn Disk>, folder: &Path, prefix: &str) -> Result<Self> {
        let mut waiting = samples_files(disk.as_ref(), folder, prefix)?;
        waiting.reverse();
        Ok(Self {
            disk,
            waiting,
            current: None,
        })
    }

    fn advance(&mut self) -> Result<bool> {
        self.current = None;
        let Some(path) = self.waiting.pop() else {
            return Ok(false);
        };
        let file = SamplesFile::open(self.disk.as_ref(), path, Place::default())?;
        self.current = Some(file);
        Ok(true)
    }

    /// Returns the next lines of one file, about so many bytes, to be taken apart elsewhere; nothing at the
    /// end. What is left out by [`next_sample`](Self::next_sample) is left out of their samples.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn next_lines(&mut self, bytes: usize) -> Result<Option<SampleLines>> {
        loop {
            if let Some(file) = &mut self.current
                && let Some(lines) = file.next_lines(bytes)?
            {
                return Ok(Some(lines));
            }
            if !self.advance()? {
                return Ok(None);
            }
        }
    }

    /// Returns the next sample, or nothing at the end. A last line without a line end is one that
    /// is being written, or torn by a crash, and is left out; so is a torn line in the middle,
    /// which a restarted writer ended.
    ///
    /// # Errors
    /// [`Error::BadSample`], [`Error::Io`].
    pub fn next_sample(&mut self) -> Result<Option<Sample>> {
        loop {
            if let Some(file) = &mut self.current
                && let Some(sample) = file.next_sample(i64::MIN)?
            {
                return Ok(Some(sample));
            }
            if !self.advance()? {
                return Ok(None);
            }
        }
    }
}

/// Follows the samples of a run from a second on, while they are written: each look gives those that
/// came since the last. Reads each byte once.
#[derive(Debug)]
pub struct SampleFollower {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    prefix: &'static str,
    since: i64,
    read: BTreeMap<PathBuf, Place>,
}

impl SampleFollower {
    pub(crate) fn on_disk(
        disk: Arc<dyn Disk>,
        folder: PathBuf,
        source: Source,
        since: i64,
    ) -> Self {
        Self {
            disk,
            folder,
            prefix: source.word(),
            since,
            read: BTreeMap::new(),
        }
    }

    /// Gives `each` the samples that were written since the last look.
    ///
    /// # Errors
    /// [`Error::BadSample`], [`Error::Io`].
    pub fn look(&mut self, mut each: impl FnMut(&Sample)) -> Result<()> {
        for path in samples_files(self.disk.as_ref(), &self.folder, self.prefix)? {
            let place = self.read.get(&path).copied().unwrap_or_default();
            let mut file = SamplesFile::open(self.disk.as_ref(), path, place)?;
            while let Some(sample) = file.next_sample(self.since)? {
                each(&sample);
            }
            self.read.insert(file.path, file.place);
        }
        Ok(())
    }
}

impl Iterator for SampleReader {
    type Item = Result<Sample>;

    fn next(&mut self) -> Option<Result<Sample>> {
        self.next_sample().transpose()
    }
}

/// Returns the samples files of a folder whose names begin with `prefix`, in order. A hidden one is none: a
/// process may have been writing it when it was killed.
fn samples_files(disk: &dyn Disk, folder: &Path, prefix: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in entries_or_none(disk, folder)? {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if name.starts_with('.') {
            continue;
        }
        if name.starts_with(prefix) && name.ends_with(".jsonl") && !name.contains("failures") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
