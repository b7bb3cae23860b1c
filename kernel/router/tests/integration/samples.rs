use std::collections::BTreeMap;

use code_deploy_record::{SampleReader, Source};
use http::Method;

use crate::kit::{App, Router, TOKEN};

#[tokio::test]
async fn samples_tell_every_request_of_the_split_by_release_and_nothing_else() {
    let (old, new) = (App::start("old").await, App::start("new").await);
    let router = Router::start().await;
    let address = router.service("web").await;
    router.release("web", "1.0.0", &[&old]).await;
    router.release("web", "1.1.0", &[&new]).await;
    router.lease("web", "1.0.0").await;
    router
        .weights("web", &[("1.0.0", 75), ("1.1.0", 25)])
        .await
        .unwrap();
    let folder = router.folder.as_ref().unwrap().path().join("samples");
    router.get(address, "/id").await;
    router
        .weights("web", &[("1.0.0", 75), ("1.1.0", 25)])
        .await
        .unwrap();
    router.control.record(Some(folder.clone())).await.unwrap();
    for _ in 0..100 {
        router.get(address, "/id").await;
    }
    for _ in 0..100 {
        router.get(address, "/500").await;
    }
    let asked = [
        ("x-code-deploy-release", "1.1.0"),
        ("x-code-deploy-token", TOKEN),
    ];
    for _ in 0..10 {
        router.send(Method::GET, address, "/id", &asked, "").await;
    }
    router.control.record(None).await.unwrap();
    router.get(address, "/id").await;
    assert_eq!(router.status().await.recording_error, None);
    let (mut counts, mut errors, mut latencies) = (BTreeMap::new(), BTreeMap::new(), 0);
    for sample in SampleReader::open(&folder.join("router.jsonl")).unwrap() {
        let sample = sample.unwrap();
        assert_eq!(
            (sample.service.as_str(), sample.source),
            ("web", Source::Router)
        );
        latencies += sample.latency.len();
        *errors.entry(sample.release.clone()).or_insert(0) +=
            sample.errors.get("5xx").copied().unwrap_or_default();
        *counts.entry(sample.release).or_insert(0) += sample.count;
    }
    let of =
        |old: u64, new: u64| BTreeMap::from([("1.0.0".to_owned(), old), ("1.1.0".to_owned(), new)]);
    assert_eq!((counts, errors, latencies), (of(150, 50), of(75, 25), 200));
}

#[tokio::test]
async fn failures_are_told_by_class_and_do_not_make_a_release_look_fast() {
    let router = Router::start().await;
    let address = router.service("web").await;
    let gone = App::start("app").await;
    router.release("web", "1.0.0", &[&gone]).await;
    router.weights("web", &[("1.0.0", 100)]).await.unwrap();
    let folder = router.folder.as_ref().unwrap().path().join("samples");
    router.control.record(Some(folder.clone())).await.unwrap();
    gone.kill().await;
    for _ in 0..7 {
        assert!(router.get(address, "/id").await.status.is_server_error());
    }
    router.control.record(None).await.unwrap();
    let (mut errors, mut latencies) = (BTreeMap::new(), 0);
    for sample in SampleReader::open(&folder.join("router.jsonl")).unwrap() {
        let sample = sample.unwrap();
        assert_eq!(sample.failed(), sample.count);
        assert_eq!(sample.figures["weight_percent"], 100.0);
        latencies += sample.latency.len();
        for (class, count) in sample.errors {
            *errors.entry(class).or_insert(0) += count;
        }
    }
    let expected = BTreeMap::from([("connect".to_owned(), 5), ("unavailable".to_owned(), 2)]);
    assert_eq!((errors, latencies), (expected, 0));
}
