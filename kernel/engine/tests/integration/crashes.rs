use code_deploy_engine::context::Notice;
use code_deploy_engine::{Ended, Purpose};
use code_deploy_record::{EventBody, RunOutcome, verify_folder};
use futures::StreamExt as _;

use crate::simulated::Faults;
use crate::stage::{Stage, code};

/// Runs until the journal has that many events, then drops everything, as a process that is
/// killed does. Returns whether the run ended before.
async fn run_and_crash(stage: &Stage, events: u64) -> bool {
    let mut runner = stage.open("1.1.0").await;
    let handle = runner.handle();
    let mut notices = handle.journal().notices();
    let reached = async {
        while handle.journal().state().events < events {
            match notices.recv().await {
                Ok(Notice::Event(_) | Notice::Progress(_)) | Err(_) => {}
            }
        }
    };
    let ended = tokio::select! {
        _ = runner.run_all() => true,
        () = reached => false,
    };
    runner.close().await;
    ended
}

/// Whether the run had ended and was cut off before its seal at most, which the next opening sets.
async fn was_ended(stage: &Stage) -> bool {
    if stage.last_run().state().unwrap().finished.is_none() {
        return false;
    }
    let refused = stage.try_open("1.1.0", Purpose::Resume).await;
    assert_eq!(code(refused), "CD0417");
    assert!(stage.last_run().state().unwrap().sealed);
    true
}

async fn ends_whole_after_a_crash(events: u64) {
    let stage = Stage::canary().await;
    if run_and_crash(&stage, events).await || was_ended(&stage).await {
        return;
    }
    let mut runner = stage.try_open("1.1.0", Purpose::Resume).await.unwrap();
    let ended = runner.run_all().await.unwrap();
    runner.close().await;
    assert!(ended.is_done(), "after {events} events: {ended:?}");
    let state = stage.last_run().state().unwrap();
    assert_eq!(
        state.finished.unwrap().0,
        RunOutcome::Succeeded,
        "after {events} events"
    );
    assert_eq!(
        (stage.target.running("1.0.0"), stage.target.running("1.1.0")),
        (0, 4)
    );
    let report = verify_folder(&stage.last_run()).unwrap();
    assert!(
        report.findings.is_empty(),
        "after {events} events: {:?}",
        report.findings
    );
    assert_eq!(report.seal.covered, report.events, "after {events} events");
}

async fn goes_back_whole_after_a_crash(events: u64) {
    let stage = Stage::canary().await;
    if run_and_crash(&stage, events).await || was_ended(&stage).await {
        return;
    }
    let mut runner = stage.try_open("1.1.0", Purpose::GoBack).await.unwrap();
    let ended = runner.rollback("anna", "the process died").await.unwrap();
    runner.close().await;
    let back = matches!(ended, Ended::RolledBack(_) | Ended::Refused(_));
    assert!(back, "after {events} events: {ended:?}");
    assert_eq!(
        (stage.target.running("1.0.0"), stage.target.running("1.1.0")),
        (4, 0)
    );
}

/// Where a whole run is cut: in each part of each step, one in so many of them.
async fn points(one_in: usize) -> Vec<u64> {
    let stage = Stage::canary().await;
    let mut runner = stage.open("1.1.0").await;
    assert!(runner.run_all().await.unwrap().is_done());
    runner.close().await;
    let events = stage.events();
    let of_steps = events.iter().filter(|event| {
        matches!(
            event.body,
            EventBody::StepIntended { .. }
                | EventBody::StepApplied { .. }
                | EventBody::StepVerified { .. }
                | EventBody::StepFinished { .. }
                | EventBody::TrafficShifted { .. }
                | EventBody::PhaseFinished { .. }
                | EventBody::SamplesClosed { .. }
                | EventBody::RunFinished { .. }
        )
    });
    of_steps
        .map(|event| event.seq + 1)
        .step_by(one_in)
        .collect()
}

/// Crashes that are looked at side by side.
const AT_ONCE: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_crashed_anywhere_ends_as_if_it_had_not() {
    let points = futures::stream::iter(points(3).await);
    points
        .for_each_concurrent(AT_ONCE, ends_whole_after_a_crash)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_crashed_anywhere_can_be_taken_back() {
    let points = futures::stream::iter(points(4).await);
    points
        .for_each_concurrent(AT_ONCE, goes_back_whole_after_a_crash)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_crashed_goes_on_where_it_stood() {
    let mut stage = Stage::canary().await;
    stage.spec.strategy.health.deadline = code_deploy_engine::duration::Span::from_millis(200);
    let unready = Some("1.1.0".parse().unwrap());
    stage.target.set_faults(Faults {
        unready,
        ..Faults::default()
    });
    let mut runner = stage.open("1.1.0").await;
    let handle = runner.handle();
    let going_back = async {
        while handle.journal().state().rollback.is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    tokio::select! {
        _ = runner.run_all() => {}
        () = going_back => {}
    }
    runner.close().await;
    let opened = stage.try_open("1.1.0", Purpose::Resume).await;
    let Ok(mut again) = opened else { return };
    let ended = again.run_all().await.unwrap();
    again.close().await;
    assert_eq!(ended.exit_code(), 3, "{ended:?}");
    assert_eq!(
        (stage.target.running("1.0.0"), stage.target.running("1.1.0")),
        (4, 0)
    );
}
