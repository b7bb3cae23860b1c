//! What so many requests say of a share that is promised: that it is kept, that it is missed, or neither.
//!
//! A promise is shown to be kept when requests that just missed it would have given so few misses only one time in
//! twenty; it is shown to be missed in the same way. Those are the exact one-sided bounds of 95 % of C. J. Clopper and
//! E. S. Pearson (*The use of confidence or fiducial limits illustrated in the case of the binomial*, Biometrika 26,
//! 1934). Where nothing missed, the bound is about 3 divided by the number of requests (J. A. Hanley and
//! A. Lippman-Hand, *If nothing goes wrong, is everything all right?*, JAMA 249, 1983). Requests are taken to miss
//! independently of each other; where they fail together, fewer say as much.

use code_deploy_record::Unshown;

use crate::gate::judge::at_least;

/// How likely a bound may be wrong.
const DOUBT: f64 = 0.05;

/// How often the interval in which a bound lies is halved: to less than a thousandth of a thousandth of a percent.
const HALVINGS: u32 = 32;

/// What a sample says of a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shows {
    /// It excludes that the promise is missed.
    Kept,
    /// It excludes that the promise is kept.
    Missed,
    /// It excludes neither.
    Neither,
}

/// Requests, and how many of them missed what is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sampled {
    pub all: u64,
    pub missed: u64,
}

impl Sampled {
    /// Returns what the requests say of a promise that allows this share of them, from 0 to 1, to miss it.
    pub(crate) fn shows(self, allowed: f64) -> Shows {
        if allowed >= 1.0 || at_most(self.missed, self.all, allowed) <= DOUBT {
            return Shows::Kept;
        }
        match at_least(self.missed, self.all, allowed) <= DOUBT {
            true => Shows::Missed,
            false => Shows::Neither,
        }
    }

    /// Returns why a promise that allows this share to miss it is not shown to be kept; nothing where it is.
    pub(crate) fn unshown(self, allowed: f64) -> Option<Unshown> {
        (self.shows(allowed) != Shows::Kept).then(|| Unshown {
            requests: self.all,
            enough: self.enough(allowed),
        })
    }

    /// Returns the least number of requests in all, none of the further ones missing, that shows the promise to be
    /// kept. Nothing where no miss is allowed: that no number shows.
    fn enough(self, allowed: f64) -> Option<u64> {
        let kept = |all: u64| {
            let more = Self { all, ..self };
            more.shows(allowed) == Shows::Kept
        };
        if allowed <= 0.0 {
            return None;
        }
        let (mut few, mut many) = (self.all, self.all.max(1));
        while !kept(many) {
            few = many;
            many = many.checked_mul(2)?;
        }
        while many.saturating_sub(few) > 1 {
            let middle = few + (many - few) / 2;
            match kept(middle) {
                true => many = middle,
                false => few = middle,
            }
        }
        Some(many)
    }

    /// Returns the largest share of misses, from 0 to 1, that the requests do not exclude.
    pub(crate) fn at_most_missed(self) -> f64 {
        if self.missed >= self.all {
            return 1.0;
        }
        let excluded = |share| at_most(self.missed, self.all, share) <= DOUBT;
        let (mut low, mut high) = (self.share(), 1.0);
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(low, high);
            match excluded(middle) {
                true => high = middle,
                false => low = middle,
            }
        }
        high
    }

    /// Returns the smallest share of misses, from 0 to 1, that the requests do not exclude.
    pub(crate) fn at_least_missed(self) -> f64 {
        if self.missed == 0 {
            return 0.0;
        }
        let excluded = |share| at_least(self.missed, self.all, share) <= DOUBT;
        let (mut low, mut high) = (0.0, self.share());
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(low, high);
            match excluded(middle) {
                true => low = middle,
                false => high = middle,
            }
        }
        low
    }

    fn share(self) -> f64 {
        (self.missed as f64 / self.all.max(1) as f64).min(1.0)
    }
}

/// Returns whether so many hits in so many independent trials exclude that each hits with this chance, from 0 to 1: whether
/// it lies outside of their exact interval of Clopper and Pearson, of which each bound is wrong as often as `doubt` says.
pub(crate) fn exclude(hits: u64, trials: u64, chance: f64, doubt: f64) -> bool {
    if chance <= 0.0 {
        return hits > 0;
    }
    if chance >= 1.0 {
        return hits < trials;
    }
    match hits as f64 > trials as f64 * chance {
        true => at_least(hits, trials, chance) <= doubt,
        false => at_most(hits, trials, chance) <= doubt,
    }
}

/// Returns the chance of at most `hits` hits in `trials` independent trials of this chance, below 1.
fn at_most(hits: u64, trials: u64, chance: f64) -> f64 {
    1.0 - at_least(hits.saturating_add(1), trials, chance)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The share that 99.9 % allows, as the deployment file's number gives it.
    const ALLOWED: f64 = (100.0 - 99.9) / 100.0;

    fn of(missed: u64, all: u64) -> Sampled {
        Sampled { all, missed }
    }

    #[test]
    fn what_requests_show_of_99_9_percent_follows_from_their_number() {
        for (missed, all, expected) in [
            (0, 500, Shows::Neither),
            (0, 2_994, Shows::Neither),
            (0, 2_995, Shows::Kept),
            (0, 3_000, Shows::Kept),
            (9, 2_038, Shows::Missed),
            (1, 2_000, Shows::Neither),
            (2, 1_000, Shows::Neither),
            (3, 5_000, Shows::Neither),
            (3, 10_000, Shows::Kept),
        ] {
            assert_eq!(
                of(missed, all).shows(ALLOWED),
                expected,
                "{missed} of {all}"
            );
        }
    }

    #[test]
    fn a_share_of_all_or_of_nothing_is_judged_too() {
        assert_eq!(of(0, 1_000_000).shows(0.0), Shows::Neither);
        assert_eq!(of(1, 1_000_000).shows(0.0), Shows::Missed);
        assert_eq!(of(10, 10).shows(1.0), Shows::Kept);
        assert_eq!(of(10, 10).shows(0.5), Shows::Missed);
    }

    #[test]
    fn how_many_would_do_is_the_least_number_that_does() {
        let enough = |missed, all| of(missed, all).unshown(ALLOWED).unwrap().enough.unwrap();
        assert_eq!(enough(0, 500), 2_995);
        assert_eq!(enough(0, 2_994), 2_995);
        assert_eq!(enough(3, 5_000), 7_752);
        for missed in [0, 1, 7] {
            let least = enough(missed, 20);
            assert_eq!(of(missed, least).shows(ALLOWED), Shows::Kept);
            assert_ne!(of(missed, least - 1).shows(ALLOWED), Shows::Kept);
        }
        assert_eq!(of(0, 3_000).unshown(ALLOWED), None);
        let never = of(0, 500).unshown(0.0).unwrap();
        assert_eq!((never.requests, never.enough), (500, None));
    }

    #[test]
    fn a_chance_is_excluded_where_it_lies_outside_of_the_bounds() {
        for (hits, trials) in [(10, 100), (1, 7), (60, 100)] {
            let (low, high) = (
                of(hits, trials).at_least_missed(),
                of(hits, trials).at_most_missed(),
            );
            for (chance, expected) in [
                (low - 1e-6, true),
                (low + 1e-6, false),
                (high - 1e-6, false),
                (high + 1e-6, true),
            ] {
                let excluded = exclude(hits, trials, chance, DOUBT);
                assert_eq!(excluded, expected, "{hits} of {trials}, {chance}");
            }
        }
        assert!(exclude(999, 1_000, 1.0, DOUBT) && !exclude(1_000, 1_000, 1.0, DOUBT));
        assert!(exclude(1, 1_000, 0.0, DOUBT) && !exclude(0, 1_000, 0.0, DOUBT));
    }

    #[test]
    fn bounds_are_those_of_clopper_and_pearson() {
        let near = |share: f64, expected: f64| {
            assert!((share - expected).abs() < 1e-6, "{share}");
        };
        near(of(0, 1_000).at_most_missed(), 0.002_991_2);
        near(of(0, 1_000).at_least_missed(), 0.0);
        near(of(10, 100).at_most_missed(), 0.163_717_6);
        near(of(10, 100).at_least_missed(), 0.055_263_3);
        near(of(10, 10).at_most_missed(), 1.0);
        near(of(0, 0).at_most_missed(), 1.0);
    }
}
