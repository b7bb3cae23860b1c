//! The demonstration in the environment `test`, by the command as people are given it.

use code_deploy_record::RunOutcome;

use crate::docker::{containers_of, ended, standing};
use crate::kit::Place;
use crate::stage;

#[test]
fn the_demonstration_of_the_environment_test_loses_no_request_and_is_stopped_whole() {
    let place = Place::with_docker_in("test");
    let said = place.run(&["test", "docker-desktop", "--demo", "--yes"]);
    assert_eq!(said.code, Some(0), "{}\n{}", said.out, said.err);
    let state = ended(&place, &said, RunOutcome::Succeeded);
    let client = &state.clients["client"];
    assert_eq!(client.failed, 0, "{client:?}");
    assert!(client.releases["1.0.0"].answered > 0 && client.releases["1.1.0"].answered > 0);
    assert_eq!(state.items.len(), 208, "every item has a verdict");
    let names = || standing(&stage::docker(), "test").into_keys();
    let wanted = containers_of("1.1.0").map(|name| name.replace("shop-dev", "shop-test"));
    assert_eq!(names().collect::<Vec<_>>(), wanted);
    let stopped = place.run(&["test", "docker-desktop", "--demo", "--stop"]);
    assert_eq!(stopped.code, Some(0), "{}\n{}", stopped.out, stopped.err);
    assert_eq!(names().count(), 0);
}
