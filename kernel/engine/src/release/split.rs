//! The split of traffic as counted, held against the split as configured.

use code_deploy_record::{Basis, ItemId, Verdict};

use crate::Context;
use crate::gate::window::{Sums, Window, WindowReader};
use crate::step::StepError;
use crate::target::Balancing;

/// The item on load balancing: the observed split is the configured split.
pub(super) const ITEM: &str = "3.4.5";

/// How far the counted share may be from the configured one, in percent: requests that ask for a
/// release on purpose (critical paths, cross-checks) are counted, too.
const MARGIN: f64 = 1.0;

/// As far as so many requests a share may always be off: the balancer spreads a share over every
/// hundred requests, and the seconds counted begin and end anywhere among them.
const REQUESTS: f64 = 5.0;

/// Where each connection is drawn, a count is off by chance: of the binomial distribution's standard
/// deviations it is held to be as far as three.
const DEVIATIONS: f64 = 3.0;

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
    let balancing = context.target.balancing();
    let wrong = splits.iter().any(|split| !split.is(percent, balancing));
    let texts: Vec<_> = splits.iter().map(Split::text).collect();
    let mut reason = format!(
        "at {percent} % for release {}: {}",
        context.to,
        texts.join(", ")
    );
    let verdict = match (wrong, balancing) {
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
    let evidence = vec![code_deploy_record::EvidenceRef::Event(event)];
    context.settle(&item, verdict, reason, evidence).await
}

/// The requests of a service, as counted by release.
struct Split {
    service: String,
    new: u64,
    all: u64,
}

impl Split {
    fn of(counted: &Window, service: &str) -> Option<Self> {
        let count = |sums: Option<&Sums>| sums.map_or(0, |sums| sums.count);
        let new = count(counted.new.get(service));
        let all = new + count(counted.stable.get(service));
        let service = service.to_owned();
        (all > 0).then_some(Self { service, new, all })
    }

    fn is(&self, percent: u16, balancing: Balancing) -> bool {
        let (all, share) = (self.all as f64, f64::from(percent) / 100.0);
        let drawn = match balancing {
            Balancing::Requests => 0.0,
            Balancing::Connections => DEVIATIONS * (all * share * (1.0 - share)).sqrt(),
        };
        let most = (all * MARGIN / 100.0).max(REQUESTS) + drawn;
        (self.new as f64 - all * share).abs() <= most
    }

    fn text(&self) -> String {
        let share = self.new as f64 * 100.0 / self.all as f64;
        format!("{} {share:.1} % of {} requests", self.service, self.all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(new: u64, all: u64) -> Split {
        let service = "web".to_owned();
        Split { service, new, all }
    }

    #[test]
    fn a_share_is_held_against_what_was_configured() {
        assert!(split(250, 1_000).is(25, Balancing::Requests));
        assert!(split(241, 1_000).is(25, Balancing::Requests));
        assert!(!split(200, 1_000).is(25, Balancing::Requests));
        assert!(!split(0, 1_000).is(5, Balancing::Requests));
        assert!(!split(1_000, 1_000).is(50, Balancing::Requests));
    }

    #[test]
    fn few_requests_may_be_off_by_some() {
        assert!(split(4, 20).is(25, Balancing::Requests));
        assert!(split(0, 20).is(5, Balancing::Requests));
        assert!(!split(18, 20).is(25, Balancing::Requests));
    }

    #[test]
    fn connections_that_are_drawn_may_be_off_by_chance() {
        assert!(split(300, 1_000).is(33, Balancing::Connections));
        assert!(!split(300, 1_000).is(33, Balancing::Requests));
        assert!(!split(250, 1_000).is(33, Balancing::Connections));
    }
}
