//! Pods that do not get ready are told of in plain words, with what the cluster and they themselves say.

use std::time::Duration;

use code_deploy_engine::target::Target as _;

use super::cluster::{GRACE, Stage};
use crate::stage::{text, wanted};

/// Has no node take the pods of the service `api`.
const NOWHERE: &str = "apiVersion: apps/v1
kind: Deployment
metadata: { name: api }
spec: { template: { spec: { nodeSelector: { example.org/disk: none-such } } } }
";

#[tokio::test]
async fn pods_that_no_node_takes_and_those_whose_readiness_fails_are_told_with_events() {
    let stage = Stage::new().await;
    stage.bring(NOWHERE);
    let file = stage.folder.path().join("deploy.yaml");
    let said = std::fs::read_to_string(&file).unwrap();
    assert!(said.contains("/readyz"), "{said}");
    std::fs::write(&file, said.replace("/readyz", "/status/500")).unwrap();
    let target = stage.opened().await;
    let (mut api, mut web) = (wanted("api", "1.0.0", 1), wanted("web", "1.0.0", 1));
    api.start_limit = Duration::from_secs(15);
    web.start_limit = Duration::from_secs(25);
    let (api, web) = tokio::join!(target.start(&api), target.start(&web));
    let of_api = [
        "api 1.0.0 has not 1 ready pods",
        "no node takes it: 0/",
        "event: FailedScheduling",
    ];
    let of_web = [
        "web 1.0.0 has not 1 ready pods",
        "its readiness probe does not pass",
        "event: Unhealthy",
        "Readiness probe failed: HTTP probe failed with statuscode: 500",
        "the end of its log:",
        "a line of the log",
    ];
    for (started, parts) in [(api, &of_api[..]), (web, &of_web[..])] {
        let failed = started.unwrap_err();
        assert_eq!(failed.code, "CD0514", "{}", text(&failed));
        for part in parts.iter().chain(&["was stopped again"]) {
            assert!(failed.what.contains(part), "{part}: {}", text(&failed));
        }
    }
    target.remove_all(GRACE).await.unwrap();
    stage.end().await;
}
