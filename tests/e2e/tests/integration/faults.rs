//! A faulty release 1.1.0 of the demonstration is found, and the run goes back.

use code_deploy_record::RunOutcome;

use crate::kit::Place;

/// Deploys 1.1.0 with the fault over 1.0.0; `gate` is the one that has to find it.
#[track_caller]
fn is_rolled_back(fault: &str, gate: &str) {
    let place = Place::new();
    place.lay_out_with_little_load();
    let said = place.run(&["dev", "local", "--demo", "--demo-fault", fault]);
    assert_eq!(said.code, Some(3), "{}\n{}", said.out, said.err);
    let runs = place.demo_runs();
    let (folder, state) = runs.last().unwrap();
    assert_eq!(
        state.finished.as_ref().map(|end| end.0),
        Some(RunOutcome::RolledBack)
    );
    assert!(state.rollback.is_some(), "the record says what set it off");
    let (_, summary, ..) = state.finished.as_ref().unwrap();
    assert!(summary.contains(gate), "{summary}");
    let old = "1.0.0".parse().unwrap();
    assert!(
        state
            .traffic
            .values()
            .all(|(served, _)| served.get(&old) == Some(&100)),
        "{:?}",
        state.traffic
    );
    let stable = &state.clients["client"].releases["1.0.0"];
    assert_eq!(
        stable.failed, 0,
        "the stable release failed nobody: {:?}",
        state.clients
    );
    let id = state.started.as_ref().unwrap().run.to_string();
    let notebooks = std::fs::read_dir(place.demo().join("deployments").join(id)).unwrap();
    assert!(notebooks.count() >= 18);
    assert_eq!(
        code_deploy_record::verify_folder(folder).unwrap().findings,
        []
    );
}

#[test]
fn errors_are_found() {
    is_rolled_back("errors", "the analysis gate");
}

#[test]
fn slow_answers_are_found() {
    is_rolled_back("slow", "the analysis gate");
}

#[test]
fn latency_that_grows_is_found() {
    is_rolled_back("leak", "the analysis gate");
}

#[test]
fn instances_that_crash_are_found() {
    is_rolled_back("crash", "gate");
}

#[test]
fn instances_that_never_become_ready_get_no_traffic() {
    is_rolled_back("unready", "the health gate");
}

#[test]
fn a_broken_endpoint_is_found_before_traffic() {
    is_rolled_back("partial", "the smoke gate");
}
