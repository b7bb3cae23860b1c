//! Runs that were killed, held up or met another runner, in a namespace of a cluster.

use code_deploy_record::RunOutcome;
use serde_json::Value;

use super::cluster::Namespace;
use super::deploying::{CANARY, GONE, all_of, deployments, place, run, succeeded, taken_back};
use super::node::{Held, Process};
use super::way::Way;
use crate::docker::ended;
use crate::kit::Place;
use crate::steering::{Deploying, shares};

/// One switch of all traffic.
const BLUE_GREEN: &str = "      kind: blue-green\n      steps: [{ percent: 100, soak: 3s }]\n";

/// Where a command deploys to.
const DEPLOY: [&str; 2] = ["staging", "k8s"];

/// Returns another project of the same application, which knows nothing of the runs of the first.
#[track_caller]
fn beside(first: &Place, kubeconfig: &Value) -> Place {
    let second = place(kubeconfig);
    let (from, to) = (first.demo(), second.demo());
    std::fs::copy(from.join("compose.yaml"), to.join("compose.yaml")).unwrap();
    for name in ["journeys", "migrations"] {
        crate::verify::copy(&from.join(name), &to.join(name));
    }
    second.edit("release: \"1.0.0\"", "release: \"1.1.0\"");
    second
}

/// Has a run stand still before it moves traffic, and another project deploy to the same namespace meanwhile.
#[track_caller]
fn a_second_runner_is_held_off(
    first: &mut Deploying,
    place: &Place,
    kubeconfig: &Value,
    namespace: &Namespace,
) {
    first.until("[03] build");
    let paused = place.run_in(&place.demo(), &["pause", "--reason", "lunch"]);
    succeeded(&paused);
    first.until("(lunch): `code-deploy resume` goes on");
    let kinds = "services,deployments.apps";
    let (second, before) = (beside(place, kubeconfig), namespace.versions(kinds));
    let said = second.run_in(&second.demo(), &DEPLOY);
    let (_, state) = place.demo_runs().pop().unwrap();
    let run = state.started.unwrap().run.to_string();
    let words = ["works on shop in staging of the same target", run.as_str()];
    said.refused(1, "CD0440", &words);
    assert_eq!(namespace.versions(kinds), before);
    assert!(second.demo_runs().is_empty(), "a second run has begun");
    // It has nothing that could be stopped.
    std::fs::remove_dir_all(second.demo()).unwrap();
    succeeded(&place.run_in(&place.demo(), &["resume"]));
}

#[test]
fn killed_runs_are_resumed_and_outlast_the_api_server_and_one_that_is_under_way_keeps_others_off() {
    let namespace = Namespace::new("killed");
    let mut kubeconfig = namespace.account();
    let way = Way::before(&mut kubeconfig);
    let place = place(&kubeconfig);
    succeeded(&run(&place, &["--to", "1.0.0"]));
    place.edit("release: \"1.0.0\"", "release: \"1.1.0\"");

    place.edit(CANARY, BLUE_GREEN);
    let mut first = Deploying::begin_in(&place, &place.demo(), &DEPLOY);
    a_second_runner_is_held_off(&mut first, &place, &kubeconfig, &namespace);
    first.until("traffic of storefront: 1.1.0 100 %");
    first.kill();
    let said = place.run_in(&place.demo(), &["resume"]);
    succeeded(&said);
    let state = ended(&place, &said, RunOutcome::Succeeded);
    assert_eq!(state.clients["client"].failed, 0, "{:?}", state.clients);
    assert!(state.rehearsed.is_some(), "the rollback was rehearsed");
    assert_eq!(shares(&place), [100, 0, 100]);
    assert_eq!(deployments(&namespace), all_of("1-1-0"));
    taken_back(&place, &namespace);

    place.edit(BLUE_GREEN, CANARY);
    let mut first = Deploying::begin_in(&place, &place.demo(), &DEPLOY);
    first.until("traffic of storefront: 1.0.0 67 %");
    first.kill();
    let mut second = Deploying::begin_in(&place, &place.demo(), &["resume"]);
    second.until("traffic of storefront: 1.0.0 50 %");
    let held = Held::for_time(Process::ApiServer, GONE);
    if held.is_none() {
        eprintln!("not run: the API server is somebody else's, and is not stopped");
    }
    second.until("traffic of storefront: 1.1.0 100 %");
    // Nothing else moves traffic.
    assert!(held.is_none_or(|held| !held.lasts()));
    // From now on it is not even reached.
    way.close_for(GONE);
    let resumed = second.end();
    succeeded(&resumed);
    assert!(
        way.refused() > 0,
        "nobody asked for the API server meanwhile"
    );
    let told = "the cluster's API server did not answer for";
    assert!(resumed.out.contains(told), "{}", resumed.out);
    let state = ended(&place, &resumed, RunOutcome::Succeeded);
    assert_eq!(state.clients["client"].failed, 0, "{:?}", state.clients);
    assert_eq!(shares(&place), [33, 0, 33, 50, 100]);
    assert_eq!(deployments(&namespace), all_of("1-1-0"));
    succeeded(&run(&place, &["--stop"]));
}
