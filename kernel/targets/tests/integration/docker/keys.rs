//! What keys of the Compose file do, not only that containers are given them.

use code_deploy_engine::http::HttpClient;
use code_deploy_engine::target::{Instance, Lease, Target as _};
use code_deploy_targets::DockerTarget;

use super::engine::{GRACE, Stage, docker, inspect, until};
use crate::stage::{LIMIT, address, eventually, get, release, shares, wanted};

/// A Compose file with those lines for each of its services, and volumes.
fn compose(api: &str, web: &str) -> String {
    let service = "    image: IMAGE
    command: ['serve']
    entrypoint: ['/bin/code-deploy']
    environment: { PORT: '8080', BIND: 0.0.0.0, RELEASE: '${CODE_DEPLOY_RELEASE:-none}' }
    stop_grace_period: 5s
    expose: ['8080']
";
    format!("services:\n  api:\n{service}{api}  web:\n{service}{web}volumes: {{ kept: {{}} }}\n")
}

/// Starts one instance of a service.
async fn started(target: &DockerTarget, service: &str, version: &str) -> Instance {
    let mut started = target.start(&wanted(service, version, 1)).await.unwrap();
    started.remove(0)
}

/// Asks once, whatever comes of it: who ends may do so before the answer is out.
async fn ask(instance: &Instance, path: &str) {
    let url = format!("http://{}{path}", instance.address);
    HttpClient::new().get(&url, LIMIT).await.ok();
}

#[tokio::test]
async fn an_alias_is_found_a_chosen_signal_ends_and_data_stays_over_releases() {
    let api = "    stop_signal: SIGINT
    volumes: ['kept:/kept']
    networks: { default: { aliases: [backend] } }
";
    let stage = Stage::with(&compose(api, "")).await;
    let target = stage.opened().await;
    for service in ["api", "web"] {
        started(&target, service, "1.0.0").await;
        let all = shares(service, &[("1.0.0", 100)]);
        target.set_traffic(&all).await.unwrap();
    }
    let web = address(&target.observe().await.unwrap(), "web");
    for name in ["api", "backend"] {
        let asked = get(&web, &format!("/ask/{name}")).await;
        assert_eq!(asked, "1.0.0", "{name}");
    }

    let note = stage.folder.path().join("note");
    std::fs::write(&note, "of 1.0.0").unwrap();
    let inside = format!("{}:/kept/note", stage.container("api", "1.0.0", 1));
    docker(&["cp", note.to_str().unwrap(), &inside]);
    let next = started(&target, "api", "1.1.0").await;
    let address = next.address.to_string();
    assert_eq!(get(&address, "/file/kept/note").await, "of 1.0.0");
    let lease = Lease {
        ttl: GRACE * 4,
        stable: release("1.0.0"),
    };
    target.renew_lease(Some(lease)).await.unwrap();
    let all = shares("api", &[("1.1.0", 100)]);
    target.set_traffic(&all).await.unwrap();
    target.renew_lease(None).await.unwrap();
    let stopped = target.stop("api", &release("1.0.0"), GRACE).await.unwrap();
    assert_eq!((stopped.ended, stopped.forced), (1, 0));
    let logs = target.logs("api", &release("1.0.0")).await.unwrap();
    let said = std::fs::read_to_string(&logs[0].path).unwrap();
    assert!(said.contains("interrupted"), "{said}");
    assert!(!said.contains("asked to end"), "{said}");

    // What was stopped as a whole finds its data again.
    target.remove_all(GRACE).await.unwrap();
    let target = stage.opened().await;
    let again = started(&target, "api", "1.1.0").await;
    let kept = get(&again.address.to_string(), "/file/kept/note").await;
    assert_eq!(kept, "of 1.0.0");
}

#[tokio::test]
async fn the_engine_starts_again_what_the_restart_policy_says() {
    let stage = Stage::with(&compose(
        "    restart: on-failure:2\n",
        "    restart: always\n",
    ))
    .await;
    let target = stage.opened().await;
    let (api, web) = (
        started(&target, "api", "1.0.0").await,
        started(&target, "web", "1.0.0").await,
    );
    let policy =
        "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}";
    assert_eq!(inspect(&api.id, policy), "on-failure 2");
    assert_eq!(inspect(&web.id, policy), "always 0");
    let state = |one: &Instance| inspect(&one.id, "{{.RestartCount}} {{.State.Running}}");

    ask(&web, "/exit?code=0").await;
    until("always to start what ended well", || {
        state(&web) == "1 true"
    })
    .await;
    ask(&api, "/exit?code=3").await;
    until("on-failure to start what failed", || {
        state(&api) == "1 true"
    })
    .await;
    eventually("an answer of what was started again", || async {
        let url = format!("http://{}/livez", api.address);
        HttpClient::new().get(&url, LIMIT).await.ok()
    })
    .await;
    ask(&api, "/exit?code=0").await;
    until("on-failure to leave what ended well", || {
        state(&api) == "1 false"
    })
    .await;
}

/// The stage has no Compose beside its engine: these are the labels by which `docker compose ps` finds the containers of a
/// project and tells its services.
#[tokio::test]
async fn containers_have_the_labels_by_which_compose_finds_them() {
    let stage = Stage::with(&compose("", "")).await;
    let target = stage.opened().await;
    started(&target, "api", "1.0.0").await;
    let project = format!("label=com.docker.compose.project={}-dev", stage.application);
    let listed = docker(&[
        "ps",
        "--filter",
        &project,
        "--filter",
        "label=com.docker.compose.config-hash",
        "--filter",
        "label=com.docker.compose.oneoff=False",
        "--format",
        "{{.Names}}",
    ]);
    let mut names: Vec<&str> = listed.lines().collect();
    names.sort_unstable();
    assert_eq!(names, stage.containers());
    let name = stage.container("api", "1.0.0", 1);
    let label = |name_of: &str| {
        let format = format!("{{{{index .Config.Labels \"com.docker.compose.{name_of}\"}}}}");
        inspect(&name, &format)
    };
    let folder = stage.folder.path();
    let file = folder.join("compose.yaml");
    assert_eq!(label("service"), "api");
    assert_eq!(label("container-number"), "1");
    assert_eq!(label("project.working_dir"), folder.to_str().unwrap());
    assert_eq!(label("project.config_files"), file.to_str().unwrap());
    assert_eq!(label("image"), inspect(&name, "{{.Image}}"));
}
