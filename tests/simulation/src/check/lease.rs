//! Split traffic is under a lease, which the engine renews, and whose end it takes into account.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use code_deploy_record::{Direction, Event, EventBody, Release};

use super::{Invariant, Trace, Violation, broken};
use crate::scene::OLD;
use crate::world::{Shares, What};

/// How long after the last thing that went wrong a lease that runs out is the engine's fault.
const CALM: Duration = Duration::from_secs(60);

pub(super) fn check(trace: &Trace<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut lease: Option<&str> = None;
    let mut trouble = Duration::ZERO;
    let mut alive = BTreeSet::new();
    for entry in trace.log {
        match &entry.what {
            What::Fault(_) => trouble = entry.at,
            What::Began => {
                trouble = entry.at;
                alive.extend(entry.process);
            }
            What::Ended(_) => {
                trouble = entry.at;
                if let Some(process) = entry.process {
                    alive.remove(&process);
                }
            }
            What::Leased(stable) => lease = stable.as_deref(),
            What::Served(served)
                if entry.process.is_some() && is_split(served.values()) && lease != Some(OLD) =>
            {
                let what = format!(
                    "traffic is split at {:?} with the lease {lease:?}",
                    entry.at
                );
                found.push(broken(Invariant::DeadMansHandle, what));
            }
            What::LeaseRanOut => {
                lease = None;
                if !alive.is_empty() && entry.at > trouble + CALM {
                    let what = format!(
                        "the lease ran out at {:?}, though a runner lived and nothing was wrong",
                        entry.at
                    );
                    found.push(broken(Invariant::DeadMansHandle, what));
                }
                found.extend(taken_into_account(trace.events, trace.known(entry).len()));
            }
            _ => {}
        }
    }
    found
}

fn is_split<'a>(served: impl Iterator<Item = &'a Shares>) -> bool {
    let mut releases = BTreeSet::new();
    for shares in served {
        let own = shares.iter().filter(|(_, share)| **share > 0);
        releases.extend(own.map(|(release, _)| release));
    }
    releases.len() > 1
}

/// After a lease ran out, the record says where traffic went before any step moves it again. Where
/// it never said that traffic had left the stable release, it holds as it stands.
fn taken_into_account(events: &[Event], known: usize) -> Option<Violation> {
    let before = events.get(..known).unwrap_or(events);
    let mut served = BTreeMap::new();
    for event in before {
        if let EventBody::TrafficShifted {
            service,
            served: now,
            ..
        } = &event.body
        {
            served.insert(service, is_all_old(now));
        }
    }
    if served.values().all(|old| *old) {
        return None;
    }
    let moves = |step: &str| {
        step.starts_with("release.traffic.")
            || step == "release.rehearsal"
            || step == "release.promotion"
    };
    // The step that was under way when nobody renewed may still say what it has seen itself.
    let later = events.get(known..).unwrap_or_default().iter();
    let later = later.skip_while(|event| !matches!(event.body, EventBody::LockTaken { .. }));
    for event in later {
        match &event.body {
            EventBody::TrafficShifted { served, .. } if is_all_old(served) => return None,
            EventBody::RollbackStarted { .. } => return None,
            EventBody::StepIntended {
                step,
                direction: Direction::Apply,
                ..
            } if moves(step.as_str()) => {
                let what = format!(
                    "{step} moved traffic after a lease had run out, of which the record says nothing"
                );
                return Some(broken(Invariant::DeadMansHandle, what));
            }
            _ => {}
        }
    }
    None
}

fn is_all_old(served: &BTreeMap<Release, u16>) -> bool {
    let mut all = served.iter().filter(|(_, share)| **share > 0);
    all.all(|(release, _)| release.as_str() == OLD)
}
