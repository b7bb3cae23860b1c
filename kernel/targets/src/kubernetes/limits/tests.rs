#![allow(clippy::unwrap_used)]

use code_deploy_engine::spec::Feature;

use super::*;

const COMPOSE: &str = "services:
  api:
    image: api:1
    expose: ['8080']
    restart: always
";

const DEPLOY: &str = "application: one
strategy: { kind: blue-green }
services:
  api: { role: backend, probes: { readiness: /readyz }, metrics: /metrics }
environments:
  dev: {}
";

fn spec(compose: &str, deploy: &str) -> Spec {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("compose.yaml"), compose).unwrap();
    let path = folder.path().join("deploy.yaml");
    std::fs::write(&path, deploy).unwrap();
    Spec::load(&path, "dev", "k8s", &|_| None).unwrap()
}

fn told(spec: &Spec) -> Vec<Finding> {
    limits(spec)
        .into_iter()
        .map(|limit| limit.finding)
        .collect()
}

/// Returns what is said of a deployment beyond what is said of each.
fn found(compose: &str, deploy: &str) -> Vec<Finding> {
    let found = limits(&spec(compose, deploy)).into_iter();
    let found = found.map(|limit| limit.finding);
    found
        .filter(|one| one.rule != "kubernetes/no-lease")
        .collect()
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
fn nothing_is_said_of_a_deployment_that_a_cluster_honours_whole() {
    assert_eq!(found(COMPOSE, DEPLOY), []);
}

#[test]
fn every_key_that_pods_are_not_given_is_told_with_what_it_means() {
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
    for (key, severity, why) in NOT_GIVEN {
        one(&found, &format!("compose/{key}"), *severity, why);
    }
    let all = limits(&spec).into_iter();
    for limit in all.filter(|one| one.finding.rule.starts_with("compose/")) {
        let told = &limit.finding;
        assert_eq!(told.place, "compose.yaml:7 api");
        assert!(
            told.message
                .contains("of `api` is not honoured on Kubernetes: "),
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
    let more = "    network_mode: host\n    hostname: one\n    stop_signal: SIGINT\n";
    let found = found(&format!("{COMPOSE}{more}"), DEPLOY);
    let places: Vec<(&str, &str)> = found
        .iter()
        .map(|one| (one.rule.as_str(), one.place.as_str()))
        .collect();
    assert_eq!(
        places,
        [
            ("compose/network_mode", "compose.yaml:6 api"),
            ("compose/hostname", "compose.yaml:7 api"),
            ("compose/stop_signal", "compose.yaml:8 api"),
        ]
    );
    one(
        &found,
        "compose/network_mode",
        Severity::Critical,
        "networks of their own",
    );
}

#[test]
fn what_traffic_must_not_reach_refuses_a_run() {
    let unready = DEPLOY.replace("probes: { readiness: /readyz }, ", "");
    let word = "`api` has no readiness probe";
    one(
        &found(COMPOSE, &unready),
        "kubernetes/no-readiness",
        Severity::Critical,
        word,
    );
    // A health check of the Compose file says it, too.
    let checked = format!("{COMPOSE}    healthcheck: {{ test: ['CMD', 'is-well'] }}\n");
    assert_eq!(found(&checked, &unready), []);

    let store = DEPLOY.replace("role: backend", "role: database");
    let word = "`api` keeps data";
    one(
        &found(COMPOSE, &store),
        "kubernetes/store",
        Severity::Critical,
        word,
    );
}

#[test]
fn images_that_nodes_do_not_find_by_themselves_are_told() {
    let built = format!("{COMPOSE}    build: .\n");
    let word = "`build` of `api` is not carried out";
    one(
        &found(&built, DEPLOY),
        "kubernetes/build",
        Severity::Medium,
        word,
    );
    let bare = built.replace("    image: api:1\n", "");
    let word = "`api` has no image";
    one(
        &found(&bare, DEPLOY),
        "kubernetes/no-image",
        Severity::Critical,
        word,
    );
}

#[test]
fn what_a_service_of_a_cluster_does_in_its_own_way_is_told() {
    let compose = |from: &str, to: &str| found(&COMPOSE.replace(from, to), DEPLOY);
    let deploy = |from: &str, to: &str| found(COMPOSE, &DEPLOY.replace(from, to));
    let sticky = "routing: { sticky: true }, metrics: ";
    for (found, rule, severity, word) in [
        (
            deploy(", metrics: /metrics", ""),
            "no-metrics",
            Severity::Medium,
            "`api` has no metrics",
        ),
        (
            deploy("metrics: ", sticky),
            "sticky",
            Severity::Medium,
            "`api` is not sticky",
        ),
        (
            compose("['8080']", "['8080', '9090']"),
            "port",
            Severity::Low,
            "port 9090 of `api`",
        ),
        (
            compose("expose: ['8080']", "ports: ['80:8080']"),
            "published",
            Severity::Low,
            "not published at port 80",
        ),
        (
            compose("always", "'no'"),
            "restart",
            Severity::Medium,
            "starts pods again",
        ),
        (
            compose("restart", "user: somebody\n    restart"),
            "value",
            Severity::Critical,
            "numbers only",
        ),
    ] {
        one(&found, &format!("kubernetes/{rule}"), severity, word);
    }
}
