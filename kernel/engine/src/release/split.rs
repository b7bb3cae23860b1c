//! The split of traffic as counted, held against the split as configured.
//!
//! # When a split was not honoured
//! A counted share says so where it is off from the configured one by more than each of these explains:
//!
//! - the tolerance: [`TOLERANCE`], less for small shares ([`tolerance`]);
//! - requests that one release answered in place of the other, which had no instance to answer them: while an engine is
//!   restarted, or instances drain. Routers count these apart. Those that are sent again bend nothing: a router sends them
//!   to the same release, and counts them once;
//! - [`FEW`] requests, or chance: the configured share lies within the exact bounds of what was counted ([`DOUBT`]).
//!
//! The configured share is that of the step, as the target has read it back where it is served. A share that pods of a
//! cluster cannot give is refused before a run, so that what is configured is what can be achieved. Where a Gateway splits
//! the requests of users, those that come past it are counted too; where connections are split, a share that is off leaves
//! the item open.

use code_deploy_record::{Basis, EvidenceRef, ItemId, Verdict};

use crate::Context;
use crate::confidence::exclude;
use crate::gate::window::{Sums, Window, WindowReader};
use crate::step::StepError;
use crate::target::Balancing;

/// The item on load balancing: the observed split is the configured split.
pub(super) const ITEM: &str = "3.4.5";

/// By how many percentage points a counted share may be off, however many requests were counted.
///
/// The Gateway API says of weights that "there may be some epsilon from the exact proportion", and its conformance test
/// takes a Gateway that is off by 5 points of 500 requests for one that honours them. Envoy draws a release for each
/// request, NGINX goes round by weight, by default in each of its processes apart: neither promises a figure. Our router
/// gives each release its weight of every hundred requests, and answers are counted in another order than that in which
/// it chooses. Where instances count, who asks a release on purpose is counted too. A canary that is watched at 45 % in
/// place of 50 % shows the same.
const TOLERANCE: f64 = 5.0;

/// Of the smaller share at most this part may be missing: a canary of 5 % that nobody reaches is not honoured.
const OF_SMALLER: f64 = 0.5;

/// By how many percentage points a release may be off that is to have everything: who was led to the other one before is
/// counted where the answer ends.
const OF_WHOLE: f64 = 1.0;

/// By how many percentage points a share may be off besides where it is a number of pods: it is told in whole percent.
const OF_PODS: f64 = 1.0;

/// Off by no more than so many requests a share is not held to be off: those that are under way while traffic moves are
/// counted where they end, and the seconds counted begin and end anywhere in a round of the balancer.
const FEW: u64 = 5;

/// How often each of the bounds may be wrong within which chance explains a share. A run of many services judges hundreds
/// of shares, and none of them is to stop one whose split is honoured.
const DOUBT: f64 = 0.000_01;

/// Counts the requests of each release since the second `since` (Unix time), and settles whether
/// each service's split is as configured. Sticky services are left out: their users stay where
/// they are. A step that found another split is not overruled by a later one.
pub(super) async fn settle(
    context: &Context,
    percent: u16,
    since: i64,
    event: u64,
) -> Result<(), StepError> {
    let (Some(from), Ok(item)) = (context.from.clone(), ITEM.parse::<ItemId>()) else {
        return Ok(());
    };
    let failed_before = context
        .state()
        .items
        .get(&item)
        .is_some_and(|settled| settled.verdict == Verdict::Failed);
    if failed_before {
        return Ok(());
    }
    let (run, new) = (context.run.clone(), context.to.clone());
    let source = context.target.counted_by();
    let count = move || {
        let mut reader = WindowReader::new(&run, source, (new, since), Some((from, since)));
        reader.look().cloned()
    };
    let surroundings = &context.surroundings;
    let counted = surroundings.on_disk("counting requests", count).await?;
    let services = context.spec.services.iter();
    let splits: Vec<_> = services
        .filter(|service| !service.file.routing.sticky)
        .filter_map(|service| Split::of(&counted, &service.name))
        .collect();
    if splits.is_empty() {
        return Ok(());
    }
    let (verdict, found) = judge(&splits, percent, context.target.balancing());
    let reason = format!("at {percent} % for release {}: {found}", context.to);
    let evidence = vec![EvidenceRef::Event(event)];
    context.settle(&item, verdict, reason, evidence).await
}

/// Returns what follows from the splits of all services, with how far each may be off.
fn judge(splits: &[Split], percent: u16, balancing: Balancing) -> (Verdict, String) {
    let judged = splits.iter().map(|split| {
        let standing = split.stands(percent, balancing);
        (standing, split.text(percent, standing))
    });
    let (off, on): (Vec<_>, Vec<_>) = judged.partition(|(standing, _)| *standing == Standing::Off);
    let is_off = !off.is_empty();
    // What is cut where there is little room is what nobody has to look at.
    let texts = off.into_iter().chain(on).map(|(_, text)| text);
    let mut reason = format!(
        "{}; a share may be off by {} points, and by more only as far as chance, or a release without a ready \
         instance, explains it",
        texts.collect::<Vec<_>>().join(", "),
        tolerance(percent, balancing)
    );
    let verdict = match (is_off, balancing) {
        (false, _) => Verdict::Met {
            basis: Basis::Observed,
        },
        (true, Balancing::Requests) => Verdict::Failed,
        (true, Balancing::Connections) => {
            reason.push_str(
                "; connections are split here, and who keeps one stays with the release that it led to",
            );
            Verdict::Open
        }
    };
    (verdict, reason)
}

/// Returns by how many percentage points a share of that many percent may be off: [`TOLERANCE`], [`OF_SMALLER`] of a small
/// share or [`OF_WHOLE`]; where pods give it, [`OF_PODS`] besides.
fn tolerance(percent: u16, balancing: Balancing) -> f64 {
    let smaller = f64::from(percent.min(100_u16.saturating_sub(percent)));
    let own = match percent {
        1..100 => TOLERANCE.min(smaller * OF_SMALLER),
        _ => OF_WHOLE,
    };
    match balancing {
        Balancing::Requests => own,
        Balancing::Connections => own + OF_PODS,
    }
}

/// How a counted share stands to the configured one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Within the tolerance.
    Near,
    /// Beyond it, by no more than what one release answered in place of the other.
    Bent,
    /// Beyond it, by no more than what so few requests do not exclude.
    Few,
    /// Not honoured.
    Off,
}

/// The requests of a service, as counted by release.
#[derive(Debug)]
struct Split {
    service: String,
    new: u64,
    all: u64,
    /// Those of the new release that were the other one's.
    taken_by_new: u64,
    /// Those of the other release that were the new one's.
    taken_from_new: u64,
}

impl Split {
    fn of(counted: &Window, service: &str) -> Option<Self> {
        let none = Sums::default();
        let new = counted.new.get(service).unwrap_or(&none);
        let stable = counted.stable.get(service).unwrap_or(&none);
        let all = new.count + stable.count;
        (all > 0).then(|| Self {
            service: service.to_owned(),
            new: new.count,
            all,
            taken_by_new: new.taken_over,
            taken_from_new: stable.taken_over,
        })
    }

    /// Returns by how many requests the new release has more than a share of that many percent, or fewer.
    fn off(&self, percent: u16) -> f64 {
        let (new, all) = (self.new as f64, self.all as f64);
        (new * 100.0 - all * f64::from(percent)) / 100.0
    }

    fn stands(&self, percent: u16, balancing: Balancing) -> Standing {
        let off = self.off(percent);
        let taken = match off > 0.0 {
            true => self.taken_by_new,
            false => self.taken_from_new,
        };
        let near = self.all as f64 * tolerance(percent, balancing) / 100.0;
        let share = f64::from(percent) / 100.0;
        if off.abs() <= near {
            Standing::Near
        } else if off.abs() <= near + taken as f64 {
            Standing::Bent
        } else if off.abs() <= FEW as f64 || !exclude(self.new, self.all, share, DOUBT) {
            Standing::Few
        } else {
            Standing::Off
        }
    }

    fn text(&self, percent: u16, standing: Standing) -> String {
        let (service, all) = (&self.service, self.all);
        let share = self.new as f64 * 100.0 / all as f64;
        let points = (share - f64::from(percent)).abs();
        let noun = if all == 1 { "request" } else { "requests" };
        let mut text = format!("{service} {share:.1} % of {all} {noun}");
        let taken = self.taken_by_new + self.taken_from_new;
        if taken > 0 {
            text.push_str(&format!(
                ", {taken} of them in place of a release without a ready instance"
            ));
        }
        match standing {
            Standing::Near => {}
            Standing::Bent => text.push_str(&format!(" (off by {points:.1} points by that)")),
            Standing::Few => text.push_str(&format!(
                " (off by {points:.1} points, which so few do not tell from {percent} %)"
            )),
            Standing::Off => text.push_str(&format!(" (off by {points:.1} points)")),
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(new: u64, all: u64) -> Split {
        Split {
            service: "web".to_owned(),
            new,
            all,
            taken_by_new: 0,
            taken_from_new: 0,
        }
    }

    fn stands(new: u64, all: u64, percent: u16) -> Standing {
        split(new, all).stands(percent, Balancing::Requests)
    }

    #[test]
    fn a_share_within_the_tolerance_is_honoured_however_many_requests_tell_it() {
        for (new, all) in [(159, 300), (141, 300), (530_000, 1_000_000), (450, 1_000)] {
            assert_eq!(stands(new, all, 50), Standing::Near, "{new} of {all}");
        }
        assert_eq!(stands(560_000, 1_000_000, 50), Standing::Off);
        assert_eq!(stands(200, 1_000, 25), Standing::Near);
        assert_eq!(stands(190, 1_000, 25), Standing::Off);
    }

    #[test]
    fn a_share_that_few_requests_do_not_exclude_is_honoured_and_the_text_says_why() {
        assert_eq!(stands(7, 10, 50), Standing::Few);
        assert_eq!(stands(35, 50, 50), Standing::Few);
        assert_eq!(stands(0, 20, 5), Standing::Few);
        assert_eq!(stands(700, 1_000, 50), Standing::Off);
        assert_eq!(stands(18, 20, 25), Standing::Off);
        let (verdict, reason) = judge(&[split(7, 10)], 50, Balancing::Requests);
        assert!(matches!(verdict, Verdict::Met { .. }), "{reason}");
        let words = "web 70.0 % of 10 requests (off by 20.0 points, which so few do not tell from 50 %); a share may be \
                     off by 5 points, and by more only as far as chance, or a release without a ready instance, \
                     explains it";
        assert_eq!(reason, words);
    }

    #[test]
    fn a_split_that_was_not_honoured_fails_and_stands_first() {
        let other = Split {
            service: "api".to_owned(),
            ..split(700, 1_000)
        };
        let (verdict, reason) = judge(&[split(530, 1_000), other], 50, Balancing::Requests);
        assert_eq!(verdict, Verdict::Failed);
        let words = "api 70.0 % of 1000 requests (off by 20.0 points), web 53.0 % of 1000 requests; a share may be off \
                     by 5 points, ";
        assert!(reason.starts_with(words), "{reason}");
    }

    #[test]
    fn a_small_share_has_to_arrive() {
        assert_eq!(tolerance(5, Balancing::Requests), 2.5);
        assert_eq!(tolerance(99, Balancing::Requests), 0.5);
        assert_eq!(stands(0, 1_000, 5), Standing::Off);
        assert_eq!(stands(26, 1_000, 5), Standing::Near);
        assert_eq!(stands(0, 1_000_000, 1), Standing::Off);
        assert_eq!(stands(1_000_000, 1_000_000, 99), Standing::Off);
    }

    #[test]
    fn where_nothing_is_split_only_what_was_under_way_may_end_elsewhere() {
        assert_eq!(stands(995, 1_000, 100), Standing::Near);
        assert_eq!(stands(5, 10, 100), Standing::Few);
        assert_eq!(stands(500, 1_000, 100), Standing::Off);
    }

    #[test]
    fn what_one_release_answered_in_place_of_the_other_explains_as_much_and_no_more() {
        let bent = |taken| {
            let bent = Split {
                taken_from_new: taken,
                ..split(400, 1_000)
            };
            bent.stands(50, Balancing::Requests)
        };
        assert_eq!(bent(49), Standing::Off);
        assert_eq!(bent(50), Standing::Bent);
        // The other way round nothing is explained.
        let other = Split {
            taken_by_new: 50,
            ..split(400, 1_000)
        };
        assert_eq!(other.stands(50, Balancing::Requests), Standing::Off);
        let near = Split {
            taken_from_new: 15,
            ..split(470, 1_000)
        };
        let (verdict, reason) = judge(&[near], 50, Balancing::Requests);
        assert!(matches!(verdict, Verdict::Met { .. }), "{reason}");
        let words = "web 47.0 % of 1000 requests, 15 of them in place of a release without a ready instance; ";
        assert!(reason.starts_with(words), "{reason}");
    }

    #[test]
    fn shares_of_pods_may_be_off_by_what_a_percent_does_not_tell_and_connections_leave_it_open() {
        let stands = |new, all, percent| split(new, all).stands(percent, Balancing::Connections);
        assert_eq!(stands(196_000, 10_000_000, 1), Standing::Near);
        assert_eq!(stands(393, 1_000, 33), Standing::Few);
        assert_eq!(stands(250, 1_000, 33), Standing::Off);
        let (verdict, reason) = judge(&[split(250, 1_000)], 33, Balancing::Connections);
        assert_eq!(verdict, Verdict::Open);
        assert!(
            reason.contains("a share may be off by 6 points"),
            "{reason}"
        );
        assert!(reason.ends_with("the release that it led to"), "{reason}");
    }
}
