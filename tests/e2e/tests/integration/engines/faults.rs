//! Faults of a new release in containers: each is found by its gate, and what ran before runs on untouched.

use code_deploy_record::RunOutcome;

use crate::docker::{containers_of, ended, instances, standing};
use crate::kit::{Place, Said};
use crate::stage;

/// Asserts that the last run went back because of what that gate found, and that the release before failed nobody.
#[track_caller]
fn is_rolled_back(place: &Place, said: &Said, gate: &str) {
    assert_eq!(said.code, Some(3), "{}\n{}", said.out, said.err);
    let state = ended(place, said, RunOutcome::RolledBack);
    let (_, summary, ..) = state.finished.as_ref().unwrap();
    assert!(summary.contains(gate), "`{gate}` is not in {summary}");
    let old = "1.0.0".parse().unwrap();
    for (service, (served, ..)) in &state.traffic {
        assert_eq!(served.get(&old), Some(&100), "{service}: {served:?}");
    }
    let stable = &state.clients["client"].releases["1.0.0"];
    assert_eq!(stable.failed, 0, "{:?}", state.clients);
    assert_eq!(instances(), containers_of("1.0.0"));
}

/// Deploys 1.1.0 with that fault over what runs.
#[track_caller]
fn with_fault(place: &mut Place, fault: &str, gate: &str) {
    let before = standing(&stage::docker(), "dev");
    place.set("SHOP_FAULT", fault.to_owned());
    place.set("SHOP_FAULT_RELEASE", "1.1.0".to_owned());
    let said = place.run_in(&place.demo(), &["dev", "docker-desktop"]);
    is_rolled_back(place, &said, gate);
    assert_eq!(standing(&stage::docker(), "dev"), before, "{fault}");
}

#[test]
fn each_fault_is_found_by_its_gate_and_leaves_what_ran_alone() {
    let mut place = Place::with_docker();
    place.lay_out_with_little_load();
    // Where nobody says that a fault is planted, the operations of a release are asked before its gates.
    let fault = ["--demo", "--demo-fault", "partial"];
    let said = place.run(&[["dev", "docker-desktop"].as_slice(), &fault].concat());
    is_rolled_back(&place, &said, "the smoke gate");
    place.edit("release: \"1.0.0\"", "release: \"1.1.0\"");
    with_fault(&mut place, "unready", "the health gate");
    with_fault(&mut place, "slow", "the analysis gate");
    with_fault(&mut place, "leak", "the analysis gate");
    with_fault(&mut place, "crash", "gate");
}
