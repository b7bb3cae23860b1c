//! Releases that are ill, in a namespace of a cluster.

use code_deploy_record::RunOutcome;

use super::deploying::{CANARY, GONE, all_of, deployments, run, stage, succeeded, taken_back};
use super::node::{Held, Process};
use crate::docker::ended;
use crate::kit::Place;
use crate::steering::{Deploying, shares};

/// Pods that are replaced in waves, and latencies that a busy machine may have.
const ROLLING: &str = "      kind: rolling
      steps:
        - { percent: 50, soak: 3s }
        - { percent: 100, soak: 1s }
";

/// Has pods replaced in waves from now on.
fn roll(place: &Place) {
    place.edit(CANARY, ROLLING);
    for _ in ["dev", "staging"] {
        place.edit("latency_floor: 50ms", "latency_floor: 400ms");
    }
}

#[test]
fn a_fault_is_found_and_the_run_goes_back_also_from_a_wave_and_one_killed_in_a_wave_is_resumed_and_outlasts_the_kubelet()
 {
    let (namespace, mut place) = stage("fault");
    let said = run(&place, &["--demo-fault", "errors"]);
    assert_eq!(said.code, Some(3), "{}\n{}", said.out, said.err);
    let state = ended(&place, &said, RunOutcome::RolledBack);
    let stable = &state.clients["client"].releases["1.0.0"];
    assert_eq!(stable.failed, 0, "{:?}", state.clients);
    assert_eq!(deployments(&namespace), all_of("1-0-0"));

    roll(&place);
    place.edit("release: \"1.0.0\"", "release: \"1.1.0\"");
    place.set("SHOP_FAULT_RELEASE", "1.1.0".to_owned());
    place.set("SHOP_FAULT", "slow".to_owned());
    let said = place.run_in(&place.demo(), &["staging", "k8s"]);
    assert_eq!(said.code, Some(3), "{}\n{}", said.out, said.err);
    let state = ended(&place, &said, RunOutcome::RolledBack);
    assert_eq!(state.clients["client"].failed, 0, "{:?}", state.clients);
    let shares_of_fault = shares(&place);
    assert_eq!(shares_of_fault.first(), Some(&50), "{shares_of_fault:?}");
    assert_eq!(shares_of_fault.last(), Some(&0), "{shares_of_fault:?}");
    assert_eq!(deployments(&namespace), all_of("1-0-0"));

    place.set("SHOP_FAULT", "none".to_owned());
    let mut killed = Deploying::begin_in(&place, &place.demo(), &["staging", "k8s"]);
    killed.until("traffic of storefront: 1.0.0 50 %");
    killed.kill();
    let held = Held::for_time(Process::Kubelet, GONE);
    let said = place.run_in(&place.demo(), &["resume"]);
    succeeded(&said);
    // New pods are needed, which nobody starts meanwhile.
    assert!(held.is_none_or(|held| !held.lasts()));
    let state = ended(&place, &said, RunOutcome::Succeeded);
    assert_eq!(state.clients["client"].failed, 0, "{:?}", state.clients);
    assert!(state.rehearsed.is_some(), "the rollback was rehearsed");
    assert_eq!(shares(&place), [50, 0, 50, 100]);
    assert_eq!(deployments(&namespace), all_of("1-1-0"));
    taken_back(&place, &namespace);
    succeeded(&run(&place, &["--stop"]));
}

#[test]
fn a_release_whose_pods_are_gone_never_get_ready_or_crash_is_left_for_the_one_before() {
    let (namespace, mut place) = stage("ill");
    succeeded(&run(&place, &[]));
    // Users get no answer, and what replaces the one service needs the other to get ready.
    for name in ["storefront", "orders"] {
        let deployment = format!("deployment/{name}-1-1-0");
        namespace.kubectl(&["scale", &deployment, "--replicas=0"]);
        namespace.kubectl(&["rollout", "status", &deployment, "--timeout=60s"]);
    }
    let back = place.run_in(&place.demo(), &["rollback", "--reason", "nothing answers"]);
    succeeded(&back);
    let state = ended(&place, &back, RunOutcome::Succeeded);
    let all = [("1.0.0".parse().unwrap(), 100)].into();
    for (service, (served, ..)) in &state.traffic {
        assert_eq!(served, &all, "{service}");
    }
    assert_eq!(deployments(&namespace), all_of("1-0-0"));

    place.set("SHOP_FAULT_RELEASE", "1.1.0".to_owned());
    // Pods that never get ready are given up earlier than a person would have it.
    place.edit("deadline: 60s", "deadline: 30s");
    let told = goes_back(&mut place, "unready");
    for words in [
        "storefront 1.1.0 has not 2 ready pods",
        "its readiness probe does not pass",
        "event: Unhealthy",
        "Readiness probe failed: HTTP probe failed with statuscode: 503",
        "the end of its log:",
    ] {
        assert!(told.contains(words), "`{words}` is not in {told}");
    }
    assert_eq!(deployments(&namespace), all_of("1-0-0"));
    goes_back(&mut place, "crash");
    assert_eq!(deployments(&namespace), all_of("1-0-0"));
    succeeded(&run(&place, &["--stop"]));
}

/// Deploys a release that has a fault: the run goes back, and nobody whom the stable release served noticed. Returns its
/// record.
#[track_caller]
fn goes_back(place: &mut Place, fault: &str) -> String {
    place.set("SHOP_FAULT", fault.to_owned());
    let said = place.run_in(&place.demo(), &["staging", "k8s"]);
    assert_eq!(said.code, Some(3), "{}\n{}", said.out, said.err);
    let state = ended(place, &said, RunOutcome::RolledBack);
    assert!(state.rollback.is_some(), "the record says what set it off");
    let stable = &state.clients["client"].releases["1.0.0"];
    assert_eq!(stable.failed, 0, "{:?}", state.clients);
    let (folder, _) = place.demo_runs().pop().unwrap();
    std::fs::read_to_string(folder.journal_path()).unwrap()
}
