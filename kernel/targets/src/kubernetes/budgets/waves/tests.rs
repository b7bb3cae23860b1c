#![allow(clippy::unwrap_used)]

use code_deploy_engine::duration::Span;
use code_deploy_engine::spec::TrafficStep;
use serde_json::{Value, json};

use super::*;

fn labels(release: &str) -> Labels {
    let pairs = [("app", "api"), ("release", release)];
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// A service whose release before has all its pods.
fn service(name: &str, replicas: u32) -> Replaced {
    Replaced {
        service: name.to_owned(),
        replicas,
        new: (0, labels("new")),
        old: vec![(replicas, labels("old"))],
    }
}

fn budget(keeps: Value) -> Budget {
    let mut spec = keeps;
    spec["selector"] = json!({ "matchLabels": { "app": "api" } });
    Budget::stated("kept", "policy/v1", &json!({ "spec": spec }))
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

/// Returns the wave in which services of so many pods are stopped by a budget, with the pods that it is of then and
/// those that have to stay.
fn stopped(keeps: Value, services: &[u32], others: u32, steps: &[u16]) -> Option<(u16, u32, u32)> {
    let services = services.iter();
    let services: Vec<Replaced> = services.map(|replicas| service("api", *replicas)).collect();
    let budget = budget(keeps);
    let selected: Vec<Selected<'_>> = services.iter().map(|one| one.of(&budget)).collect();
    let others = Others {
        pods: others,
        ready: others,
    };
    let blocked = blocked(&budget, &selected, others, &rolling(steps))?;
    Some((blocked.percent, blocked.pods, blocked.stay))
}

#[test]
fn waves_leave_as_many_pods_as_are_wanted_and_no_more_can_be_kept() {
    let waves = [25, 50, 100];
    let least = |number: u32| stopped(json!({ "minAvailable": number }), &[4], 0, &waves);
    assert_eq!(least(3), None);
    assert_eq!(least(4), None);
    // The first wave has one of four in the place of one.
    assert_eq!(least(5), Some((25, 5, 5)));
    // A budget of other pods, too, may have some to spare.
    let others = stopped(json!({ "minAvailable": 5 }), &[4], 1, &waves);
    assert_eq!(others, None);
}

#[test]
fn parts_are_of_the_pods_that_there_are_in_a_wave() {
    let waves = [50, 100];
    assert_eq!(
        stopped(json!({ "minAvailable": "50%" }), &[2], 0, &waves),
        None
    );
    // Of three pods, two and a half are three.
    let most = stopped(json!({ "minAvailable": "80%" }), &[2], 0, &waves);
    assert_eq!(most, Some((50, 3, 3)));
    assert_eq!(
        stopped(json!({ "maxUnavailable": 1 }), &[2], 0, &waves),
        None
    );
    assert_eq!(
        stopped(json!({ "maxUnavailable": "1%" }), &[9], 0, &waves),
        None
    );
    for none in [
        json!({ "maxUnavailable": 0 }),
        json!({ "minAvailable": "100%" }),
        json!({}),
    ] {
        assert_eq!(stopped(none, &[2], 0, &waves), Some((50, 3, 3)));
    }
}

#[test]
fn one_pod_of_the_release_before_stays_and_is_not_asked_to_go() {
    let keeps_all = || json!({ "maxUnavailable": 0 });
    assert_eq!(stopped(keeps_all(), &[1], 0, &[50, 100]), None);
    // Others of the same budget are.
    assert_eq!(stopped(keeps_all(), &[1, 2], 0, &[100]), Some((100, 6, 6)));
}

#[test]
fn pods_that_a_budget_is_not_of_are_not_counted() {
    let own = service("api", 2);
    let of_old = json!({ "spec": {
        "minAvailable": 2, "selector": { "matchLabels": { "release": "old" } },
    } });
    let of_old = Budget::stated("old", "policy/v1", &of_old);
    let strategy = rolling(&[50, 100]);
    let stopped = |budget: &Budget| {
        let selected = [own.of(budget)];
        blocked(budget, &selected, Others::default(), &strategy)
    };
    let (pods, stay) = stopped(&of_old).map(|one| (one.pods, one.stay)).unwrap();
    assert_eq!((pods, stay), (2, 2));
    let others = json!({ "spec": {
        "minAvailable": 9, "selector": { "matchLabels": { "app": "web" } },
    } });
    let others = Budget::stated("web", "policy/v1", &others);
    assert_eq!(own.of(&others).old, 0);
    assert_eq!(stopped(&others), None);
}

#[test]
fn two_budgets_of_the_same_pods_are_told_where_waves_take_some_away() {
    let budgets = [
        budget(json!({ "minAvailable": 1 })),
        budget(json!({ "minAvailable": 1 })),
    ];
    let own = service("api", 2);
    let twice = own.governed_twice(&budgets).unwrap();
    let error = governed_twice("api", &twice);
    assert_eq!(error.code, code::NOT_ADMITTED);
    assert!(error.what.contains("kept and kept"), "{}", error.what);
    assert!(own.governed_twice(&budgets[..1]).is_none());
    assert!(service("api", 1).governed_twice(&budgets).is_none());
}

#[test]
fn two_budgets_that_share_no_pod_stand_in_nobodys_way() {
    let of_release = |release: &str| {
        let selector = json!({ "matchLabels": { "release": release } });
        let value = json!({ "spec": { "minAvailable": 1, "selector": selector } });
        Budget::stated(release, "policy/v1", &value)
    };
    let budgets = [of_release("old"), of_release("older")];
    let mut own = service("api", 2);
    own.old.push((2, labels("older")));
    assert!(own.governed_twice(&budgets).is_none());
    let more = [of_release("old"), budget(json!({ "minAvailable": 1 }))];
    assert!(own.governed_twice(&more).is_some());
    // One of which no pod goes, and one that has none any more.
    own.old = vec![(1, labels("old")), (0, labels("old"))];
    assert!(own.governed_twice(&more).is_none());
}
