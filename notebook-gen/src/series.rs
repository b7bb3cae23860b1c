//! Samples in bins, made in one pass over the samples files.
//!
//! Within a bin histograms are added, never quantiles averaged, and the longest latency of each
//! bin is kept, so that no spike is lost. Only the bin under way holds histograms: memory depends
//! on the number of services and releases, not on the length of the run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender};

use code_deploy_record::{Error as RecordError, Latency, Sample, SampleReader, Source};

use crate::Result;
use crate::facts::Facts;

/// Bins that a run is parted into at most, while its journal's span is known.
const MOST_BINS: i64 = 400;

/// Series that are kept; samples of further services and releases are counted as left out.
const MOST_SERIES: usize = 600;

/// What a series is of. An empty service stands for all services together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Who measured.
    pub source: Source,
    /// The service, or nothing for all.
    pub service: String,
    /// The release that answered; empty when none did.
    pub release: String,
}

/// One bin of a series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Point {
    /// The first second of the bin, as a Unix time.
    pub second: i64,
    /// Requests.
    pub count: u64,
    /// The failed ones.
    pub failed: u64,
    /// Latency quantiles and the longest, in microseconds, when any was counted.
    pub latency: Option<Quantiles>,
}

/// Latency quantiles in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quantiles {
    /// Half of the answers took at most this.
    pub p50: u64,
    /// 95 % of the answers took at most this.
    pub p95: u64,
    /// 99 % of the answers took at most this.
    pub p99: u64,
    /// The longest.
    pub max: u64,
}

impl Quantiles {
    /// Returns the quantiles of a histogram, or nothing for an empty one.
    #[must_use]
    pub fn of(latency: &Latency) -> Option<Self> {
        Some(Self {
            p50: latency.quantile_us(0.50)?,
            p95: latency.quantile_us(0.95)?,
            p99: latency.quantile_us(0.99)?,
            max: latency.max_us()?,
        })
    }
}

/// A series: its bins in order, and its sums.
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// The bins that have samples, in order.
    pub points: Vec<Point>,
    /// Requests in all.
    pub count: u64,
    /// The failed ones by class.
    pub errors: BTreeMap<String, u64>,
    /// Latency over all bins.
    pub total: Option<Quantiles>,
    /// The highest value of each other figure.
    pub peaks: BTreeMap<String, f64>,
}

impl Series {
    /// Returns how many failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }
}

/// All series of a run.
#[derive(Debug, Clone, Default)]
pub struct Bins {
    /// The first second.
    pub start: i64,
    /// The seconds in a bin.
    pub width: i64,
    /// The series.
    pub series: BTreeMap<Key, Series>,
    /// The first and the last second of which each source gave samples.
    pub reach: BTreeMap<Source, (i64, i64)>,
    /// Samples read.
    pub samples: u64,
    /// Samples that belong to no series because there are too many.
    pub left_out: u64,
}

#[derive(Default)]
struct Open {
    bin: i64,
    point: Point,
    latency: Latency,
    total: Latency,
}

impl Bins {
    /// Reads all samples of a run.
    ///
    /// # Errors
    /// [`crate::Error::Record`] when a samples file cannot be read.
    pub fn read(facts: &Facts) -> Result<Self> {
        let start = facts.since().timestamp();
        let span = (facts.until().timestamp() - start).max(1);
        let mut bins = Self {
            start,
            width: (span + MOST_BINS - 1) / MOST_BINS,
            ..Self::default()
        };
        for source in [
            Source::Router,
            Source::Client,
            Source::Probe,
            Source::Load,
            Source::Platform,
            Source::Instance,
        ] {
            bins.read_source(facts, source)?;
        }
        Ok(bins)
    }

    /// Merges the files of a source by time, so that a bin is complete when the next one begins.
    /// Each file is read by a thread of its own.
    fn read_source(&mut self, facts: &Facts, source: Source) -> Result<()> {
        let paths = files(facts, source)?;
        std::thread::scope(|scope| {
            let mut open = BTreeMap::new();
            let mut streams = Vec::new();
            for path in &paths {
                let (give, taken) = std::sync::mpsc::sync_channel(AHEAD);
                scope.spawn(move || read_ahead(path, &give));
                streams.extend(Stream::begin(taken)?);
            }
            while let Some(first) = earliest(&streams) {
                let Some(stream) = streams.get_mut(first) else {
                    break;
                };
                match stream.next()? {
                    Some(sample) => self.take(&mut open, sample),
                    None => self.take(&mut open, streams.remove(first).waiting),
                }
            }
            for (key, last) in open {
                self.close(&key, last);
            }
            Ok(())
        })
    }

    fn take(&mut self, open: &mut BTreeMap<Key, Open>, sample: Sample) {
        self.samples += 1;
        let second = sample.second;
        let reach = self.reach.entry(sample.source).or_insert((second, second));
        *reach = (reach.0.min(second), reach.1.max(second));
        let key = |service: &str| Key {
            source: sample.source,
            service: service.to_owned(),
            release: sample.release.clone(),
        };
        let bin = (sample.second - self.start).max(0) / self.width;
        self.add(open, key(&sample.service), bin, &sample);
        if matches!(
            sample.source,
            Source::Router | Source::Client | Source::Load | Source::Instance
        ) {
            self.add(open, key(""), bin, &sample);
        }
    }

    fn add(&mut self, open: &mut BTreeMap<Key, Open>, key: Key, bin: i64, sample: &Sample) {
        if !self.series.contains_key(&key) && self.series.len() >= MOST_SERIES {
            self.left_out += 1;
            return;
        }
        let series = self.series.entry(key.clone()).or_default();
        let under_way = open.entry(key).or_insert_with(|| Open {
            bin,
            ..Open::default()
        });
        if bin > under_way.bin {
            series
                .points
                .extend(finish(under_way, self.start, self.width));
            under_way.bin = bin;
        }
        under_way.point.count += sample.count;
        under_way.point.failed += sample.failed();
        if !sample.latency.is_empty() {
            under_way.latency.add(&sample.latency);
        }
        series.count += sample.count;
        for (class, count) in &sample.errors {
            *series.errors.entry(class.clone()).or_default() += count;
        }
        for (name, value) in &sample.figures {
            let peak = series.peaks.entry(name.clone()).or_insert(*value);
            *peak = peak.max(*value);
        }
    }

    fn close(&mut self, key: &Key, mut last: Open) {
        if let Some(series) = self.series.get_mut(key) {
            series
                .points
                .extend(finish(&mut last, self.start, self.width));
            series.total = Quantiles::of(&last.total);
        }
    }

    /// Returns the series of a source over all services together, by release; releases that did
    /// not answer a request are left out.
    #[must_use]
    pub fn by_release(&self, source: Source) -> Vec<(&str, &Series)> {
        let matching = self.series.iter().filter(move |(key, series)| {
            key.source == source && key.service.is_empty() && series.count > 0
        });
        matching
            .map(|(key, series)| (key.release.as_str(), series))
            .filter(|(release, _)| !release.is_empty())
            .collect()
    }

    /// Returns how many seconds of a bin a source has looked at: fewer than its width where the
    /// source began or ended within it.
    #[must_use]
    pub fn seconds_seen(&self, source: Source, point: &Point) -> u64 {
        let whole = (point.second, point.second + self.width);
        let (first, last) = self.reach.get(&source).copied().unwrap_or(whole);
        let seen = whole.1.min(last + 1) - whole.0.max(first);
        u64::try_from(seen).unwrap_or(1).max(1)
    }

    /// Returns who saw the users' requests: the outside client or, where there is no sample of one,
    /// the router, or the instances behind none.
    #[must_use]
    pub fn vantage(&self) -> Source {
        let seen = |source: &Source| !self.by_release(*source).is_empty();
        let all = [Source::Client, Source::Router, Source::Instance];
        all.into_iter().find(seen).unwrap_or(Source::Router)
    }
}

/// Closes the bin under way and returns its point, unless nothing was counted in it.
fn finish(open: &mut Open, start: i64, width: i64) -> Option<Point> {
    let mut point = std::mem::take(&mut open.point);
    point.second = start + open.bin * width;
    if !open.latency.is_empty() {
        point.latency = Quantiles::of(&open.latency);
        open.total.add(&open.latency);
        open.latency = Latency::new();
    }
    (point.count > 0).then_some(point)
}

/// Samples that are handed over together.
const TOGETHER: usize = 256;

/// Batches that a reader is ahead of what takes them.
const AHEAD: usize = 4;

/// Reads a file, and hands its samples over until nobody takes them any more.
fn read_ahead(path: &Path, give: &SyncSender<Result<Vec<Sample>>>) {
    let mut reader = match SampleReader::open(path) {
        Ok(reader) => reader,
        Err(error) => return drop(give.send(Err(error.into()))),
    };
    loop {
        let batch: Result<Vec<_>, _> = reader.by_ref().take(TOGETHER).collect();
        let goes_on = batch.as_ref().is_ok_and(|batch| batch.len() == TOGETHER);
        if give.send(batch.map_err(Into::into)).is_err() || !goes_on {
            return;
        }
    }
}

/// The samples of a file, in order.
struct Stream {
    /// The next one.
    waiting: Sample,
    batch: std::vec::IntoIter<Sample>,
    taken: Receiver<Result<Vec<Sample>>>,
}

impl Stream {
    /// Returns nothing for a file without a sample.
    fn begin(taken: Receiver<Result<Vec<Sample>>>) -> Result<Option<Self>> {
        let mut batch = Vec::new().into_iter();
        let first = next_of(&mut batch, &taken)?;
        Ok(first.map(|waiting| Self {
            waiting,
            batch,
            taken,
        }))
    }

    /// Returns the sample that waits, and has the one behind it wait; nothing when there is none behind
    /// it.
    fn next(&mut self) -> Result<Option<Sample>> {
        let behind = next_of(&mut self.batch, &self.taken)?;
        Ok(behind.map(|behind| std::mem::replace(&mut self.waiting, behind)))
    }
}

fn next_of(
    batch: &mut std::vec::IntoIter<Sample>,
    taken: &Receiver<Result<Vec<Sample>>>,
) -> Result<Option<Sample>> {
    if let Some(sample) = batch.next() {
        return Ok(Some(sample));
    }
    match taken.recv() {
        Ok(next) => *batch = next?.into_iter(),
        Err(_) => return Ok(None),
    }
    Ok(batch.next())
}

fn earliest(streams: &[Stream]) -> Option<usize> {
    let seconds = streams.iter().enumerate();
    seconds
        .min_by_key(|(place, stream)| (stream.waiting.second, *place))
        .map(|(place, _)| place)
}

fn files(facts: &Facts, source: Source) -> Result<Vec<PathBuf>> {
    let folder = facts.folder.samples_path();
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(RecordError::io("read", &folder)(error).into()),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(RecordError::io("read", &folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let matches = name.is_some_and(|name| {
            name.starts_with(source.word())
                && name.ends_with(".jsonl")
                && !name.contains("failures")
        });
        files.extend(matches.then_some(path));
    }
    files.sort();
    Ok(files)
}
