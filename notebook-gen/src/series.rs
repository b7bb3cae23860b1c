//! Samples in bins, made in one pass over the samples files.
//!
//! Within a bin histograms are added, never quantiles averaged, and the longest latency of each
//! bin is kept, so that no spike is lost. Only the bin under way holds histograms: memory depends
//! on the number of services and releases, not on the length of the run.

mod merge;

use std::collections::BTreeMap;

use code_deploy_record::{Latency, Sample, Source};

use crate::Result;
use crate::facts::Facts;
use merge::Stream;

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
    /// All latencies over all bins, kept of the deployed release at each service alone: objectives are held
    /// against them.
    pub latency: Option<Latency>,
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

/// A series whose bin under way is not closed.
struct Open {
    key: Key,
    series: Series,
    bin: i64,
    point: Point,
    latency: Latency,
    total: Latency,
}

impl Open {
    fn new(key: Key, bin: i64) -> Self {
        Self {
            key,
            series: Series::default(),
            bin,
            point: Point::default(),
            latency: Latency::new(),
            total: Latency::new(),
        }
    }

    fn add(&mut self, sample: &Sample) {
        self.point.count += sample.count;
        self.point.failed += sample.failed();
        if !sample.latency.is_empty() {
            self.latency.add(&sample.latency);
        }
        let series = &mut self.series;
        series.count += sample.count;
        for (class, count) in &sample.errors {
            *series.errors.entry(class.clone()).or_default() += count;
        }
        for (name, value) in &sample.figures {
            // There are millions of samples, and a name is copied for the first only.
            match series.peaks.get_mut(name) {
                Some(peak) => *peak = peak.max(*value),
                None => drop(series.peaks.insert(name.clone(), *value)),
            }
        }
    }

    /// Closes the bin under way, unless nothing was counted in it.
    fn close(&mut self, start: i64, width: i64) {
        let mut point = std::mem::take(&mut self.point);
        point.second = start + self.bin * width;
        if !self.latency.is_empty() {
            point.latency = Quantiles::of(&self.latency);
            self.total.add(&self.latency);
            self.latency = Latency::new();
        }
        self.series
            .points
            .extend((point.count > 0).then_some(point));
    }
}

/// The series of a source while its samples are read.
#[derive(Default)]
struct Opens {
    all: Vec<Open>,
    /// Where each stands, by service and release.
    places: BTreeMap<String, BTreeMap<String, usize>>,
}

impl Opens {
    fn place(&self, service: &str, release: &str) -> Option<usize> {
        self.places.get(service)?.get(release).copied()
    }

    fn begin(&mut self, key: Key, bin: i64) -> usize {
        let place = self.all.len();
        let releases = self.places.entry(key.service.clone()).or_default();
        releases.insert(key.release.clone(), place);
        self.all.push(Open::new(key, bin));
        place
    }
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
    fn read_source(&mut self, facts: &Facts, source: Source) -> Result<()> {
        let paths = merge::files(facts, source)?;
        let readers = merge::readers_of_each(paths.len());
        std::thread::scope(|scope| {
            let mut open = Opens::default();
            let mut streams = Vec::new();
            for path in &paths {
                streams.extend(Stream::begin(merge::read_ahead(scope, path, readers))?);
            }
            while let Some(first) = merge::earliest(&streams) {
                let Some(stream) = streams.get_mut(first) else {
                    break;
                };
                match stream.next()? {
                    Some(sample) => self.take(&mut open, &sample),
                    None => self.take(&mut open, &streams.remove(first).waiting),
                }
            }
            for mut last in open.all {
                last.close(self.start, self.width);
                last.series.total = Quantiles::of(&last.total);
                let is_judged = matches!(source, Source::Router | Source::Instance)
                    && !last.key.service.is_empty()
                    && last.key.release == facts.started.to.as_str();
                last.series.latency = is_judged.then_some(last.total);
                self.series.insert(last.key, last.series);
            }
            Ok(())
        })
    }

    fn take(&mut self, open: &mut Opens, sample: &Sample) {
        self.samples += 1;
        let second = sample.second;
        let reach = self.reach.entry(sample.source).or_insert((second, second));
        *reach = (reach.0.min(second), reach.1.max(second));
        self.add(open, &sample.service, sample);
        if matches!(
            sample.source,
            Source::Router | Source::Client | Source::Load | Source::Instance
        ) {
            self.add(open, "", sample);
        }
    }

    fn add(&mut self, open: &mut Opens, service: &str, sample: &Sample) {
        let bin = (sample.second - self.start).max(0) / self.width;
        let place = match open.place(service, &sample.release) {
            Some(place) => place,
            None if self.series.len() + open.all.len() >= MOST_SERIES => {
                self.left_out += 1;
                return;
            }
            None => {
                let key = Key {
                    source: sample.source,
                    service: service.to_owned(),
                    release: sample.release.clone(),
                };
                open.begin(key, bin)
            }
        };
        let Some(under_way) = open.all.get_mut(place) else {
            return;
        };
        if bin > under_way.bin {
            under_way.close(self.start, self.width);
            under_way.bin = bin;
        }
        under_way.add(sample);
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
