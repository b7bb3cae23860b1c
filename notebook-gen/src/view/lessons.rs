//! What to learn from a run: derived from its record, each with its event.

use std::collections::{BTreeMap, BTreeSet};

use code_deploy_record::{Column, GateCheck, GateEvaluated, Outcome, PhaseNumber, Report, Verdict};

use crate::facts::{At, Facts, StepEnd};
use crate::format::{clock, counted, duration};
use crate::passed::spent;
use crate::stopped;
use crate::view::steps::of_limit;
use crate::view::{columns, row};

pub(super) fn lessons(facts: &Facts, others: &[Facts]) -> Report {
    let report = slowest(facts, Report::new());
    let report = failed(facts, report);
    let report = gates(facts, report);
    let report = nearest(facts, report);
    let report = super::drift::drift(facts, report);
    let report = flapping(facts, report);
    let report = waived(facts, report);
    against_before(facts, others, report)
}

fn slowest(facts: &Facts, report: Report) -> Report {
    let steps = by_time_spent(facts);
    if steps.is_empty() {
        return report.with_text("What took longest: no step of this run has ended.");
    }
    let rows = steps.iter().take(10).map(|(took, step)| {
        let planned = facts.state.planned(&step.what.step);
        let expected = planned.map(|planned| duration(planned.expected_ms * 1000));
        vec![
            step.what.step.to_string(),
            duration(*took),
            expected.unwrap_or_default(),
            step.what.attempts.to_string(),
            step.seq.to_string(),
        ]
    });
    let mut titles = columns(["Step"]);
    titles.extend(
        ["Spent", "Expected", "Attempts", "Event"]
            .into_iter()
            .map(Column::number),
    );
    report.with_table("What took longest, by time spent", titles, rows.collect())
}

/// Returns the steps that ended, the slowest first, each with the microseconds that were spent on it: what a step waited
/// for a person does not count.
fn by_time_spent(facts: &Facts) -> Vec<(u64, &At<StepEnd>)> {
    let steps = facts.steps.iter();
    let mut steps: Vec<_> = steps
        .map(|step| (spent(&facts.passed_by(step)), step))
        .collect();
    steps.sort_by_key(|(took, step)| (std::cmp::Reverse(*took), step.seq));
    steps
}

fn failed(facts: &Facts, report: Report) -> Report {
    let bad = |step: &&At<StepEnd>| step.what.outcome != Outcome::Done || step.what.attempts > 1;
    let rows: Vec<_> = facts
        .steps
        .iter()
        .filter(bad)
        .take(50)
        .map(|step| {
            let outcome = format!("{:?}", step.what.outcome).to_lowercase();
            let problem = step
                .what
                .problem
                .as_ref()
                .map(|p| format!("{} {}", p.code, p.what));
            let (attempts, seq) = (step.what.attempts.to_string(), step.seq.to_string());
            let time = clock(step.time);
            row([
                &time,
                step.what.step.as_str(),
                &outcome,
                &attempts,
                &problem.unwrap_or_default(),
                &seq,
            ])
        })
        .collect();
    if rows.is_empty() {
        return report.with_text("What failed or was retried: no step.");
    }
    let titles = columns([
        "Time (UTC)",
        "Step",
        "Outcome",
        "Attempts",
        "Error",
        "Event",
    ]);
    report.with_table("What failed or was retried", titles, rows)
}

fn gates(facts: &Facts, report: Report) -> Report {
    let failed: Vec<_> = facts
        .gates
        .iter()
        .filter(|gate| !gate.what.passed)
        .take(50)
        .collect();
    if failed.is_empty() {
        return report.with_text(format!(
            "Gates without a pass: none of {}.",
            counted(u64::try_from(facts.gates.len()).unwrap_or(0), "answer")
        ));
    }
    let rows = failed.iter().map(|gate| {
        let (time, seq) = (clock(gate.time), gate.seq.to_string());
        row([
            &time,
            gate.what.gate.word(),
            &gate.what.subject,
            &gate.what.reason,
            &seq,
        ])
    });
    let titles = columns(["Time (UTC)", "Gate", "Of", "Reason", "Event"]);
    report.with_table("Gates without a pass", titles, rows.collect())
}

/// How near to its limit a check of a passed gate is a near miss.
const NEAR: f64 = 0.8;

/// Checks that are listed: at least so many, and near misses up to so many.
const LISTED: (usize, usize) = (5, 50);

/// A check of a passed gate: how near to its limit it came, and the gate.
pub(super) type Near<'a> = (f64, &'a At<GateEvaluated>, &'a GateCheck);

/// Returns the checks of passed gates that have a figure, the nearest to its limit first, each of a gate by the
/// answer in which it came nearest.
pub(super) fn nearest_checks(facts: &Facts) -> Vec<Near<'_>> {
    let gates = facts.gates.iter().filter(|gate| gate.what.passed);
    let checks = gates.flat_map(|gate| gate.what.checks.iter().map(move |check| (gate, check)));
    let mut told: Vec<_> = checks
        .filter_map(|(gate, check)| Some((check.used?, gate, check)))
        .collect();
    told.sort_by(|one, other| other.0.total_cmp(&one.0));
    let mut names = BTreeSet::new();
    told.retain(|(_, gate, check)| names.insert((gate.what.gate, check.name.as_str())));
    told
}

/// Lists near misses: the checks of passed gates that came nearest to their limits, with what was left.
fn nearest(facts: &Facts, report: Report) -> Report {
    let told = nearest_checks(facts);
    if told.is_empty() {
        return report
            .with_text("Near misses: not known, because no check of a passed gate has a figure.");
    }
    let near = told.iter().filter(|(used, ..)| *used >= NEAR).count();
    let rows = told
        .iter()
        .take(near.clamp(LISTED.0, LISTED.1))
        .map(|(used, gate, check)| {
            row([
                gate.what.gate.word(),
                &check.name,
                &gate.what.subject,
                &check.measured,
                &check.limit,
                &of_limit(Some(*used)),
                &margin(*used),
                &gate.seq.to_string(),
            ])
        });
    let mut titles = columns(["Gate", "Check", "Of", "Measured", "Limit"]);
    titles.extend(["Of limit", "Margin", "Event"].map(Column::number));
    let caption = "Checks of passed gates that came nearest to their limits";
    let report = report.with_table(caption, titles, rows.collect());
    let all = counted(u64::try_from(told.len()).unwrap_or(u64::MAX), "kind");
    let share = of_limit(Some(NEAR));
    report.with_text(match near {
        0 => {
            format!(
                "Near misses: none. Of {all} of checks with a figure, each by the answer in which it came nearest, \
                 none came to {share} of its limit."
            )
        }
        near => format!(
            "Near misses: of {all} of checks with a figure, each by the answer in which it came nearest, {near} came \
             to {share} of the limit or nearer."
        ),
    })
}

/// Returns what was left up to a limit, in percent of it.
fn margin(used: f64) -> String {
    format!("{:.0} %", (1.0 - used) * 100.0)
}

/// Events that a row names; how often it was is told beside.
const MOST_EVENTS: usize = 6;

fn flapping(facts: &Facts, report: Report) -> Report {
    let stops = stopped::stops(facts);
    let mut falls: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    let mut on_purpose: BTreeSet<(&str, &str)> = BTreeSet::new();
    let mut healthy: BTreeMap<(&str, &str, code_deploy_record::Probe), bool> = BTreeMap::new();
    for note in &facts.health {
        let what = &note.what;
        let before = healthy.insert((&what.service, &what.instance, what.probe), what.healthy);
        if before != Some(true) || what.healthy {
            continue;
        }
        let instance = (what.service.as_str(), what.instance.as_str());
        if stops.iter().any(|stop| stop.explains(note)) {
            on_purpose.insert(instance);
        } else {
            let events = falls.entry(instance).or_default();
            events.push(note.seq.to_string());
        }
    }
    let report = if falls.is_empty() {
        report.with_text("Health lost after it was there: by no instance that was to run.")
    } else {
        let rows = falls.iter().map(|((service, instance), events)| {
            let shown: Vec<&str> = events
                .iter()
                .take(MOST_EVENTS)
                .map(String::as_str)
                .collect();
            row([
                service,
                instance,
                &events.len().to_string(),
                &shown.join(", "),
            ])
        });
        let titles = columns(["Service", "Instance", "Times", "Events, the first of them"]);
        report.with_table("Health lost after it was there", titles, rows.collect())
    };
    if on_purpose.is_empty() {
        return report;
    }
    let number = u64::try_from(on_purpose.len()).unwrap_or(u64::MAX);
    report.with_text(format!(
        "Not counted there: {} whose probes failed while a step of the plan stopped {}.",
        counted(number, "instance"),
        if number == 1 { "it" } else { "them" }
    ))
}

fn waived(facts: &Facts, report: Report) -> Report {
    let is_waived =
        |state: &&code_deploy_record::ItemState| matches!(state.verdict, Verdict::Waived { .. });
    let number = facts.state.items.values().filter(is_waived).count();
    if number == 0 {
        return report.with_text("Waived: no item.");
    }
    let mut report = report;
    report
        .blocks
        .extend(super::approvals::waivers(facts).blocks);
    report
}

fn against_before(facts: &Facts, others: &[Facts], report: Report) -> Report {
    let same = |other: &&Facts| {
        other.started.environment == facts.started.environment && other.since() < facts.since()
    };
    let Some(before) = others.iter().filter(same).max_by_key(|other| other.since()) else {
        return report
            .with_text("Against earlier runs: no record of an earlier run of this environment lay beside this one when these pages were made.");
    };
    let unlike = unlike(facts, before);
    let rows = PhaseNumber::all().map(|phase| {
        let (now, then) = (phase_time(facts, phase), phase_time(before, phase));
        let both = now.zip(then).filter(|_| unlike.is_none());
        let change = both.and_then(|(now, then)| change(now, then));
        vec![
            phase.notebook().replace('_', " "),
            told(now),
            told(then),
            change.unwrap_or_default(),
        ]
    });
    let mut titles = columns(["Phase"]);
    titles.extend(
        ["This run", "Before", "Change"]
            .into_iter()
            .map(Column::number),
    );
    let caption = format!("Time spent against run {}", before.started.run);
    let report = report.with_table(caption, titles, rows.collect());
    let measured = "Time in which a run was paused or unattended does not count. A change is given for phases that ended \
                    well in both runs.";
    report.with_text(unlike.map_or_else(
        || measured.to_owned(),
        |why| format!("No change is given: {why}, so the phases did other work."),
    ))
}

/// Says why the phases of two runs are no measure of each other; nothing when they are.
pub(super) fn unlike(facts: &Facts, before: &Facts) -> Option<String> {
    let (now, then) = (&facts.started, &before.started);
    if now.initial != then.initial {
        let which = if then.initial { "that" } else { "this" };
        return Some(format!("{which} run was a first deployment"));
    }
    if now.strategy != then.strategy {
        return Some(format!(
            "this run was {}, that one {}",
            now.strategy, then.strategy
        ));
    }
    None
}

/// Returns how much time was spent on a phase that ended, in microseconds, and whether it ended well.
pub(super) fn phase_time(run: &Facts, phase: PhaseNumber) -> Option<(u64, bool)> {
    let state = run.state.phases.get(&phase)?;
    let (_, outcome) = state.finished?;
    let took = spent(&run.passed_in(state));
    Some((took, outcome == Outcome::Done))
}

fn change((now, well): (u64, bool), (then, well_then): (u64, bool)) -> Option<String> {
    let ratio = crate::format::ratio(now, then);
    (well && well_then && then > 0).then(|| format!("{:+.0} %", (ratio - 1.0) * 100.0))
}

pub(super) fn told(time: Option<(u64, bool)>) -> String {
    match time {
        None => "not reached".to_owned(),
        Some((time, true)) => duration(time),
        Some((time, false)) => format!("{}, not done", duration(time)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use code_deploy_record::{Digest, Event, EventBody};
    use code_deploy_synthetic::{self as synthetic, Story};

    use super::*;

    /// Returns what is said of a run whose smoke gate made a check that came so near to its limit.
    fn told(used: Option<f64>) -> String {
        let project = tempfile::tempdir().unwrap();
        let run = synthetic::run(project.path(), "run-1", Story::Succeeded);
        let mut facts = Facts::read(&run).unwrap();
        let mut gates = facts.gates.iter_mut();
        let smoke = gates.find(|gate| gate.what.gate.word() == "smoke").unwrap();
        smoke.what.checks = vec![GateCheck {
            used,
            ..GateCheck::new("time of a journey", "930 ms", "at most 1 s", true)
        }];
        crate::report_to_text(&nearest(&facts, Report::new()))
    }

    #[test]
    fn a_near_miss_is_told_with_its_gate_and_what_was_left() {
        let text = told(Some(0.93));
        let line = text.lines().find(|line| line.contains("930 ms")).unwrap();
        for words in ["smoke", "shop 1.1.0", "at most 1 s", "93 %", "7 %"] {
            assert!(line.contains(words), "{words}\n{text}");
        }
        assert!(text.contains("nearest, 1 came to 80 %"), "{text}");
        let far = told(Some(0.2));
        assert!(
            far.contains("Near misses: none. Of 1 kind of checks"),
            "{far}"
        );
        assert!(far.contains("none came to 80 % of its limit"), "{far}");
    }

    #[test]
    fn a_step_that_waited_for_a_person_is_no_slow_one() {
        let project = tempfile::tempdir().unwrap();
        let run = synthetic::run(project.path(), "run-1", Story::Succeeded);
        let mut facts = Facts::read(&run).unwrap();
        let slowest_of = |facts: &Facts| {
            let steps = by_time_spent(facts);
            steps.first().map(|(_, step)| step.what.step.to_string())
        };
        assert_eq!(slowest_of(&facts).as_deref(), Some("release.traffic.25"));
        // It was under way from 14:00:34 to 14:00:44.
        let paused = EventBody::Paused {
            after: None,
            by: None,
            reason: None,
        };
        let found = "anna resumed it".to_owned();
        for (seconds, body) in [(35, paused), (43, EventBody::Resumed { found })] {
            facts.standstills.note(&Event {
                seq: 1,
                time: synthetic::start() + chrono::TimeDelta::seconds(seconds),
                actor: "engine".to_owned(),
                prev: Digest::ZERO,
                body,
            });
        }
        assert_eq!(slowest_of(&facts).as_deref(), Some("release.traffic.50"));
        let text = crate::report_to_text(&slowest(&facts, Report::new()));
        assert!(
            text.starts_with("What took longest, by time spent"),
            "{text}"
        );
        let steps = crate::report_to_text(&crate::view::steps::steps(&facts, None));
        assert!(steps.contains("2.0 s (without 8.0 s paused)"), "{steps}");
    }

    #[test]
    fn without_figures_near_misses_are_not_known() {
        assert!(told(None).contains("Near misses: not known, because no check"));
    }
}
