//! The four DORA keys, from the runs that were given.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use code_deploy_record::{Report, RunId, RunOutcome};

use crate::facts::Facts;
use crate::format::{between, count, duration, moment, percent, ratio};
use crate::view::{columns, others, row};

pub(super) fn dora(facts: &Facts, others: &[Facts]) -> Report {
    let here = |run: &&Facts| run.started.environment == facts.started.environment;
    let mut runs: Vec<&Facts> = others.iter().filter(here).collect();
    runs.push(facts);
    runs.sort_by_key(|run| run.since());
    let (succeeded, failed) = tally(&runs);
    let rows = vec![
        row([
            "Deployment frequency",
            &frequency(&runs, succeeded),
            "successful runs over the time they span",
        ]),
        row([
            "Lead time for changes",
            &lead_time(&runs),
            "from the commit to the end of the run that deployed its release",
        ]),
        row([
            "Change failure rate",
            &if succeeded + failed == 0 {
                "open: no run has changed anything yet".to_owned()
            } else {
                format!(
                    "{} ({failed} of {})",
                    percent(failed, succeeded + failed),
                    succeeded + failed
                )
            },
            "runs rolled back, left to a person or taken back later, of those that deployed something",
        ]),
        row([
            "Failed deployment recovery time",
            &recovery(&runs),
            "median time from the start of a rollback to its end",
        ]),
    ];
    let caption = format!(
        "The four DORA keys of {} in {}, from {}",
        facts.started.application,
        facts.started.environment,
        crate::format::counted(number(runs.len()), "run")
    );
    let named = others::named(facts, others);
    let list = runs.iter().map(|run| {
        let took = duration(between(run.since(), run.until()));
        let outcome = crate::view::verdict_word(run);
        let name = run.started.run.to_string();
        row([
            &name,
            run.started.to.as_str(),
            outcome,
            &moment(run.since()),
            &took,
            &run.head.short(),
            if run.started.run == facts.started.run {
                "this record"
            } else if named.contains(&run.started.run) {
                "the record of the run after it"
            } else {
                "no later record"
            },
        ])
    });
    let titles = [
        "Run",
        "Release",
        "Outcome",
        "Began",
        "Took",
        "Journal's last line",
        "Digest vouched for by",
    ];
    let report = Report::new()
        .with_table(caption, columns(["Key", "Value", "Counted as"]), rows)
        .with_table("The runs", columns(titles), list.collect());
    match others::missing(facts, others) {
        Some(text) => report.with_text(text),
        None => report,
    }
}

fn number(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// Counts the deployments that stayed and those that did not. A run that takes another back is no
/// deployment of its own; the one that it takes back has failed.
fn tally(runs: &[&Facts]) -> (u64, u64) {
    let outcome = |run: &Facts| run.state.finished.as_ref().map(|(outcome, ..)| *outcome);
    let has_succeeded = |run: &Facts| outcome(run) == Some(RunOutcome::Succeeded);
    let back = runs.iter().filter(|run| has_succeeded(run));
    let taken_back: BTreeSet<&RunId> = back
        .filter_map(|run| run.started.reverts.as_ref())
        .collect();
    let (mut succeeded, mut failed) = (0, 0);
    for run in runs.iter().filter(|run| run.started.reverts.is_none()) {
        match outcome(run) {
            Some(RunOutcome::Succeeded) if taken_back.contains(&run.started.run) => failed += 1,
            Some(RunOutcome::Succeeded) => succeeded += 1,
            Some(RunOutcome::RolledBack | RunOutcome::NeedsPerson | RunOutcome::Abandoned) => {
                failed += 1;
            }
            Some(RunOutcome::Refused) | None => {}
        }
    }
    (succeeded, failed)
}

fn frequency(runs: &[&Facts], succeeded: u64) -> String {
    let (Some(first), Some(last)) = (runs.first(), runs.last()) else {
        return "open: no run".to_owned();
    };
    let span = between(first.since(), last.until());
    let days = ratio(span, 86_400_000_000);
    if runs.len() < 2 || days < 1.0 {
        return format!(
            "open: {} succeeded within {}; a rate needs runs over more than a day",
            count(succeeded),
            duration(span)
        );
    }
    format!("{:.2} a day", ratio(succeeded, 1) / days)
}

/// A build's result may name the time of the commit that it built.
fn commit_time(run: &Facts) -> Option<DateTime<Utc>> {
    let mut results = run.state.steps.iter();
    results.find_map(|(_, step)| step.result.get("commit_time")?.as_str()?.parse().ok())
}

fn lead_time(runs: &[&Facts]) -> String {
    let mut times: Vec<u64> = runs
        .iter()
        .filter(|run| {
            let outcome = run.state.finished.as_ref().map(|(outcome, ..)| *outcome);
            outcome == Some(RunOutcome::Succeeded)
        })
        .filter_map(|run| Some(between(commit_time(run)?, run.until())))
        .collect();
    match median(&mut times) {
        Some(time) => format!("median {} over {} runs", duration(time), times.len()),
        None => "open: no run's record names the time of the commit it deployed".to_owned(),
    }
}

fn recovery(runs: &[&Facts]) -> String {
    let ends = runs.iter().flat_map(|run| &run.rollback_ends);
    let mut times: Vec<u64> = ends.map(|end| end.what.1).collect();
    match median(&mut times) {
        Some(time) => format!("median {} over {} rollbacks", duration(time), times.len()),
        None => "not applicable: no run was rolled back".to_owned(),
    }
}

fn median(times: &mut [u64]) -> Option<u64> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}
