//! What runs is ill: a machine that has lost it, services that hang.

use std::path::Path;

use code_deploy_kills::processes_of;
use code_deploy_record::{EventBody, RunOutcome};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::kit::Place;

/// Ends everything that runs from a folder at once, as a machine does that loses its power.
fn cut_the_power(folder: &Path) {
    loop {
        let left = processes_of(folder).unwrap();
        if left.is_empty() {
            return;
        }
        left.iter().for_each(|process| process.kill().unwrap());
    }
}

#[test]
fn what_a_machine_has_lost_is_started_again_with_the_next_command() {
    let place = Place::new();
    place.lay_out_upgrade();
    let run = |words: &[&str]| place.run_in(&place.demo(), words);
    cut_the_power(&place.demo());
    let again = run(&["dev", "local", "--to", "1.0.0"]);
    again.refused(1, "CD0411", &["deployed already", "was started again"]);
    // What is no release of its own is not deployed, and nobody is told that it were.
    place.edit("\nstrategy:", "\n# Looked at again.\nstrategy:");
    let changed = run(&["dev", "local", "--to", "1.0.0"]);
    changed.refused(1, "CD0411", &["Not all files are as they were when run"]);
    let status = run(&["status"]);
    assert!(status.out.contains("6 instances run"), "{}", status.out);
}

/// Stops the processes of a service where they stand: they listen, and answer nobody.
fn hang(folder: &Path, service: &str) {
    let end = format!(" internal shop {service}");
    let all = processes_of(folder).unwrap();
    let own = all.iter().filter(|one| one.line.trim_end().ends_with(&end));
    let stopped = own.map(|one| kill(Pid::from_raw(one.pid.cast_signed()), Signal::SIGSTOP));
    assert_eq!(stopped.collect::<Vec<_>>(), [Ok(()), Ok(())], "{service}");
}

#[test]
fn a_release_of_which_services_hang_is_left_for_the_one_before() {
    let place = Place::new();
    place.lay_out_upgrade();
    let run = |words: &[&str]| place.run_in(&place.demo(), words);
    let upgraded = run(&["dev", "local"]);
    assert_eq!(upgraded.code, Some(0), "{}\n{}", upgraded.out, upgraded.err);

    // Users get no answer, and what replaces the one service needs the other to get ready.
    hang(&place.demo(), "storefront");
    hang(&place.demo(), "orders");
    let back = run(&["rollback", "--reason", "nothing answers"]);
    assert_eq!(back.code, Some(0), "{}\n{}", back.out, back.err);
    let (folder, state) = place.demo_runs().pop().unwrap();
    assert_eq!(
        state.finished.as_ref().map(|end| end.0),
        Some(RunOutcome::Succeeded)
    );
    let served = state.traffic.values();
    assert!(
        served
            .map(|(shares, _)| shares)
            .all(|shares| shares.len() == 1 && shares.keys().all(|one| one.as_str() == "1.0.0")),
        "{:?}",
        state.traffic
    );
    let events = folder.events().unwrap().map(Result::unwrap);
    let moved = events.filter_map(|event| match event.body {
        EventBody::TrafficShifted {
            service, reason, ..
        } => Some((service, reason)),
        _ => None,
    });
    let moved: Vec<_> = moved.collect();
    for service in ["orders", "storefront"] {
        let why = format!("{service} 1.1.0 is not healthy");
        let early = |(name, reason): &(String, String)| name == service && reason.contains(&why);
        assert!(moved.iter().any(early), "{moved:?}");
    }
    let gone = |(name, reason): &(String, String)| name == "catalog" && reason == "promotion";
    assert!(moved.iter().any(gone), "{moved:?}");
    let status = run(&["status"]);
    assert!(status.out.contains("6 instances run"), "{}", status.out);
}
