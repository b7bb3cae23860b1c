//! Objectives with the error budget that a run spent of them.

use code_deploy_record::{
    Block, Column, Gate, GateCheck, GateEvaluated, Latency, LoadTested, PhaseNumber, Report, Source,
};

use crate::facts::{At, Facts};
use crate::format::{clock, count, duration, ratio};
use crate::series::{Bins, Key, Point};
use crate::view::columns;

/// Requests below which a share with three digits, as the gate writes it, tells their number exactly.
const EXACT_BELOW: u64 = 100_000;

/// What decimal fractions lose in binary, as a part of one request.
const TOLERANCE: f64 = 1e-6;

/// What it means that an objective is not shown.
const FEW: &str = "Not shown is an objective that holds by what was measured, where so few requests do not exclude, with 95 % \
                   confidence, that it is missed (exact binomial bound, C. J. Clopper and E. S. Pearson, 1934; requests \
                   are taken as independent). Its item stays open. It stops no run: gates decide by what was measured.";

/// What an objective with a budget promises.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Promise {
    /// The share of requests that must be answered well, in percent.
    Availability(f64),
    /// The share of answers, in percent, that may take no longer than so many milliseconds.
    Latency(f64, f64),
}

impl Promise {
    /// Reads what a check of the baseline gate holds something against; nothing for one that has no budget.
    fn of(check: &GateCheck) -> Option<Self> {
        let figure = figure(check)?;
        let number = check.limit.split_whitespace().nth(2)?.parse().ok()?;
        if figure == "availability" {
            return Some(Self::Availability(number));
        }
        let percent = figure.strip_prefix('p')?.parse().ok()?;
        Some(Self::Latency(percent, number))
    }

    /// Returns the share, in percent, that may miss it.
    fn allowed_percent(self) -> f64 {
        let (Self::Availability(kept) | Self::Latency(kept, _)) = self;
        100.0 - kept
    }

    fn text(self) -> String {
        match self {
            Self::Availability(percent) => format!("{percent} % answered well"),
            Self::Latency(percent, below) => format!("{percent} % within {below} ms"),
        }
    }
}

/// Returns what of an objective a check is about: `availability`, `p99`, `throughput`. Checks that compare releases
/// end in no word in brackets.
fn figure(check: &GateCheck) -> Option<&str> {
    let (_, figure) = check.name.rsplit_once(" (")?;
    figure.strip_suffix(')')
}

/// Returns whether a check holds something against an objective of the deployment file.
pub(super) fn is_of_objective(check: &GateCheck) -> bool {
    figure(check).is_some_and(|figure| figure == "throughput") || Promise::of(check).is_some()
}

/// What was measured of an objective.
struct Measured {
    /// Requests, or good answers where their time counts.
    all: u64,
    /// How many of them missed it.
    missed: u64,
    /// Whether that number is known to the last one.
    is_exact: bool,
    /// Where and when.
    over: String,
}

/// Returns the objectives with their budgets: those that are not met stand first, then those that are not shown.
pub(super) fn objectives(facts: &Facts, bins: &Bins) -> Report {
    let answers = facts.last_answers(Gate::Baseline);
    if answers.is_empty() {
        return Report::new().with_text(
            "No error budget: objectives are measured for the baseline gate, which was not asked in this run.",
        );
    }
    let (mut rows, mut notes, mut is_small) = (Vec::new(), Vec::new(), false);
    let mut few = false;
    for gate in answers {
        for check in &gate.what.checks {
            let Some(promise) = Promise::of(check) else {
                notes.extend(without_budget(check));
                continue;
            };
            let measured = measured(facts, bins, gate, check, promise);
            if let Err(why) = &measured {
                notes.push(format!("{}: {why}.", check.name));
            }
            let measured = measured.ok();
            let allowed = measured
                .as_ref()
                .map(|one| ratio(one.all, 1) * promise.allowed_percent() / 100.0);
            is_small |= allowed.is_some_and(|allowed| allowed < 1.0 - TOLERANCE);
            few |= check.unshown.is_some();
            let row = line(gate, check, promise, measured.as_ref(), allowed);
            rows.push(((check.passed, check.is_met()), row));
        }
    }
    rows.sort_by_key(|(place, _)| *place);
    let rows = rows.into_iter().map(|(_, row)| row).collect();
    let report = told(rows, notes, is_small);
    match few {
        true => report.with_text(FEW),
        false => report,
    }
}

fn told(rows: Vec<Vec<String>>, notes: Vec<String>, is_small: bool) -> Report {
    let mut report = Report::new();
    if rows.is_empty() {
        report = report.with_text(
            "No error budget: the deployment file names no objective of availability or latency.",
        );
    } else {
        let mut titles = columns(["Objective", "Asked for", "State"]);
        titles.extend(["Measured", "Missed it", "Budget", "Budget spent"].map(Column::number));
        titles.push(Column::text("Measured over"));
        titles.push(Column::number("Event"));
        report = report
            .with_table("Error budgets of the objectives", titles, rows)
            .with_text(
                "The budget is how many of the requests measured may fail or, where an objective is about time, \
                 how many good answers may take longer. Its window is the run's own: the deployment file gives \
                 objectives none, so this is no statement on a month.",
            );
    }
    if is_small {
        report = report.with_text(
            "Where the budget is below one request, a single miss spends more than all of it: so few requests \
             can show that an objective is missed, not that it is kept.",
        );
    }
    notes.into_iter().fold(report, Report::with_text)
}

/// Says of an objective without a budget how it stands.
fn without_budget(check: &GateCheck) -> Option<String> {
    (figure(check)? == "throughput").then(|| {
        format!(
            "{}: {} measured, {} asked for; a rate has no error budget.",
            check.name, check.measured, check.limit
        )
    })
}

fn line(
    gate: &At<GateEvaluated>,
    check: &GateCheck,
    promise: Promise,
    measured: Option<&Measured>,
    allowed: Option<f64>,
) -> Vec<String> {
    let unknown = || "not known".to_owned();
    let missed = measured.map(|one| {
        let about = if one.is_exact { "" } else { "about " };
        format!("{about}{}", count(one.missed))
    });
    let spent = measured.zip(allowed);
    vec![
        check.name.clone(),
        promise.text(),
        check.standing(),
        measured.map_or_else(unknown, |one| count(one.all)),
        missed.unwrap_or_else(unknown),
        allowed.map_or_else(unknown, |allowed| match allowed < 100.0 {
            true => format!("{allowed:.2}"),
            false => format!("{allowed:.0}"),
        }),
        spent.map_or_else(unknown, |(one, allowed)| spent_text(one.missed, allowed)),
        measured.map_or_else(unknown, |one| one.over.clone()),
        gate.seq.to_string(),
    ]
}

fn spent_text(missed: u64, allowed: f64) -> String {
    if missed == 0 {
        return "0 %".to_owned();
    }
    if allowed <= 0.0 {
        return "more than all of it: none is allowed".to_owned();
    }
    let share = ratio(missed, 1) / allowed * 100.0;
    match share {
        share if share > 100.0 + 100.0 * TOLERANCE => format!("more than all of it ({share:.0} %)"),
        share if share < 10.0 => format!("{share:.1} %"),
        share => format!("{share:.0} %"),
    }
}

/// Returns what was measured of an objective, or why that is not known.
fn measured(
    facts: &Facts,
    bins: &Bins,
    gate: &At<GateEvaluated>,
    check: &GateCheck,
    promise: Promise,
) -> Result<Measured, &'static str> {
    if !check.is_measured() {
        return Err("nothing was measured of it");
    }
    let load = facts
        .loads
        .iter()
        .rfind(|load| load.seq < gate.seq && load.what.release == facts.started.to);
    match promise {
        Promise::Availability(_) => available(facts, gate, check, load),
        Promise::Latency(percent, below) => {
            let below = rounded(below * 1000.0).unwrap_or(u64::MAX);
            if let Some(load) = load.filter(|load| reads(&load.what.latency, percent, check)) {
                return Ok(longer(&load.what.latency, below, over_load(load)));
            }
            routed(facts, bins, check, below)
        }
    }
}

/// The gate writes the share of good answers and the number of requests.
fn available(
    facts: &Facts,
    gate: &At<GateEvaluated>,
    check: &GateCheck,
    load: Option<&At<LoadTested>>,
) -> Result<Measured, &'static str> {
    let parts = check.measured.split_once(" % of ");
    let parts = parts.and_then(|(good, rest)| {
        let all: u64 = rest.split(' ').next()?.parse().ok()?;
        Some((good.parse::<f64>().ok()?, all))
    });
    let Some((good, all)) = parts else {
        return Err("what the gate says of it holds no number of requests");
    };
    if let Some(load) = load.filter(|load| all == load.what.sent || all == due(&load.what)) {
        return Ok(Measured {
            all,
            missed: load.what.failed,
            is_exact: true,
            over: over_load(load),
        });
    }
    let missed = rounded((100.0 - good).max(0.0) / 100.0 * ratio(all, 1));
    Ok(Measured {
        all,
        missed: missed.ok_or("what the gate says of it is no share")?,
        is_exact: all < EXACT_BELOW,
        over: format!(
            "requests to {} from its first traffic{} to {} UTC{}",
            facts.started.to,
            first_traffic(facts).map_or_else(String::new, |time| format!(" at {time}")),
            clock(gate.time),
            match load {
                Some(_) => ", those of the load test among them",
                None => "",
            }
        ),
    })
}

fn first_traffic(facts: &Facts) -> Option<String> {
    let has = |share: Option<&u16>| share.is_some_and(|share| *share > 0);
    let mut shifts = facts.shifts.iter();
    let first = shifts.find(|shift| has(shift.what.served.get(&facts.started.to)))?;
    Some(clock(first.time))
}

/// Returns whether a check was read from this histogram: its quantile, written as the gate writes it.
fn reads(latency: &Latency, percent: f64, check: &GateCheck) -> bool {
    let quantile = latency.quantile_us(percent / 100.0);
    // Behind the figure may stand what so few requests do not exclude.
    let figure = check.measured.split(" (").next();
    quantile.is_some_and(|us| Some(format!("{:.1} ms", ratio(us, 1000)).as_str()) == figure)
}

fn longer(latency: &Latency, below_us: u64, over: String) -> Measured {
    Measured {
        all: latency.len(),
        missed: latency.longer_than_us(below_us),
        is_exact: true,
        over,
    }
}

/// What was counted of the release over the whole run at the service that an objective is about. Only the alert that
/// watches an objective names its service.
fn routed(
    facts: &Facts,
    bins: &Bins,
    check: &GateCheck,
    below_us: u64,
) -> Result<Measured, &'static str> {
    let service = service_of(facts, &check.name)
        .ok_or("no alert of the record watches it, so its service is not named")?;
    let found = [Source::Router, Source::Instance]
        .into_iter()
        .find_map(|source| {
            let key = Key {
                source,
                service: service.to_owned(),
                release: facts.started.to.to_string(),
            };
            let series = bins.series.get(&key)?;
            let latency = series.latency.as_ref()?;
            let at = |point: Option<&Point>| {
                let time = point.and_then(|one| chrono::DateTime::from_timestamp(one.second, 0));
                time.map(clock).unwrap_or_default()
            };
            let over = format!(
                "{} to {service} as told by {}, from {} to {} UTC",
                facts.started.to,
                source.word(),
                at(series.points.first()),
                at(series.points.last())
            );
            Some(longer(latency, below_us, over))
        });
    found.ok_or("the record holds no histogram of its service and release")
}

fn service_of<'a>(facts: &'a Facts, check: &str) -> Option<&'a str> {
    let sections = facts.sections.iter();
    let alerts =
        sections.filter(|one| one.phase == PhaseNumber::new(7) && one.what.name == "alerts");
    let mut blocks = alerts.flat_map(|one| one.what.report.blocks.iter());
    blocks.find_map(|block| {
        let Block::Table { columns, rows, .. } = block else {
            return None;
        };
        let place = |title: &str| columns.iter().position(|one| one.title == title);
        let (objective, expression) = (place("objective")?, place("expression")?);
        let watches = |row: &&Vec<String>| row.get(objective).is_some_and(|entry| entry == check);
        let row = rows.iter().find(watches)?;
        let (_, after) = row.get(expression)?.split_once("job=\"")?;
        after.split_once('"').map(|(service, _)| service)
    })
}

/// Returns the requests that a load test was to send.
fn due(load: &LoadTested) -> u64 {
    let all = u64::from(load.rate).saturating_mul(load.duration_us);
    all.saturating_add(500_000) / 1_000_000
}

fn over_load(load: &At<LoadTested>) -> String {
    format!(
        "load test {}, {} until {} UTC, event {}",
        load.what.name,
        duration(load.what.duration_us),
        clock(load.time),
        load.seq
    )
}

/// Returns the nearest whole number; nothing for what is none.
fn rounded(value: f64) -> Option<u64> {
    format!("{value:.0}").parse().ok()
}

#[cfg(test)]
mod tests;
