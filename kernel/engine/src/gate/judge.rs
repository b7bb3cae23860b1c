//! Judges of a new release against the stable one.

use code_deploy_record::GateCheck;

use super::window::{Sums, Window};
use crate::duration::milliseconds;
use crate::spec::AnalysisPolicy;

/// Decides from what was measured whether the new release may get more traffic.
pub trait Judge: Send + Sync {
    /// Returns the judge's name, as it stands in reports.
    fn name(&self) -> &'static str;

    /// Judges what was measured of the services named. `last` says whether the time to look is
    /// over: before, only evidence of harm counts; then, too little to say anything is a failure.
    fn judge(
        &self,
        services: &[String],
        window: &Window,
        policy: &AnalysisPolicy,
        last: bool,
    ) -> Vec<GateCheck>;
}

/// Compares the share of failed requests and two quantiles of latency with declared limits. A
/// quantile above its limit fails only when so many requests lie above it that chance does not
/// explain them: one request that the machine held up decides nothing. A share above its limit
/// fails at the end of the time to look, and before only when chance does not explain the
/// difference from the stable release: where both fail alike, because what both stand on does, few
/// requests decide nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits;

/// Failed requests below which a share says nothing before the time to look is over.
const FAILURES: u64 = 3;

/// The odds below which requests above a limit are not put down to chance. The gate looks once a
/// second, so it is smaller than the usual hundredth.
const CHANCE: f64 = 0.001;

impl Judge for Limits {
    fn name(&self) -> &'static str {
        "declared limits"
    }

    fn judge(
        &self,
        services: &[String],
        window: &Window,
        policy: &AnalysisPolicy,
        last: bool,
    ) -> Vec<GateCheck> {
        let mut checks = Vec::new();
        for service in services {
            let new = window.new.get(service).cloned().unwrap_or_default();
            let stable = window.stable.get(service).cloned().unwrap_or_default();
            if last {
                checks.push(enough(service, "new", &new, policy));
                checks.push(enough(service, "stable", &stable, policy));
            }
            checks.extend(errors(service, &new, &stable, policy, last));
            let enough_for_latency =
                new.count >= policy.min_requests && stable.count >= policy.min_requests;
            if enough_for_latency || last {
                checks.extend(latencies(service, &new, &stable, policy));
            }
        }
        checks
    }
}

/// Holds one release of a service against another, with all that was measured of both.
pub(crate) fn compare(
    service: &str,
    new: &Sums,
    stable: &Sums,
    policy: &AnalysisPolicy,
) -> Vec<GateCheck> {
    let errors = errors(service, new, stable, policy, true).into_iter();
    errors
        .chain(latencies(service, new, stable, policy))
        .collect()
}

fn latencies<'a>(
    service: &'a str,
    new: &'a Sums,
    stable: &'a Sums,
    policy: &'a AnalysisPolicy,
) -> impl Iterator<Item = GateCheck> + 'a {
    [(0.5, policy.p50_ratio), (0.99, policy.p99_ratio)]
        .into_iter()
        .map(move |(share, ratio)| latency(service, share, ratio, new, stable, policy))
}

fn enough(service: &str, which: &str, sums: &Sums, policy: &AnalysisPolicy) -> GateCheck {
    GateCheck {
        name: format!("{service}: requests of the {which} release"),
        measured: sums.count.to_string(),
        limit: format!("at least {}", policy.min_requests),
        passed: sums.count >= policy.min_requests,
        used: None,
        unshown: None,
    }
    .with_used(policy.min_requests as f64, sums.count as f64)
}

fn errors(
    service: &str,
    new: &Sums,
    stable: &Sums,
    policy: &AnalysisPolicy,
    last: bool,
) -> Option<GateCheck> {
    if !last && new.failed < FAILURES {
        return None;
    }
    let name = format!("{service}: failed requests of the new release");
    let Some(share) = new.failed_percent() else {
        let limit = "some requests".to_owned();
        return Some(GateCheck {
            name,
            measured: GateCheck::NOT_MEASURED.to_owned(),
            limit,
            passed: false,
            used: None,
            unshown: None,
        });
    };
    let base = stable.failed_percent().unwrap_or(0.0);
    let most = base + policy.error_share_margin;
    let measured = format!("{share:.2} % ({} of {})", new.failed, new.count);
    let limit = format!("at most {most:.2} % (stable {base:.2} %)");
    if last || share <= most {
        let check = GateCheck {
            name,
            measured,
            limit,
            passed: share <= most,
            used: None,
            unshown: None,
        };
        return Some(check.with_used(share, most));
    }
    let chance = as_many_failures(new, stable, policy);
    let check = GateCheck {
        name,
        measured: format!("{measured}, by chance with odds {}", odds(chance)),
        limit: format!(
            "{limit}; before the soak's end also as many as chance explains with odds of at least {}",
            odds(CHANCE)
        ),
        passed: chance >= CHANCE,
        used: None,
        unshown: None,
    };
    Some(check.with_used(share, most))
}

/// Returns the chance of as many failures of the new release if it fails like the stable one. Where
/// that had too few requests to be compared with, and none of them failed, it is that of a release
/// which fails as much as the policy allows, if that is smaller.
fn as_many_failures(new: &Sums, stable: &Sums, policy: &AnalysisPolicy) -> f64 {
    let alike = at_least_of_both((new.failed, new.count), (stable.failed, stable.count));
    if stable.failed > 0 || stable.count >= policy.min_requests {
        return alike;
    }
    let allowed = policy.error_share_margin / 100.0;
    alike.min(at_least(new.failed, new.count, allowed))
}

/// Returns microseconds as milliseconds with their unit.
fn in_ms(us: f64) -> String {
    format!("{} ms", milliseconds(us))
}

fn latency(
    service: &str,
    share: f64,
    ratio: f64,
    new: &Sums,
    stable: &Sums,
    policy: &AnalysisPolicy,
) -> GateCheck {
    let name = format!(
        "{service}: p{:.0} latency of the new release",
        share * 100.0
    );
    let (Some(new_us), Some(stable_us)) = (
        new.latency.quantile_us(share),
        stable.latency.quantile_us(share),
    ) else {
        let limit = "answers of both releases".to_owned();
        return GateCheck {
            name,
            measured: GateCheck::NOT_MEASURED.to_owned(),
            limit,
            passed: false,
            used: None,
            unshown: None,
        };
    };
    let floor = u64::try_from(policy.latency_floor.get().as_micros()).unwrap_or(u64::MAX);
    let most_us = (stable_us as f64 * ratio).max(floor as f64) as u64;
    let by_ratio = stable_us as f64 * ratio;
    let why = match by_ratio < floor as f64 {
        true => format!(
            "the policy's floor; {ratio} times stable is {}",
            in_ms(by_ratio)
        ),
        false => format!("{ratio} times stable {}", in_ms(stable_us as f64)),
    };
    let limit = format!("at most {} ({why})", in_ms(most_us as f64));
    let times = new_us as f64 / stable_us.max(1) as f64;
    let measured = format!(
        "{}, {times:.1} times stable {}",
        in_ms(new_us as f64),
        in_ms(stable_us as f64)
    );
    if new_us <= most_us {
        return GateCheck {
            name,
            measured,
            limit,
            passed: true,
            used: None,
            unshown: None,
        }
        .with_used(new_us as f64, most_us as f64);
    }
    let (longer, all) = (new.latency.longer_than_us(most_us), new.latency.len());
    let chance = at_least(longer, all, 1.0 - share);
    GateCheck {
        name,
        measured: format!(
            "{measured} ({longer} of {all} above the limit; if the p{:.0} were at the limit, the odds \
             would be {})",
            share * 100.0,
            odds(chance)
        ),
        limit: format!("{limit}, or odds of at least {}", odds(CHANCE)),
        passed: chance >= CHANCE,
        used: None,
        unshown: None,
    }
    .with_used(new_us as f64, most_us as f64)
}

fn odds(chance: f64) -> String {
    if chance < 0.001 {
        "below 0.1 %".to_owned()
    } else {
        format!("{:.1} %", chance * 100.0)
    }
}

/// Returns the chance of at least `hits` hits in `trials` independent trials, each with the given
/// chance between 0 and 1: the upper tail of the binomial distribution, summed from its logarithms.
///
/// With it, a quantile is tested exactly, whatever the distribution of latencies (W. J. Conover,
/// *Practical Nonparametric Statistics*, 3rd edition, section 3.2, the quantile test).
pub(crate) fn at_least(hits: u64, trials: u64, chance: f64) -> f64 {
    let ratio = (chance / (1.0 - chance)).ln();
    let mut term = trials as f64 * (1.0 - chance).ln();
    let mut below = 0.0;
    for hit in 0..hits.min(trials + 1) {
        below += term.exp();
        term += ((trials - hit) as f64 / (hit + 1) as f64).ln() + ratio;
    }
    (1.0 - below).clamp(0.0, 1.0)
}

/// Returns the chance that so many of the hits of two samples, each given as hits and trials, are among
/// those of the first, if one chance rules both: the upper tail of the hypergeometric distribution,
/// added up in shares of what was seen.
///
/// It is R. A. Fisher's exact test (*Statistical Methods for Research Workers*, 5th edition, section
/// 21.02), one-sided.
fn at_least_of_both((hits, trials): (u64, u64), (other_hits, other_trials): (u64, u64)) -> f64 {
    let (all_hits, other_misses) = (hits + other_hits, other_trials - other_hits);
    // How much likelier one hit more is in the first sample, where it has `hits` now.
    let more = |hits: u64| {
        let (others, misses) = (all_hits - hits, trials - hits);
        let back = other_trials - others + 1;
        (others as f64 * misses as f64) / ((hits + 1) as f64 * back as f64)
    };
    let mut above = 1.0;
    let mut term = 1.0;
    for hits in hits..all_hits.min(trials) {
        term *= more(hits);
        above += term;
    }
    let mut below = 0.0;
    term = 1.0;
    for hits in (hits.saturating_sub(other_misses)..hits).rev() {
        term /= more(hits);
        below += term;
    }
    1.0 / (1.0 + below / above)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn sums(count: u64, failed: u64, latency_us: u64) -> Sums {
        let mut sums = Sums {
            count,
            failed,
            ..Sums::default()
        };
        for _ in 0..count {
            sums.latency.count(latency_us);
        }
        sums
    }

    fn passes(new: Sums, stable: Sums, last: bool) -> bool {
        let mut window = Window::default();
        window.new.insert("shop".to_owned(), new);
        window.stable.insert("shop".to_owned(), stable);
        let policy = AnalysisPolicy::default();
        let checks = Limits.judge(&["shop".to_owned()], &window, &policy, last);
        checks.iter().all(|check| check.passed)
    }

    #[test]
    fn equal_releases_pass() {
        assert!(passes(sums(100, 0, 5_000), sums(900, 0, 5_000), true));
    }

    #[test]
    fn no_data_is_a_failure_at_the_end_and_no_harm_before() {
        assert!(passes(Sums::default(), sums(900, 0, 5_000), false));
        assert!(!passes(Sums::default(), sums(900, 0, 5_000), true));
        assert!(!passes(sums(100, 0, 5_000), Sums::default(), true));
    }

    #[test]
    fn failures_above_the_margin_are_harm_at_once() {
        assert!(!passes(sums(20, 3, 5_000), sums(900, 0, 5_000), false));
        assert!(passes(sums(1000, 3, 5_000), sums(900, 0, 5_000), false));
        assert!(!passes(sums(3, 3, 5_000), Sums::default(), false));
        assert!(!passes(sums(9, 9, 5_000), sums(1, 0, 5_000), false));
    }

    #[test]
    fn where_both_releases_fail_few_requests_are_no_evidence_before_the_end() {
        assert!(passes(sums(5, 3, 5_000), sums(6, 1, 5_000), false));
        assert!(!passes(sums(5, 3, 5_000), sums(6, 1, 5_000), true));
        assert!(!passes(sums(50, 30, 5_000), sums(60, 10, 5_000), false));
    }

    #[test]
    fn latency_beyond_the_ratio_fails_but_not_below_the_floor() {
        assert!(!passes(sums(100, 0, 60_000), sums(900, 0, 20_000), true));
        assert!(passes(sums(100, 0, 15_000), sums(900, 0, 2_000), true));
    }

    fn with_slow(count: u64, slow: u64) -> Sums {
        let mut sums = sums(count, 0, 5_000);
        for _ in 0..slow {
            sums.latency.count(800_000);
        }
        sums.count += slow;
        sums
    }

    #[test]
    fn one_request_that_was_held_up_is_no_evidence_of_a_slow_release() {
        for last in [false, true] {
            assert!(passes(with_slow(49, 1), sums(900, 0, 5_000), last));
            assert!(passes(with_slow(199, 4), sums(900, 0, 5_000), last));
        }
    }

    #[test]
    fn a_slow_tail_is_found_in_few_requests() {
        for last in [false, true] {
            assert!(!passes(with_slow(46, 5), sums(900, 0, 5_000), last));
            assert!(!passes(with_slow(1900, 40), sums(9000, 0, 5_000), last));
        }
    }

    #[test]
    fn odds_are_those_of_the_binomial_distribution() {
        let near = |odds: f64, expected: f64| assert!((odds - expected).abs() < 1e-4, "{odds}");
        near(at_least(0, 20, 0.01), 1.0);
        near(at_least(1, 20, 0.01), 0.18209);
        near(at_least(3, 20, 0.01), 0.00100);
        near(at_least(60, 100, 0.5), 0.02844);
        near(at_least(2_600, 5_000, 0.5), 0.00243);
        near(at_least(20, 20, 0.5), 9.5e-7);
    }

    #[test]
    fn odds_of_two_samples_are_those_of_the_hypergeometric_distribution() {
        let near = |odds: f64, expected: f64| assert!((odds - expected).abs() < 1e-5, "{odds}");
        // Fisher's lady tasting tea, and the twins of convicts.
        near(at_least_of_both((3, 4), (1, 4)), 0.242_857);
        near(at_least_of_both((10, 13), (2, 17)), 0.000_465);
        near(at_least_of_both((3, 5), (1, 6)), 0.196_970);
        near(at_least_of_both((3, 20), (0, 900)), 0.000_009);
        near(at_least_of_both((0, 20), (5, 900)), 1.0);
        near(at_least_of_both((5, 5), (6, 6)), 1.0);
        near(at_least_of_both((900, 1_000), (1, 1_000_000)), 0.0);
        near(at_least_of_both((1, 1_000_000), (900_000, 1_000_000)), 1.0);
    }
}
