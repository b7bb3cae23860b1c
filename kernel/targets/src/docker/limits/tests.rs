#![allow(clippy::unwrap_used)]

use code_deploy_engine::spec::Feature;
use serde_json::json;

use super::*;

const COMPOSE: &str = "services:
  api:
    image: api:1
    expose: ['8080']
";

const DEPLOY: &str = "application: one
services:
  api: { role: backend }
environments:
  dev: {}
";

fn spec(compose: &str, deploy: &str) -> Spec {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("compose.yaml"), compose).unwrap();
    let path = folder.path().join("deploy.yaml");
    std::fs::write(&path, deploy).unwrap();
    Spec::load(&path, "dev", "docker-desktop", &|_| None).unwrap()
}

fn told(spec: &Spec) -> Vec<Finding> {
    limits(spec)
        .into_iter()
        .map(|limit| limit.finding)
        .collect()
}

fn found(compose: &str, deploy: &str) -> Vec<Finding> {
    told(&spec(compose, deploy))
}

#[track_caller]
fn one(found: &[Finding], rule: &str, severity: Severity, word: &str) {
    let mut of_rule = found.iter().filter(|one| one.rule == rule);
    let (Some(told), None) = (of_rule.next(), of_rule.next()) else {
        panic!("{rule}: {found:?}");
    };
    assert_eq!(told.severity, severity, "{told:?}");
    assert!(told.message.contains(word), "{word}: {}", told.message);
    assert!(told.place.starts_with("compose.yaml:"), "{}", told.place);
    assert!(!told.cure.is_empty());
}

#[test]
fn nothing_is_said_of_a_deployment_that_an_engine_honours_whole() {
    assert_eq!(found(COMPOSE, DEPLOY), []);
}

#[test]
fn every_key_that_containers_are_not_given_is_told_with_what_it_means() {
    let mut spec = spec(COMPOSE, DEPLOY);
    let feature = |key: &str| Feature {
        service: "api".to_owned(),
        key: key.to_owned(),
        line: 7,
        local: None,
        why: String::new(),
    };
    spec.compose.features = NOT_GIVEN.iter().map(|(key, ..)| feature(key)).collect();
    let found = told(&spec);
    assert_eq!(found.len(), NOT_GIVEN.len());
    for (key, severity, why) in NOT_GIVEN {
        one(&found, &format!("compose/{key}"), *severity, why);
    }
    for limit in limits(&spec) {
        let told = &limit.finding;
        assert_eq!(told.place, "compose.yaml:7 api");
        assert!(
            told.message
                .contains("of `api` is not honoured on Docker: "),
            "{told:?}"
        );
        // Whatever refuses no run is nothing to mend.
        let refuses = told.severity == Severity::Critical;
        assert_eq!(told.cure.starts_with("Take "), refuses, "{told:?}");
        assert_eq!(limit.meant().is_none(), refuses, "{told:?}");
    }
}

#[test]
fn keys_of_a_file_are_told_with_their_lines() {
    let found = found(&format!("{COMPOSE}    network_mode: host\n"), DEPLOY);
    let word = "need networks of their own";
    one(&found, "compose/network_mode", Severity::Critical, word);
    assert_eq!(found[0].place, "compose.yaml:5 api");
}

#[test]
fn every_key_of_a_build_that_the_builder_is_not_given_is_told() {
    for (key, severity, why) in NOT_BUILT {
        let mut spec = spec(COMPOSE, DEPLOY);
        let service = spec.compose.services.get_mut("api").unwrap();
        service.keys["build"] = json!({ "context": "." });
        service.keys["build"][*key] = json!(["one"]);
        let found = told(&spec);
        one(&found, "docker/build", *severity, why);
        let named = format!("`build.{key}` of `api`");
        assert!(found[0].message.contains(&named), "{found:?}");
    }
}

#[test]
fn a_build_from_an_address_refuses_a_run() {
    let word = "the context of `build` of `api` is an address";
    for context in ["https://example.org/api.git", "git@example.org:api.git"] {
        for build in [json!(context), json!({ "context": context })] {
            let mut spec = spec(COMPOSE, DEPLOY);
            let service = spec.compose.services.get_mut("api").unwrap();
            service.keys["build"] = build;
            one(&told(&spec), "docker/build", Severity::Critical, word);
        }
    }
}

#[test]
fn an_image_that_is_nowhere_refuses_a_run() {
    let built = COMPOSE.replace("image: api:1", "build: .");
    assert_eq!(found(&built, DEPLOY), []);
    let bare = COMPOSE.replace("    image: api:1\n", "");
    let word = "`api` has no image";
    one(
        &found(&bare, DEPLOY),
        "docker/no-image",
        Severity::Critical,
        word,
    );
    // What is pushed has a name in a registry.
    let pushes = DEPLOY.replace("dev: {}", "dev: { push_images: true }");
    let word = "`api` is to be pushed";
    one(
        &found(&built, &pushes),
        "docker/push",
        Severity::Critical,
        word,
    );
}

#[test]
fn a_service_that_keeps_data_refuses_a_run() {
    let store = DEPLOY.replace("role: backend", "role: database");
    let word = "`api` keeps data";
    one(
        &found(COMPOSE, &store),
        "docker/store",
        Severity::Critical,
        word,
    );
}

#[test]
fn what_an_engine_does_in_its_own_way_is_told() {
    let compose = |from: &str, to: &str| found(&COMPOSE.replace(from, to), DEPLOY);
    let secret = "expose: ['8080']\n    environment: { API_TOKEN: '${API_TOKEN}' }";
    let waits = "expose: ['8080']\n    deploy: { restart_policy: { condition: any, delay: 5s } }";
    for (found, rule, severity, word) in [
        (
            compose("['8080']", "['8080', '9090']"),
            "port",
            Severity::Low,
            "port 9090 of `api`",
        ),
        (
            compose("expose: ['8080']", "ports: ['80:8080']"),
            "loopback",
            Severity::Low,
            "at 127.0.0.1:80 only",
        ),
        (
            compose("expose: ['8080']", secret),
            "secret-variable",
            Severity::Medium,
            "`API_TOKEN` of `api`",
        ),
        (
            compose("expose: ['8080']", waits),
            "restart",
            Severity::Low,
            "`deploy.restart_policy.delay` of `api`",
        ),
    ] {
        one(&found, &format!("docker/{rule}"), severity, word);
    }
}
