//! What a run would change in the cluster is told before it begins, field by field, and what happens to pods as a watch
//! tells it.

use std::collections::BTreeMap;
use std::time::Duration;

use code_deploy_engine::target::{Change, FieldChange, Heading, Target as _};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;

use super::admission::one_of_each;
use super::cluster::{COMPOSE, GRACE, Stage};
use crate::stage::{eventually, release, wanted};

/// Returns a change in lines: what becomes of which object beside which, its summary, its fields.
fn lines(change: &Change) -> Vec<String> {
    let (kind, name) = (&change.kind, &change.name);
    let beside = change.beside.as_deref().unwrap_or("nothing");
    let head = format!("{kind} {name} {:?} beside {beside}", change.state);
    let fields = change.fields.iter().map(FieldChange::line);
    let summary = Some(change.summary.clone()).filter(|summary| !summary.is_empty());
    [head].into_iter().chain(summary).chain(fields).collect()
}

fn all_lines(changes: &[Change]) -> Vec<String> {
    changes.iter().flat_map(lines).collect()
}

/// Starts a release of `api` with the limit that the deployment file gives a start.
async fn started(stage: &Stage, number: &str) {
    let target = stage.opened().await;
    let mut wish = wanted("api", number, 1);
    wish.start_limit = Duration::from_secs(60);
    target.start(&wish).await.unwrap();
}

fn rewrite(stage: &Stage, pairs: &[(&str, &str)]) {
    let file = stage.folder.path().join("compose.yaml");
    let mut said = std::fs::read_to_string(&file).unwrap();
    for (before, after) in pairs {
        assert!(said.contains(before), "{said}");
        said = said.replace(before, after);
    }
    std::fs::write(&file, said).unwrap();
}

#[tokio::test]
async fn what_differs_between_two_releases_is_told_and_nothing_else() {
    let compose = COMPOSE.replacen("BIND: 0.0.0.0", "GREETING: hello, BIND: 0.0.0.0", 1);
    let stage = Stage::with(&compose).await;
    started(&stage, "1.0.0").await;
    rewrite(&stage, &[("hello", "goodbye"), (":1\n", ":2\n")]);
    let target = stage.target();
    let (old, new) = (release("1.0.0"), release("1.1.0"));
    target
        .admit(&new, &one_of_each(), Heading::Forward)
        .await
        .unwrap();
    // The first answer is that of the admission, the second is asked for anew.
    for _ in 0..2 {
        let changes = target.changes(&new, Some(&old), &one_of_each()).await;
        let image = stage.spec("k8s").application;
        assert_eq!(
            all_lines(&changes.unwrap()),
            [
                "Service api Unchanged beside nothing".to_owned(),
                "Service api-1-1-0 New beside api-1-0-0".to_owned(),
                "Deployment api-1-1-0 New beside api-1-0-0".to_owned(),
                "spec.template.spec.containers[api].env[GREETING].value: hello -> goodbye"
                    .to_owned(),
                format!("spec.template.spec.containers[api].image: {image}:1 -> {image}:2"),
                "Service web Unchanged beside nothing".to_owned(),
                "Service web-1-1-0 New beside nothing".to_owned(),
                "ClusterIP, ports 8080".to_owned(),
                "Deployment web-1-1-0 New beside nothing".to_owned(),
                format!("pods: 1; web: {image}:2, variables: 4"),
            ]
        );
    }
    // What runs already stays as it is, whatever the files say by now.
    let only = BTreeMap::from([("api".to_owned(), 1)]);
    let same = target.changes(&old, Some(&old), &only).await.unwrap();
    assert_eq!(
        all_lines(&same),
        [
            "Service api Unchanged beside nothing",
            "Service api-1-0-0 Unchanged beside nothing",
            "Deployment api-1-0-0 Unchanged beside nothing",
        ]
    );
    target.remove_all(GRACE).await.unwrap();
    stage.end().await;
}

#[tokio::test]
async fn of_a_secret_it_is_told_that_it_changes_and_never_what_it_is() {
    let compose = COMPOSE.replacen("    expose", "    secrets: [key]\n    expose", 1);
    let stage = Stage::with(&format!("{compose}secrets: {{ key: {{ file: ./key }} }}\n")).await;
    let key = stage.folder.path().join("key");
    std::fs::write(&key, "k3y-of-old").unwrap();
    started(&stage, "1.0.0").await;
    std::fs::write(&key, "k3y-of-new").unwrap();
    let only = BTreeMap::from([("api".to_owned(), 1)]);
    let (old, new) = (release("1.0.0"), release("1.1.0"));
    let target = stage.target();
    let changes = target.changes(&new, Some(&old), &only).await.unwrap();
    let told = all_lines(&changes);
    assert_eq!(
        told,
        [
            "Service api Unchanged beside nothing",
            "Service api-1-1-0 New beside api-1-0-0",
            "Deployment api-1-1-0 New beside api-1-0-0",
            "Secret api-1-1-0 New beside api-1-0-0",
            "data.key: (not shown) -> (not shown, another one)",
        ]
    );
    target.remove_all(GRACE).await.unwrap();
    stage.end().await;
}

#[tokio::test]
async fn a_pod_that_somebody_removes_is_told_once() {
    let stage = Stage::new().await;
    let target = stage.opened().await;
    let started = target.start(&wanted("api", "1.0.0", 1)).await.unwrap();
    let name = &started[0].id;
    assert_eq!(target.events().await.unwrap(), []);
    let params = DeleteParams::default();
    stage.all::<Pod>().delete(name, &params).await.unwrap();
    let told = || async {
        let events = target.events().await.ok()?;
        let mut own = events.into_iter().filter(|one| one.text.contains(name));
        own.next()
    };
    let event = eventually("the end of the pod is told", told).await;
    assert!(
        event.text.contains("somebody else or the cluster"),
        "{}",
        event.text
    );
    assert_eq!(event.service.as_deref(), Some("api"));
    target.remove_all(GRACE).await.unwrap();
    stage.end().await;
}
