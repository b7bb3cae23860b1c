//! Objectives and baseline: what was measured against what was promised and what was replaced.

use std::collections::BTreeMap;

use code_deploy_record::{GateCheck, Latency, Release, SampleReader, Source};

use crate::Context;
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

/// Reads the router's samples of this run.
pub(super) async fn routed(context: &Context) -> Result<Routed, StepError> {
    let (folder, new, old) = (
        context.run.samples_path(),
        context.to.clone(),
        context.from.clone(),
    );
    let read = tokio::task::spawn_blocking(move || {
        let samples = SampleReader::open_folder(&folder, Source::Router.word())?;
        let mut seconds: BTreeMap<(String, i64), [Measure; 2]> = BTreeMap::new();
        for sample in samples {
            let sample = sample?;
            let is = |release: &Release| sample.release == release.as_str();
            let place = match (is(&new), old.as_ref().is_some_and(is)) {
                (true, _) => 0,
                (_, true) => 1,
                _ => continue,
            };
            let measure = Measure {
                count: sample.count,
                failed: sample.failed(),
                latency: sample.latency,
                throughput: None,
            };
            let second = seconds.entry((sample.service, sample.second)).or_default();
            if let Some(own) = second.get_mut(place) {
                own.add(&measure);
            }
        }
        Ok::<_, code_deploy_record::Error>(sum(seconds))
    });
    let cut = |error| defect(format!("reading the samples was cut off: {error}"));
    Ok(read.await.map_err(cut)??)
}

fn sum(seconds: BTreeMap<(String, i64), [Measure; 2]>) -> Routed {
    let mut routed = Routed::default();
    for ((service, _), [new, old]) in seconds {
        routed.all.entry(service.clone()).or_default().add(&new);
        if new.count > 0 && old.count > 0 {
            let pair = routed.pairs.entry(service).or_default();
            pair.new.add(&new);
            pair.old.add(&old);
            pair.seconds += 1;
        }
    }
    routed
}

/// Holds what was measured at an objective's service against it.
pub(super) fn against(objective: &Objective, measure: Option<&Measure>) -> Vec<GateCheck> {
    let mut checks = Vec::new();
    let mut add = |what: &str, measured: Option<(String, bool)>, limit: String| {
        let name = format!("{} ({what})", objective.name);
        let (measured, passed) = measured.unwrap_or_else(|| ("none".to_owned(), false));
        checks.push(GateCheck {
            name,
            measured,
            limit,
            passed,
        });
    };
    let measure = measure.filter(|measure| measure.count > 0);
    if let Some(availability) = objective.availability {
        let measured = measure.map(|measure| {
            let good = 100.0 - measure.failed_percent();
            (
                format!("{good:.3} % of {}", measure.count),
                good >= availability,
            )
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
        let measured = measured.map(|ms| (format!("{ms:.1} ms"), ms <= below));
        add(
            &format!("p{}", latency.percent),
            measured,
            format!("at most {below} ms"),
        );
    }
    if let Some(throughput) = objective.throughput {
        let measured = measure.and_then(|measure| measure.throughput);
        let measured = measured.map(|rate| (format!("{rate:.1} a second"), rate >= throughput));
        add(
            "throughput",
            measured,
            format!("at least {throughput} a second"),
        );
    }
    checks
}

/// Holds the new release against the one it replaces; nothing where too little was measured.
pub(super) fn compare(service: &str, pair: &Pair, rule: &AnalysisPolicy) -> Vec<GateCheck> {
    if pair.new.count.min(pair.old.count) < rule.min_requests {
        return Vec::new();
    }
    let (new, old) = (pair.new.failed_percent(), pair.old.failed_percent());
    let mut checks = vec![GateCheck {
        name: format!("{service}: failed requests"),
        measured: format!("{new:.3} % of {}", pair.new.count),
        limit: format!("at most {:.3} %", old + rule.error_share_margin),
        passed: new <= old + rule.error_share_margin,
    }];
    let floor = rule.latency_floor.get().as_secs_f64() * 1000.0;
    for (word, share, ratio) in [("p50", 0.5, rule.p50_ratio), ("p99", 0.99, rule.p99_ratio)] {
        let (Some(new), Some(old)) = (pair.new.quantile_ms(share), pair.old.quantile_ms(share))
        else {
            continue;
        };
        let limit = (old * ratio).max(floor);
        checks.push(GateCheck {
            name: format!("{service}: {word}"),
            measured: format!("{new:.1} ms"),
            limit: format!("at most {limit:.1} ms ({old:.1} ms before)"),
            passed: new <= limit,
        });
    }
    checks
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
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
    fn only_seconds_in_which_both_served_are_compared() {
        let key = |second| ("web".to_owned(), second);
        let routed = sum(BTreeMap::from([
            (key(1), [measure(10, 0, 10), Measure::default()]),
            (key(2), [measure(10, 1, 10), measure(20, 0, 10)]),
        ]));
        assert_eq!(routed.all["web"].count, 20);
        let pair = &routed.pairs["web"];
        assert_eq!((pair.new.count, pair.old.count, pair.seconds), (10, 20, 1));
    }
}
