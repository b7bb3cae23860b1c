//! What containers are given of the Compose file.

use code_deploy_engine::target::Target as _;

use super::engine::{COMPOSE, GRACE, Stage, docker, holds_files, inspect};
use crate::stage::{get, release, text, wanted};

const EVERYTHING: &str = "    hostname: somebody
    stop_signal: SIGTERM
    cap_drop: [ALL]
    read_only: true
    init: true
    ulimits: { nofile: { soft: 1024, hard: 2048 } }
    tmpfs: /scratch
    extra_hosts: ['elsewhere=127.0.0.9']
    healthcheck:
      test: ['CMD', '/bin/code-deploy', 'nothing']
      interval: 1h
    deploy:
      resources:
        limits: { cpus: '0.5', memory: 64M, pids: 100 }
        reservations: { memory: 32M }
    secrets: [token]
    configs: [{ source: settings, target: /etc/settings }]
    volumes: ['kept:/kept']
    networks: { default: { aliases: [backend] } }
";

const DECLARED: &str = "secrets:
  token: { environment: STAGE_TOKEN }
configs:
  settings: { content: 'of the file' }
volumes: { kept: {} }
";

#[tokio::test]
async fn a_container_is_what_the_compose_file_says() {
    let compose = COMPOSE.replacen("  web:\n", &format!("{EVERYTHING}  web:\n"), 1);
    let stage = Stage::with(
        &format!("{compose}{DECLARED}")
            .replace("<<: *service", "image: IMAGE\n    expose: ['8080']")
            .replace("&service", ""),
    )
    .await;
    let target = stage.opened().await;
    let started = target.start(&wanted("api", "1.0.0", 1)).await.unwrap();
    let name = stage.container("api", "1.0.0", 1);
    assert_eq!(started[0].id, name);
    let seen = |format: &str| inspect(&name, format);
    let running = target.running_images("api", &release("1.0.0")).await;
    let running: Vec<(String, String)> = running.unwrap().into_iter().collect();
    assert_eq!(running, [(name.clone(), seen("{{.Image}}"))]);
    assert_eq!(
        seen("{{.Config.Hostname}} {{.Config.StopTimeout}}"),
        "somebody 5"
    );
    assert_eq!(
        seen(
            "{{.HostConfig.NanoCpus}} {{.HostConfig.Memory}} {{.HostConfig.MemoryReservation}} {{.HostConfig.PidsLimit}}"
        ),
        "500000000 67108864 33554432 100"
    );
    assert_eq!(
        seen(
            "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.Init}} {{.HostConfig.CapDrop}} {{.HostConfig.RestartPolicy.Name}}"
        ),
        "true true [ALL] unless-stopped"
    );
    assert_eq!(
        seen("{{.HostConfig.ExtraHosts}} {{.HostConfig.Tmpfs}}"),
        "[elsewhere:127.0.0.9] map[/scratch:]"
    );
    assert_eq!(
        seen("{{.Config.Healthcheck.Test}} {{.Config.Healthcheck.Interval}}"),
        "[CMD /bin/code-deploy nothing] 1h0m0s"
    );
    assert_eq!(
        seen(
            "{{index .Config.Labels \"code-deploy.release\"}} {{index .Config.Labels \"com.docker.compose.service\"}}"
        ),
        "1.0.0 api"
    );
    let address = started[0].address.to_string();
    assert_eq!(
        get(&address, "/file/run/secrets/token").await,
        "correct-horse-battery-staple"
    );
    assert_eq!(get(&address, "/file/etc/settings").await, "of the file");
    let network = format!("{}-dev_default", stage.application);
    let volume = format!("{}-dev_kept", stage.application);
    assert_eq!(
        docker(&["network", "inspect", "--format", "{{.Name}}", &network]),
        network
    );
    // Secrets go with their instance, what is kept stays.
    let hidden = stage.folder.path().join(".code-deploy/docker/dev/hidden");
    assert!(holds_files(&hidden));
    target.stop("api", &release("1.0.0"), GRACE).await.unwrap();
    assert!(!holds_files(&hidden));
    target.remove_all(GRACE).await.unwrap();
    assert_eq!(
        docker(&["volume", "inspect", "--format", "{{.Name}}", &volume]),
        volume
    );
}

#[tokio::test]
async fn what_does_not_start_is_told_with_its_log_and_nothing_stays() {
    let compose = COMPOSE.replace("['serve']", "['serve', 'exit-at-once']");
    let stage = Stage::with(&compose.replace("unless-stopped", "'no'")).await;
    let target = stage.opened().await;
    let error = target.start(&wanted("api", "1.0.0", 2)).await.unwrap_err();
    assert_eq!(error.code, "CD0514", "{}", text(&error));
    for part in ["exit code 7", "cannot open the database", "stopped again"] {
        assert!(error.what.contains(part), "{part}: {}", text(&error));
    }
    assert!(target.observe().await.unwrap().instances.is_empty());
    let routers = |name: &String| name.ends_with("-router");
    assert!(stage.containers().iter().all(routers));
}

#[tokio::test]
async fn a_container_that_ran_out_of_memory_is_told_as_that() {
    let limit = "    deploy: { resources: { limits: { memory: 32M } } }\n    expose: ['8080']\n";
    let compose = COMPOSE
        .replace("['serve']", "['serve', 'run-out-of-memory']")
        .replace("unless-stopped", "'no'")
        .replace("    expose: ['8080']\n", limit);
    let stage = Stage::with(&compose).await;
    let target = stage.opened().await;
    let error = target.start(&wanted("api", "1.0.0", 1)).await.unwrap_err();
    assert_eq!(error.code, "CD0514", "{}", text(&error));
    for part in ["its process ended (out of memory)", "stopped again"] {
        assert!(error.what.contains(part), "{part}: {}", text(&error));
    }
}

#[tokio::test]
async fn an_image_that_cannot_be_had_is_told_and_nothing_is_started() {
    let stage =
        Stage::with(&COMPOSE.replace("image: IMAGE", "image: 127.0.0.1:9/nobody/nothing:1")).await;
    let target = stage.opened().await;
    let error = target.start(&wanted("api", "1.0.0", 1)).await.unwrap_err();
    assert_eq!(error.code, "CD0525", "{}", text(&error));
    assert!(target.observe().await.unwrap().instances.is_empty());
}
