//! The four DORA keys, from the runs that were given.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use code_deploy_record::{Outcome, Passed, Report, RunId, RunOutcome};

use crate::facts::Facts;
use crate::format::{between, count, counted, duration, median, moment, percent, ratio};
use crate::passed::{KINDS, spent};
use crate::view::{columns, others, row};

pub(super) fn dora(facts: &Facts, others: &[Facts]) -> Report {
    let here = |run: &&Facts| run.started.environment == facts.started.environment;
    let mut runs: Vec<&Facts> = others.iter().filter(here).collect();
    runs.push(facts);
    runs.sort_by_key(|run| run.since());
    let counts = tally(&runs);
    let caption = format!(
        "The four DORA keys of {} in {}, from {}",
        facts.started.application,
        facts.started.environment,
        counted(number(runs.len()), "run")
    );
    let titles = [
        "Run",
        "Release",
        "Outcome",
        "Began",
        "Time spent",
        "Journal's last line",
        "Digest vouched for by",
    ];
    let keys = keys(&runs, &counts);
    let report = Report::new()
        .with_table(caption, columns(["Key", "Value", "Counted as"]), keys)
        .with_text(counts.in_words())
        .with_table("The runs", columns(titles), list(&runs, facts, others))
        .with_text(format!(
            "Lead time and recovery time are times on the wall, because users waited for as long; where time spent on the \
             way back is shorter, its median stands beside. {KINDS}"
        ));
    match others::missing(facts, others) {
        Some(text) => report.with_text(text),
        None => report,
    }
}

fn keys(runs: &[&Facts], counts: &Counts) -> Vec<Vec<String>> {
    vec![
        row([
            "Deployment frequency",
            &frequency(runs, counts.stayed),
            "deployments that stayed, over the time that all runs span",
        ]),
        row([
            "Lead time for changes",
            &lead_time(runs),
            "from the commit to the end of the deployment of its release, on the wall",
        ]),
        row([
            "Change failure rate",
            &failure_rate(counts),
            "deployments rolled back, left to a person or taken back later, of all deployments",
        ]),
        row([
            "Failed deployment recovery time",
            &recovery(runs, counts.failed),
            "median time on the wall from the start of a rollback, or of the run that took the \
             deployment back, to its end; the time before that is not counted",
        ]),
    ]
}

fn list(runs: &[&Facts], facts: &Facts, others: &[Facts]) -> Vec<Vec<String>> {
    let named = others::named(facts, others);
    let taken_back = taken_back(runs);
    let line = |run: &&Facts| {
        row([
            run.started.run.as_str(),
            run.started.to.as_str(),
            &outcome_words(run, &taken_back),
            &moment(run.since()),
            &duration(spent(&run.whole())),
            &run.head.short(),
            if run.started.run == facts.started.run {
                "this record"
            } else if named.contains(&run.started.run) {
                "the record of the run after it"
            } else {
                "no later record"
            },
        ])
    };
    runs.iter().map(line).collect()
}

fn outcome_words(run: &Facts, taken_back: &BTreeSet<&RunId>) -> String {
    let word = crate::view::verdict_word(run);
    match &run.started.reverts {
        Some(reverted) => format!("{word}, the way back from {reverted}"),
        None if taken_back.contains(&run.started.run) => format!("{word}, taken back later"),
        None => word.to_owned(),
    }
}

fn number(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// What the runs count as.
#[derive(Default)]
struct Counts {
    /// Deployments that succeeded and were not taken back.
    stayed: u64,
    /// Deployments that were rolled back, left to a person or taken back later.
    failed: u64,
    /// Runs that take another back.
    back: u64,
    /// Runs that were refused or have not ended.
    others: u64,
}

impl Counts {
    fn deployments(&self) -> u64 {
        self.stayed + self.failed
    }

    fn in_words(&self) -> String {
        format!(
            "Deployments that stayed: {}; deployments that failed: {}; runs that go back from \
             another, which are no deployments of their own: {}; runs refused or not ended: {}.",
            count(self.stayed),
            count(self.failed),
            count(self.back),
            count(self.others)
        )
    }
}

/// Counts the runs. One that takes another back is no deployment of its own; the one that it takes
/// back has failed.
fn tally(runs: &[&Facts]) -> Counts {
    let taken_back = taken_back(runs);
    let mut counts = Counts::default();
    for run in runs {
        let kind = match outcome(run) {
            _ if run.started.reverts.is_some() => &mut counts.back,
            Some(RunOutcome::Succeeded) if taken_back.contains(&run.started.run) => {
                &mut counts.failed
            }
            Some(RunOutcome::Succeeded) => &mut counts.stayed,
            Some(RunOutcome::RolledBack | RunOutcome::NeedsPerson | RunOutcome::Abandoned) => {
                &mut counts.failed
            }
            Some(RunOutcome::Refused) | None => &mut counts.others,
        };
        *kind += 1;
    }
    counts
}

fn outcome(run: &Facts) -> Option<RunOutcome> {
    run.state.finished.as_ref().map(|(outcome, ..)| *outcome)
}

fn has_succeeded(run: &Facts) -> bool {
    outcome(run) == Some(RunOutcome::Succeeded)
}

/// Returns the runs that a later one has taken back.
fn taken_back<'a>(runs: &[&'a Facts]) -> BTreeSet<&'a RunId> {
    let back = runs.iter().copied().filter(|run| has_succeeded(run));
    back.filter_map(|run| run.started.reverts.as_ref())
        .collect()
}

fn frequency(runs: &[&Facts], stayed: u64) -> String {
    let (Some(first), Some(last)) = (runs.first(), runs.last()) else {
        return "open: no run".to_owned();
    };
    let span = between(first.since(), last.until());
    let days = ratio(span, 86_400_000_000);
    if runs.len() < 2 || days < 1.0 {
        return format!(
            "open: {} within {}; a rate needs runs over more than a day",
            counted(stayed, "deployment"),
            duration(span)
        );
    }
    format!("{:.2} a day", ratio(stayed, 1) / days)
}

fn failure_rate(counts: &Counts) -> String {
    let (failed, all) = (counts.failed, counts.deployments());
    if all == 0 {
        return "open: no run counts as a deployment yet".to_owned();
    }
    format!("{} ({failed} of {all})", percent(failed, all))
}

/// A build's result may name the time of the commit that it built.
fn commit_time(run: &Facts) -> Option<DateTime<Utc>> {
    let mut results = run.state.steps.iter();
    results.find_map(|(_, step)| step.result.get("commit_time")?.as_str()?.parse().ok())
}

fn lead_time(runs: &[&Facts]) -> String {
    let deployments = runs.iter().filter(|run| run.started.reverts.is_none());
    let mut times: Vec<u64> = deployments
        .filter(|run| has_succeeded(run))
        .filter_map(|run| Some(between(commit_time(run)?, run.until())))
        .collect();
    match median(&mut times) {
        Some(time) => {
            let runs = counted(number(times.len()), "run");
            format!("median {} over {runs}", duration(time))
        }
        None => "open: no run's record names the time of the commit it deployed".to_owned(),
    }
}

fn recovery(runs: &[&Facts], failed: u64) -> String {
    let times = runs.iter().filter_map(|run| recovery_time(run, runs));
    let times: Vec<Passed> = times.collect();
    let median_of = |span: fn(&Passed) -> u64| {
        let mut spans: Vec<u64> = times.iter().map(span).collect();
        median(&mut spans)
    };
    match median_of(wall).zip(median_of(spent)) {
        Some((time, spent)) => format!(
            "median {}{} over {} of {}",
            duration(time),
            match spent < time {
                true => format!(" ({} of time spent)", duration(spent)),
                false => String::new(),
            },
            times.len(),
            counted(failed, "failed deployment")
        ),
        None if failed == 0 => "not applicable: no deployment failed".to_owned(),
        None => "open: no failed deployment has a way back that ended well".to_owned(),
    }
}

fn wall(passed: &Passed) -> u64 {
    crate::passed::microseconds(passed.wall())
}

/// Returns how the time of the way back from a failed deployment was passed, whether the run is that deployment
/// or the one that took it back; nothing where there was none that ended well.
fn recovery_time(run: &Facts, runs: &[&Facts]) -> Option<Passed> {
    if outcome(run)? == RunOutcome::Refused {
        return None;
    }
    let Some(reverted) = &run.started.reverts else {
        let began = run.rollbacks.first()?;
        let mut ends = run.rollback_ends.iter().rev();
        let ended = ends.find(|end| end.what.0 == Outcome::Done)?;
        return Some(run.passed(began.time, ended.time));
    };
    let is_known = runs.iter().any(|one| one.started.run == *reverted);
    (is_known && has_succeeded(run)).then(|| run.whole())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use code_deploy_synthetic::{self as synthetic, Story};

    use super::dora;
    use crate::facts::Facts;

    /// Returns the keys of two runs that succeeded, of which the second may go back from the first.
    fn keys(goes_back: bool) -> String {
        let project = tempfile::tempdir().unwrap();
        let begin = synthetic::start() - chrono::TimeDelta::hours(3);
        let story = Story::Succeeded;
        let first = synthetic::run_of(project.path(), "run-1", story, 90.0, begin);
        let second = synthetic::run(project.path(), "run-2", story);
        let first = Facts::read(&first).unwrap();
        let mut second = Facts::read(&second).unwrap();
        second.started.reverts = goes_back.then(|| first.started.run.clone());
        crate::report_to_text(&dora(&second, &[first]))
    }

    #[test]
    fn a_run_that_goes_back_is_no_deployment_and_the_one_before_it_has_failed() {
        let text = keys(true);
        for words in [
            "100 % (1 of 1)",
            "over 1 of 1 failed deployment",
            "open: 0 deployments within",
            "stayed: 0; deployments that failed: 1;",
            "succeeded, taken back later",
            "succeeded, the way back from run-1",
        ] {
            assert!(text.contains(words), "{words}\n{text}");
        }
    }

    #[test]
    fn without_a_way_back_no_deployment_has_failed() {
        let text = keys(false);
        for words in [
            "0 % (0 of 2)",
            "not applicable: no deployment failed",
            "stayed: 2; deployments that failed: 0;",
        ] {
            assert!(text.contains(words), "{words}\n{text}");
        }
    }
}
