//! What instances count of themselves: their metrics endpoints, read once a second, as samples.
//!
//! Nothing of ours stands where requests of a cluster pass. What can tell releases apart there is
//! each instance, of which it is known to which release it belongs, and which counts all requests
//! that reach it, whoever sent them. What never reached an instance it cannot count: that the
//! outside client does.

use std::collections::BTreeMap;

use code_deploy_engine::exposition::{Exposition, Series};
use code_deploy_engine::spec::Service;
use code_deploy_record::{Sample, Source};

/// Labels under which services name what was asked of them, in the order in which they are looked for.
const ROUTES: [&str; 6] = ["route", "path", "handler", "uri", "endpoint", "http_route"];

/// Labels under which services name how a request was answered.
const STATUS: [&str; 4] = ["status", "code", "status_code", "http_response_status_code"];

/// What one instance had counted when it was read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counted {
    /// Requests.
    requests: u64,
    /// Of these, those answered with a status of 500 or above.
    failed: u64,
    /// Requests by the upper bound of the bucket of their duration, in microseconds.
    durations: BTreeMap<u64, u64>,
}

impl Counted {
    /// Reads what an instance counts, without the requests of probes and of this reading, as far
    /// as its labels tell them apart.
    ///
    /// # Errors
    /// In words, when it does not count requests in a form that is known.
    pub fn read(text: &str, service: &Service) -> Result<Self, String> {
        let read = Exposition::parse(text)?;
        let requests = read
            .family("counter", "requests_total")
            .ok_or("it has no counter whose name ends in `requests_total`")?;
        let own = own_paths(service);
        let counts = |one: &&Series| !is_own(one, &own);
        let mut counted = Self::default();
        for one in read
            .series
            .iter()
            .filter(|one| one.name == requests)
            .filter(counts)
        {
            let number = whole(one.value);
            counted.requests += number;
            if is_failure(one) {
                counted.failed += number;
            }
        }
        if let Some(family) = read.family("histogram", "seconds") {
            let name = format!("{family}_bucket");
            let buckets = read.series.iter().filter(|one| one.name == name);
            counted.durations = durations(buckets.filter(counts));
        }
        Ok(counted)
    }

    /// Returns what was counted since an earlier reading of the same process. A counter that is
    /// smaller than before is that of another process, which began at nothing.
    pub fn since(&self, before: &Self) -> Self {
        if self.requests < before.requests {
            return self.clone();
        }
        let durations = self.durations.iter().map(|(bound, count)| {
            let was = before.durations.get(bound).copied().unwrap_or(0);
            (*bound, count.saturating_sub(was))
        });
        Self {
            requests: self.requests - before.requests,
            failed: self.failed.saturating_sub(before.failed),
            durations: durations.collect(),
        }
    }

    /// Adds it to a sample. A duration counts as the upper bound of its bucket: what is said of
    /// latency is never better than it was.
    pub fn add_to(&self, sample: &mut Sample) {
        sample.count += self.requests;
        if self.failed > 0 {
            *sample.errors.entry("5xx".to_owned()).or_default() += self.failed;
        }
        for (bound, count) in &self.durations {
            for _ in 0..*count {
                sample.latency.count(*bound);
            }
        }
    }
}

/// Returns an empty sample of a service's release.
pub fn empty(second: i64, service: &str, release: &str) -> Sample {
    Sample::empty(second, service, release, Source::Instance)
}

fn own_paths(service: &Service) -> Vec<&str> {
    let (probes, file) = (&service.file.probes, &service.file);
    let paths = [
        &probes.startup,
        &probes.readiness,
        &probes.liveness,
        &file.metrics,
        &file.log_marker,
    ];
    paths.into_iter().flatten().map(String::as_str).collect()
}

fn is_own(one: &Series, own: &[&str]) -> bool {
    let mut labels = ROUTES.iter().filter_map(|label| one.labels.get(*label));
    labels
        .next()
        .is_some_and(|route| own.contains(&route.as_str()))
}

fn is_failure(one: &Series) -> bool {
    let mut labels = STATUS.iter().filter_map(|label| one.labels.get(*label));
    let status = labels.next();
    status.is_some_and(|status| status.starts_with('5'))
}

/// Buckets hold all that took at most so long; each is told from the one below it. What took
/// longer than the last bound counts as twice that.
fn durations<'a>(buckets: impl Iterator<Item = &'a Series>) -> BTreeMap<u64, u64> {
    let mut all: BTreeMap<u64, u64> = BTreeMap::new();
    for one in buckets {
        let bound = one.labels.get("le").map(String::as_str);
        let bound = match bound.map(str::parse::<f64>) {
            Some(Ok(seconds)) if seconds.is_finite() => (seconds * 1e6).round() as u64,
            Some(Ok(_)) => u64::MAX,
            _ => continue,
        };
        *all.entry(bound).or_default() += whole(one.value);
    }
    let (mut below, mut last) = (0, 0);
    let mut apart = BTreeMap::new();
    for (bound, count) in all {
        let bound = if bound == u64::MAX { last * 2 } else { bound };
        *apart.entry(bound).or_default() += count.saturating_sub(below);
        (below, last) = (count, bound);
    }
    apart
}

fn whole(value: f64) -> u64 {
    if value.is_finite() && value > 0.0 {
        value.round() as u64
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use code_deploy_engine::Spec;

    use super::*;

    fn shop() -> Spec {
        let file =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/shop/deploy.yaml");
        Spec::load(&file, "dev", "k8s", &|_| None).unwrap()
    }

    fn text(answered: u64, failed: u64, probes: u64, quick: u64) -> String {
        let all = answered + failed;
        format!(
            "# TYPE http_requests_total counter\n\
             http_requests_total{{route=\"/\",status=\"200\"}} {answered}\n\
             http_requests_total{{route=\"/\",status=\"503\"}} {failed}\n\
             http_requests_total{{route=\"/readyz\",status=\"200\"}} {probes}\n\
             # TYPE http_request_duration_seconds histogram\n\
             http_request_duration_seconds_bucket{{route=\"/\",le=\"0.005\"}} {quick}\n\
             http_request_duration_seconds_bucket{{route=\"/\",le=\"0.1\"}} {all}\n\
             http_request_duration_seconds_bucket{{route=\"/\",le=\"+Inf\"}} {all}\n\
             http_request_duration_seconds_bucket{{route=\"/readyz\",le=\"+Inf\"}} {probes}\n"
        )
    }

    #[test]
    fn what_users_asked_is_counted_and_what_probes_ask_is_not() {
        let spec = shop();
        let service = spec.service("catalog").unwrap();
        let before = Counted::read(&text(10, 1, 500, 8), service).unwrap();
        let now = Counted::read(&text(110, 3, 600, 98), service).unwrap();
        let mut sample = empty(0, "catalog", "1.1.0");
        now.since(&before).add_to(&mut sample);
        assert_eq!((sample.count, sample.failed()), (102, 2));
        assert_eq!(sample.latency.len(), 102);
        assert_eq!(sample.latency.longer_than_us(6_000), 12);
    }

    #[test]
    fn a_process_that_was_started_again_counts_from_nothing() {
        let spec = shop();
        let service = spec.service("catalog").unwrap();
        let before = Counted::read(&text(1000, 0, 0, 1000), service).unwrap();
        let now = Counted::read(&text(7, 0, 0, 7), service).unwrap();
        assert_eq!(now.since(&before), now);
    }

    #[test]
    fn an_instance_that_counts_nothing_is_told() {
        let spec = shop();
        let service = spec.service("catalog").unwrap();
        assert!(Counted::read("up 1\n", service).is_err());
    }
}
