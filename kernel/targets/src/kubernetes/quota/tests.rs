#![allow(clippy::unwrap_used)]

use code_deploy_engine::duration::Span;
use code_deploy_engine::spec::{Strategy, TrafficStep};
use k8s_openapi::api::core::v1::PodSpec;
use serde_json::{Value, json};

use super::*;
use crate::kubernetes::names;

fn pods_with(count: u32, spec: Value, ranges: &[LimitRange]) -> Starting {
    let pod: PodSpec = serde_json::from_value(spec).unwrap();
    Starting {
        service: "api".to_owned(),
        count,
        pod: AskedPod::of(&pod, ranges),
        ended: false,
    }
}

/// Returns why quotas leave no room for pods that are started at once.
fn no_room(quotas: &[ResourceQuota], starting: &[Starting]) -> Option<TargetError> {
    super::no_room(quotas, &[starting])
}

/// Returns pods of one container with those resources.
fn pods(count: u32, resources: Value) -> Starting {
    let spec = json!({ "containers": [{ "name": "api", "resources": resources }] });
    pods_with(count, spec, &[])
}

fn quota(name: &str, hard: Value, used: Value) -> ResourceQuota {
    scoped(name, hard, used, json!([]))
}

fn scoped(name: &str, hard: Value, used: Value, scopes: Value) -> ResourceQuota {
    serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": name },
        "spec": { "hard": hard, "scopes": scopes },
        "status": { "hard": hard, "used": used },
    }))
    .unwrap()
}

fn range(item: Value) -> LimitRange {
    serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "LimitRange", "metadata": { "name": "bounds" },
        "spec": { "limits": [item] },
    }))
    .unwrap()
}

#[test]
fn of_several_quotas_the_tightest_is_told_first() {
    let starting = [pods(
        2,
        json!({ "limits": { "cpu": "500m", "memory": "256Mi" } }),
    )];
    let wide = quota("wide", json!({ "pods": "9" }), json!({ "pods": "2" }));
    let few = quota("few", json!({ "pods": "3" }), json!({ "pods": "2" }));
    let memory = quota(
        "memory",
        json!({ "limits.memory": "640Mi", "requests.cpu": "2" }),
        json!({ "limits.memory": "512Mi", "requests.cpu": "1" }),
    );
    assert!(no_room(std::slice::from_ref(&wide), &starting).is_none());
    let refused = no_room(&[wide, few, memory], &starting).unwrap();
    assert_eq!(refused.code, code::QUOTA);
    assert_eq!(
        refused.what,
        "the namespace has no room for the pods of this run beside what is there: the quota memory allows 640Mi of \
         limits.memory, 512Mi are used, and 512Mi more are needed; less tight are: the quota few allows 3 of pods, 2 \
         are used, and 2 more are needed; nothing was changed"
    );
}

#[test]
fn pods_of_all_services_count_together() {
    let each = || pods(1, json!({ "requests": { "cpu": "300m" } }));
    let hard = json!({ "cpu": "1" });
    let quota = quota("cpu", hard, json!({ "cpu": "500m" }));
    assert!(no_room(std::slice::from_ref(&quota), &[each()]).is_none());
    let refused = no_room(&[quota], &[each(), each()]).unwrap();
    assert!(refused.what.contains("0.6 more"), "{}", refused.what);
}

#[test]
fn what_fits_to_the_last_is_taken() {
    let starting = [pods(3, json!({ "requests": { "cpu": "100m" } }))];
    let quota = quota(
        "cpu",
        json!({ "requests.cpu": "1" }),
        json!({ "requests.cpu": "700m" }),
    );
    assert!(no_room(&[quota], &starting).is_none());
}

#[test]
fn what_a_quota_counts_has_to_be_said_by_each_container() {
    let memory = || {
        quota(
            "memory",
            json!({ "limits.memory": "9Gi" }),
            json!({ "limits.memory": "0" }),
        )
    };
    let silent = pods(1, json!({ "limits": { "cpu": "1" } }));
    let refused = no_room(&[memory()], &[silent]).unwrap();
    assert_eq!(refused.code, code::QUOTA);
    assert!(
        refused.what.contains("counts limits.memory"),
        "{}",
        refused.what
    );
    // A limit range says it in its place.
    let defaults = [range(
        json!({ "type": "Container", "default": { "memory": "1Gi" } }),
    )];
    let spec = json!({ "containers": [{ "name": "api" }] });
    assert!(no_room(&[memory()], &[pods_with(1, spec, &defaults)]).is_none());
}

#[test]
fn a_quota_of_other_pods_or_of_other_objects_refuses_none() {
    let none = |scopes: Value| {
        scoped(
            "none",
            json!({ "pods": "0" }),
            json!({ "pods": "0" }),
            scopes,
        )
    };
    let starting = [pods(1, json!({ "limits": { "cpu": "1" } }))];
    for scopes in [
        json!(["BestEffort"]),
        json!(["Terminating"]),
        json!(["PriorityClass"]),
    ] {
        assert!(no_room(&[none(scopes)], &starting).is_none());
    }
    for scopes in [json!(["NotBestEffort"]), json!(["NotTerminating"])] {
        assert!(no_room(&[none(scopes)], &starting).is_some());
    }
    let others = json!({ "services": "0", "requests.storage": "0" });
    assert!(no_room(&[quota("others", others.clone(), others)], &starting).is_none());
    let uncounted = quota("new", json!({ "pods": "0" }), json!({}));
    assert!(no_room(&[uncounted], &starting).is_none());
}

#[test]
fn containers_that_run_before_others_count_as_the_cluster_counts_them() {
    let cpu = |name: &str, cpu: &str| json!({ "name": name, "resources": { "requests": { "cpu": cpu } } });
    let mut beside = cpu("beside", "100m");
    beside["restartPolicy"] = "Always".into();
    let spec = json!({
        "containers": [cpu("api", "200m"), cpu("more", "200m")],
        "initContainers": [cpu("first", "700m"), beside],
    });
    let pod = pods_with(1, spec, &[]).pod;
    let requested = pod.whole.requests.get("cpu").copied().unwrap();
    assert!((requested - 0.7).abs() < 1e-9, "{requested}");
    assert_eq!(pod.containers.len(), 4);
}

#[test]
fn a_sidecar_that_was_started_earlier_counts_with_what_ends_first() {
    let cpu = |name: &str, cpu: &str| json!({ "name": name, "resources": { "requests": { "cpu": cpu } } });
    let mut beside = cpu("beside", "100m");
    beside["restartPolicy"] = "Always".into();
    let spec = json!({
        "containers": [cpu("api", "200m")], "initContainers": [beside, cpu("first", "700m")],
        "overhead": { "cpu": "50m" },
    });
    let pod = pods_with(1, spec, &[]).pod;
    let requested = pod.whole.requests.get("cpu").copied().unwrap();
    assert!((requested - 0.85).abs() < 1e-9, "{requested}");
}

#[test]
fn what_a_pod_asks_for_as_one_counts_in_place_of_what_its_containers_do() {
    let hard = json!({ "limits.cpu": "2", "requests.memory": "9Gi" });
    let used = json!({ "limits.cpu": "1", "requests.memory": "0" });
    let quota = || quota("all", hard.clone(), used.clone());
    let asking = |cpu: &str| {
        let spec = json!({
            "containers": [{ "name": "api" }, { "name": "more" }],
            "resources": { "limits": { "cpu": cpu, "memory": "1Gi" } },
        });
        pods_with(1, spec, &[])
    };
    assert!(no_room(&[quota()], &[asking("1")]).is_none());
    let refused = no_room(&[quota()], &[asking("1500m")]).unwrap();
    assert!(refused.what.contains("1.5 more"), "{}", refused.what);
}

#[test]
fn what_a_limit_range_does_not_let_pass_is_told_with_what_it_wants() {
    let asked = pods(
        1,
        json!({ "requests": { "cpu": "50m" }, "limits": { "cpu": "2" } }),
    );
    let refused = |item: Value| out_of_bounds(&asked, &[range(item)]);
    for (item, word) in [
        (
            json!({ "type": "Container", "min": { "cpu": "100m" } }),
            "wants 0.1 of cpu at least",
        ),
        (
            json!({ "type": "Container", "max": { "cpu": "1" } }),
            "allows 1 of cpu at most",
        ),
        (
            json!({ "type": "Pod", "max": { "memory": "1Gi" } }),
            "1024Mi of memory at most",
        ),
        (
            json!({ "type": "Container", "maxLimitRequestRatio": { "cpu": "4" } }),
            "a limit of cpu of 4 times",
        ),
    ] {
        let error = refused(item).unwrap();
        assert_eq!(error.code, code::NOT_ADMITTED);
        assert!(error.what.contains(word), "{word}: {}", error.what);
        assert!(
            error.what.contains("the limit range bounds"),
            "{}",
            error.what
        );
    }
    for item in [
        json!({ "type": "Container", "min": { "cpu": "50m" }, "max": { "cpu": "2" } }),
        json!({ "type": "PersistentVolumeClaim", "max": { "storage": "1Gi" } }),
    ] {
        assert!(refused(item).is_none());
    }
}

/// Returns a Deployment of the service `api` that asks for so many pods, each with so many processors.
fn deployment(name: &str, replicas: u32, cpu: &str) -> Value {
    let resources = json!({ "requests": { "cpu": cpu } });
    let pod = json!({ "containers": [{ "name": "api", "resources": resources }] });
    json!({
        "metadata": { "name": name, "labels": { names::SERVICE: "api" } },
        "spec": { "replicas": replicas, "selector": {}, "template": { "spec": pod } },
    })
}

/// Returns the service `api` of which so many pods are wanted, each with 200 thousandths of a processor.
fn service(replicas: u32, running: &[(&str, u32, &str)]) -> [Replaced; 1] {
    let manifest = Manifest {
        name: "api-2".to_owned(),
        text: String::new(),
        value: deployment("api-2", replicas, "200m"),
    };
    let running: Vec<Deployment> = running
        .iter()
        .map(|(name, count, cpu)| serde_json::from_value(deployment(name, *count, cpu)).unwrap())
        .collect();
    let mut all = Replaced::all(&[("api", &manifest)], &running, &[]);
    [all.remove(0)]
}

/// Returns how many pods are started by a moment, below zero where they have ended, with the thousandths of a processor
/// that each asks for.
fn told(moment: &[Starting]) -> Vec<(i64, u32)> {
    let each = |one: &Starting| {
        let cpu = (one.pod.whole.requests["cpu"] * 1000.0).round() as u32;
        let count = i64::from(one.count);
        (if one.ended { -count } else { count }, cpu)
    };
    moment.iter().map(each).collect()
}

fn rolling(steps: &[u16]) -> Strategy {
    let step = |percent: &u16| TrafficStep {
        percent: *percent,
        soak: Span::from_secs(0),
    };
    Strategy {
        kind: StrategyKind::Rolling,
        steps: steps.iter().map(step).collect(),
        ..Strategy::default()
    }
}

#[test]
fn a_release_is_started_whole_beside_the_one_before() {
    let whole = |replicas: u32, running: &[(&str, u32, &str)]| {
        told(&moments::whole(&service(replicas, running)))
    };
    assert_eq!(whole(4, &[]), [(4, 200)]);
    assert_eq!(whole(4, &[("api-1", 4, "100m")]), [(4, 200)]);
    assert_eq!(whole(4, &[("api-2", 1, "200m")]), [(3, 200)]);
    assert_eq!(whole(4, &[("api-2", 4, "200m")]), []);
}

#[test]
fn waves_start_pods_in_the_place_of_those_that_the_wave_before_has_ended() {
    let waves = |running: &[(&str, u32, &str)]| -> Vec<Vec<(i64, u32)>> {
        let waves = moments::waves(&service(4, running), &rolling(&[25, 50]));
        waves.iter().map(|moment| told(moment)).collect()
    };
    let replaced: [Vec<(i64, u32)>; 3] = [
        vec![(1, 200)],
        vec![(2, 200), (-1, 100)],
        vec![(4, 200), (-2, 100)],
    ];
    assert_eq!(waves(&[("api-1", 4, "100m")]), replaced);
    // One that was gone before the run leaves no room once more.
    let fewer: [Vec<(i64, u32)>; 3] = [vec![(1, 200)], vec![(2, 200)], vec![(4, 200), (-1, 100)]];
    assert_eq!(waves(&[("api-1", 3, "100m")]), fewer);
}

#[test]
fn room_for_each_wave_is_enough_and_what_the_way_back_lacks_is_told() {
    let service = service(4, &[("api-1", 4, "200m")]);
    let waves = moments::waves(&service, &rolling(&[25, 50, 75]));
    let waves: Vec<&[Starting]> = waves.iter().map(Vec::as_slice).collect();
    let pods = |hard: &str| {
        [quota(
            "pods",
            json!({ "pods": hard }),
            json!({ "pods": "4" }),
        )]
    };
    assert!(super::no_room(&pods("5"), &waves).is_none());
    let refused = super::no_room(&pods("4"), &waves).unwrap();
    assert!(
        refused.what.contains("1 more are needed"),
        "{}",
        refused.what
    );
    assert_eq!(refused.next, LARGER_QUOTA);
    let back = moments::way_back(&service);
    let lacks = super::lacks(&pods("5"), &[&back]).unwrap();
    assert!(lacks.contains("4 more are needed"), "{lacks}");
    assert!(super::lacks(&pods("8"), &[&back]).is_none());
}

#[test]
fn the_way_back_starts_what_the_release_before_has_fewer_of() {
    let back = |running: &[(&str, u32, &str)]| told(&moments::way_back(&service(4, running)));
    assert_eq!(back(&[("api-1", 4, "100m")]), [(4, 200)]);
    assert_eq!(back(&[("api-1", 3, "100m")]), [(4, 200), (1, 100)]);
    assert_eq!(back(&[]), [(4, 200)]);
}
