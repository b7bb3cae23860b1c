//! Runs whose process is killed, runs that are taken back after their end, and runs that are kept from beginning.

use super::deployed;
use super::foreign::Foreign;
use crate::docker::standing;
use crate::kit::Place;
use crate::stage;
use crate::steering::{Deploying, with_strategy};

#[test]
fn killed_runs_are_resumed_finished_ones_taken_back_and_what_others_have_stays() {
    let place = Place::with_docker();
    place.lay_out_upgrade();
    let foreign = Foreign::make();
    another_project_of_the_same_names_is_refused();
    foreign.is_as_it_was();

    with_strategy(&place, "blue-green", "{ percent: 100, soak: 3s }");
    let mut first = begin(&place);
    first.until("[03] build");
    let second = place.run_in(&place.demo(), &["dev", "docker-desktop"]);
    second.refused(1, "CD0410", &["is locked by", "Nothing was changed"]);
    first.until("[06] release");
    first.until("1.1.0 100 %");
    first.kill();
    let resumed = place.run_in(&place.demo(), &["resume"]);
    deployed(&place, &resumed, "1.1.0");
    goes_back(&place);
    foreign.is_as_it_was();

    let steps = "{ percent: 50, soak: 3s }, { percent: 100, soak: 3s }";
    with_strategy(&place, "rolling", steps);
    let mut first = begin(&place);
    first.until("traffic of storefront: 1.0.0 50 %");
    first.kill();
    let resumed = place.run_in(&place.demo(), &["resume"]);
    deployed(&place, &resumed, "1.1.0");
    goes_back(&place);
    foreign.is_as_it_was();

    let stopped = place.run(&["dev", "docker-desktop", "--demo", "--stop"]);
    assert_eq!(stopped.code, Some(0), "{}\n{}", stopped.out, stopped.err);
    assert!(standing(&stage::docker(), "dev").is_empty());
    foreign.is_as_it_was();
}

fn begin(place: &Place) -> Deploying {
    Deploying::begin_in(place, &place.demo(), &["dev", "docker-desktop"])
}

/// Goes back from a run that has ended.
#[track_caller]
fn goes_back(place: &Place) {
    let back = place.run_in(&place.demo(), &["rollback", "--reason", "a drill"]);
    deployed(place, &back, "1.0.0");
}

/// The lock is a project's own; what keeps two projects of one name apart is what stands on the engine.
#[track_caller]
fn another_project_of_the_same_names_is_refused() {
    let before = standing(&stage::docker(), "dev");
    let other = Place::with_docker();
    other.lay_out_with_little_load();
    let said = other.run(&["dev", "docker-desktop", "--demo", "--to", "1.0.0"]);
    let whose = format!("was not made for shop-dev in {}", other.demo().display());
    said.refused(1, "CD0526", &[&whose, "Nothing was changed"]);
    assert_eq!(other.demo_runs().len(), 0, "no run has begun");
    // Neither does stopping that project stop the one that runs.
    drop(other);
    assert_eq!(standing(&stage::docker(), "dev"), before);
}
