use code_deploy_record::{
    Check, Direction, EventBody, Outcome, RunOutcome, StepName, StepStatus, Vantage,
};

use crate::{Place, phase, started};

fn step(name: &str) -> StepName {
    name.parse().unwrap()
}

fn intended(name: &str, direction: Direction) -> EventBody {
    let intent = serde_json::json!({ "service": name });
    EventBody::StepIntended {
        step: step(name),
        direction,
        attempt: 1,
        intent,
        limits: None,
    }
}

fn finished(name: &str, direction: Direction, outcome: Outcome) -> EventBody {
    EventBody::StepFinished {
        step: step(name),
        direction,
        outcome,
        duration_us: 7,
        problem: None,
    }
}

#[test]
fn steps_that_may_have_acted_are_undone_backwards() {
    let place = Place::new();
    let mut writer = place.writer();
    let check = Check {
        vantage: Vantage::Inside,
        method: "process table".to_owned(),
        passed: true,
        detail: "2 of 2".to_owned(),
    };
    let events = [
        started(),
        EventBody::PhaseStarted { phase: phase(6) },
        intended("a", Direction::Apply),
        EventBody::StepApplied {
            step: step("a"),
            direction: Direction::Apply,
            result: serde_json::json!({ "pid": 1 }),
        },
        EventBody::StepVerified {
            step: step("a"),
            direction: Direction::Apply,
            check,
        },
        finished("a", Direction::Apply, Outcome::Done),
        intended("b", Direction::Apply),
        finished("b", Direction::Apply, Outcome::Failed),
        intended("c", Direction::Apply),
    ];
    for event in events {
        writer.append("engine", event).unwrap();
    }
    let state = place.run.state().unwrap();
    assert_eq!(state.present_phase(), Some(phase(6)));
    assert_eq!(state.to_undo(), [step("c"), step("b"), step("a")]);
    assert_eq!(state.steps[&step("a")].status, StepStatus::Done);
    assert_eq!(state.steps[&step("a")].result["pid"], 1);
    assert_eq!(state.steps[&step("c")].status, StepStatus::Intended);

    writer
        .append("engine", intended("c", Direction::Undo))
        .unwrap();
    writer
        .append("engine", finished("c", Direction::Undo, Outcome::Done))
        .unwrap();
    writer
        .append("engine", intended("b", Direction::Undo))
        .unwrap();
    writer
        .append("engine", finished("b", Direction::Undo, Outcome::Failed))
        .unwrap();
    let state = place.run.state().unwrap();
    assert_eq!(state.to_undo(), [step("b"), step("a")]);
    assert_eq!(state.steps[&step("b")].status, StepStatus::UndoFailed);
}

#[test]
fn a_step_that_acts_without_an_intent_is_not_a_record() {
    let place = Place::new();
    let mut writer = place.writer();
    writer.append("engine", started()).unwrap();
    writer
        .append("engine", finished("a", Direction::Apply, Outcome::Done))
        .unwrap();
    assert!(
        place
            .run
            .state()
            .unwrap_err()
            .to_string()
            .contains("event 1")
    );
}

#[test]
fn a_run_that_needs_a_person_has_not_ended() {
    for (outcome, ended) in [
        (RunOutcome::NeedsPerson, false),
        (RunOutcome::RolledBack, true),
    ] {
        let place = Place::new();
        let mut writer = place.writer();
        writer.append("engine", started()).unwrap();
        assert!(!place.run.state().unwrap().has_ended());
        let summary = "an undo does not work".to_owned();
        writer
            .append("engine", EventBody::RunFinished { outcome, summary })
            .unwrap();
        let state = place.run.state().unwrap();
        assert_eq!(state.has_ended(), ended, "{outcome:?}");
    }
}
