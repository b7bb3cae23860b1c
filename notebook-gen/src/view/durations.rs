//! How much time was spent on each phase, against the earlier runs that did the same work.

use code_deploy_record::{Column, PhaseNumber, Report};

use crate::facts::Facts;
use crate::format::{counted, duration, median, ratio};
use crate::view::columns;
use crate::view::lessons::{phase_time, told, unlike};

/// Names of runs that a sentence holds; the four keys list all.
const MOST_NAMED: usize = 5;

pub(super) fn durations(facts: &Facts, others: &[Facts]) -> Report {
    let place = format!("{} on {}", facts.started.environment, facts.started.target);
    let here = |other: &&Facts| {
        other.started.environment == facts.started.environment
            && other.started.target == facts.started.target
    };
    let (same, other): (Vec<&Facts>, Vec<&Facts>) = others
        .iter()
        .filter(here)
        .partition(|run| unlike(facts, run).is_none());
    if same.is_empty() {
        return Report::new().with_text(alone(&place, &other));
    }
    let rows = PhaseNumber::all().map(|phase| line(facts, &same, phase));
    let mut titles = columns(["Phase"]);
    let numbers = ["This run", "Median before", "Runs", "Difference"];
    titles.extend(numbers.map(Column::number));
    let caption = format!("Time spent on each phase, against earlier runs of {place}");
    Report::new()
        .with_table(caption, titles, rows.collect())
        .with_text(counted_in(&same, &other))
}

fn line(facts: &Facts, before: &[&Facts], phase: PhaseNumber) -> Vec<String> {
    let well = |run: &Facts| phase_time(run, phase).filter(|(_, is_done)| *is_done);
    let mut times: Vec<u64> = before
        .iter()
        .copied()
        .filter_map(well)
        .map(|(time, _)| time)
        .collect();
    let usual = median(&mut times);
    let now = well(facts).map(|(time, _)| time);
    let difference = now.zip(usual).map(|(now, usual)| difference(now, usual));
    vec![
        phase.notebook().replace('_', " "),
        told(phase_time(facts, phase)),
        usual.map_or_else(|| "none".to_owned(), duration),
        times.len().to_string(),
        difference.unwrap_or_default(),
    ]
}

fn difference(now: u64, usual: u64) -> String {
    let sign = if now < usual { "-" } else { "+" };
    let span = duration(now.abs_diff(usual));
    if usual == 0 {
        return format!("{sign}{span}");
    }
    let percent = (ratio(now, usual) - 1.0) * 100.0;
    format!("{sign}{span} ({percent:+.0} %)")
}

/// Says why there is nothing to compare with.
fn alone(place: &str, other: &[&Facts]) -> String {
    match u64::try_from(other.len()).unwrap_or(u64::MAX) {
        0 => format!(
            "Durations are not compared: no record of a run of {place} that had ended before this one began lay \
             beside this one when these pages were made."
        ),
        number => format!(
            "Durations are not compared: {} of {place} did other work, as a first deployment or by another \
             strategy.",
            counted(number, "earlier run")
        ),
    }
}

fn counted_in(same: &[&Facts], other: &[&Facts]) -> String {
    let number = |runs: &[&Facts]| u64::try_from(runs.len()).unwrap_or(u64::MAX);
    let latest = same.iter().rev().take(MOST_NAMED);
    let names: Vec<&str> = latest.map(|run| run.started.run.as_str()).collect();
    let more = match same.len() - names.len() {
        0 => String::new(),
        more => format!(" and {more} before them"),
    };
    let mut text = format!(
        "From {}: {}{more}. Time in which a run was paused or unattended does not count. A run counts for the phases \
         that ended well in it; a difference is given where the phase ended well in this run, too.",
        counted(number(same), "earlier run"),
        names.join(", ")
    );
    if !other.is_empty() {
        text.push_str(&format!(
            " Left out: {} that did other work, as a first deployment or by another strategy.",
            counted(number(other), "run")
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use code_deploy_synthetic::{self as synthetic, Story};

    use super::durations;
    use crate::facts::Facts;

    /// Returns a run that began so many hours after the first one and was so many seconds long.
    fn run(project: &std::path::Path, hours: i64, story: Story, seconds: f64) -> Facts {
        let begin = synthetic::start() + chrono::TimeDelta::hours(hours);
        let name = format!("run-{hours}");
        Facts::read(&synthetic::run_of(project, &name, story, seconds, begin)).unwrap()
    }

    fn text(facts: &Facts, others: &[Facts]) -> String {
        crate::report_to_text(&durations(facts, others))
    }

    #[test]
    fn a_phase_is_held_against_the_median_of_the_runs_that_did_it() {
        let project = tempfile::tempdir().unwrap();
        let others = [
            run(project.path(), 0, Story::Initial, 90.0),
            run(project.path(), 1, Story::Succeeded, 90.0),
            run(project.path(), 2, Story::Succeeded, 180.0),
            run(project.path(), 3, Story::RolledBack, 90.0),
        ];
        let now = run(project.path(), 4, Story::Succeeded, 180.0);
        let text = text(&now, &others);
        let line = |phase: &str| text.lines().find(|line| line.contains(phase)).unwrap();
        // 49 s and 98 s: the run that went back did not end the phase well.
        let release = line("06 Application");
        assert!(release.contains("1 min 14 s"), "{text}");
        assert!(release.contains("+24.5 s (+33 %)"), "{text}");
        // 1 s, 2 s and 1 s.
        let plan = line("01 Deployment");
        assert!(plan.contains("+1.0 s (+100 %)"), "{text}");
        assert!(
            text.contains("From 3 earlier runs: run-3, run-2, run-1."),
            "{text}"
        );
        assert!(
            text.contains("Left out: 1 run that did other work"),
            "{text}"
        );
    }

    #[test]
    fn without_an_earlier_run_one_line_says_why() {
        let project = tempfile::tempdir().unwrap();
        let first = run(project.path(), 0, Story::Initial, 90.0);
        let mut now = run(project.path(), 1, Story::Succeeded, 90.0);
        let none = text(&now, &[]);
        assert!(
            none.contains("no record of a run of dev on local"),
            "{none}"
        );
        let only_first = text(&now, std::slice::from_ref(&first));
        assert!(only_first.contains("1 earlier run of dev on local did other work"));
        now.started.target = "k8s".to_owned();
        let elsewhere = text(&now, &[first]);
        assert!(
            elsewhere.contains("no record of a run of dev on k8s"),
            "{elsewhere}"
        );
    }
}
