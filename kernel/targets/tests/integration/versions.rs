//! The Kubernetes target with API servers of versions that cannot run here: each is played by what it says that it
//! serves, and by what newer ones do that older ones did not.

mod api_server;
mod scene;

use std::collections::BTreeMap;

use code_deploy_engine::target::{Heading, Listing, Target as _};
use serde_json::{Value, json};

use crate::stage::{eventually, release, shares, text, wanted};
use api_server::{Change, Watch};
use scene::{GRACE, PlayedPod, Scene, brought, endpoints, service, slice};

/// Versions from the oldest to a current one, each with whether it has slices of version 1.
const VERSIONS: [(&str, bool); 4] = [
    ("1.20", false),
    ("1.21", true),
    ("1.25", true),
    ("1.37", true),
];

fn rows<'a>(listings: &'a [Listing], title: &str) -> &'a [Vec<String>] {
    let found = listings.iter().find(|one| one.title == title);
    &found.unwrap_or_else(|| panic!("{title}")).rows
}

fn one_of_api() -> BTreeMap<String, u32> {
    [("api".to_owned(), 1)].into()
}

/// Puts something of each kind there whose API has changed its version since 1.20.
fn furnish(scene: &Scene) {
    let named = |name: &str| json!({ "name": name });
    let target = json!({ "kind": "Deployment", "name": "theirs" });
    for (resource, object) in [
        (
            "poddisruptionbudgets",
            json!({ "metadata": named("some"), "spec": { "minAvailable": 1 } }),
        ),
        (
            "horizontalpodautoscalers",
            json!({
                "metadata": named("more"),
                "spec": { "scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 5 },
            }),
        ),
        (
            "cronjobs",
            json!({ "metadata": named("nightly"), "spec": { "schedule": "0 3 * * *" } }),
        ),
        ("jobs", json!({ "metadata": named("once") })),
        (
            "ingresses",
            json!({ "metadata": named("front"), "spec": { "rules": [{ "host": "shop.example" }] } }),
        ),
    ] {
        scene.server.is(resource, object);
    }
}

#[tokio::test]
async fn the_inventory_is_listed_by_the_versions_that_a_cluster_serves() {
    for (version, budgets, scalers, cron_jobs) in [
        (
            "1.20",
            "policy/v1beta1",
            "autoscaling/v2beta2",
            "batch/v1beta1",
        ),
        ("1.21", "policy/v1", "autoscaling/v2beta2", "batch/v1"),
        ("1.25", "policy/v1", "autoscaling/v2", "batch/v1"),
        ("1.37", "policy/v1", "autoscaling/v2", "batch/v1"),
    ] {
        let scene = Scene::of(version).await;
        furnish(&scene);
        let has_slices = version != "1.20";
        scene.server.is("endpoints", endpoints(&["one"]));
        if has_slices {
            scene
                .server
                .is("endpointslices", slice("api-ipv4", &["one", "two"]));
            scene
                .server
                .is("endpointslices", slice("api-ipv6", &["one"]));
        }
        let listings = scene.target().inventory().await.unwrap();
        for one in &listings {
            assert_eq!(one.gap, None, "{version}: {}", one.title);
        }
        assert_eq!(
            rows(&listings, "Budgets of disruptions"),
            [["some", "1", "", ""]]
        );
        let autoscaler = ["more", "Deployment theirs", "2", "5", ""];
        assert_eq!(rows(&listings, "Autoscalers"), [autoscaler]);
        assert_eq!(
            rows(&listings, "Ingresses"),
            [["front", "", "shop.example", ""]]
        );
        // The slices have a pod at the same address that ends.
        let unready = if has_slices { "1" } else { "0" };
        let addresses = rows(&listings, "Addresses behind Services");
        assert_eq!(addresses, [["api", "1", unready, ""]], "{version}");
        let workloads = rows(&listings, "Workloads of the namespace");
        let kinds: Vec<&str> = workloads.iter().map(|row| row[0].as_str()).collect();
        assert_eq!(kinds, ["CronJob", "Job"], "{version}");
        assert!(
            !listings
                .iter()
                .any(|one| one.title.starts_with("HTTP routes"))
        );
        let asked = |resource| scene.server.versions_of(resource);
        assert_eq!(asked("poddisruptionbudgets"), [budgets], "{version}");
        assert_eq!(asked("horizontalpodautoscalers"), [scalers], "{version}");
        assert_eq!(asked("cronjobs"), [cron_jobs], "{version}");
        assert_eq!(asked("jobs"), ["batch/v1"], "{version}");
        let listed: [&[&str]; 2] = match has_slices {
            true => [&[], &["discovery.k8s.io/v1"]],
            false => [&["v1"], &[]],
        };
        let endpoints = ["endpoints", "endpointslices"].map(asked);
        assert_eq!(endpoints, listed, "{version}");
        assert_eq!(asked("ingresses"), ["networking.k8s.io/v1"], "{version}");
        scene.server.was_asked_well();
    }
}

/// Sets the scene with two releases, of which the first has the traffic.
async fn with_traffic(version: &str) -> Scene {
    let scene = Scene::of(version).await;
    let server = &scene.server;
    for pod in [
        PlayedPod::well("one", "1.0.0"),
        PlayedPod::well("two", "1.0.0"),
        PlayedPod::well("going", "1.0.0"),
        PlayedPod::well("new", "1.1.0"),
    ] {
        let ends = pod.name == "going";
        server.is("pods", PlayedPod { ends, ..pod }.object());
    }
    server.is("services", service());
    server.is("endpointslices", slice("api-ipv4", &["one", "two"]));
    server.is("endpointslices", slice("api-ipv6", &["one"]));
    scene
}

/// Returns what has the Service lead to the new release, as the cluster tells of that.
fn switched() -> Vec<Change> {
    vec![
        Change::Is("endpointslices", slice("api-ipv4", &["new"])),
        Change::Gone("endpointslices", "api-ipv6"),
    ]
}

#[tokio::test]
async fn whom_a_service_leads_to_is_told_by_slices_where_a_cluster_has_them() {
    let whole = |number| shares("api", &[(number, 100)]);
    for (version, has_slices) in VERSIONS {
        let scene = with_traffic(version).await;
        let server = &scene.server;
        // Where there are slices, endpoints are out of date: nobody is to read them.
        let (told, pods): (_, &[&str]) = match has_slices {
            true => ("endpointslices", &["new"]),
            false => ("endpoints", &["one", "two"]),
        };
        server.is("endpoints", endpoints(pods));
        let target = scene.target();
        assert_eq!(target.traffic().await.unwrap(), whole("1.0.0"), "{version}");
        let follows = match has_slices {
            true => switched(),
            false => vec![Change::Is("endpoints", endpoints(&["new"]))],
        };
        server.watched(told, Watch::Tells, follows);
        target.set_traffic(&whole("1.1.0")).await.unwrap();
        assert_eq!(target.traffic().await.unwrap(), whole("1.1.0"), "{version}");
        assert_eq!(server.times(&format!("WATCH {told}")), 1, "{version}");
        let asked = ["endpoints", "endpointslices"].map(|one| server.versions_of(one));
        let expected: [&[&str]; 2] = match has_slices {
            true => [&[], &["discovery.k8s.io/v1"]],
            false => [&["v1"], &[]],
        };
        assert_eq!(asked, expected, "{version}");
        server.was_asked_well();
    }
}

#[tokio::test]
async fn rights_are_asked_for_on_what_a_cluster_has() {
    for (version, has_slices) in VERSIONS {
        let scene = Scene::of(version).await;
        scene.target().recover().await.unwrap();
        let reviewed = scene.server.reviewed();
        let asks = |right: &str| reviewed.iter().any(|one| one == right);
        assert!(
            asks("watch /pods") && asks("create apps/deployments"),
            "{reviewed:?}"
        );
        for verb in ["list", "watch"] {
            let slices = format!("{verb} discovery.k8s.io/endpointslices");
            assert_eq!(asks(&slices), has_slices, "{version}");
            assert_eq!(
                asks(&format!("{verb} /endpoints")),
                !has_slices,
                "{version}"
            );
        }
        scene.server.was_asked_well();
    }
    let scene = Scene::of("1.25").await;
    for right in ["list endpointslices", "list endpoints"] {
        scene.server.deny(right);
    }
    let refused = scene.target().recover().await.unwrap_err();
    assert_eq!(refused.code, "CD0532", "{}", text(&refused));
    let missing = "needs: list endpointslices; nothing was changed";
    assert!(refused.what.contains(missing), "{}", text(&refused));
}

#[tokio::test]
async fn an_account_of_an_older_role_reads_endpoints_also_where_there_are_slices() {
    let scene = with_traffic("1.25").await;
    let server = &scene.server;
    for right in ["list endpointslices", "watch endpointslices"] {
        server.deny(right);
    }
    server.is("endpoints", endpoints(&["new"]));
    let target = scene.target();
    target.recover().await.unwrap();
    let whole = shares("api", &[("1.1.0", 100)]);
    assert_eq!(target.traffic().await.unwrap(), whole);
    assert_eq!(server.versions_of("endpoints"), ["v1"]);
    assert_eq!(server.versions_of("endpointslices"), Vec::<String>::new());
    server.was_asked_well();
}

#[tokio::test]
async fn a_manifest_is_judged_by_the_versions_that_a_cluster_serves() {
    for (version, served, gone) in [
        ("1.20", Some("policy/v1beta1"), Some("policy/v1")),
        ("1.21", Some("policy/v1beta1"), None),
        ("1.25", Some("policy/v1"), Some("policy/v1beta1")),
        ("1.37", Some("policy/v1"), Some("policy/v1beta1")),
    ] {
        let admitted = |api_version: &'static str| async move {
            let scene = Scene::of(version).await;
            scene.bring(&json!({
                "apiVersion": api_version, "kind": "PodDisruptionBudget", "metadata": { "name": "mine" },
                "spec": { "minAvailable": 1, "selector": { "matchLabels": { "a": "b" } } },
            }));
            let (target, first) = (scene.target(), release("1.0.0"));
            let admitted = target.admit(&first, &one_of_api(), Heading::Forward).await;
            scene.server.was_asked_well();
            admitted
        };
        if let Some(api_version) = served {
            admitted(api_version).await.unwrap();
        }
        if let Some(api_version) = gone {
            let refused = admitted(api_version).await.unwrap_err();
            assert_eq!(refused.code, "CD0539", "{}", text(&refused));
            let words = format!("the cluster has no PodDisruptionBudget of version {api_version}");
            assert!(refused.what.contains(&words), "{}", text(&refused));
            assert!(
                refused.next.contains("kubectl api-resources"),
                "{}",
                text(&refused)
            );
        }
    }
}

#[tokio::test]
async fn an_autoscaler_of_a_release_is_found_in_every_version() {
    for (version, _) in VERSIONS {
        let scene = Scene::of(version).await;
        let target = json!({ "kind": "Deployment", "name": "api-1-0-0" });
        let scaler = json!({
            "metadata": { "name": "more" }, "spec": { "scaleTargetRef": target, "maxReplicas": 5 },
        });
        scene.server.is("horizontalpodautoscalers", scaler);
        let (target, first) = (scene.target(), release("1.0.0"));
        let refused = target.admit(&first, &one_of_api(), Heading::Forward).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code, "CD0533", "{version}: {}", text(&refused));
        scene.server.was_asked_well();
    }
}

#[tokio::test]
async fn what_manifests_have_brought_is_found_again_by_the_versions_of_today() {
    for (version, budgets, cron_jobs) in [
        ("1.20", "policy/v1beta1", "batch/v1beta1"),
        ("1.21", "policy/v1", "batch/v1"),
        ("1.25", "policy/v1", "batch/v1"),
        ("1.37", "policy/v1", "batch/v1"),
    ] {
        let scene = Scene::of(version).await;
        let server = &scene.server;
        // As they were written in their time.
        for (resource, api_version, kind) in [
            (
                "poddisruptionbudgets",
                "policy/v1beta1",
                "PodDisruptionBudget",
            ),
            ("cronjobs", "batch/v1beta1", "CronJob"),
            ("ingresses", "networking.k8s.io/v1beta1", "Ingress"),
        ] {
            server.is(resource, brought(api_version, kind));
        }
        scene.target().remove_all(GRACE).await.unwrap();
        for resource in ["poddisruptionbudgets", "cronjobs", "ingresses"] {
            assert!(!server.has(resource, "mine"), "{version}: {resource}");
        }
        assert_eq!(server.versions_of("poddisruptionbudgets"), [budgets]);
        assert_eq!(server.versions_of("cronjobs"), [cron_jobs]);
        server.was_asked_well();
    }
}

#[tokio::test]
async fn a_server_that_has_too_much_to_do_is_asked_when_it_wants_to_be() {
    let whole = shares("api", &[("1.0.0", 100)]);
    for first in ["GET version", "GET pods", "GET services"] {
        let scene = with_traffic("1.37").await;
        scene.server.is_busy(first, 1);
        let target = scene.target();
        assert_eq!(target.traffic().await.unwrap(), whole, "{first}");
        assert_eq!(scene.server.times(first), 2, "{first}");
        scene.server.was_asked_well();
    }
}

#[tokio::test]
async fn a_watch_whose_version_is_too_old_begins_anew() {
    let whole = shares("api", &[("1.1.0", 100)]);
    for watch in [Watch::TellsTooOld, Watch::RefusedTooOld] {
        let scene = with_traffic("1.37").await;
        let server = &scene.server;
        server.watched("endpointslices", watch, switched());
        let target = scene.target();
        let before = server.times("GET endpointslices");
        target.set_traffic(&whole).await.unwrap();
        assert_eq!(server.times("GET endpointslices"), before + 2, "{watch:?}");
        assert_eq!(target.traffic().await.unwrap(), whole);
    }
}

#[tokio::test]
async fn the_watch_of_pods_begins_anew_where_its_version_is_too_old() {
    for watch in [Watch::TellsTooOld, Watch::RefusedTooOld] {
        let scene = with_traffic("1.37").await;
        let server = &scene.server;
        let ill = PlayedPod {
            is_ready: false,
            ..PlayedPod::well("one", "1.0.0")
        };
        // What changed meanwhile only another list tells.
        server.watched("pods", watch, vec![Change::Is("pods", ill.object())]);
        let target = scene.target();
        let told = eventually("the pod that fell ill is told", || async {
            let events = target.events().await.unwrap();
            let mut texts = events.into_iter().map(|event| event.text);
            texts.find(|text| text == "pod one is not ready any more")
        });
        told.await;
        server.was_asked_well();
    }
}

#[tokio::test]
async fn an_answer_with_a_warning_is_an_answer() {
    let scene = with_traffic("1.37").await;
    scene.server.warns();
    furnish(&scene);
    let target = scene.target();
    let listings = target.inventory().await.unwrap();
    assert_eq!(rows(&listings, "Budgets of disruptions").len(), 1);
    target.recover().await.unwrap();
    let whole = shares("api", &[("1.0.0", 100)]);
    target.set_traffic(&whole).await.unwrap();
    assert_eq!(target.traffic().await.unwrap(), whole);
    scene.server.was_asked_well();
}

/// Returns what is told of a container that ended again and again.
fn crashed() -> Value {
    json!({ "waiting": { "reason": "CrashLoopBackOff" } })
}

#[tokio::test]
async fn a_pod_with_a_sidecar_starts_when_it_is_ready_and_has_ended_when_all_of_it_has() {
    let scene = Scene::of("1.37").await;
    let server = &scene.server;
    let unready = PlayedPod {
        is_ready: false,
        own: json!({ "waiting": { "reason": "PodInitializing" } }),
        ..PlayedPod::well("one", "1.0.0")
    };
    server.is("pods", unready.object());
    let well = PlayedPod::well("one", "1.0.0").object();
    server.watched("pods", Watch::Tells, vec![Change::Is("pods", well)]);
    let target = scene.target();
    let started = target.start(&wanted("api", "1.0.0", 1)).await.unwrap();
    assert_eq!((started.len(), started[0].id.as_str()), (1, "one"));
    assert_eq!(server.times("WATCH pods"), 1);

    let ended = |code: u32| json!({ "terminated": { "exitCode": code } });
    let ending = |beside: Value| PlayedPod {
        is_ready: false,
        ends: true,
        own: ended(0),
        beside,
        ..PlayedPod::well("one", "1.0.0")
    };
    let goes_on = ending(json!({ "running": {} })).object();
    server.after("DELETE deployments", vec![Change::Is("pods", goes_on)]);
    // What is left of the grace was too short for it, which says nothing of the service.
    let over = ending(ended(137)).object();
    server.watched("pods", Watch::Tells, vec![Change::Is("pods", over)]);
    let stopped = target.stop("api", &release("1.0.0"), GRACE).await.unwrap();
    assert_eq!((stopped.ended, stopped.forced), (1, 0));
    assert_eq!(server.times("WATCH pods"), 2);
    server.was_asked_well();
}

#[tokio::test]
async fn a_sidecar_that_ends_again_and_again_is_told_by_its_name() {
    let scene = Scene::of("1.37").await;
    let server = &scene.server;
    let ill = PlayedPod {
        is_ready: false,
        own: json!({ "waiting": { "reason": "PodInitializing" } }),
        beside: crashed(),
        restarts: 3,
        ..PlayedPod::well("one", "1.0.0")
    };
    server.is("pods", ill.object());
    server.after("DELETE deployments", vec![Change::Gone("pods", "one")]);
    let failed = scene.target().start(&wanted("api", "1.0.0", 1)).await;
    let failed = failed.unwrap_err();
    assert_eq!(failed.code, "CD0514", "{}", text(&failed));
    for part in [
        "in its container proxy: its process ended 3 times",
        "was stopped again",
    ] {
        assert!(failed.what.contains(part), "{part}: {}", text(&failed));
    }
    assert!(!server.has("deployments", "api-1-0-0"));
    server.was_asked_well();
}

#[tokio::test]
async fn pods_that_the_namespace_lets_nobody_make_are_told_with_what_it_wants() {
    let scene = Scene::of("1.37").await;
    let why = "pods \"api-1-0-0-abc\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true";
    let condition = json!({
        "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": why,
    });
    let refused = json!({
        "metadata": { "name": "api-1-0-0", "labels": brought("apps/v1", "Deployment")["metadata"]["labels"] },
        "status": { "conditions": [condition] },
    });
    let told = vec![Change::Is("deployments", refused)];
    scene.server.watched("deployments", Watch::Tells, told);
    let failed = scene.target().start(&wanted("api", "1.0.0", 1)).await;
    let failed = failed.unwrap_err();
    assert_eq!(failed.code, "CD0514", "{}", text(&failed));
    assert!(failed.what.contains("runAsNonRoot"), "{}", text(&failed));
    let label = "pod-security.kubernetes.io/enforce";
    assert!(failed.next.contains(label), "{}", text(&failed));
}
