//! The Kubernetes target with a real cluster, on a machine that is one of its nodes.

mod admission;
mod brought;
mod budgets;
mod changes;
mod cluster;
mod connection;
mod gateway;
mod inventory;
mod played;
mod trouble;

use std::collections::BTreeSet;
use std::time::Duration;

use code_deploy_engine::target::{Hold, Instance, Target as _};
use code_deploy_record::{Clock as _, LockHolder, RunsFolder, SampleReader, Source, SystemClock};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ResourceQuota, Secret, Service};
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;
use tokio_util::task::TaskTracker;

use crate::stage::{address, eventually, get, release, shares, text, wanted};
use cluster::{COMPOSE, GRACE, Stage};

#[tokio::test]
async fn a_release_gets_traffic_and_gives_way_to_the_next() {
    let stage = Stage::new().await;
    let target = stage.opened().await;
    let observed = target.observe().await.unwrap();
    assert_eq!(observed.addresses.len(), 2);
    assert_eq!(observed.stable, None);
    let started = target.start(&wanted("api", "1.0.0", 2)).await.unwrap();
    assert_eq!(started.len(), 2, "{started:?}");
    let asked = get(&started[0].address.to_string(), "/env/RELEASE").await;
    assert_eq!(asked, "1.0.0");
    assert!(target.traffic().await.unwrap()["api"].is_empty());
    stage.lead(&target, &shares("api", &[("1.0.0", 100)])).await;
    let observed = target.observe().await.unwrap();
    let api = address(&observed, "api");
    assert_eq!(get(&api, "/env/RELEASE").await, "1.0.0");

    target.start(&wanted("api", "1.1.0", 2)).await.unwrap();
    assert_eq!(
        target.traffic().await.unwrap(),
        shares("api", &[("1.0.0", 100)])
            .into_iter()
            .chain([("web".to_owned(), Default::default())])
            .collect()
    );
    let on_purpose = target
        .addresses_of(&release("1.1.0"))
        .await
        .unwrap()
        .unwrap();
    let on_purpose = on_purpose[0].address.to_string();
    assert_eq!(get(&on_purpose, "/env/RELEASE").await, "1.1.0");
    assert_eq!(get(&api, "/env/RELEASE").await, "1.0.0");

    stage.lead(&target, &shares("api", &[("1.1.0", 100)])).await;
    assert_eq!(
        stage.told_of("api").await,
        [
            "ReleaseStarted release 1.0.0: 2 of 2 pods are ready, for run 20260101T000000Z-dev-1",
            "TrafficMoved traffic goes to 1.0.0 100 %",
            "ReleaseStarted release 1.1.0: 2 of 2 pods are ready, for run 20260101T000000Z-dev-1",
            "TrafficMoved traffic goes to 1.1.0 100 %",
        ]
    );
    for _ in 0..20 {
        assert_eq!(get(&api, "/env/RELEASE").await, "1.1.0");
    }
    let stopped = target.stop("api", &release("1.0.0"), GRACE).await.unwrap();
    assert_eq!((stopped.ended, stopped.forced), (2, 0));
    let logs = target.logs("api", &release("1.0.0")).await.unwrap();
    assert_eq!(logs.len(), 2, "{logs:?}");
    let log = std::fs::read_to_string(&logs[0].path).unwrap();
    assert!(log.contains("a line of the log"), "{log}");
    assert_eq!(get(&api, "/env/RELEASE").await, "1.1.0");

    let stopped = target.remove_all(GRACE).await.unwrap();
    assert_eq!(stopped.len(), 1, "{stopped:?}");
    let pods = stage
        .all::<Pod>()
        .list(&ListParams::default())
        .await
        .unwrap();
    let lives = |pod: &Pod| pod.metadata.deletion_timestamp.is_none();
    assert!(!pods.items.iter().any(lives));
    let services = stage.all::<Service>().list(&ListParams::default()).await;
    assert!(services.unwrap().items.is_empty());
    stage.end().await;
}

#[tokio::test]
async fn a_second_start_keeps_the_pods_that_run() {
    let stage = Stage::new().await;
    let target = stage.opened().await;
    let first = target.start(&wanted("api", "1.0.0", 1)).await.unwrap();
    let mut again = wanted("api", "1.0.0", 2);
    again.run = "20260102T000000Z-dev-2".parse().unwrap();
    let second = stage.target().start(&again).await.unwrap();
    assert_eq!(second.len(), 2);
    assert!(second.iter().any(|one| one.id == first[0].id), "{second:?}");
    target.remove_all(GRACE).await.unwrap();
    stage.end().await;
}

fn holder(host: &str, run: &str) -> LockHolder {
    LockHolder {
        run: run.parse().unwrap(),
        pid: 1,
        host: host.to_owned(),
        user: "anna".to_owned(),
        since: SystemClock.now(),
        fencing: 1,
    }
}

#[tokio::test]
async fn a_runner_of_another_machine_is_held_off_until_it_is_gone() {
    let stage = Stage::new().await;
    let one = holder("one.example", "20260101T000000Z-dev-1");
    let other = holder("other.example", "20260102T000000Z-dev-2");
    let target = stage.target();
    assert_eq!(target.hold(&one).await.unwrap(), Hold::Ours);
    // The same run, resumed by another process.
    assert_eq!(stage.target().hold(&one).await.unwrap(), Hold::Ours);
    assert_eq!(target.renew_hold(&one).await.unwrap(), Hold::Ours);
    let who = Hold::Theirs("run 20260101T000000Z-dev-1 of anna@one.example".to_owned());
    assert_eq!(stage.target().hold(&other).await.unwrap(), who);
    assert_eq!(stage.target().renew_hold(&other).await.unwrap(), who);
    stage.target().let_go(&other).await.unwrap();
    let refused = stage.target().remove_all(GRACE).await.unwrap_err();
    assert_eq!(refused.code, "CD0538", "{}", text(&refused));
    assert!(
        refused.what.contains("anna@one.example"),
        "{}",
        text(&refused)
    );

    let leases = stage.all::<Lease>();
    let name = leases.list(&ListParams::default()).await.unwrap().items[0].name_any();
    let gone = json!({ "spec": { "renewTime": "2026-01-01T00:00:00.000000Z" } });
    let (params, gone) = (PatchParams::default(), Patch::Merge(&gone));
    leases.patch(&name, &params, &gone).await.unwrap();
    assert_eq!(stage.target().hold(&other).await.unwrap(), Hold::Ours);
    let Hold::Theirs(who) = target.renew_hold(&one).await.unwrap() else {
        panic!("it holds what was taken over");
    };
    assert!(who.contains("anna@other.example"), "{who}");
    target.let_go(&one).await.unwrap();
    assert!(leases.get_opt(&name).await.unwrap().is_some());
    stage.target().let_go(&other).await.unwrap();
    assert!(leases.get_opt(&name).await.unwrap().is_none());

    // A runner of this machine, of another project and of this one.
    let host = rustix::system::uname();
    let near = holder(&host.nodename().to_string_lossy(), "20260103T000000Z-dev-3");
    assert_eq!(target.hold(&near).await.unwrap(), Hold::Ours);
    let refused = stage.target().remove_all(GRACE).await.unwrap_err();
    assert_eq!(refused.code, "CD0538", "{}", text(&refused));
    let runs = RunsFolder::of_project(&stage.spec("k8s").project);
    std::fs::create_dir_all(runs.path().join(near.run.as_str())).unwrap();
    stage.target().remove_all(GRACE).await.unwrap();
    assert!(leases.get_opt(&name).await.unwrap().is_none());
    stage.end().await;
}

#[tokio::test]
async fn what_others_have_is_refused_and_not_touched() {
    let stage = Stage::new().await;
    let foreign: Service = stage
        .create(json!({
            "metadata": { "name": "api", "labels": { "app": "theirs" } },
            "spec": { "selector": { "app": "theirs" }, "ports": [{ "port": 80 }] },
        }))
        .await;
    let target = stage.target();
    let refused = target.open(&stage.services()).await.unwrap_err();
    assert_eq!(refused.code, "CD0526", "{}", text(&refused));
    let refused = target.set_traffic(&shares("api", &[])).await.unwrap_err();
    assert_eq!(refused.code, "CD0526", "{}", text(&refused));
    target.remove_all(GRACE).await.unwrap();
    let services = stage.all::<Service>();
    let after = services.get("api").await.unwrap();
    assert_eq!(
        after.metadata.resource_version,
        foreign.metadata.resource_version
    );
    assert!(services.get_opt("web").await.unwrap().is_none());
    stage.end().await;
}

#[tokio::test]
async fn an_image_that_cannot_be_had_is_told_and_nothing_is_left() {
    let stage = Stage::with(&COMPOSE.replacen("IMAGE", "127.0.0.1:1/nothing:1", 1)).await;
    let target = stage.opened().await;
    let failed = target.start(&wanted("api", "1.0.0", 1)).await.unwrap_err();
    assert_eq!(failed.code, "CD0514", "{}", text(&failed));
    assert!(
        failed.what.contains("its image cannot be pulled"),
        "{}",
        text(&failed)
    );
    assert!(failed.what.contains("event: Failed"), "{}", text(&failed));
    assert!(target.observe().await.unwrap().instances.is_empty());
    stage.end().await;
}

#[tokio::test]
async fn a_process_that_ends_is_told_with_the_end_of_its_log() {
    let stage = Stage::with(&COMPOSE.replacen("['serve']", "['serve', 'exit-at-once']", 1)).await;
    let target = stage.opened().await;
    let mut wish = wanted("api", "1.0.0", 1);
    wish.start_limit = Duration::from_secs(25);
    let failed = target.start(&wish).await.unwrap_err();
    assert_eq!(failed.code, "CD0514", "{}", text(&failed));
    for part in [
        "code 7",
        "event: BackOff",
        "cannot open the database",
        "was stopped again",
    ] {
        assert!(failed.what.contains(part), "{part}: {}", text(&failed));
    }
    stage.end().await;
}

#[tokio::test]
async fn a_quota_that_is_used_up_is_told() {
    let stage = Stage::new().await;
    let target = stage.opened().await;
    let _: ResourceQuota = stage
        .create(json!({ "metadata": { "name": "few" }, "spec": { "hard": { "pods": "1" } } }))
        .await;
    let quotas = stage.all::<ResourceQuota>();
    eventually("the quota is counted", || async {
        quotas.get("few").await.ok()?.status?.hard
    })
    .await;
    let failed = target.start(&wanted("api", "1.0.0", 2)).await.unwrap_err();
    assert_eq!(failed.code, "CD0536", "{}", text(&failed));
    assert!(failed.what.contains("exceeded quota"), "{}", text(&failed));
    stage.end().await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_before_anything_changes() {
    let stage = Stage::new().await;
    let target = stage.opened().await;
    let half = shares("api", &[("1.0.0", 95), ("1.1.0", 5)]);
    let refused = target.set_traffic(&half).await.unwrap_err();
    assert_eq!(refused.code, "CD0537", "{}", text(&refused));
    let nobody = shares("api", &[("9.9.9", 100)]);
    let refused = target.set_traffic(&nobody).await.unwrap_err();
    assert_eq!(refused.code, "CD0535", "{}", text(&refused));
    let file = stage.folder.path().join("deploy.yaml");
    let said = std::fs::read_to_string(&file).unwrap();
    let elsewhere = said.replace("namespace: stage", "namespace: not-there");
    std::fs::write(&file, elsewhere).unwrap();
    let refused = stage.target().open(&stage.services()).await.unwrap_err();
    assert_eq!(refused.code, "CD0531", "{}", text(&refused));
    target.remove_all(GRACE).await.unwrap();
    stage.end().await;
}

#[tokio::test]
async fn what_instances_count_is_sampled_by_release() {
    let counted =
        "# TYPE http_requests_total counter\nhttp_requests_total{route=\"/\",status=\"200\"} 4\n";
    let stage = Stage::with(&COMPOSE.replacen(
        "    expose",
        "    volumes: ['./given:/metrics-of']\n    expose",
        1,
    ))
    .await;
    let given = stage.folder.path().join("given");
    std::fs::create_dir(&given).unwrap();
    std::fs::write(given.join("metrics"), counted).unwrap();
    let file = stage.folder.path().join("deploy.yaml");
    let said = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        said.replace("/file/metrics", "/file/metrics-of/metrics"),
    )
    .unwrap();
    let target = stage.opened().await;
    target.start(&wanted("api", "1.0.0", 1)).await.unwrap();
    let samples = RunsFolder::of_project(stage.folder.path())
        .path()
        .join("samples");
    target.sample_into(Some(samples.clone())).await.unwrap();
    let read = || async {
        let reader = SampleReader::open_folder(&samples, Source::Instance.word()).ok()?;
        let all: Vec<_> = reader.filter_map(Result::ok).collect();
        (!all.is_empty()).then_some(all)
    };
    eventually("the instance was read", read).await;
    std::fs::write(given.join("metrics"), counted.replace("} 4", "} 9")).unwrap();
    let enough = || async { read().await?.into_iter().find(|one| one.count > 0) };
    let sample = eventually("its requests were counted", enough).await;
    assert_eq!(
        (sample.service.as_str(), sample.release.as_str()),
        ("api", "1.0.0")
    );
    assert_eq!(sample.count, 5);
    target.sample_into(None).await.unwrap();
    target.remove_all(GRACE).await.unwrap();
    stage.end().await;
}

#[tokio::test]
async fn traffic_is_split_by_the_number_of_pods_and_ends_with_one_release() {
    let stage = Stage::new().await;
    let target = stage.opened().await;
    for number in ["1.0.0", "1.1.0"] {
        target.start(&wanted("api", number, 2)).await.unwrap();
    }
    let whole = |number| shares("api", &[(number, 100)]);
    target.set_traffic(&whole("1.0.0")).await.unwrap();
    let third = shares("api", &[("1.0.0", 67), ("1.1.0", 33)]);
    stage.lead(&target, &third).await;
    let served = || async { target.traffic().await.unwrap().remove("api").unwrap() };
    assert_eq!(served().await, third["api"]);
    // Another process, which opens it again, does not move it.
    stage.opened().await;
    assert_eq!(served().await, third["api"]);
    let api = address(&target.observe().await.unwrap(), "api");
    let mut seen = BTreeSet::new();
    for _ in 0..100 {
        seen.insert(get(&api, "/env/RELEASE").await);
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
    let half = shares("api", &[("1.0.0", 50), ("1.1.0", 50)]);
    target.set_traffic(&half).await.unwrap();
    assert_eq!(served().await, half["api"]);
    target.set_traffic(&whole("1.1.0")).await.unwrap();
    // Nodes that have not followed still lead to the pods that are stopped here.
    target.stop("api", &release("1.0.0"), GRACE).await.unwrap();
    assert!(target.unsettled().is_zero());
    for _ in 0..20 {
        assert_eq!(get(&api, "/env/RELEASE").await, "1.1.0");
    }
    let marked = ListParams::default().labels("code-deploy.split");
    let pods = stage.all::<Pod>().list(&marked).await.unwrap();
    // What has ended stays listed for a while, and nobody is led to it.
    let staying = pods
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let staying: Vec<_> = staying.map(ResourceExt::name_any).collect();
    assert!(staying.is_empty(), "{staying:?}");
    target.remove_all(GRACE).await.unwrap();
    stage.end().await;
}

#[tokio::test]
async fn secrets_and_configurations_reach_the_pods_and_go_with_their_release() {
    let compose = COMPOSE.replacen(
        "    expose",
        "    secrets: [key]\n    configs: [{ source: rules, target: /etc/rules.txt }]\n    expose",
        1,
    );
    let declared = "secrets: { key: { file: ./key } }\nconfigs: { rules: { content: allow } }\n";
    let stage = Stage::with(&format!("{compose}{declared}")).await;
    std::fs::write(stage.folder.path().join("key"), "k3y").unwrap();
    let target = stage.opened().await;
    let started = target.start(&wanted("api", "1.0.0", 1)).await.unwrap();
    let api = started[0].address.to_string();
    assert_eq!(get(&api, "/file/run/secrets/key").await, "k3y");
    assert_eq!(get(&api, "/file/etc/rules.txt").await, "allow");
    target.remove_all(GRACE).await.unwrap();
    let secrets = stage.all::<Secret>().get_opt("api-1-0-0").await.unwrap();
    let configurations = stage.all::<ConfigMap>().get_opt("api-1-0-0").await.unwrap();
    assert!(secrets.is_none() && configurations.is_none());
    stage.end().await;
}

#[tokio::test]
async fn a_release_loses_pods_that_nobody_is_led_to_and_gets_them_back() {
    let stage = Stage::new().await;
    let target = stage.opened().await;
    target.start(&wanted("api", "1.0.0", 3)).await.unwrap();
    target.start(&wanted("api", "1.1.0", 1)).await.unwrap();
    let third = shares("api", &[("1.0.0", 67), ("1.1.0", 33)]);
    stage.lead(&target, &third).await;
    let marked = ListParams::default().labels("code-deploy.split,code-deploy.release=1.0.0");
    let marked = stage.all::<Pod>().list(&marked).await.unwrap();
    let marked: BTreeSet<String> = marked.iter().map(ResourceExt::name_any).collect();
    // What the files say by now is not what runs: pods are kept all the same.
    let file = stage.folder.path().join("compose.yaml");
    let said = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, said.replace("BIND:", "MORE: 'yes', BIND:")).unwrap();
    let target = stage.target();
    let old = release("1.0.0");

    let api = address(&target.observe().await.unwrap(), "api");
    let asking = TaskTracker::new().spawn(async move {
        loop {
            get(&api, "/env/RELEASE").await;
        }
    });
    let stopped = target.scale_down("api", &old, 2, GRACE).await.unwrap();
    assert_eq!((stopped.ended, stopped.forced), (1, 0));
    assert!(!asking.is_finished(), "a request failed");
    let pods = || async { names_of(&target.instances("api").await.unwrap(), "1.0.0") };
    assert_eq!(pods().await, marked);
    let served = || async { target.traffic().await.unwrap().remove("api").unwrap() };
    assert_eq!(served().await, third["api"]);
    let again = target.scale_down("api", &old, 2, GRACE).await.unwrap();
    assert_eq!(again.ended, 0);

    // A share that fewer pods cannot give is not given up.
    let refused = target.scale_down("api", &old, 1, GRACE).await.unwrap_err();
    assert_eq!(refused.code, "CD0537", "{}", text(&refused));
    assert_eq!(pods().await, marked);

    let back = target.start(&wanted("api", "1.0.0", 3)).await.unwrap();
    let back = names_of(&back, "1.0.0");
    assert!(back.len() == 3 && back.is_superset(&marked), "{back:?}");
    let whole = shares("api", &[("1.0.0", 100)]);
    target.set_traffic(&whole).await.unwrap();
    target.scale_down("api", &old, 1, GRACE).await.unwrap();
    assert_eq!(pods().await.len(), 1);
    assert_eq!(served().await, whole["api"]);
    assert!(!asking.is_finished(), "a request failed");
    asking.abort();
    let service = stage.all::<Service>().get("api").await.unwrap();
    let selector = service.spec.unwrap().selector.unwrap();
    assert!(!selector.contains_key("code-deploy.split"), "{selector:?}");
    target.remove_all(GRACE).await.unwrap();
    stage.end().await;
}

fn names_of(instances: &[Instance], number: &str) -> BTreeSet<String> {
    let own = instances
        .iter()
        .filter(|one| one.running && one.release.as_str() == number);
    own.map(|one| one.id.clone()).collect()
}
