//! The earlier runs that a run is compared with: which count, and how each is named.
//!
//! A page must stay what it is when further runs come. So only runs count that had ended before
//! this one began, whose records are sealed and do not grow. The record of a run names the run
//! before it with the digest of its journal's last line, and that one the run before: what is named
//! so and has another digest now was changed since, and does not count.

use std::collections::BTreeMap;

use code_deploy_record::{Digest, RunFolder, RunId, RunOutcome};

use crate::Result;
use crate::facts::Facts;

/// Reads the other runs that count: all of the same environment, of each other environment the
/// last.
pub(crate) fn read_others(facts: &Facts, others: &[RunFolder]) -> Result<Vec<Facts>> {
    let mut read = Vec::new();
    for other in others {
        let other = Facts::read(other)?;
        let same_run = other.started.run == facts.started.run;
        let same_application = other.started.application == facts.started.application;
        if !same_run && same_application && ended_before(&other, facts) {
            read.push(other);
        }
    }
    read.sort_by_key(Facts::since);
    let changed: Vec<RunId> = broken_off(facts, &read).into_iter().collect();
    read.retain(|other| !changed.contains(&other.started.run));
    let mut last: BTreeMap<String, RunId> = BTreeMap::new();
    for other in &read {
        last.insert(other.started.environment.clone(), other.started.run.clone());
    }
    read.retain(|other| {
        let place = &other.started.environment;
        *place == facts.started.environment || last.get(place) == Some(&other.started.run)
    });
    Ok(read)
}

fn ended_before(other: &Facts, facts: &Facts) -> bool {
    // A run that needs a person goes on when somebody has decided.
    let ended = other.state.finished.as_ref();
    ended.is_some_and(|(outcome, _, time)| {
        *outcome != RunOutcome::NeedsPerson && *time <= facts.since()
    })
}

/// Follows the names from this run to the run before it, and on; returns the run that is named
/// with another digest than it has.
fn broken_off(facts: &Facts, read: &[Facts]) -> Option<RunId> {
    let mut previous = facts.started.previous.as_ref();
    for _ in 0..=read.len() {
        let named = previous?;
        let at_hand = read.iter().find(|other| other.started.run == named.run)?;
        if at_hand.head != named.head {
            return Some(named.run.clone());
        }
        previous = at_hand.started.previous.as_ref();
    }
    None
}

/// Returns the runs that this one names, itself or by the run before it, with the digests that they
/// have.
pub(super) fn named(facts: &Facts, others: &[Facts]) -> Vec<RunId> {
    let mut runs = Vec::new();
    let mut previous = facts.started.previous.as_ref();
    while let Some(named) = previous
        && let Some(other) = others.iter().find(|one| one.started.run == named.run)
        && other.head == named.head
        && !runs.contains(&named.run)
    {
        runs.push(named.run.clone());
        previous = other.started.previous.as_ref();
    }
    runs
}

/// Returns what the page has to say about the run before: nothing where it is at hand as the
/// record names it, or where the record names none.
pub(super) fn missing(facts: &Facts, others: &[Facts]) -> Option<String> {
    let previous = facts.started.previous.as_ref()?;
    let at_hand = others.iter().any(|other| other.started.run == previous.run);
    (!at_hand).then(|| missing_text(&previous.run, previous.head))
}

fn missing_text(run: &RunId, head: Digest) -> String {
    format!(
        "The record names {run} as the run before, whose journal ended with the digest {head}. No \
         record like this was at hand when this page was made, so it does not count here."
    )
}
