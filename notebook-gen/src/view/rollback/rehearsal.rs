//! What of the way back was rehearsed, and what not.

use std::collections::BTreeSet;

use code_deploy_record::{Column, Direction, Report, WayDown};

use crate::facts::Facts;
use crate::format::{clock, count, counted, duration};
use crate::view::columns;

/// Returns how the rollback was rehearsed, with its figures; nothing where it was not.
pub(crate) fn rehearsed(facts: &Facts) -> Option<String> {
    let (time, failed, answered) = facts.state.rehearsed?;
    let to = &facts.started.to;
    let at = facts.rehearsals.last().map_or(u64::MAX, |one| one.seq);
    let share = share_before(facts, at);
    let share = share.map_or_else(String::new, |share| {
        format!(" and {to} had {share} % of it")
    });
    Some(format!(
        "traffic led back in {} while both releases ran{share}; {} failed of {} in the seconds around it",
        duration(time),
        count(failed),
        counted(failed + answered, "request")
    ))
}

/// Returns what was tried of the way down of the migrations that this run carried out.
pub(in crate::view) fn way_down(facts: &Facts) -> WayDown {
    let forward = facts.migrations.iter();
    let forward = forward.filter(|one| one.what.direction == Direction::Apply);
    let migrated: BTreeSet<&str> = forward.map(|one| one.what.database.as_str()).collect();
    WayDown::of(&facts.state, migrated)
}

/// Returns the share of traffic that the release had before an event, when it last had any.
fn share_before(facts: &Facts, seq: u64) -> Option<u16> {
    let shifts = facts.shifts.iter().rev().filter(|shift| shift.seq < seq);
    let mut shares = shifts.filter_map(|shift| shift.what.served.get(&facts.started.to).copied());
    shares.find(|share| *share > 0)
}

/// Adds the rehearsals as they were measured, with what they were of and what not.
pub(super) fn measured(facts: &Facts, report: Report) -> Report {
    if facts.rehearsals.is_empty() {
        let why = if facts.started.from.is_none() {
            "not applicable, because no release ran before"
        } else {
            "not reached in this run"
        };
        return report.with_text(format!("Rehearsal of the rollback: {why}."));
    }
    let rows = facts.rehearsals.iter().map(|rehearsal| {
        let share = share_before(facts, rehearsal.seq);
        vec![
            clock(rehearsal.time),
            share.map_or_else(String::new, |share| format!("{share} %")),
            duration(rehearsal.what.duration_us),
            count(rehearsal.what.failed),
            count(rehearsal.what.answered),
            rehearsal.seq.to_string(),
        ]
    });
    let mut titles = columns(["Time (UTC)"]);
    let numbers = [
        "Share led back",
        "Back in",
        "Failed around it",
        "Answered around it",
        "Event",
    ];
    titles.extend(numbers.into_iter().map(Column::number));
    report
        .with_table("Rehearsal, as measured", titles, rows.collect())
        .with_text(format!(
            "What was rehearsed is moving traffic back while both releases ran. It stopped nothing \
             and took no migration back. Of the data: {}.",
            way_down(facts)
        ))
}
