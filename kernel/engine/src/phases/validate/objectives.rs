//! Objectives and baseline: what was measured against what was promised and what was replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use code_deploy_record::{
    Basis, Error, GateCheck, Latency, Release, Sample, SampleReader, Verdict,
};

use crate::Context;
use crate::confidence::{Sampled, Shows};
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
            ..Sums::default()
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

/// What was measured of one promise of an objective.
struct Figure {
    text: String,
    holds: bool,
    /// How much of what is allowed it is, as a part and the whole.
    used: [f64; 2],
    /// The requests with those that missed it, and the share that may. Nothing for what is no share.
    share: Option<(Sampled, f64)>,
}

/// Holds what was measured at an objective's service against it.
///
/// A check passes by what was measured. Where so few requests do not exclude that the objective is missed, it says so
/// beside ([`GateCheck::unshown`]): no run goes back or stops because a sample is small.
pub(super) fn against(objective: &Objective, measure: Option<&Measure>) -> Vec<GateCheck> {
    let measure = measure.filter(|measure| measure.count > 0);
    let mut checks = Vec::new();
    if let Some(share) = objective.availability {
        let figure = measure.map(|measure| available(measure, share));
        let limit = format!("at least {share} %");
        checks.push(check(objective.check("availability"), figure, limit));
    }
    if let Some(latency) = &objective.latency {
        let below = latency.below.get();
        let figure = measure.and_then(|measure| fast(measure, latency.percent, below));
        let limit = format!("at most {} ms", below.as_secs_f64() * 1000.0);
        let name = objective.check(&format!("p{}", latency.percent));
        checks.push(check(name, figure, limit));
    }
    if let Some(rate) = objective.throughput {
        let measured = measure.and_then(|measure| measure.throughput);
        let figure = measured.map(|measured| Figure {
            text: format!("{measured:.1} a second"),
            holds: measured >= rate,
            used: [rate, measured],
            share: None,
        });
        let limit = format!("at least {rate} a second");
        checks.push(check(objective.check("throughput"), figure, limit));
    }
    checks
}

fn check(name: String, figure: Option<Figure>, limit: String) -> GateCheck {
    let check = |measured: String, passed, unshown| GateCheck {
        name,
        measured,
        limit,
        passed,
        used: None,
        unshown,
    };
    let Some(figure) = figure else {
        return check(GateCheck::NOT_MEASURED.to_owned(), false, None);
    };
    let share = figure.share.filter(|_| figure.holds);
    let unshown = share.and_then(|(sampled, allowed)| sampled.unshown(allowed));
    let [part, whole] = figure.used;
    check(figure.text, figure.holds, unshown).with_used(part, whole)
}

/// Returns the share of good answers, with what the requests say of it beyond themselves.
fn available(measure: &Measure, promised: f64) -> Figure {
    let (good, allowed) = (100.0 - measure.failed_percent(), (100.0 - promised) / 100.0);
    let sampled = Sampled {
        all: measure.count,
        missed: measure.failed,
    };
    let holds = good >= promised;
    let says = match holds {
        true => {
            let bound = 100.0 - sampled.at_most_missed() * 100.0;
            format!("with 95 % confidence at least {:.3} %", down(bound))
        }
        false => {
            let bound = 100.0 - sampled.at_least_missed() * 100.0;
            let few = few(sampled, allowed, &format!("{promised} % is kept"));
            let few = few.map_or_else(String::new, |few| format!(", {few}"));
            format!("with 95 % confidence at most {:.3} %{few}", up(bound))
        }
    };
    Figure {
        text: format!("{good:.3} % of {} ({says})", measure.count),
        holds,
        used: [100.0 - good, 100.0 - promised],
        share: Some((sampled, allowed)),
    }
}

/// Returns a lower bound in the thousandths that are told, of which none is more than was shown.
fn down(bound: f64) -> f64 {
    (bound * 1000.0).floor() / 1000.0
}

/// Returns an upper bound in the thousandths that are told, of which none is less than was shown.
fn up(bound: f64) -> f64 {
    (bound * 1000.0).ceil() / 1000.0
}

/// Says of a promise that was measured to be missed that so few requests do not exclude that it is kept, where they do
/// not.
fn few(sampled: Sampled, allowed: f64, kept: &str) -> Option<String> {
    (sampled.shows(allowed) != Shows::Missed)
        .then(|| format!("so few requests do not exclude that {kept}"))
}

/// Returns the latency below which the share of good answers lies that was promised.
fn fast(measure: &Measure, percent: f64, below: Duration) -> Option<Figure> {
    let (ms, most) = (
        measure.quantile_ms(percent / 100.0)?,
        below.as_secs_f64() * 1000.0,
    );
    let us = u64::try_from(below.as_micros()).unwrap_or(u64::MAX);
    let sampled = Sampled {
        all: measure.latency.len(),
        missed: measure.latency.longer_than_us(us),
    };
    let (holds, allowed) = (ms <= most, (100.0 - percent) / 100.0);
    let few = match holds {
        true => None,
        false => few(sampled, allowed, &format!("{percent} % are as fast")),
    };
    let few = few.map_or_else(String::new, |few| format!(" ({few})"));
    Some(Figure {
        text: format!("{ms:.1} ms{few}"),
        holds,
        used: [ms, most],
        share: Some((sampled, allowed)),
    })
}

/// Returns what becomes of the item on objectives: one that was missed fails it, whatever the others are; one that
/// was not measured, or by too few requests to show it, leaves it open.
pub(super) fn verdict(objectives: &[GateCheck]) -> (Verdict, String) {
    let missed = |check: &GateCheck| !check.passed && check.is_measured();
    let verdict = if objectives.iter().any(missed) {
        Verdict::Failed
    } else if objectives.iter().all(GateCheck::is_met) {
        let basis = Basis::Observed;
        Verdict::Met { basis }
    } else {
        Verdict::Open
    };
    let figure = |check: &GateCheck| {
        let shown = check.unshown.map(|unshown| format!(", {unshown}"));
        format!(
            "{}: {} ({}){}",
            check.name,
            check.measured,
            check.limit,
            shown.unwrap_or_default()
        )
    };
    let figures = |told: &dyn Fn(&GateCheck) -> bool| {
        let told = objectives.iter().filter(|check| told(check));
        told.map(figure).collect::<Vec<_>>().join("; ")
    };
    let (all, held) = (
        objectives.len(),
        objectives.iter().filter(|check| check.passed).count(),
    );
    // Where some do not hold or are not shown, those are what a reader asks for; the others stand in the report.
    let reason = if held < all {
        format!(
            "{held} of {all} hold; not: {}",
            figures(&|check| !check.passed)
        )
    } else if matches!(verdict, Verdict::Open) {
        format!(
            "{all} of {all} hold by what was measured, which is too little to show: {}",
            figures(&|check| check.unshown.is_some())
        )
    } else {
        format!(
            "{all} of {all} hold by what was measured: {}",
            figures(&|_| true)
        )
    };
    (verdict, reason)
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

    /// Returns the check of an availability of 99.9 %.
    fn available(failed: u64, count: u64) -> GateCheck {
        let objective: Objective = serde_json::from_value(serde_json::json!({
            "name": "shop is available", "service": "web", "availability": 99.9 }))
        .unwrap();
        let measure = measure(count, failed, 5_000);
        against(&objective, Some(&measure)).pop().unwrap()
    }

    #[test]
    fn an_objective_that_few_requests_met_is_neither_met_nor_missed() {
        let check = available(0, 500);
        assert!(check.passed);
        assert_eq!(
            check.standing(),
            "not shown by 500 requests; 2995 without a further miss would do"
        );
        assert_eq!(
            check.measured,
            "100.000 % of 500 (with 95 % confidence at least 99.402 %)"
        );
    }

    #[test]
    fn an_objective_that_enough_requests_met_is_met() {
        let check = available(0, 3_000);
        assert_eq!((check.passed, check.standing().as_str()), (true, "met"));
        assert_eq!(
            check.measured,
            "100.000 % of 3000 (with 95 % confidence at least 99.900 %)"
        );
    }

    #[test]
    fn an_objective_that_was_measured_to_be_missed_is_not_met_by_however_few_requests() {
        let check = available(9, 2_038);
        assert_eq!(
            (check.passed, check.standing().as_str()),
            (false, "not met")
        );
        assert_eq!(
            check.measured,
            "99.558 % of 2038 (with 95 % confidence at most 99.770 %)"
        );
        let check = available(2, 1_000);
        assert_eq!((check.passed, check.unshown), (false, None));
        assert!(
            check
                .measured
                .ends_with("so few requests do not exclude that 99.9 % is kept)"),
            "{}",
            check.measured
        );
    }

    #[test]
    fn a_quantile_is_shown_by_the_answers_that_were_in_time() {
        let objective: Objective = serde_json::from_value(serde_json::json!({
            "name": "fast", "service": "web", "latency": { "percent": 99, "below": "10ms" } }))
        .unwrap();
        let standing = |count| {
            let measure = measure(count, 0, 5_000);
            against(&objective, Some(&measure))
                .pop()
                .unwrap()
                .standing()
        };
        assert_eq!(
            standing(200),
            "not shown by 200 requests; 299 without a further miss would do"
        );
        assert_eq!(standing(299), "met");
    }

    #[test]
    fn a_quantile_that_few_answers_missed_says_that_they_do_not_exclude_it() {
        let objective: Objective = serde_json::from_value(serde_json::json!({
            "name": "fast", "service": "web", "latency": { "percent": 99, "below": "10ms" } }))
        .unwrap();
        let measured = |slow: u64| {
            let mut latency = Latency::new();
            (0..100 - slow).for_each(|_| latency.count(5_000));
            (0..slow).for_each(|_| latency.count(20_000));
            let measure = Measure {
                count: 100,
                failed: 0,
                latency,
                throughput: None,
            };
            against(&objective, Some(&measure)).pop().unwrap()
        };
        let few = measured(2);
        assert!(!few.passed);
        let words = " ms (so few requests do not exclude that 99 % are as fast)";
        assert!(few.measured.ends_with(words), "{}", few.measured);
        let many = measured(6);
        assert!(!many.passed);
        assert!(many.measured.ends_with(" ms"), "{}", many.measured);
    }

    #[test]
    fn a_bound_is_told_as_no_better_than_it_was_shown() {
        let check = available(0, 2_994);
        assert!(check.unshown.is_some());
        assert!(
            check.measured.ends_with("at least 99.899 %)"),
            "{}",
            check.measured
        );
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

    fn judged(checks: &[GateCheck]) -> (&'static str, String) {
        let (verdict, reason) = verdict(checks);
        (verdict.word(), reason)
    }

    fn not_measured() -> GateCheck {
        check("search".to_owned(), None, "at least 99.9 %".to_owned())
    }

    #[test]
    fn objectives_that_few_requests_met_leave_their_item_open() {
        let (met, few) = (available(0, 3_000), available(0, 500));
        assert_eq!(judged(std::slice::from_ref(&met)).0, "met");
        let (word, reason) = judged(&[met.clone(), few]);
        assert_eq!(word, "open");
        assert_eq!(
            reason,
            "2 of 2 hold by what was measured, which is too little to show: shop is available (availability): 100.000 % \
             of 500 (with 95 % confidence at least 99.402 %) (at least 99.9 %), not shown by 500 requests; 2995 without a \
             further miss would do"
        );
        assert_eq!(judged(&[met, not_measured()]).0, "open");
    }

    #[test]
    fn an_objective_that_was_missed_fails_the_item_whatever_the_others_are() {
        let checks = [available(0, 500), available(9, 2_038), not_measured()];
        let (word, reason) = judged(&checks);
        assert_eq!(word, "failed");
        let begins = "1 of 3 hold; not: shop is available (availability): 99.558 % of 2038";
        assert!(reason.starts_with(begins), "{reason}");
    }
}
