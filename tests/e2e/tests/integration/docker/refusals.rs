//! What is refused before a run begins, with nothing made on the engine or in the project.

use std::net::TcpListener;

use serde_json::Value;

use super::docker;
use crate::kit::{Place, Said};

/// One service, published at the port that a variable names.
const COMPOSE: &str = "services:
  web:
    image: web:1
    ports: [\"127.0.0.1:${WEB_PORT:-}:8080\"]
";

/// A service of which everything is said that a run asks for.
const WHOLE: &str = "
release: \"1\"
environments:
  dev: { replicas: { web: 2 } }
  staging: { replicas: { web: 2 } }
services:
  web:
    owner: ada
    probes: { startup: /s, readiness: /r, liveness: /l }
    metrics: /metrics
    log_marker: /marker
";

/// A project of that application.
fn project(application: &str, deploy: &str, compose: &str) -> Place {
    let place = Place::with_docker();
    place.write(
        "deploy.yaml",
        format!("application: {application}\n{deploy}"),
    );
    place.write("compose.yaml", compose);
    place
}

/// Asserts that there is nothing of an application on the engine, and no run of it.
#[track_caller]
fn untouched(place: &Place, application: &str, said: &Said) {
    let changed = place.path().join(".code-deploy");
    assert!(!changed.exists(), "something was changed: {said:?}");
    let label = format!("label=code-deploy.application={application}");
    for kind in [&["ps", "--all"][..], &["network", "ls"], &["volume", "ls"]] {
        let words = [kind, &["--quiet", "--filter", &label]].concat();
        assert_eq!(docker(&words), "", "{kind:?}");
    }
}

#[test]
fn a_port_that_somebody_has_is_refused_before_a_run_begins() {
    let application = "refused-port";
    let mut place = project(application, WHOLE, COMPOSE);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    place.set("WEB_PORT", port.to_string());
    let what = format!("port {port} of this machine cannot be had");
    let plan = ["plan", "-e", "dev", "-t", "docker-desktop"];
    for words in [&["dev", "docker-desktop"][..], &plan] {
        let said = place.run(words);
        let words = ["web", &what, "`ports`", "Nothing was changed"];
        said.refused(1, "CD0515", &words);
        untouched(&place, application, &said);
    }
}

#[test]
fn an_image_that_may_change_under_its_name_is_refused_by_the_policy_with_its_line() {
    let application = "refused-image";
    let unpinned = COMPOSE.replace("web:1", "web:latest");
    let place = project(application, WHOLE, &unpinned);
    let said = place.run(&["staging", "docker-desktop"]);
    let what = "web:latest of web (compose.yaml:3)";
    let words = [what, "unpinned_images", "Nothing was changed"];
    said.refused(1, "CD0437", &words);
    untouched(&place, application, &said);
    // A run that is given phase by phase begins as little.
    let said = place.run(&["inventory", "-e", "staging", "-t", "docker-desktop"]);
    said.refused(1, "CD0437", &[what]);
    let runs = std::fs::read_dir(place.path().join(".code-deploy/runs"));
    let begun = runs.is_ok_and(|mut runs| runs.next().is_some());
    assert!(!begun, "a run has begun: {said:?}");

    let planned = place.run(&["--json", "plan", "-e", "dev", "-t", "docker-desktop"]);
    assert_eq!(planned.code, Some(0), "{planned:?}");
    let value: Value = serde_json::from_str(planned.out.trim()).unwrap();
    let mut told = value["plan"]["foreseen"].as_array().unwrap().iter();
    let told = told.find(|one| one["what"].as_str().is_some_and(|text| text.contains(what)));
    assert_eq!(told.unwrap()["stops"], false, "{planned:?}");
}

#[test]
fn a_service_without_readiness_and_with_one_replica_is_refused_by_the_policy() {
    let application = "refused-lack";
    let bare = "release: \"1\"\nenvironments: { dev: {} }\n";
    // An image that is not there might have a health check of its own; this says that none is to run.
    let compose = format!("{COMPOSE}    healthcheck: {{ disable: true }}\n");
    let place = project(application, bare, &compose);
    let said = place.run(&["dev", "docker-desktop"]);
    let words = [
        "no readiness probe: web",
        "readiness: /PATH",
        "one instance only",
        "replicas: {web: 2}",
        "Nothing was changed",
    ];
    said.refused(1, "CD0437", &words);
    untouched(&place, application, &said);
}

#[test]
fn a_health_check_stands_for_probes_and_one_that_an_image_may_have_is_told() {
    let named = "    probes: { startup: /s, readiness: /r, liveness: /l }\n";
    let bare = WHOLE.replace(named, "");
    let checked = format!("{COMPOSE}    healthcheck: {{ test: [CMD, is-well] }}\n");
    for (compose, doubts) in [(checked.as_str(), 0), (COMPOSE, 1)] {
        let place = project("planned-health", &bare, compose);
        let planned = place.run(&["--json", "plan", "-e", "dev", "-t", "docker-desktop"]);
        assert_eq!(planned.code, Some(0), "{planned:?}");
        let value: Value = serde_json::from_str(planned.out.trim()).unwrap();
        let told = value["plan"]["foreseen"].as_array().unwrap().iter();
        let own: Vec<_> = told
            .filter(|one| one["items"].to_string().contains("5.4.2"))
            .collect();
        assert_eq!(own.len(), doubts, "{planned:?}");
        assert!(own.iter().all(|one| one["stops"] == false), "{planned:?}");
    }
}
