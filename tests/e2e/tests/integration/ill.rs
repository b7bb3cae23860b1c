//! Starting again what a machine has lost.

use std::path::Path;

use crate::kit::Place;
use code_deploy_kills::processes_of;

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
    let upgraded = run(&["dev", "local"]);
    assert_eq!(upgraded.code, Some(0), "{}\n{}", upgraded.out, upgraded.err);

    cut_the_power(&place.demo());
    let again = run(&["dev", "local"]);
    again.refused(1, "CD0411", &["deployed already", "was started again"]);
    let status = run(&["status"]);
    assert!(status.out.contains("6 instances run"), "{}", status.out);
}
