//! The run as a whole: its verdict in a sentence, its facts, its phases.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use code_deploy_record::{
    Column, Direction, Outcome, Passed, PhaseNumber, Release, Report, RunOutcome, RunStarted,
};

use crate::facts::{Facts, OUTSIDE};
use crate::format::{clock, count, counted, duration, moment};
use crate::passed::{self, TimeColumns};
use crate::view::rollback::{going_back_now, rehearsed};
use crate::view::{columns, criteria, row, tally};

/// Returns how the run ended in one word or two; `not finished` while it goes on.
#[must_use]
pub fn verdict_word(facts: &Facts) -> &'static str {
    match &facts.state.finished {
        Some((outcome, ..)) => outcome.words(),
        None => "not finished",
    }
}

/// Returns the run's verdict in one sentence with its figures.
#[must_use]
pub fn verdict(facts: &Facts) -> String {
    let started = &facts.started;
    let application = format!("{} {}", started.application, started.to);
    let place = format!("{} ({})", started.environment, started.target);
    let took = passed::in_words(&facts.whole());
    let client = facts.state.clients.get("client").map(|client| {
        format!(
            "; the outside client sent {} and {} failed",
            counted(client.sent, "request"),
            count(client.failed)
        )
    });
    let client = client.unwrap_or_else(|| "; no outside client measured it".to_owned());
    let Some((outcome, summary, at)) = &facts.state.finished else {
        let phase = facts.state.present_phase();
        let phase = phase.map_or("between phases".to_owned(), |p| format!("in phase {p}"));
        let waits = if facts.state.paused { ", paused" } else { "" };
        return format!(
            "{application} is being deployed to {place}: the run is {phase}{waits}{client}."
        );
    };
    let summary = summary.trim().trim_end_matches('.');
    match outcome {
        RunOutcome::Succeeded => {
            format!("{application} was deployed to {place} in {took}{client}.")
        }
        RunOutcome::RolledBack => format!(
            "{application} was rolled back from {place} at {} UTC: {summary}{client}.",
            clock(*at)
        ),
        RunOutcome::Refused => {
            format!(
                "{application} was not deployed to {place}, and nothing was changed: {summary}."
            )
        }
        RunOutcome::Abandoned => format!(
            "{application} in {place} was abandoned at {} UTC: {summary}{client}.",
            clock(*at)
        ),
        _ => format!("{application} in {place} needs a person to decide: {summary}{client}."),
    }
}

/// How many criteria are named in one line; more are counted.
const NAMED: usize = 3;

/// Returns what every finished run must show, counted; nothing while the run goes on.
pub(super) fn criteria_counted(facts: &Facts) -> Option<String> {
    facts.state.finished.as_ref()?;
    let Ok(mut criteria) = criteria::criteria(facts) else {
        return Some("not known: the catalogue of items cannot be read".to_owned());
    };
    criteria.retain(|one| one.applies);
    let named = |word: &str| {
        let of_word = criteria.iter().filter(|one| one.word() == word);
        of_word.map(|one| one.name).collect::<Vec<_>>()
    };
    let shown = named("shown").len();
    let mut text = format!("{shown} of {} shown", criteria.len());
    for word in ["not so", "open"] {
        let names = named(word);
        match names.len() {
            0 => {}
            1..=NAMED => text.push_str(&format!("; {word}: {}", names.join(", "))),
            number => text.push_str(&format!("; {number} {word}")),
        }
    }
    Some(text)
}

/// Returns the facts of a run as label, value and where in the record they stand, at most thirteen.
pub(crate) fn fact_lines(facts: &Facts) -> Vec<[String; 3]> {
    let started = &facts.started;
    let state = &facts.state;
    let event = |seq: Option<u64>| seq.map_or_else(String::new, |seq| format!("event {seq}"));
    let begin = event(Some(0));
    let end = event(facts.finished);
    let until = match facts.finished {
        Some(end) => format!("events 0 and {end}"),
        None => begin.clone(),
    };
    let who = format!(
        "{} on {}, code-deploy {}",
        started.user, started.host, started.program
    );
    let place = format!(
        "{}, target {}, strategy {}",
        started.environment, started.target, started.strategy
    );
    let criteria = criteria_counted(facts);
    let mut counts = facts.counts.iter();
    let counted_last = counts.rfind(|count| count.what.client == OUTSIDE);
    let mut lines = vec![
        ("Run", started.run.to_string(), begin.clone()),
        ("Who", who, begin.clone()),
        ("When", when(facts), until),
        ("Release", releases(started), begin.clone()),
        ("Where", place, begin.clone()),
        ("Outcome", outcome(facts), end),
        ("Live", live_at_end(facts), last_shifts(facts)),
        (
            "Outside client",
            client(facts),
            event(counted_last.map(|one| one.seq)),
        ),
        (
            "Rollback rehearsal",
            rehearsal(facts),
            event(facts.rehearsals.last().map(|one| one.seq)),
        ),
        (
            "Criteria",
            criteria.unwrap_or_else(|| "drawn up when the run ends".to_owned()),
            "the report's table of criteria".to_owned(),
        ),
        (
            "Items",
            tally(facts).to_string(),
            "the tables of items".to_owned(),
        ),
        (
            "Journal",
            format!(
                "{}, head {}",
                counted(state.events, "event"),
                facts.head.short()
            ),
            "all of it".to_owned(),
        ),
    ];
    if let Some(fault) = &started.planted_fault {
        let text = format!("{fault}, chosen on purpose for a demonstration");
        lines.insert(7, ("Planted fault", text, begin));
    }
    let lines = lines.into_iter();
    lines
        .map(|(label, value, source)| [label.to_owned(), value, source])
        .collect()
}

/// Returns the events that tell the shares of each service last.
fn last_shifts(facts: &Facts) -> String {
    let last = facts.state.traffic.keys().filter_map(|service| {
        let shifts = facts.shifts.iter();
        let mut own = shifts.rev().filter(|shift| shift.what.service == *service);
        own.next().map(|shift| shift.seq)
    });
    let last: BTreeSet<u64> = last.collect();
    let last: Vec<String> = last.iter().map(u64::to_string).collect();
    match last.as_slice() {
        [] => String::new(),
        [one] => format!("event {one}"),
        several => format!("events {}", several.join(", ")),
    }
}

/// Returns the sentence that opening or joining a run says.
pub fn opening(facts: &Facts) -> String {
    let started = &facts.started;
    format!(
        "Run {} of {} in {} on {}: {}, begun by {} at {}.",
        started.run,
        started.application,
        started.environment,
        started.target,
        releases(started),
        started.user,
        moment(facts.since())
    )
}

fn when(facts: &Facts) -> String {
    let end = if facts.state.finished.is_some() {
        format!("to {}", clock(facts.until()))
    } else {
        format!("(last event {})", clock(facts.until()))
    };
    let took = passed::on_the_wall(&facts.whole());
    format!("{} {end}, {took}", moment(facts.since()))
}

fn releases(started: &RunStarted) -> String {
    match &started.from {
        Some(from) => format!("from {from} to {}", started.to),
        None => format!("{}, the first: nothing ran before", started.to),
    }
}

fn outcome(facts: &Facts) -> String {
    match &facts.state.finished {
        Some((outcome, summary, _)) => format!("{}: {summary}", outcome.words()),
        None => "not finished".to_owned(),
    }
}

/// Returns which release has all traffic of each service, and since when, as last read back.
pub(super) fn live(facts: &Facts) -> String {
    let mut whole: BTreeMap<&Release, Vec<(&str, DateTime<Utc>)>> = BTreeMap::new();
    let mut split = Vec::new();
    for (service, (served, _)) in &facts.state.traffic {
        match whole_since(facts, service) {
            Some((release, since)) => whole.entry(release).or_default().push((service, since)),
            None => {
                let shares = served.iter().filter(|(_, percent)| **percent > 0);
                let shares: Vec<_> = shares.map(|(r, p)| format!("{r} has {p} %")).collect();
                split.push(match shares.is_empty() {
                    true => format!("{service} has no traffic"),
                    false => format!("of {service}, {}", shares.join(" and ")),
                });
            }
        }
    }
    let mut texts: Vec<String> = whole
        .into_iter()
        .map(|(release, services)| {
            let since = services.iter().map(|(_, since)| *since).max();
            let since =
                since.map_or_else(String::new, |since| format!(" since {} UTC", clock(since)));
            let names: Vec<&str> = services.iter().map(|(service, _)| *service).collect();
            let of = match names.len() == facts.state.traffic.len() {
                true => counted(names.len() as u64, "service"),
                false => names.join(", "),
            };
            format!("{release} has all traffic of {of}{since}")
        })
        .collect();
    texts.extend(split);
    match texts.is_empty() {
        true => "this run moved no traffic".to_owned(),
        false => texts.join("; "),
    }
}

/// Returns what is live, for a table that is read long after: of a run that has ended, the record tells no more.
fn live_at_end(facts: &Facts) -> String {
    let live = live(facts);
    match facts.finished.is_some() && !facts.state.traffic.is_empty() {
        true => format!("{live}, as of the end of the record"),
        false => live,
    }
}

/// Returns the release that has all traffic of a service, and when it was first read back to have it without
/// a break since.
fn whole_since<'a>(facts: &'a Facts, service: &str) -> Option<(&'a Release, DateTime<Utc>)> {
    let shifts = facts.shifts.iter().rev();
    let mut since: Option<(&Release, DateTime<Utc>)> = None;
    for shift in shifts.filter(|shift| shift.what.service == service) {
        let mut served = shift.what.served.iter();
        let whole = served.find(|(_, percent)| **percent == 100);
        match (whole.map(|(release, _)| release), since) {
            (Some(release), None) => since = Some((release, shift.time)),
            (Some(release), Some((known, _))) if release == known => {
                since = Some((known, shift.time));
            }
            _ => break,
        }
    }
    since
}

fn client(facts: &Facts) -> String {
    let Some(client) = facts.state.clients.get("client") else {
        return "none measured this run".to_owned();
    };
    format!(
        "{}, {} failed, longest gap between good answers {}",
        counted(client.sent, "request"),
        count(client.failed),
        duration(client.longest_gap_us)
    )
}

fn rehearsal(facts: &Facts) -> String {
    match rehearsed(facts) {
        Some(how) => format!("{how}{}", going_back_now(facts)),
        None if facts.started.from.is_none() => {
            "not applicable: no release ran before to go back to".to_owned()
        }
        None => "not reached".to_owned(),
    }
}

pub(super) fn run(facts: &Facts) -> Report {
    let rows = fact_lines(facts).into_iter().map(Vec::from);
    Report::new().with_text(verdict(facts)).with_table(
        "",
        columns(["Fact", "Value", "Source"]),
        rows.collect(),
    )
}

pub(super) fn phases(facts: &Facts) -> Report {
    let times = TimeColumns::of(facts);
    let mut known: Vec<Passed> = Vec::new();
    let rows = PhaseNumber::all().map(|phase| {
        let number = phase.to_string();
        let name = phase
            .notebook()
            .get(3..)
            .unwrap_or_default()
            .replace('_', " ");
        let Some(state) = facts.state.phases.get(&phase) else {
            return times.row([&number, &name, "not reached", ""], None, "");
        };
        let word = match state.finished {
            None => "under way",
            Some((_, Outcome::Done)) => "done",
            Some((_, Outcome::Failed)) => "failed",
            Some((_, Outcome::Stopped)) => "stopped",
        };
        let passed = facts.passed_in(state);
        known.push(passed);
        let began = clock(state.started);
        times.row([&number, &name, word, &began], Some(passed), &state.reason)
    });
    let mut rows: Vec<_> = rows.collect();
    rows.extend(beside_phases(facts, times, known));
    let mut titles = columns(["Phase", "Name", "State", "Began (UTC)"]);
    titles.extend(times.titles());
    titles.push(Column::text("Reason"));
    let (caption, meaning) = match times.split {
        true => (
            "Phases: time spent, paused and unattended, which sum up to the time on the wall",
            format!("{} Each figure is rounded by itself.", passed::KINDS),
        ),
        false => (
            "Phases",
            "The run did not stand still, so the time spent is the time on the wall.".to_owned(),
        ),
    };
    Report::new()
        .with_table(caption, titles, rows)
        .with_text(meaning)
}

impl TimeColumns {
    fn row(self, first: [&str; 4], passed: Option<Passed>, reason: &str) -> Vec<String> {
        let mut row = row(first);
        row.extend(self.cells(passed));
        row.push(reason.to_owned());
        row
    }
}

/// Returns, for a run that has ended, what was beside its phases, and the whole. `known` is how the time of each phase
/// was passed.
fn beside_phases(facts: &Facts, times: TimeColumns, mut known: Vec<Passed>) -> Vec<Vec<String>> {
    let Some((outcome, ..)) = &facts.state.finished else {
        return Vec::new();
    };
    let phases = facts.state.phases.values();
    let last = phases
        .filter_map(|phase| phase.finished)
        .map(|(end, _)| end);
    let after = last.max().map(|last| {
        let passed = facts.passed(last, facts.until());
        known.push(passed);
        let what = steps_after(facts, last);
        times.row(
            ["", "After the phases", "", &clock(last)],
            Some(passed),
            &what,
        )
    });
    let whole = facts.whole();
    let mut rows = Vec::new();
    if let Some(passed) = without(whole, &known) {
        rows.push(times.row(["", "Between the phases", "", ""], Some(passed), ""));
    }
    rows.extend(after);
    let began = clock(facts.since());
    let wall = match times.split {
        true => format!(
            "{} on the wall",
            duration(passed::microseconds(whole.wall()))
        ),
        false => String::new(),
    };
    let first = ["", "Whole run", outcome.words(), began.as_str()];
    rows.push(times.row(first, Some(whole), &wall));
    rows
}

/// Returns what is left of a time without these parts of it; nothing where nothing is.
fn without(whole: Passed, parts: &[Passed]) -> Option<Passed> {
    let zero = chrono::TimeDelta::zero();
    let left = parts.iter().fold(whole, |left, part| Passed {
        spent: (left.spent - part.spent).max(zero),
        paused: (left.paused - part.paused).max(zero),
        unattended: (left.unattended - part.unattended).max(zero),
    });
    (!left.wall().is_zero()).then_some(left)
}

/// Names the steps that ended after a time: those that finish a run, and how many were undone.
fn steps_after(facts: &Facts, time: DateTime<Utc>) -> String {
    let after = || facts.steps.iter().filter(|step| step.time > time);
    let forward = after().filter(|step| step.what.direction == Direction::Apply);
    let mut texts: Vec<String> = forward.map(|step| step.what.step.to_string()).collect();
    let undone = after().filter(|step| step.what.direction == Direction::Undo);
    match u64::try_from(undone.count()).unwrap_or(u64::MAX) {
        0 => {}
        undone => texts.push(format!("the undo of {}", counted(undone, "step"))),
    }
    texts.join(", ")
}

pub(super) fn status(facts: &Facts) -> Report {
    let traffic = facts
        .state
        .traffic
        .iter()
        .map(|(service, (served, stable))| {
            let served: Vec<String> = served.iter().map(|(r, p)| format!("{r}: {p} %")).collect();
            row([service, &served.join(", "), stable.as_str()])
        });
    let traffic: Vec<_> = traffic.collect();
    let mut report = Report::new().with_text(verdict(facts));
    report.blocks.extend(phases(facts).blocks);
    if traffic.is_empty() {
        return report.with_text("No traffic was moved.");
    }
    let titles = ["Service", "Served", "Stable"];
    report.with_table("Traffic as read back", columns(titles), traffic)
}
