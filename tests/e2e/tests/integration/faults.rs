//! Each fault of the demonstration's release 1.1.0 is found, and the run goes back.

use code_deploy_record::RunOutcome;

use crate::kit::Place;

#[track_caller]
fn is_rolled_back(fault: &str) {
    let place = Place::new();
    let said = place.run(&["dev", "local", "--demo", "--demo-fault", fault]);
    assert_eq!(said.code, Some(3), "{}\n{}", said.out, said.err);
    let runs = place.demo_runs();
    let (folder, state) = runs.last().unwrap();
    assert_eq!(
        state.finished.as_ref().map(|end| end.0),
        Some(RunOutcome::RolledBack)
    );
    assert!(state.rollback.is_some(), "the record says what set it off");
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
    is_rolled_back("errors");
}

#[test]
fn a_slow_release_is_found() {
    is_rolled_back("slow");
}

#[test]
fn a_release_that_grows_slower_is_found() {
    is_rolled_back("leak");
}

#[test]
fn a_release_that_ends_by_itself_is_found() {
    is_rolled_back("crash");
}

#[test]
fn a_release_that_never_becomes_ready_is_found() {
    is_rolled_back("unready");
}

#[test]
fn one_broken_endpoint_is_found() {
    is_rolled_back("partial");
}
