//! The disk of the engine is full: the run says so and changes nothing for users; with space again the next one succeeds.

use code_deploy_record::{RunOutcome, verify_folder};

use crate::docker::{containers_of, docker_at, ended, standing};
use crate::kit::{Place, Said};
use crate::machine::Machine;

#[test]
fn a_full_disk_of_the_engine_is_told_harms_nobody_and_with_space_the_release_is_deployed() {
    let machine = Machine::with_engine_on_a_disk();
    let place = Place::on(&machine);
    place.lay_out_upgrade();
    let (engine, demo) = (machine.docker(), place.demo());
    let before = standing(&engine, "dev");
    assert_eq!(before.len(), 6, "{before:?}");
    let router = ["port", "shop-dev-storefront-router", "8080/tcp"];
    let url = format!("http://{}/", docker_at(&engine, &router));
    let serves = || place.run(&["internal", "shop", "probe", &url]);
    answers(&serves());

    machine.fill_disk();
    let said = place.run_in(&demo, &["dev", "docker-desktop"]);
    let text = format!("{}\n{}", said.out, said.err);
    // What is wanted first of the disk decides how far the run has come.
    assert!(matches!(said.code, Some(1 | 3)), "{text}");
    assert!(text.contains("no space left on device"), "{text}");
    assert!(text.contains("CD0523"), "{text}");
    let (folder, state) = place.demo_runs().pop().unwrap();
    assert_eq!(verify_folder(&folder).unwrap().findings, []);
    for client in state.clients.values() {
        assert_eq!(client.failed, 0, "{client:?}");
    }
    assert_eq!(standing(&engine, "dev"), before);
    answers(&serves());

    machine.make_space();
    let on = match state.finished {
        Some(_) => place.run_in(&demo, &["dev", "docker-desktop"]),
        None => place.run_in(&demo, &["resume"]),
    };
    assert_eq!(on.code, Some(0), "{}\n{}", on.out, on.err);
    let state = ended(&place, &on, RunOutcome::Succeeded);
    assert_eq!(state.clients["client"].failed, 0, "{:?}", state.clients);
    let names: Vec<String> = standing(&engine, "dev").into_keys().collect();
    assert_eq!(names, containers_of("1.1.0"));
}

#[track_caller]
fn answers(said: &Said) {
    assert_eq!(said.code, Some(0), "{}\n{}", said.out, said.err);
}
