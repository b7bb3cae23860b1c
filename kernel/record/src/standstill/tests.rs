#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use super::*;
use crate::{Direction, Trigger};

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
}

/// Returns the standstills of a run with these events.
fn of(events: &[(i64, EventBody)]) -> Standstills {
    let mut standstills = Standstills::default();
    for (seconds, body) in events {
        standstills.note(&Event {
            seq: 1,
            time: at(*seconds),
            actor: "engine".to_owned(),
            prev: crate::Digest::ZERO,
            body: body.clone(),
        });
    }
    standstills
}

fn paused() -> EventBody {
    EventBody::Paused {
        after: None,
        by: None,
        reason: None,
    }
}

fn resumed() -> EventBody {
    let found = "ann resumed it: on".to_owned();
    EventBody::Resumed { found }
}

fn taken(fencing: u64) -> EventBody {
    EventBody::LockTaken {
        fencing,
        host: "vm".to_owned(),
        pid: 7,
        program: "0.1.0".to_owned(),
    }
}

fn asked() -> EventBody {
    EventBody::ApprovalAsked {
        gate: "go/no-go".to_owned(),
        plan: crate::Digest::ZERO,
        summary: String::new(),
        two_persons: false,
        signers: Default::default(),
    }
}

fn given() -> EventBody {
    EventBody::ApprovalGiven {
        gate: "go/no-go".to_owned(),
        plan: crate::Digest::ZERO,
        by: "ben".to_owned(),
        go: true,
        reason: "it is time".to_owned(),
    }
}

fn stopped(step: &str) -> EventBody {
    EventBody::StepFinished {
        step: step.parse().unwrap(),
        direction: Direction::Apply,
        outcome: Outcome::Stopped,
        duration_us: 1,
        problem: None,
    }
}

fn ended(outcome: RunOutcome) -> EventBody {
    let summary = "over".to_owned();
    EventBody::RunFinished { outcome, summary }
}

/// Returns spent, paused and unattended in seconds.
fn seconds(passed: Passed) -> (i64, i64, i64) {
    let Passed {
        spent,
        paused,
        unattended,
    } = passed;
    (
        spent.num_seconds(),
        paused.num_seconds(),
        unattended.num_seconds(),
    )
}

#[test]
fn a_pause_lasts_until_the_run_goes_on_or_back() {
    let back = EventBody::RollbackStarted {
        trigger: Trigger::Person,
        reason: "it is ill".to_owned(),
    };
    let events = [
        (10, resumed()),
        (100, paused()),
        (130, resumed()),
        (200, paused()),
        (205, back),
    ];
    assert_eq!(of(&events[..1]).until(at(99)).stood_in_words(), "");
    let open = of(&events[..2]);
    assert_eq!(open.until(at(90)).stood_in_words(), "");
    assert_eq!(open.until(at(107)).stood_in_words(), "; paused for 7 s");
    assert_eq!(seconds(of(&events).passed(at(0), at(1000))), (965, 35, 0));
}

#[test]
fn the_time_between_two_processes_is_told_apart_and_counts_once_where_the_run_was_paused() {
    let events = [
        (0, taken(1)),
        (30, resumed()),
        (150, taken(2)),
        (150, resumed()),
        (170, paused()),
        (200, taken(3)),
        (200, resumed()),
    ];
    let told = "; no process carried it out for up to 120 s";
    assert_eq!(of(&events[..4]).until(at(160)).stood_in_words(), told);
    let whole = of(&events).until(at(210));
    assert_eq!(whole.stood_in_words(), format!("; paused for 30 s{told}"));
    assert_eq!(seconds(whole), (60, 30, 120));
}

#[test]
fn of_a_part_only_what_lies_in_it_counts_and_the_three_sum_up_to_the_wall() {
    let events = [
        (0, taken(1)),
        (100, taken(2)),
        (100, resumed()),
        (110, paused()),
        (140, resumed()),
    ];
    let run = of(&events);
    for (from, to, expected) in [
        (0, 200, (70, 30, 100)),
        (40, 120, (10, 10, 60)),
        (100, 110, (10, 0, 0)),
        (115, 120, (0, 5, 0)),
        (150, 160, (10, 0, 0)),
        (160, 150, (0, 0, 0)),
    ] {
        let passed = run.passed(at(from), at(to));
        assert_eq!(seconds(passed), expected, "{from} to {to}");
        assert_eq!(passed.wall().num_seconds(), (to - from).max(0));
    }
}

#[test]
fn the_first_process_begins_the_run_and_takes_nothing_over() {
    let events = [(0, resumed()), (5, taken(1)), (9, resumed())];
    assert_eq!(seconds(of(&events).until(at(9))), (9, 0, 0));
}

#[test]
fn the_wait_for_an_answer_is_no_time_that_was_spent() {
    let events = [(0, taken(1)), (10, asked()), (70, given())];
    assert_eq!(seconds(of(&events).until(at(80))), (20, 60, 0));
    // Nobody answered, and the step that asked was stopped.
    let unanswered = [(0, taken(1)), (10, asked()), (40, stopped("preflight.a"))];
    assert_eq!(seconds(of(&unanswered).until(at(80))), (50, 30, 0));
    // The process that asked was killed: the run waited for a person all the same.
    let killed = [
        (0, taken(1)),
        (10, asked()),
        (100, taken(2)),
        (100, resumed()),
    ];
    assert_eq!(seconds(of(&killed).until(at(100))), (10, 90, 0));
}

#[test]
fn a_pause_is_not_ended_by_the_answer_to_an_approval() {
    let events = [
        (0, taken(1)),
        (10, asked()),
        (20, paused()),
        (30, given()),
        (50, resumed()),
    ];
    assert_eq!(seconds(of(&events).until(at(60))), (20, 40, 0));
}

#[test]
fn a_run_that_needs_a_person_waits_for_one_until_it_goes_on() {
    let events = [
        (0, taken(1)),
        (10, ended(RunOutcome::NeedsPerson)),
        (500, taken(2)),
        (500, resumed()),
        (520, ended(RunOutcome::RolledBack)),
        (530, resumed()),
    ];
    assert_eq!(seconds(of(&events).until(at(520))), (30, 490, 0));
    let one = of(&events).over().to_vec();
    assert_eq!(one.len(), 1, "{one:?}");
    assert_eq!(
        (one[0].idle, one[0].from, one[0].to),
        (Idle::Paused, at(10), at(500))
    );
}
