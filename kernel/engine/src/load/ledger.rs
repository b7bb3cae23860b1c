//! Counts what became of the requests, second by second and altogether.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use code_deploy_record::{Sample, Source};
use serde::Serialize;
use tokio::time::Instant;

use super::outcome::{Cause, Outcome, microseconds};
use super::totals::{ClientTotals, EndReason};

/// Failed requests that are listed one by one.
const LISTED: u64 = 10_000;

/// Releases that are told apart; a server that answers with ever new ones cannot fill memory.
const RELEASES: usize = 64;

/// The release under which all further ones are counted.
const OTHERS: &str = "others";

/// A failed request, as it is listed.
#[derive(Debug, Serialize)]
pub(super) struct Failure {
    /// When it failed.
    time: DateTime<Utc>,
    /// When it was due.
    due: DateTime<Utc>,
    cause: Cause,
    status: Option<u16>,
    method: String,
    path: String,
    release: String,
    latency_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// What is to be written down now.
#[derive(Debug)]
pub(super) struct Batch {
    pub samples: Vec<Sample>,
    pub failures: Vec<Failure>,
    pub totals: ClientTotals,
}

/// The requests that were due in one second.
#[derive(Debug, Default)]
struct Second {
    pending: u64,
    by_release: BTreeMap<String, Sample>,
}

/// All counts of a client. Seconds stay here only until their requests are settled, which the
/// timeout bounds.
#[derive(Debug)]
pub(super) struct Ledger {
    service: String,
    source: Source,
    began: Instant,
    began_at: DateTime<Utc>,
    last_success: Instant,
    seconds: BTreeMap<i64, Second>,
    failures: Vec<Failure>,
    totals: ClientTotals,
}

impl Ledger {
    pub(super) fn new(service: &str, source: Source, began: Instant, at: DateTime<Utc>) -> Self {
        Self {
            service: service.to_owned(),
            source,
            began,
            began_at: at,
            last_success: began,
            seconds: BTreeMap::new(),
            failures: Vec::new(),
            totals: ClientTotals::new(at),
        }
    }

    /// Notes that a request is due; it is settled later.
    pub(super) fn due(&mut self, due: Instant) {
        let second = self.at(due).timestamp();
        self.seconds.entry(second).or_default().pending += 1;
        self.totals.due += 1;
    }

    /// Notes that a due request is about to be sent.
    pub(super) fn sending(&mut self, in_flight: usize) {
        self.totals.sent += 1;
        let in_flight = u64::try_from(in_flight).unwrap_or(u64::MAX);
        self.totals.most_in_flight = self.totals.most_in_flight.max(in_flight);
    }

    /// Notes what became of a request that was due.
    pub(super) fn settle(&mut self, outcome: Outcome) {
        let release = self.known_release(&outcome.release);
        let latency_us = outcome.latency_us();
        let answered = outcome.status.is_some()
            && !matches!(
                outcome.cause,
                Some(Cause::Timeout | Cause::Reset | Cause::Protocol)
            );
        self.count_in_second(&outcome, &release, answered.then_some(latency_us));
        let totals = &mut self.totals;
        if let Some(sent) = outcome.sent {
            let lag = microseconds(sent.saturating_duration_since(outcome.due));
            totals.longest_lag_us = totals.longest_lag_us.max(lag);
        }
        if answered {
            totals.answered += 1;
            totals.latency.count(latency_us);
        }
        let of_release = totals.by_release.entry(release.clone()).or_default();
        of_release.count += 1;
        match outcome.cause {
            None => {
                totals.succeeded += 1;
                self.succeeded_at(outcome.settled);
            }
            Some(cause) => {
                of_release.failed += 1;
                totals.failed += 1;
                *totals
                    .failed_by_cause
                    .entry(cause.word().to_owned())
                    .or_default() += 1;
                self.list(outcome, cause, release, latency_us);
            }
        }
    }

    /// Takes what can be written: all seconds whose requests are settled, new failures, totals.
    /// `next_due` is when the next request is due: it may be in the past when the client is late,
    /// and its second is then still open.
    pub(super) fn batch(&mut self, now: Instant, next_due: Instant, in_flight: usize) -> Batch {
        let present = self.at(now.min(next_due)).timestamp();
        let mut samples = Vec::new();
        self.seconds.retain(|second, counts| {
            let open = *second >= present || counts.pending > 0;
            if !open {
                samples.extend(std::mem::take(&mut counts.by_release).into_values());
            }
            open
        });
        self.totals.in_flight = u64::try_from(in_flight).unwrap_or(u64::MAX);
        self.totals.updated_at = self.at(now);
        let failures = std::mem::take(&mut self.failures);
        let mut totals = self.totals.clone();
        // A gap that is still open counts as far as it goes.
        gap(&mut totals, self.last_success, now, self.at(now));
        Batch {
            samples,
            failures,
            totals,
        }
    }

    /// Takes everything that is left, when no request is under way any more.
    pub(super) fn last_batch(&mut self, now: Instant, ended: EndReason) -> Batch {
        self.totals.ended = Some(ended);
        // The second that is under way will have no more requests.
        let mut batch = self.batch(now, now, 0);
        let left = std::mem::take(&mut self.seconds).into_values();
        batch
            .samples
            .extend(left.flat_map(|second| second.by_release.into_values()));
        batch
    }

    fn count_in_second(&mut self, outcome: &Outcome, release: &str, latency_us: Option<u64>) {
        let second = self.at(outcome.due).timestamp();
        let counts = self.seconds.entry(second).or_default();
        counts.pending = counts.pending.saturating_sub(1);
        let sample = counts
            .by_release
            .entry(release.to_owned())
            .or_insert_with(|| Sample::empty(second, &self.service, release, self.source));
        sample.count += 1;
        if let Some(latency_us) = latency_us {
            sample.latency.count(latency_us);
        }
        if let Some(cause) = outcome.cause {
            *sample.errors.entry(cause.word().to_owned()).or_default() += 1;
        }
    }

    fn succeeded_at(&mut self, settled: Instant) {
        let at = self.at(settled);
        gap(&mut self.totals, self.last_success, settled, at);
        self.last_success = self.last_success.max(settled);
    }

    fn list(&mut self, outcome: Outcome, cause: Cause, release: String, latency_us: u64) {
        if self.totals.failures_listed >= LISTED {
            self.totals.failures_not_listed += 1;
            return;
        }
        self.totals.failures_listed += 1;
        self.failures.push(Failure {
            time: self.at(outcome.settled),
            due: self.at(outcome.due),
            cause,
            status: outcome.status,
            method: outcome.method.into_owned(),
            path: outcome.path,
            release,
            latency_us,
            trace_id: outcome.trace_id,
            detail: outcome.detail,
        });
    }

    fn known_release(&self, release: &str) -> String {
        let known = &self.totals.by_release;
        if known.contains_key(release) || known.len() < RELEASES {
            return release.to_owned();
        }
        OTHERS.to_owned()
    }

    /// Returns the time of day of an instant, by one reading of the clock and a steady count since:
    /// a clock that is set during the run does not bend the measurement.
    fn at(&self, instant: Instant) -> DateTime<Utc> {
        let since: Duration = instant.saturating_duration_since(self.began);
        let since = TimeDelta::from_std(since).unwrap_or(TimeDelta::MAX);
        self.began_at
            .checked_add_signed(since)
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

fn gap(totals: &mut ClientTotals, from: Instant, until: Instant, at: DateTime<Utc>) {
    let length = microseconds(until.saturating_duration_since(from));
    if length > totals.longest_gap_us {
        totals.longest_gap_us = length;
        totals.longest_gap_until = Some(at);
    }
}
