//! What is counted of a release, and the second that is being measured.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use code_deploy_record::{Latency, Sample, Source};
use serde::{Deserialize, Serialize};

use crate::control::Counts;
use crate::sync::lock;

/// Most releases remembered; the bound of a router is 64 services of 8 releases, and those gone
/// are forgotten first.
const MAX_TALLIES: usize = 1024;

/// Why a request failed, as samples tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FailureClass {
    Status5xx,
    Connect,
    Timeout,
    Reset,
    Unavailable,
}

impl FailureClass {
    fn word(self) -> &'static str {
        match self {
            Self::Status5xx => "5xx",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Unavailable => "unavailable",
        }
    }
}

/// The counts of one release of one service.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    requests: AtomicU64,
    failed: AtomicU64,
    overridden: AtomicU64,
    retries: AtomicU64,
    taken_over: AtomicU64,
    /// What the router before this one has counted.
    before: Mutex<Counts>,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    count: u64,
    errors: BTreeMap<FailureClass, u64>,
    statuses: BTreeMap<u16, u64>,
    taken_over: u64,
    latency: Option<Latency>,
}

impl Tally {
    /// Counts an attempt after the first.
    pub(crate) fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that came here because its own release had no instance available.
    pub(crate) fn took_over(&self) {
        self.taken_over.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that asked for this release by name.
    pub(crate) fn was_asked_for(&self) {
        self.overridden.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes in what the router before this one has counted by now.
    pub(crate) fn go_on_from(&self, counts: Counts) {
        *lock(&self.before) = counts;
    }

    /// Returns the counts since the start, that of the first router of those that took over from one another.
    pub(crate) fn counts(&self) -> Counts {
        let before = *lock(&self.before);
        Counts {
            requests: before.requests + self.requests.load(Ordering::Relaxed),
            failed: before.failed + self.failed.load(Ordering::Relaxed),
            overridden: before.overridden + self.overridden.load(Ordering::Relaxed),
            retries: before.retries + self.retries.load(Ordering::Relaxed),
            taken_over: before.taken_over + self.taken_over.load(Ordering::Relaxed),
        }
    }

    fn ended(
        &self,
        class: Option<FailureClass>,
        status: Option<u16>,
        micros: Option<u64>,
        taken_over: bool,
    ) {
        let mut window = lock(&self.window);
        window.count += 1;
        window.taken_over += u64::from(taken_over);
        if let Some(micros) = micros {
            window
                .latency
                .get_or_insert_with(Latency::new)
                .count(micros);
        }
        if let Some(class) = class {
            self.failed.fetch_add(1, Ordering::Relaxed);
            *window.errors.entry(class).or_default() += 1;
        }
        if let Some(status) = status.filter(|status| *status >= 500) {
            *window.statuses.entry(status).or_default() += 1;
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes the second that is being measured.
    pub(crate) fn take_sample(&self, second: i64, service: &str, release: &str) -> Sample {
        let window = std::mem::take(&mut *lock(&self.window));
        let mut sample = Sample::empty(second, service, release, Source::Router);
        sample.count = window.count;
        sample.errors = window
            .errors
            .iter()
            .map(|(class, count)| (class.word().to_owned(), *count))
            .collect();
        if let Some(latency) = window.latency {
            sample.latency = latency;
        }
        if window.taken_over > 0 {
            #[expect(
                clippy::cast_precision_loss,
                reason = "a second has less than 2^53 requests"
            )]
            sample
                .figures
                .insert(Sample::TAKEN_OVER.to_owned(), window.taken_over as f64);
        }
        for (status, count) in window.statuses {
            #[expect(
                clippy::cast_precision_loss,
                reason = "a second has less than 2^53 requests"
            )]
            sample
                .figures
                .insert(format!("status_{status}"), count as f64);
        }
        sample
    }

    fn is_quiet(&self) -> bool {
        lock(&self.window).count == 0
    }
}

/// What was counted of one release since the start.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) service: String,
    pub(crate) release: String,
    pub(crate) counts: Counts,
}

/// The tallies of all releases, also of those that were removed.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    by_release: Mutex<BTreeMap<(String, String), Arc<Tally>>>,
}

impl Tallies {
    /// Returns the tally of a release, the same one each time.
    pub(crate) fn of(&self, service: &str, release: &str) -> Arc<Tally> {
        let mut tallies = lock(&self.by_release);
        if tallies.len() >= MAX_TALLIES {
            tallies.retain(|_, tally| Arc::strong_count(tally) > 1 || !tally.is_quiet());
        }
        let key = (service.to_owned(), release.to_owned());
        Arc::clone(tallies.entry(key).or_default())
    }

    /// Returns what was counted of every release since the start.
    pub(crate) fn counts(&self) -> Vec<Counted> {
        let tallies = lock(&self.by_release);
        let counted = tallies.iter().map(|((service, release), tally)| Counted {
            service: service.clone(),
            release: release.clone(),
            counts: tally.counts(),
        });
        counted.collect()
    }

    /// Takes the second of every release that had a request.
    pub(crate) fn take_samples(&self, second: i64) -> Vec<Sample> {
        let tallies: Vec<_> = lock(&self.by_release)
            .iter()
            .map(|(key, tally)| (key.clone(), Arc::clone(tally)))
            .collect();
        tallies
            .iter()
            .map(|((service, release), tally)| tally.take_sample(second, service, release))
            .filter(|sample| sample.count > 0)
            .collect()
    }
}

/// Measures one request from its arrival to its end, which is at the latest when this is dropped.
#[derive(Debug)]
pub(crate) struct Measure {
    tally: Option<Arc<Tally>>,
    started: Instant,
    class: Option<FailureClass>,
    status: Option<u16>,
    answered: bool,
    taken_over: bool,
}

impl Measure {
    /// Begins at the arrival of a request that belongs to a release.
    pub(crate) fn begin(tally: Arc<Tally>, started: Instant) -> Self {
        Self {
            tally: Some(tally),
            started,
            class: None,
            status: None,
            answered: false,
            taken_over: false,
        }
    }

    /// Begins at the arrival of a request that a release answers in place of another one.
    pub(crate) fn begin_in_place(tally: Arc<Tally>, started: Instant) -> Self {
        let mut measure = Self::begin(tally, started);
        measure.taken_over = true;
        measure
    }

    /// Measures nothing: requests that ask for a release by name say nothing about the split.
    pub(crate) fn none(started: Instant) -> Self {
        Self {
            tally: None,
            started,
            class: None,
            status: None,
            answered: false,
            taken_over: false,
        }
    }

    /// Notes the status of the answer.
    pub(crate) fn answered(&mut self, status: u16) {
        self.status = Some(status);
        self.answered = true;
        if status >= 500 {
            self.class = Some(FailureClass::Status5xx);
        }
    }

    /// Notes the status of the router's own answer, whose failure has a class already.
    pub(crate) fn note_status(&mut self, status: u16) {
        self.status = Some(status);
    }

    /// Notes a failure.
    pub(crate) fn failed(&mut self, class: FailureClass) {
        self.class = Some(class);
    }

    /// Ends now, for what goes on without an end: tunnels and event streams.
    pub(crate) fn end(&mut self) {
        if let Some(tally) = self.tally.take() {
            let micros = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
            // A backend that refuses at once must not look fast.
            let counts = self.answered || self.class.is_none();
            let micros = counts.then_some(micros);
            tally.ended(self.class, self.status, micros, self.taken_over);
        }
    }
}

impl Drop for Measure {
    fn drop(&mut self) {
        self.end();
    }
}
