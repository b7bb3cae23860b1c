//! Objectives and baseline: what was measured against what was promised and what was replaced.

use std::collections::{BTreeMap, BTreeSet};

use code_deploy_record::{Error, GateCheck, Latency, Release, Sample, SampleReader};

use crate::Context;
use crate::gate::judge;
use crate::gate::window::Sums;
use crate::section::defect;
use crate::spec::{AnalysisPolicy, Objective};
use crate::step::StepError;

/// What was measured of one release of one service.
#[derive(Debug, Clone, Default)]
pub(super) struct Measure {
    pub count: u64,
    pub failed: u64,
    pub latency: Latency,
    /// Good answers a second, where it was driven to a rate.
    pub throughput: Option<f64>,
}

impl Measure {
    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.failed += other.failed;
        self.latency.add(&other.latency);
    }

    fn sums(&self) -> Sums {
        Sums {
            count: self.count,
            failed: self.failed,
            latency: self.latency.clone(),
        }
    }

    fn failed_percent(&self) -> f64 {
        self.failed as f64 * 100.0 / (self.count.max(1)) as f64
    }

    fn quantile_ms(&self, share: f64) -> Option<f64> {
        self.latency.quantile_us(share).map(|us| us as f64 / 1000.0)
    }
}

/// The new and the replaced release of a service in the seconds in which both served.
#[derive(Debug, Clone, Default)]
pub(super) struct Pair {
    pub new: Measure,
    pub old: Measure,
    pub seconds: u64,
}

/// What the router saw: of the new release over the whole run, and of both while both served.
#[derive(Debug, Clone, Default)]
pub(super) struct Routed {
    pub all: BTreeMap<String, Measure>,
    pub pairs: BTreeMap<String, Pair>,
}

/// Reads the samples of this run that releases are judged by.
pub(super) async fn routed(context: &Context) -> Result<Routed, StepError> {
    let (folder, new, old) = (
        context.run.samples_path(),
        context.to.clone(),
        context.from.clone(),
    );
    let source = context.target.counted_by();
    let read = tokio::task::spawn_blocking(move || {
        let side = |sample: &Sample| {
            let is = |release: &Release| sample.release == release.as_str();
            match (is(&new), old.as_ref().is_some_and(is)) {
                (true, _) => Some(Side::New),
                (_, true) => Some(Side::Old),
                _ => None,
            }
        };
        let read = || SampleReader::open_folder(&folder, source.word());
        let shared = shared(read()?, side)?;
        sum(read()?, side, &shared)
    });
    let cut = |error| defect(format!("reading the samples was cut off: {error}"));
    Ok(read.await.map_err(cut)??)
}

/// Which of the two releases a sample is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    New,
    Old,
}

/// The seconds, by service, in which both releases were asked.
type Shared = BTreeMap<String, BTreeSet<i64>>;

fn shared(
    samples: impl Iterator<Item = Result<Sample, Error>>,
    side: impl Fn(&Sample) -> Option<Side>,
) -> Result<Shared, Error> {
    let mut served: BTreeMap<(String, Side), BTreeSet<i64>> = BTreeMap::new();
    for sample in samples {
        let sample = sample?;
        if let Some(side) = side(&sample).filter(|_| sample.count > 0) {
            let seconds = served.entry((sample.service, side)).or_default();
            seconds.insert(sample.second);
        }
    }
    let of_new = served.iter().filter(|((_, side), _)| *side == Side::New);
    let pairs = of_new.filter_map(|((service, _), new)| {
        let old = served.get(&(service.clone(), Side::Old))?;
        Some((service.clone(), new.intersection(old).copied().collect()))
    });
    Ok(pairs.collect())
}

/// Adds up sample by sample: a histogram for each release of a service, however long the run.
fn sum(
    samples: impl Iterator<Item = Result<Sample, Error>>,
    side: impl Fn(&Sample) -> Option<Side>,
    shared: &Shared,
) -> Result<Routed, Error> {
    let mut routed = Routed::default();
    for sample in samples {
        let sample = sample?;
        let Some(side) = side(&sample) else { continue };
        let measure = Measure {
            count: sample.count,
            failed: sample.failed(),
            latency: sample.latency,
            throughput: None,
        };
        let both = shared
            .get(&sample.service)
            .filter(|seconds| seconds.contains(&sample.second));
        if let Some(seconds) = both {
            let pair = routed.pairs.entry(sample.service.clone()).or_default();
            pair.seconds = seconds.len() as u64;
            match side {
                Side::New => pair.new.add(&measure),
                Side::Old => pair.old.add(&measure),
            }
        }
        if side == Side::New {
            routed.all.entry(sample.service).or_default().add(&measure);
        }
    }
    Ok(routed)
}

/// Holds what was measured at an objective's service against it.
pub(super) fn against(objective: &Objective, measure: Option<&Measure>) -> Vec<GateCheck> {
    let mut checks = Vec::new();
    // What was measured, whether that holds, and how much of what is allowed it is.
    let mut add = |what: &str, measured: Option<(String, bool, [f64; 2])>, limit: String| {
        let name = objective.check(what);
        let nothing = || ("none".to_owned(), false, [0.0; 2]);
        let (measured, passed, [part, whole]) = measured.unwrap_or_else(nothing);
        let check = GateCheck {
            name,
            measured,
            limit,
            passed,
            used: None,
        };
        checks.push(check.with_used(part, whole));
    };
    let measure = measure.filter(|measure| measure.count > 0);
    if let Some(availability) = objective.availability {
        let measured = measure.map(|measure| {
            let good = 100.0 - measure.failed_percent();
            let (low, high) = interval(measure.count - measure.failed, measure.count);
            let holds = good >= availability;
            // What was promised is judged by what was measured; how much that says is told beside.
            let few = if holds && low < availability {
                format!("; too few requests to exclude less than {availability} %")
            } else {
                String::new()
            };
            let text = format!(
                "{good:.3} % of {} (95 % confidence: {low:.3} to {high:.3} %{few})",
                measure.count
            );
            (text, holds, [100.0 - good, 100.0 - availability])
        });
        add(
            "availability",
            measured,
            format!("at least {availability} %"),
        );
    }
    if let Some(latency) = &objective.latency {
        let below = latency.below.get().as_secs_f64() * 1000.0;
        let measured = measure.and_then(|measure| measure.quantile_ms(latency.percent / 100.0));
        let measured = measured.map(|ms| (format!("{ms:.1} ms"), ms <= below, [ms, below]));
        add(
            &format!("p{}", latency.percent),
            measured,
            format!("at most {below} ms"),
        );
    }
    if let Some(throughput) = objective.throughput {
        let measured = measure.and_then(|measure| measure.throughput);
        let told = |rate: f64| format!("{rate:.1} a second");
        let measured = measured.map(|rate| (told(rate), rate >= throughput, [throughput, rate]));
        add(
            "throughput",
            measured,
            format!("at least {throughput} a second"),
        );
    }
    checks
}

/// Returns the bounds, in percent, of the 95 % confidence interval of a share of `good` in `all`
/// independent requests: the score interval (E. B. Wilson, *Probable inference, the law of
/// succession, and statistical inference*, JASA 22, 1927), which holds also near 100 %.
fn interval(good: u64, all: u64) -> (f64, f64) {
    /// The 97.5 % quantile of the normal distribution.
    const Z: f64 = 1.959_964;
    let (n, share) = (all.max(1) as f64, good as f64 / all.max(1) as f64);
    let scale = 1.0 + Z * Z / n;
    let middle = (share + Z * Z / (2.0 * n)) / scale;
    let half = Z / scale * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let percent = |bound: f64| (bound * 100.0).clamp(0.0, 100.0);
    (percent(middle - half), percent(middle + half))
}

/// The least number of seconds in which both releases were asked that says anything: in one, what
/// the machine did beside decides.
const SHARED: u64 = 5;

/// Holds the new release against the one it replaces; nothing where too little was measured.
pub(super) fn compare(service: &str, pair: &Pair, rule: &AnalysisPolicy) -> Vec<GateCheck> {
    let few = pair.new.count.min(pair.old.count) < rule.min_requests;
    if few || pair.seconds < SHARED {
        return Vec::new();
    }
    let (new, old) = (pair.new.sums(), pair.old.sums());
    let mut checks = judge::compare(service, &new, &old, rule);
    for check in &mut checks {
        check.name.push_str(" while both served");
    }
    checks
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
    use code_deploy_record::Source;

    use super::*;

    fn measure(count: u64, failed: u64, us: u64) -> Measure {
        let mut latency = Latency::new();
        (0..count - failed).for_each(|_| latency.count(us));
        Measure {
            count,
            failed,
            latency,
            throughput: Some(99.0),
        }
    }

    #[test]
    fn an_objective_holds_only_when_it_was_measured_and_reached() {
        let objective: Objective = serde_json::from_value(serde_json::json!({
            "name": "fast", "service": "web", "availability": 99.0,
            "latency": { "percent": 99, "below": "10ms" }, "throughput": 100 }))
        .unwrap();
        let passed = |measure: Option<&Measure>| {
            against(&objective, measure)
                .iter()
                .map(|check| check.passed)
                .collect::<Vec<_>>()
        };
        assert_eq!(passed(Some(&measure(100, 1, 5_000))), [true, true, false]);
        assert_eq!(
            passed(Some(&measure(100, 2, 15_000))),
            [false, false, false]
        );
        assert_eq!(passed(None), [false; 3]);
    }

    #[test]
    fn confidence_is_that_of_the_score_interval() {
        let near = |(low, high): (f64, f64), expected: (f64, f64)| {
            assert!((low - expected.0).abs() < 0.001, "{low}");
            assert!((high - expected.1).abs() < 0.001, "{high}");
        };
        near(interval(1_000, 1_000), (99.617, 100.0));
        near(interval(90, 100), (82.563, 94.477));
        near(interval(0, 10), (0.0, 27.753));
    }

    fn sample(second: i64, release: &str, count: u64, us: u64) -> Sample {
        let mut sample = Sample::empty(second, "web", release, Source::Router);
        sample.count = count;
        (0..count).for_each(|_| sample.latency.count(us));
        sample
    }

    fn added(samples: &[Sample]) -> Routed {
        let side = |sample: &Sample| match sample.release.as_str() {
            "2" => Some(Side::New),
            "1" => Some(Side::Old),
            _ => None,
        };
        let read = || samples.iter().cloned().map(Ok);
        sum(read(), side, &shared(read(), side).unwrap()).unwrap()
    }

    #[test]
    fn only_seconds_in_which_both_served_are_compared() {
        let routed = added(&[
            sample(1, "2", 10, 10),
            sample(2, "2", 10, 10),
            sample(2, "1", 20, 10),
            sample(2, "0", 7, 10),
            sample(3, "1", 5, 10),
        ]);
        assert_eq!(routed.all["web"].count, 20);
        let pair = &routed.pairs["web"];
        assert_eq!((pair.new.count, pair.old.count, pair.seconds), (10, 20, 1));
    }

    #[test]
    fn a_single_second_says_nothing_and_five_do() {
        let rule = AnalysisPolicy::default();
        let checks = |seconds: i64, slow: u64| {
            let both = |second| {
                [
                    sample(second, "1", 99, 5_000),
                    sample(second, "2", 99, slow),
                ]
            };
            let routed = added(&(1..=seconds).flat_map(both).collect::<Vec<_>>());
            compare("web", &routed.pairs["web"], &rule)
        };
        assert_eq!(checks(1, 900_000), []);
        assert!(checks(5, 5_000).iter().all(|check| check.passed));
        assert!(!checks(5, 900_000).iter().all(|check| check.passed));
    }
}
