//! Every point of a plain run, one after the other.

use code_deploy_engine::Purpose;
use code_deploy_engine::spec::StrategyKind;
use code_deploy_record::RunOutcome;
use code_deploy_simulation::chance::Dice;
use code_deploy_simulation::faults::{Fault, Point, Storm};
use code_deploy_simulation::process::Start;
use code_deploy_simulation::run::{Report, Stage};
use code_deploy_simulation::scene::Scene;
use code_deploy_simulation::show;

const STRATEGIES: [StrategyKind; 3] = [
    StrategyKind::Canary,
    StrategyKind::BlueGreen,
    StrategyKind::Rolling,
];

/// Of the points of one kind that follow each other without another between them, each so many is
/// looked at: the two hundred items at the end of a run are settled all alike.
const ALIKE: usize = 40;

fn start(purpose: Purpose) -> Start {
    Start {
        purpose,
        same_plan: true,
        version: "0.1.0",
        sabotage: None,
    }
}

fn stage(strategy: StrategyKind, faults: &[(u64, Fault)]) -> Stage {
    let mut storm = Storm::calm();
    storm.at = faults.to_vec();
    Stage::new(Scene::plain(strategy), storm, Dice::new(7), None)
}

/// Carries a run out with faults at exact points, each process resuming or going back, until it
/// has come to rest; returns what became of it.
#[track_caller]
fn ends_whole(strategy: StrategyKind, faults: &[(u64, Fault)], then: Purpose) -> Report {
    let mut stage = stage(strategy, faults);
    stage.carry_out(start(Purpose::Deploy));
    for _ in 0..6 {
        if stage.is_at_rest() {
            break;
        }
        let began = stage.events().is_some_and(|events| !events.is_empty());
        stage.carry_out(start(if began { then } else { Purpose::Deploy }));
    }
    let report = stage.report(0);
    assert!(
        report.violations.is_empty(),
        "{strategy:?} with {faults:?}, then {then:?}:\n{}",
        show::report(&report)
    );
    report
}

/// As [`ends_whole`], to one end alone.
#[track_caller]
fn ends_as(wanted: RunOutcome, strategy: StrategyKind, faults: &[(u64, Fault)], then: Purpose) {
    let report = ends_whole(strategy, faults, then);
    let all = show::report(&report);
    assert_eq!(
        report.outcome,
        Some(wanted),
        "{strategy:?} with {faults:?}:\n{all}"
    );
}

/// Returns the points of a plain run that are of one of these kinds.
fn points(strategy: StrategyKind, kinds: &[Point]) -> Vec<u64> {
    let mut stage = stage(strategy, &[]);
    stage.world.look().storm.seen = Some(Vec::new());
    stage.carry_out(start(Purpose::Deploy));
    let seen = stage.world.look().storm.seen.take().unwrap();
    let report = stage.report(0);
    assert_eq!(
        report.outcome,
        Some(RunOutcome::Succeeded),
        "{}",
        show::report(&report)
    );
    let journal = |point: &Point| matches!(point, Point::Append | Point::Flush);
    let mut alike = 0;
    let mut chosen = Vec::new();
    for (number, point) in seen.iter().enumerate() {
        alike = if journal(point) { alike + 1 } else { 0 };
        let told = alike < 8 || alike % ALIKE < 2;
        if told && kinds.contains(point) {
            chosen.push(number as u64);
        }
    }
    chosen
}

const ALL: [Point; 6] = [
    Point::Append,
    Point::Flush,
    Point::Make,
    Point::Change,
    Point::Observe,
    Point::Ask,
];

/// Where a process can die after something has happened and before it is told so.
const CHANGING: [Point; 4] = [Point::Append, Point::Flush, Point::Make, Point::Change];

#[test]
fn a_run_that_is_killed_at_any_point_goes_on_to_its_end() {
    for strategy in STRATEGIES {
        for (fault, kinds) in [
            (Fault::KillBefore, ALL.as_slice()),
            (Fault::KillAfter, CHANGING.as_slice()),
        ] {
            for point in points(strategy, kinds) {
                ends_as(
                    RunOutcome::Succeeded,
                    strategy,
                    &[(point, fault)],
                    Purpose::Resume,
                );
            }
        }
    }
}

#[test]
fn a_run_that_is_killed_at_any_point_can_be_taken_back() {
    for strategy in STRATEGIES {
        for point in points(strategy, &CHANGING) {
            let report = ends_whole(strategy, &[(point, Fault::KillAfter)], Purpose::GoBack);
            let outcome = report.outcome.unwrap();
            let expected = [
                RunOutcome::RolledBack,
                RunOutcome::Refused,
                // It had ended when it was killed.
                RunOutcome::Succeeded,
            ];
            assert!(
                expected.contains(&outcome),
                "{strategy:?} at {point}: {outcome:?}"
            );
        }
    }
}

#[test]
fn a_call_that_fails_at_any_point_leaves_everything_new_or_everything_old() {
    for strategy in STRATEGIES {
        for point in points(strategy, &[Point::Change, Point::Observe]) {
            for fault in [
                Fault::Fail { transient: false },
                Fault::FailAfter { transient: false },
                Fault::Half,
                Fault::Hang,
            ] {
                ends_whole(strategy, &[(point, fault)], Purpose::Resume);
            }
        }
    }
}

#[test]
fn a_change_that_happened_and_is_made_again_changes_nothing_more() {
    for strategy in STRATEGIES {
        for point in points(strategy, &[Point::Change]) {
            let fault = Fault::FailAfter { transient: true };
            ends_as(
                RunOutcome::Succeeded,
                strategy,
                &[(point, fault)],
                Purpose::Resume,
            );
        }
    }
}

/// A rollback from the middle of a run that is killed at any of its points goes on: each undo is
/// carried out twice, once by each process.
#[test]
fn a_rollback_that_is_killed_at_any_point_goes_on_to_its_end() {
    for strategy in STRATEGIES {
        let changes = points(strategy, &[Point::Change]);
        let middle = changes[changes.len() * 2 / 3];
        for point in middle + 1..middle + 700 {
            let faults = [(middle, Fault::KillBefore), (point, Fault::KillAfter)];
            ends_as(RunOutcome::RolledBack, strategy, &faults, Purpose::GoBack);
        }
    }
}

/// The journal ends after every line and within every line, in the world as it was then.
#[test]
fn a_run_is_gone_on_with_from_every_prefix_of_its_journal() {
    for strategy in STRATEGIES {
        for point in points(strategy, &[Point::Append]) {
            for part in [0, 333, 1_000] {
                for fault in [Fault::Torn(part), Fault::PowerLoss(part)] {
                    ends_as(
                        RunOutcome::Succeeded,
                        strategy,
                        &[(point, fault)],
                        Purpose::Resume,
                    );
                }
            }
        }
    }
}

/// The last line of a journal is torn after every one of its bytes.
#[test]
fn a_run_is_gone_on_with_from_every_torn_byte_of_its_last_line() {
    let appends = points(StrategyKind::Canary, &[Point::Append]);
    let middle = appends[appends.len() / 2];
    for part in 0..=1_000 {
        let faults = [(middle, Fault::Torn(part))];
        ends_as(
            RunOutcome::Succeeded,
            StrategyKind::Canary,
            &faults,
            Purpose::Resume,
        );
    }
}
