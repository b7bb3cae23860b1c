//! What was measured, second by second.
//!
//! A samples file holds one JSON object a line. Each is bounded however many requests it counts:
//! latencies are an HDR histogram of microseconds (from 1 µs to 5 minutes, three significant
//! digits). One process writes a file.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

use crate::disk::{AppendFile, Create, Disk, ReadFile, SystemDisk};
use crate::folder::{create_private, entries_or_none};
use crate::{Error, Result};

/// The longest latency that is told from longer ones, in microseconds.
const HIGHEST_US: u64 = 5 * 60 * 1_000_000;

/// The significant digits of latencies.
const DIGITS: u8 = 3;

/// Who measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The router, of the requests that passed it.
    Router,
    /// The outside client, of its own requests. Latency is counted from when a request was due.
    Client,
    /// The health probes.
    Probe,
    /// A load test. Latency is counted from when a request was due.
    Load,
    /// The platform: memory, processor time.
    Platform,
}

impl Source {
    /// Returns the source's name, which begins the names of its files.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::Client => "client",
            Self::Probe => "probe",
            Self::Load => "load",
            Self::Platform => "platform",
        }
    }
}

/// Latencies as a histogram of microseconds, which grows with the longest that it has counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

impl Latency {
    /// Returns an empty histogram.
    #[must_use]
    pub fn new() -> Self {
        #[expect(clippy::expect_used, reason = "a constant that is valid")]
        let histogram = Histogram::new(DIGITS).expect("valid digits");
        Self(histogram)
    }

    /// Counts one latency in microseconds. Longer ones than five minutes count as five minutes.
    pub fn count(&mut self, microseconds: u64) {
        #[expect(clippy::expect_used, reason = "a histogram that grows takes any value")]
        self.0
            .record(microseconds.clamp(1, HIGHEST_US))
            .expect("it grows");
    }

    /// Adds everything that `other` counted.
    pub fn add(&mut self, other: &Self) {
        #[expect(clippy::expect_used, reason = "a histogram that grows takes any other")]
        self.0.add(&other.0).expect("it grows");
    }

    /// Returns how many were counted.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Returns whether none was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the latency in microseconds below or at which that share of the counted ones lies
    /// (`0.99` for p99), or nothing when none was counted. Quantiles are never averaged: add
    /// histograms and ask the sum.
    #[must_use]
    pub fn quantile_us(&self, share: f64) -> Option<u64> {
        (!self.is_empty()).then(|| self.0.value_at_quantile(share))
    }

    /// Returns the longest in microseconds, or nothing when none was counted.
    #[must_use]
    pub fn max_us(&self) -> Option<u64> {
        (!self.is_empty()).then(|| self.0.max())
    }

    /// Returns how many of the counted ones were longer than that many microseconds, to the
    /// histogram's precision of three digits.
    #[must_use]
    pub fn longer_than_us(&self, microseconds: u64) -> u64 {
        let first = self.0.next_non_equivalent(microseconds.max(1));
        if first > self.0.max() {
            return 0;
        }
        self.0.count_between(first, self.0.max())
    }

    /// Returns the counts between logarithmic bounds: `(upper bound in microseconds, count)`.
    #[must_use]
    pub fn buckets(&self, first_us: u64, base: f64) -> Vec<(u64, u64)> {
        let bins = self.0.iter_log(first_us.max(1), base.max(1.01));
        bins.map(|bin| (bin.value_iterated_to(), bin.count_since_last_iteration()))
            .collect()
    }

    /// Packs the histogram (HDR histogram V2, deflated, base64 without padding).
    ///
    /// # Errors
    /// [`Error::Histogram`].
    pub fn pack(&self) -> Result<String> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&self.0, &mut bytes)
            .map_err(|error| Error::Histogram {
                what: error.to_string(),
            })?;
        Ok(STANDARD_NO_PAD.encode(bytes))
    }

    /// Unpacks what [`pack`](Self::pack) packed.
    ///
    /// # Errors
    /// [`Error::Histogram`] when it is something else.
    pub fn unpack(text: &str) -> Result<Self> {
        let wrong = |error: String| Error::Histogram { what: error };
        let bytes = STANDARD_NO_PAD
            .decode(text)
            .map_err(|error| wrong(error.to_string()))?;
        let mut histogram: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| wrong(error.to_string()))?;
        if (histogram.low(), histogram.sigfig()) == (1, DIGITS) && histogram.max() <= HIGHEST_US {
            histogram.auto(true);
            return Ok(Self(histogram));
        }
        let mut latency = Self::new();
        latency
            .0
            .add(&histogram)
            .map_err(|error| wrong(error.to_string()))?;
        Ok(latency)
    }
}

impl Serialize for Latency {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.pack().map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::unpack(&text).map_err(serde::de::Error::custom)
    }
}

/// One second of one service's release, as one source saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The second, as a Unix time.
    pub second: i64,
    /// The service.
    pub service: String,
    /// The release that answered; empty when none did.
    pub release: String,
    /// Who measured.
    pub source: Source,
    /// Requests (for probes: probes; for the platform: instances).
    pub count: u64,
    /// The failed ones by class: `5xx`, `connect`, `timeout`, `reset`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, u64>,
    /// Latency of the answered ones.
    pub latency: Latency,
    /// Other figures by name with its unit: `resident_bytes`, `cpu_millis`, `in_flight`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: BTreeMap<String, f64>,
}

impl Sample {
    /// Returns a sample that has counted nothing yet.
    #[must_use]
    pub fn empty(second: i64, service: &str, release: &str, source: Source) -> Self {
        Self {
            second,
            service: service.to_owned(),
            release: release.to_owned(),
            source,
            count: 0,
            errors: BTreeMap::new(),
            latency: Latency::new(),
            figures: BTreeMap::new(),
        }
    }

    /// Reads a line of a samples file, with or without its end. A line that was torn by a crash or a
    /// full disk, and ended by who wrote on, holds nothing.
    ///
    /// # Errors
    /// When the line was whole and is not a sample.
    pub fn of_line(line: &[u8]) -> serde_json::Result<Option<Self>> {
        // A line end within a text that was torn would be an error of another kind.
        match serde_json::from_slice(line.strip_suffix(b"\n").unwrap_or(line)) {
            Ok(sample) => Ok(Some(sample)),
            Err(error) if error.is_eof() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns how many failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }
}

/// Appends samples to one file.
#[derive(Debug)]
pub struct SampleWriter {
    file: Box<dyn AppendFile>,
    path: PathBuf,
    /// Whether the last write failed: it may have left a part of a line.
    torn: bool,
}

impl SampleWriter {
    /// Opens `folder/NAME.jsonl` for appending, or creates it, and ends a line that a crash left
    /// torn, so that it does not damage the next.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(folder: &Path, name: &str) -> Result<Self> {
        Self::on_disk(&SystemDisk, folder, name)
    }

    pub(crate) fn on_disk(disk: &dyn Disk, folder: &Path, name: &str) -> Result<Self> {
        create_private(disk, folder)?;
        let path = folder.join(format!("{name}.jsonl"));
        let opened = disk.append(&path, Create::IfMissing);
        let mut file = opened.map_err(Error::io("open", &path))?;
        if is_torn(disk, &path).map_err(Error::io("read", &path))? {
            file.append(b"\n").map_err(Error::io("append to", &path))?;
        }
        let torn = false;
        Ok(Self { file, path, torn })
    }

    /// Appends samples, all in one write. What a write before left of a line, as on a disk that is
    /// full, is ended first.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Histogram`].
    pub fn append(&mut self, samples: &[Sample]) -> Result<()> {
        let mut lines = Vec::new();
        if self.torn {
            lines.push(b'\n');
        }
        for sample in samples {
            serde_json::to_writer(&mut lines, sample)?;
            lines.push(b'\n');
        }
        let written = self.file.append(&lines);
        self.torn = written.is_err();
        written.map_err(Error::io("append to", &self.path))
    }

    /// Makes sure that everything appended is on disk.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sync(&mut self) -> Result<()> {
        self.file.flush().map_err(Error::io("flush", &self.path))
    }

    /// Returns the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Returns whether the last line of a file has no end.
fn is_torn(disk: &dyn Disk, path: &Path) -> std::io::Result<bool> {
    let mut file = disk.read(path)?;
    let mut last = [b'\n'];
    if file.length()? > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    Ok(last != [b'\n'])
}

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
            if When::of_line(&text).is_some_and(|second| second < since) {
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

/// Returns the samples files of a folder whose names begin with `prefix`, in order.
pub(crate) fn samples_files(disk: &dyn Disk, folder: &Path, prefix: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in entries_or_none(disk, folder)? {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if name.starts_with(prefix) && name.ends_with(".jsonl") && !name.contains("failures") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

    use std::sync::{Mutex, PoisonError};

    use super::*;

    /// A file on a disk that has room for so many bytes.
    #[derive(Debug, Clone)]
    struct Cramped(Arc<Mutex<(Vec<u8>, usize)>>);

    impl AppendFile for Cramped {
        fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
            let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let (written, room) = &mut *inner;
            let fits = bytes.len().min(*room - written.len());
            written.extend_from_slice(&bytes[..fits]);
            if fits == bytes.len() {
                return Ok(());
            }
            Err(std::io::Error::from(std::io::ErrorKind::StorageFull))
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }

        fn cut(&mut self, length: u64) -> std::io::Result<()> {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            inner.0.truncate(length);
            Ok(())
        }
    }

    #[test]
    fn what_a_full_disk_left_of_a_line_does_not_damage_the_next() {
        let whole = |second| Sample::empty(second, "orders", "1.0.0", Source::Router);
        for room in [0, 1, 40, 200] {
            let file = Cramped(Arc::new(Mutex::new((Vec::new(), 100_000))));
            let mut writer = SampleWriter {
                file: Box::new(file.clone()),
                path: PathBuf::from("router.jsonl"),
                torn: false,
            };
            writer.append(&[whole(1)]).unwrap();
            let used = file.0.lock().unwrap().0.len();
            file.0.lock().unwrap().1 = used + room;
            writer.append(&[whole(2), whole(3)]).unwrap_err();
            writer.append(&[whole(4)]).unwrap_err();
            file.0.lock().unwrap().1 = 100_000;
            writer.append(&[whole(5)]).unwrap();

            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("router.jsonl");
            std::fs::write(&path, &file.0.lock().unwrap().0).unwrap();
            let read: Vec<_> = SampleReader::open(&path).unwrap().collect();
            let seconds = read.into_iter().map(|sample| sample.unwrap().second);
            let seconds: Vec<i64> = seconds.collect();
            for cut in 0..used - 1 {
                let line = &file.0.lock().unwrap().0[..cut];
                assert_eq!(Sample::of_line(&[line, b"\n"].concat()).unwrap(), None);
            }
            let kept = seconds.iter().filter(|second| [1, 5].contains(second));
            assert_eq!(kept.count(), 2, "room for {room}: {seconds:?}");
        }
    }
}
