use std::collections::{BTreeMap, BTreeSet};

use crate::run::{Event, Run, Sample};

/// The one who sees what users see, and who is asked where it is there.
const CLIENT: &str = "client";
/// Sees every service, also those that are called by others only.
const ROUTER: &str = "router";

/// Points for a chart: seconds since the run began, and the figure.
type Series = Vec<(f64, f64)>;

impl Run {
    /// Returns the latency that the share `quantile` of the answers of each second did not exceed, in milliseconds,
    /// as points of seconds since the run began. Recorded are 0.5, 0.9, 0.99 and 1.0 (the longest); of another
    /// share the next higher of these is returned.
    ///
    /// With a service: as the outside client saw it, or the router where that did not call it. Without: as the
    /// outside client saw the whole; where there is none, of the slowest service of each second, because shares of
    /// different services cannot be added.
    #[must_use]
    pub fn latency(&self, service: Option<&str>, release: &str, quantile: f64) -> Series {
        let answered = |sample: &&Sample| sample.max_us > 0;
        let mut slowest = BTreeMap::<i64, u64>::new();
        for sample in self.seen(service, release).filter(answered) {
            let of_second = slowest.entry(sample.at).or_default();
            *of_second = sample.quantile_us(quantile).max(*of_second);
        }
        let points = slowest.into_iter();
        points
            .map(|(at, micros)| (self.seconds(at), micros as f64 / 1000.0))
            .collect()
    }

    /// Returns the share of failed requests of each second, from 0 to 1, as points of seconds since the run began.
    /// Who measured is chosen as for [`Run::latency`].
    #[must_use]
    pub fn error_rate(&self, service: Option<&str>, release: &str) -> Series {
        self.per_second(service, release, |requests, failed| {
            failed as f64 / requests.max(1) as f64
        })
    }

    /// Returns the requests of each second, as points of seconds since the run began. Who measured is chosen as for
    /// [`Run::latency`].
    #[must_use]
    pub fn request_rate(&self, service: Option<&str>, release: &str) -> Series {
        self.per_second(service, release, |requests, _| requests as f64)
    }

    /// Returns the names of the releases that answered.
    #[must_use]
    pub fn releases(&self) -> Vec<String> {
        self.names(|sample| &sample.release)
    }

    /// Returns the names of the services that were measured.
    #[must_use]
    pub fn services(&self) -> Vec<String> {
        self.names(|sample| &sample.service)
    }

    /// Returns the events of a kind: `gate_evaluated`.
    pub fn events_of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Event> {
        self.events.iter().filter(move |event| event.kind == kind)
    }

    /// Returns a Unix time in milliseconds as seconds since the run began.
    #[must_use]
    pub fn seconds(&self, at: i64) -> f64 {
        (at - self.started) as f64 / 1000.0
    }

    fn names(&self, of: impl Fn(&Sample) -> &String) -> Vec<String> {
        let names: BTreeSet<&String> = self.samples.iter().map(of).collect();
        let named = names.into_iter().filter(|name| !name.is_empty());
        named.cloned().collect()
    }

    fn per_second(
        &self,
        service: Option<&str>,
        release: &str,
        figure: impl Fn(u64, u64) -> f64,
    ) -> Series {
        let mut sums = BTreeMap::<i64, (u64, u64)>::new();
        for sample in self.seen(service, release) {
            let sum = sums.entry(sample.at).or_default();
            *sum = (sum.0 + sample.requests, sum.1 + sample.failed);
        }
        let points = sums.into_iter();
        points
            .map(|(at, (requests, failed))| (self.seconds(at), figure(requests, failed)))
            .collect()
    }

    /// Returns the samples of one source: the same request is never counted twice.
    fn seen<'a>(
        &'a self,
        service: Option<&'a str>,
        release: &'a str,
    ) -> impl Iterator<Item = &'a Sample> {
        let is_wanted = move |sample: &Sample| {
            sample.release == release && service.is_none_or(|service| sample.service == service)
        };
        let by = move |source: &'static str| {
            let of_source = self.samples.iter();
            of_source.filter(move |sample| sample.source == source && is_wanted(sample))
        };
        let source = by(CLIENT).next().map_or(ROUTER, |_| CLIENT);
        by(source)
    }
}

impl Sample {
    fn quantile_us(&self, quantile: f64) -> u64 {
        match quantile {
            share if share <= 0.5 => self.p50_us,
            share if share <= 0.9 => self.p90_us,
            share if share <= 0.99 => self.p99_us,
            _ => self.max_us,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

    use super::*;

    fn sample(at: i64, source: &str, service: &str, requests: u64, p99_us: u64) -> Sample {
        Sample {
            at,
            source: source.to_owned(),
            service: service.to_owned(),
            release: "1.1.0".to_owned(),
            requests,
            failed: requests / 10,
            p99_us,
            max_us: p99_us,
            ..Sample::default()
        }
    }

    fn measured() -> Run {
        let samples = vec![
            sample(11_000, "router", "orders", 20, 9_000),
            sample(11_000, "router", "catalog", 10, 4_000),
            sample(12_000, "router", "orders", 30, 0),
            sample(11_000, "client", "front", 100, 25_000),
        ];
        Run {
            started: 10_000,
            samples,
            ..Run::default()
        }
    }

    #[test]
    fn the_client_is_asked_where_it_called_and_the_router_otherwise() {
        let mut run = measured();
        assert_eq!(run.latency(None, "1.1.0", 0.99), [(1.0, 25.0)]);
        assert_eq!(run.latency(Some("orders"), "1.1.0", 0.95), [(1.0, 9.0)]);
        let rate = run.request_rate(Some("orders"), "1.1.0");
        assert_eq!(rate, [(1.0, 20.0), (2.0, 30.0)]);
        assert_eq!(run.error_rate(None, "1.1.0"), [(1.0, 0.1)]);
        assert_eq!(run.error_rate(None, "9.9.9"), []);
        run.samples.pop();
        assert_eq!(run.latency(None, "1.1.0", 1.0), [(1.0, 9.0)]);
        let whole = run.request_rate(None, "1.1.0");
        assert_eq!(whole, [(1.0, 30.0), (2.0, 30.0)]);
    }

    #[test]
    fn names_are_told_once_and_empty_ones_are_none() {
        let mut run = measured();
        run.samples.push(Sample::default());
        assert_eq!(run.services(), ["catalog", "front", "orders"]);
        assert_eq!(run.releases(), ["1.1.0"]);
    }
}
