#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::plan::{Found, Plan};
use crate::spec::Spec;

const COMPOSE: &str = "services:\n  web:\n    image: web:1\n    ports: [\"8080:8080\"]\n";

/// A service with everything that a run asks for.
const WHOLE: &str = "application: x
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
    process: { command: [sleep, \"9\"] }
";

fn foresee(deploy: &str, environment: &str) -> Vec<Foreseen> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("compose.yaml"), COMPOSE).unwrap();
    let path = folder.path().join("deploy.yaml");
    std::fs::write(&path, deploy).unwrap();
    of_file(&path, environment)
}

fn of_file(path: &Path, environment: &str) -> Vec<Foreseen> {
    of_target(path, environment, "local")
}

fn of_target(path: &Path, environment: &str, target: &str) -> Vec<Foreseen> {
    of_images(path, environment, target, &ImageChecks::new())
}

fn of_images(path: &Path, environment: &str, target: &str, images: &ImageChecks) -> Vec<Foreseen> {
    let spec = Arc::new(Spec::load(path, environment, target, &|_| None).unwrap());
    let taken = crate::inventory::take(&spec, None).unwrap();
    let inventory = Arc::new(Found {
        components: taken.components(),
        document: serde_json::to_value(&taken).unwrap(),
    });
    let to = spec.release.as_ref().unwrap().parse().unwrap();
    let inputs = Inputs {
        spec,
        inventory,
        from: None,
        to,
        initial: true,
        reverts: None,
    };
    let steps = Plan::make(&inputs).unwrap().planned();
    let today = NaiveDate::from_ymd_opt(2026, 1, 1).unwrap();
    foreseen(&inputs, &steps, Path::new("/bin/true"), images, today).unwrap()
}

fn stopping(found: &[Foreseen]) -> Vec<String> {
    let stopping = found.iter().filter(|one| one.stops);
    stopping.map(|one| list(&one.items)).collect()
}

#[test]
fn everything_that_the_files_decide_is_told_at_once_with_its_line() {
    let bare = "application: x\nrelease: \"1\"\nenvironments:\n  dev: {}\nservices:\n  web:\n    \
                process: { command: [sleep, \"9\"] }\n";
    let found = foresee(bare, "dev");
    assert_eq!(
        stopping(&found),
        [
            "1.1.4",
            "3.1.6, 6.2.6",
            "5.4.2",
            "5.4.3",
            "5.4.4",
            "8.1.1, 8.1.3",
            "8.2.1, 8.2.4, 8.2.6"
        ]
    );
    assert!(found[0].cure.contains("web (deploy.yaml:6)"), "{found:?}");
    assert!(found[1].cure.contains("(deploy.yaml:4)"), "{found:?}");
    let error = refuse(&found, "dev").unwrap_err().problem();
    assert_eq!(error.code, "CD0437");
    for word in [
        "owner:",
        "replicas: {web: 2}",
        "startup: /PATH",
        "log_marker",
        "phase 07",
    ] {
        assert!(error.what.contains(word), "{word}: {}", error.what);
    }
    // No journey is told, and stops nothing where the policy notes what is open.
    assert!(
        found
            .iter()
            .any(|one| !one.stops && one.what.contains("no journey"))
    );
}

#[test]
fn a_service_with_everything_stops_nothing_where_open_items_are_noted() {
    let found = foresee(WHOLE, "dev");
    assert_eq!(stopping(&found), [""; 0], "{found:?}");
    refuse(&found, "dev").unwrap();
}

#[test]
fn what_somebody_accepts_by_a_waiver_is_not_told() {
    let without = WHOLE.replace("    metrics: /metrics\n", "");
    assert_eq!(stopping(&foresee(&without, "dev")), ["8.1.1, 8.1.3"]);
    let waiver = |item: &str, day: &str| {
        format!("  - {{item: {item}, by: ada, reason: later, expires: {day}}}\n")
    };
    let day = "2026-02-01";
    let waived = format!(
        "{without}waivers:\n{}{}",
        waiver("8.1.1", day),
        waiver("8.1.3", day)
    );
    assert_eq!(stopping(&foresee(&waived, "dev")), [""; 0]);
    let expired = waived.replace(day, "2025-12-31");
    assert_eq!(stopping(&foresee(&expired, "dev")), ["8.1.1, 8.1.3"]);
}

#[test]
fn where_open_items_stop_what_nothing_establishes_is_told_before() {
    let found = foresee(WHOLE, "staging");
    let told = stopping(&found).join("; ");
    for item in ["1.5.5", "7.1.1", "9.1.1", "9.2.5", "8.2.3"] {
        assert!(told.contains(item), "{item} is not in {told}");
    }
}

#[test]
fn an_artifact_that_nothing_builds_and_that_is_not_there_stops_whatever_the_policy() {
    let missing = WHOLE.replace(
        "    metrics:",
        "    build: { artifacts: [bin/web] }\n    metrics:",
    );
    let note = missing.replace(
        "  dev: { replicas: { web: 2 } }",
        "  dev: { replicas: { web: 2 }, overrides: { failed: note } }",
    );
    let found = foresee(&note, "dev");
    assert!(
        found[0].stops && found[0].what.contains("bin/web"),
        "{found:?}"
    );
    let built = note.replace("artifacts: [", "command: [make], artifacts: [");
    assert_eq!(stopping(&foresee(&built, "dev")), [""; 0]);
}

#[test]
fn the_shop_stops_at_nothing_that_its_files_tell() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/shop/deploy.yaml");
    let folder = tempfile::tempdir().unwrap();
    copy(file.parent().unwrap(), folder.path());
    let found = of_file(&folder.path().join("deploy.yaml"), "dev");
    assert_eq!(found, [], "{found:?}");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        match source.is_dir() {
            true => copy(&source, &target),
            false => drop(std::fs::copy(&source, &target).unwrap()),
        }
    }
}

#[test]
fn digests_that_no_registry_can_have_are_told_before_a_run() {
    let told = |image: &str, push: &str| {
        let folder = tempfile::tempdir().unwrap();
        let compose = COMPOSE.replace("    image: web:1\n", image);
        std::fs::write(folder.path().join("compose.yaml"), compose).unwrap();
        std::fs::write(folder.path().join("Dockerfile"), "FROM scratch\n").unwrap();
        let path = folder.path().join("deploy.yaml");
        let staging = format!("staging: {{ {push}replicas:");
        std::fs::write(&path, WHOLE.replace("staging: { replicas:", &staging)).unwrap();
        let found = of_target(&path, "staging", "docker-desktop");
        let mut stopping = found.iter().filter(|one| one.stops);
        stopping.any(|one| one.items.iter().any(|item| item.as_str() == "2.2.7"))
    };
    let (named, built) = ("    image: web:1\n", "    image: web:1\n    build: .\n");
    assert!(told(built, ""));
    assert!(!told(built, "push_images: true, "));
    assert!(!told(named, ""));
}

/// What is told of images that may change under their name, and whether it stops the run.
fn unpinned(image: &str, environment: &str, target: &str) -> Option<Foreseen> {
    let folder = tempfile::tempdir().unwrap();
    let compose = COMPOSE.replace("    image: web:1\n", image);
    std::fs::write(folder.path().join("compose.yaml"), compose).unwrap();
    let path = folder.path().join("deploy.yaml");
    std::fs::write(&path, WHOLE).unwrap();
    let mut found = of_target(&path, environment, target).into_iter();
    found.find(|one| one.cure.contains("unpinned_images"))
}

#[test]
fn an_image_that_may_change_under_its_name_is_noted_or_refused_by_the_policy_with_its_line() {
    for image in ["web", "web:latest", "localhost:5000/web"] {
        let line = format!("    image: {image}\n");
        for target in ["docker-desktop", "k8s"] {
            let told = unpinned(&line, "staging", target).unwrap();
            let place = format!("{image} of web (compose.yaml:3)");
            assert!(told.stops && told.what.contains(&place), "{told:?}");
            let error = refuse(&[told], "staging").unwrap_err().problem();
            assert_eq!(error.code, "CD0437");
            assert!(error.what.contains(&place), "{}", error.what);
            assert!(!unpinned(&line, "dev", target).unwrap().stops);
        }
        // Processes are started from no image.
        assert_eq!(unpinned(&line, "staging", "local"), None);
    }
}

#[test]
fn an_image_that_is_pinned_or_that_the_engine_builds_is_not_told() {
    for image in [
        "web:1",
        "web@sha256:00",
        "localhost:5000/web:1",
        "'web:${CODE_DEPLOY_RELEASE:-latest}'",
    ] {
        let line = format!("    image: {image}\n");
        assert_eq!(unpinned(&line, "staging", "docker-desktop"), None);
    }
    let built = "    image: web\n    build: .\n";
    assert_eq!(unpinned(built, "staging", "docker-desktop"), None);
    // In a cluster nothing is built: nodes pull what the name leads to.
    assert!(unpinned(built, "staging", "k8s").unwrap().stops);
}

/// The items that stop a run of a service without a path for any probe, whose Compose file says that of its health check.
fn unprobed(check: &str, target: &str, images: &ImageChecks) -> Vec<Foreseen> {
    let folder = tempfile::tempdir().unwrap();
    let compose = COMPOSE.replace("    ports:", &format!("{check}    ports:"));
    std::fs::write(folder.path().join("compose.yaml"), compose).unwrap();
    let path = folder.path().join("deploy.yaml");
    let named = "    probes: { startup: /s, readiness: /r, liveness: /l }\n";
    std::fs::write(&path, WHOLE.replace(named, "")).unwrap();
    let mut found = of_images(&path, "dev", target, images);
    found.retain(|one| {
        one.items
            .iter()
            .any(|item| item.as_str().starts_with("5.4."))
    });
    found
}

const CHECK: &str = "    healthcheck: { test: [CMD, is-well] }\n";

#[test]
fn a_health_check_that_the_target_runs_stands_for_probes_without_a_path() {
    let none = ImageChecks::new();
    for target in ["docker-desktop", "k8s"] {
        assert_eq!(unprobed(CHECK, target, &none), [], "{target}");
    }
    let off = "    healthcheck: { disable: true }\n";
    for (check, target) in [(CHECK, "local"), (off, "docker-desktop"), ("", "k8s")] {
        let found = unprobed(check, target, &none);
        assert_eq!(stopping(&found), ["5.4.2", "5.4.3", "5.4.4"], "{target}");
    }
    let local = unprobed(CHECK, "local", &none);
    assert!(local[0].cure.contains("no engine runs it"), "{local:?}");
    let cluster = unprobed("", "k8s", &none);
    assert!(
        cluster[0].cure.contains("Kubernetes ignores it"),
        "{cluster:?}"
    );
}

#[test]
fn a_health_check_of_the_image_counts_on_docker_and_is_doubted_until_the_image_is_there() {
    let of_image = |has: bool| ImageChecks::from([("web".to_owned(), has)]);
    assert_eq!(unprobed("", "docker-desktop", &of_image(true)), []);
    let without = unprobed("", "docker-desktop", &of_image(false));
    assert_eq!(stopping(&without), ["5.4.2", "5.4.3", "5.4.4"]);
    let doubted = unprobed("", "docker-desktop", &ImageChecks::new());
    assert_eq!(stopping(&doubted), [""; 0], "{doubted:?}");
    let [doubt] = doubted.as_slice() else {
        panic!("{doubted:?}")
    };
    assert_eq!(list(&doubt.items), "5.4.2, 5.4.3, 5.4.4");
    assert!(doubt.what.contains("known once it is there"), "{doubt:?}");
    // What the image has does not count where the Compose file turns it off, nor for processes.
    let off = "    healthcheck: { test: [NONE] }\n";
    for (check, target) in [(off, "docker-desktop"), ("", "local")] {
        assert_eq!(
            unprobed(check, target, &of_image(true)).len(),
            3,
            "{target}"
        );
    }
}
