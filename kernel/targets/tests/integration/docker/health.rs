//! Health checks that the engine runs, of the Compose file and of images.

use std::time::Duration;

use code_deploy_engine::target::{Target as _, Wanted};

use super::engine::{COMPOSE, GRACE, Stage, docker};
use crate::stage::{eventually, release, text, wanted};

const PROBES: &str = "probes: { startup: /startupz, readiness: /readyz, liveness: /livez }";

/// A stage whose services have these probes, and of which `web` has a health check of that command and timing.
async fn stage(probes: &str, check: &str) -> Stage {
    let check = format!("  web:\n    healthcheck: {{ {check} }}\n");
    let stage = Stage::with(&COMPOSE.replacen("  web:\n", &check, 1)).await;
    let path = stage.folder.path().join("deploy.yaml");
    let deploy = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, deploy.replace(PROBES, probes)).unwrap();
    stage
}

const PASSES: &str = "test: ['CMD', '/bin/code-deploy', 'is-well'], interval: 1s";

/// The program knows no such command: it says so and ends with an error.
const FAILS: &str = "test: ['CMD', '/bin/code-deploy', 'is-ill'], interval: 1s, retries: 1";

#[tokio::test]
async fn a_service_without_probes_is_healthy_by_the_health_check_of_the_compose_file() {
    let stage = stage("role: backend", PASSES).await;
    let target = stage.opened().await;
    let started = target.start(&wanted("web", "1.0.0", 1)).await.unwrap();
    let health = started[0].health.as_ref().unwrap();
    assert!(health.passed, "{health:?}");
    let seen = target.instances("web").await.unwrap();
    assert_eq!(seen[0].health, started[0].health);
    // Of a service without one the engine knows nothing.
    let started = target.start(&wanted("api", "1.0.0", 1)).await.unwrap();
    assert_eq!(started[0].health, None);
    target.remove_all(GRACE).await.unwrap();
}

#[tokio::test]
async fn a_health_check_that_fails_is_told_with_what_it_said() {
    let started_by_path = stage("probes: { startup: /startupz }", FAILS).await;
    let target = started_by_path.opened().await;
    target.start(&wanted("web", "1.0.0", 1)).await.unwrap();
    let told = eventually("the check has failed", || async {
        let health = target.instances("web").await.unwrap()[0].health.clone();
        health.filter(|health| health.detail.contains("check failed"))
    });
    let told = told.await;
    assert!(!told.passed, "{told:?}");
    for part in ["exit code", "unknown arguments", "is-ill"] {
        assert!(told.detail.contains(part), "{part}: {told:?}");
    }
    target.remove_all(GRACE).await.unwrap();

    let started_by_check = stage("role: backend", FAILS).await;
    let target = started_by_check.opened().await;
    let soon = Wanted {
        start_limit: Duration::from_secs(6),
        ..wanted("web", "1.0.0", 1)
    };
    let error = target.start(&soon).await.unwrap_err();
    assert_eq!(error.code, "CD0514", "{}", text(&error));
    for part in ["its health check", "unknown arguments", "stopped again"] {
        assert!(error.what.contains(part), "{part}: {}", text(&error));
    }
}

#[tokio::test]
async fn an_image_says_whether_it_has_a_health_check_of_its_own() {
    let stage = Stage::new().await;
    let (target, release) = (stage.target(), release("1.0.0"));
    let known = target.image_health_checks(&release).await.unwrap();
    assert_eq!(
        (known.get("api"), known.get("web")),
        (Some(&false), Some(&false))
    );
    let image = format!("{}:1", stage.application);
    let made = docker(&["create", &image, "/bin/code-deploy"]);
    let check = "HEALTHCHECK --interval=1s CMD [\"/bin/code-deploy\", \"is-well\"]";
    docker(&["commit", "--change", check, &made, &image]);
    docker(&["rm", &made]);
    let known = target.image_health_checks(&release).await.unwrap();
    assert_eq!(
        (known.get("api"), known.get("web")),
        (Some(&true), Some(&true))
    );
}

#[tokio::test]
async fn a_dockerfile_says_whether_its_image_will_have_a_health_check() {
    let built = COMPOSE.replacen("image: IMAGE", "build: .", 1);
    let stage = Stage::with(&built).await;
    for (lines, expected) in [
        ("FROM scratch\nHEALTHCHECK CMD [\"/is-well\"]\n", Some(true)),
        ("FROM scratch\nHEALTHCHECK NONE\n", Some(false)),
        // The image that it begins from may have one.
        ("FROM scratch\n", None),
    ] {
        std::fs::write(stage.folder.path().join("Dockerfile"), lines).unwrap();
        let known = stage.target().image_health_checks(&release("1.0.0")).await;
        assert_eq!(known.unwrap().get("api").copied(), expected, "{lines}");
    }
}
