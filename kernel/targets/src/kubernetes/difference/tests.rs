#![allow(clippy::unwrap_used)]

use code_deploy_record::Secret;
use serde_json::json;

use super::*;

fn lines_by(before: &Value, after: &Value, rules: Rules<'_>) -> Vec<String> {
    let found = differences(before, after, rules);
    found.iter().map(FieldChange::line).collect()
}

fn lines(before: &Value, after: &Value) -> Vec<String> {
    let redactor = Redactor::default();
    let rules = Rules {
        hides: false,
        named: &[],
        redactor: &redactor,
    };
    lines_by(before, after, rules)
}

fn pod(container: Value) -> Value {
    json!({ "spec": { "template": { "spec": { "containers": [container] } } } })
}

#[test]
fn what_the_server_writes_of_its_own_accord_is_no_difference() {
    let before = json!({
        "metadata": {
            "name": "api", "uid": "1", "resourceVersion": "5", "generation": 2,
            "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [{ "manager": "a" }],
            "annotations": { "code-deploy.run": "one", "deployment.kubernetes.io/revision": "1" },
        },
        "spec": { "replicas": 1, "template": { "metadata": { "creationTimestamp": null } } },
        "status": { "replicas": 1 },
    });
    let after = json!({
        "metadata": {
            "name": "api", "generation": 3, "managedFields": [],
            "annotations": { "code-deploy.run": "two" },
        },
        "spec": { "replicas": 1, "template": { "metadata": {} } },
    });
    assert_eq!(lines(&before, &after), [""; 0]);
}

#[test]
fn items_are_compared_by_the_key_by_which_the_cluster_knows_them() {
    let before = pod(json!({
        "name": "api", "image": "api:1", "args": ["serve"],
        "env": [{ "name": "A", "value": "1" }, { "name": "B", "value": "2" }],
        "ports": [{ "containerPort": 53, "protocol": "UDP" }, { "containerPort": 53, "protocol": "TCP" }],
        "volumeMounts": [{ "mountPath": "/a", "name": "a" }],
    }));
    let after = pod(json!({
        "name": "api", "image": "api:2", "args": ["serve", "more"],
        "env": [{ "name": "C", "value": "3" }, { "name": "B", "value": "20" }],
        "ports": [{ "containerPort": 53, "protocol": "TCP" }, { "containerPort": 53, "protocol": "UDP", "name": "dns" }],
        "volumeMounts": [{ "mountPath": "/a", "name": "a", "readOnly": true }],
    }));
    let at = "spec.template.spec.containers[api]";
    assert_eq!(
        lines(&before, &after),
        [
            format!("{at}.args: [\"serve\"] -> [\"serve\",\"more\"]"),
            format!("{at}.env[A]: 1 -> none"),
            format!("{at}.env[B].value: 2 -> 20"),
            format!("{at}.env[C]: none -> 3"),
            format!("{at}.image: api:1 -> api:2"),
            format!("{at}.ports[53/UDP].name: none -> dns"),
            format!("{at}.volumeMounts[/a].readOnly: none -> true"),
        ]
    );
}

#[test]
fn ports_of_a_service_and_items_without_a_key_are_compared_too() {
    let object = |port: u16, weight: u16| {
        json!({ "spec": {
            "ports": [{ "port": 80, "targetPort": port }],
            "rules": [{ "backendRefs": [{ "name": "api", "weight": weight }] }],
        } })
    };
    assert_eq!(
        lines(&object(8080, 1), &object(8081, 2)),
        [
            "spec.ports[80].targetPort: 8080 -> 8081",
            "spec.rules[0].backendRefs[api].weight: 1 -> 2",
        ]
    );
}

#[test]
fn of_objects_that_hide_values_only_the_keys_are_told() {
    let secret = |data: Value| json!({ "kind": "Secret", "type": "Opaque", "data": data });
    let redactor = Redactor::default();
    let rules = Rules {
        hides: true,
        named: &[],
        redactor: &redactor,
    };
    let before = secret(json!({ "gone": "b25l", "kept": "c2FtZQ==", "other": "dHdv" }));
    let after = secret(json!({ "kept": "c2FtZQ==", "new": "dGhyZWU=", "other": "Zm91cg==" }));
    assert_eq!(
        lines_by(&before, &after, rules),
        [
            "data.gone: (not shown) -> none",
            "data.new: none -> (not shown)",
            "data.other: (not shown) -> (not shown, another one)",
        ]
    );
    assert_eq!(
        summary("Secret", &after, true),
        "keys kept, new, other; values are not shown"
    );
    assert_eq!(
        lines_by(
            &json!({ "kind": "Secret" }),
            &secret(json!({ "a": "b" })),
            rules
        )[0],
        "data.a: none -> (not shown)"
    );
}

#[test]
fn what_gives_away_a_secret_is_not_shown_wherever_it_stands() {
    let redactor = Redactor::default();
    redactor.know("seed", Secret::new("correct-horse-battery".to_owned()));
    let rules = Rules {
        hides: false,
        named: &[],
        redactor: &redactor,
    };
    let before =
        pod(json!({ "name": "api", "env": [{ "name": "DB_PASSWORD", "value": "hunter2" }] }));
    let after = pod(json!({
        "name": "api",
        "args": ["--seed", "correct-horse-battery"],
        "env": [
            { "name": "DB_PASSWORD", "value": "hunter3" },
            { "name": "API_TOKEN", "value": "hunter4" },
            { "name": "URL", "value": "postgres://u:hunter5@db/x" },
        ],
    }));
    let told = lines_by(&before, &after, rules);
    assert_eq!(told.len(), 4, "{told:?}");
    let all = told.join("\n");
    assert!(!all.contains("hunter") && !all.contains("horse"), "{all}");
    assert!(
        all.contains("env[DB_PASSWORD].value: (not shown) -> (not shown, another one)"),
        "{all}"
    );
    assert!(all.contains("env[API_TOKEN]: none -> (not shown)"), "{all}");
    let whole = lines_by(
        &json!({ "spec": {} }),
        &json!({ "spec": after["spec"] }),
        rules,
    );
    assert!(!whole.join("\n").contains("hunter"), "{whole:?}");
}

#[test]
fn two_releases_differ_by_more_than_their_names() {
    let object = |name: &str, release: &str, address: &str, tag: &str| {
        json!({
            "metadata": { "name": name, "labels": { "code-deploy.release": release } },
            "spec": {
                "clusterIP": address, "clusterIPs": [address],
                "containers": [{
                    "name": "api", "image": format!("api:{tag}"),
                    "env": [{ "name": "RELEASE", "value": release }],
                }],
            },
        })
    };
    let before = object("api-1-0-0", "1.0.0", "10.0.0.1", "1.0.0");
    let after = object("api-1-1-0", "1.1.0", "10.0.0.2", "1.1.0");
    let pair = |old: &str, new: &str| (old.to_owned(), new.to_owned());
    let (redactor, named) = (
        Redactor::default(),
        [pair("api-1-0-0", "api-1-1-0"), pair("1.0.0", "1.1.0")],
    );
    let rules = Rules {
        hides: false,
        named: &named,
        redactor: &redactor,
    };
    assert_eq!(
        lines_by(&before, &after, rules),
        ["spec.containers[api].image: api:1.0.0 -> api:1.1.0"]
    );
}

#[test]
fn long_values_are_cut_to_where_they_differ() {
    let object =
        |end: &str| json!({ "args": format!("{}{end}{}", "a".repeat(300), "b".repeat(300)) });
    let found = differences(
        &object("one"),
        &object("two"),
        Rules {
            hides: false,
            named: &[],
            redactor: &Redactor::default(),
        },
    );
    let (before, after) = (found[0].before.as_deref(), found[0].after.as_deref());
    let (before, after) = (before.unwrap(), after.unwrap());
    assert!(before.len() <= LONGEST + 6 && after.len() <= LONGEST + 6);
    assert!(
        before.contains("aone") && after.contains("atwo"),
        "{before} {after}"
    );
    assert!(
        before.starts_with("...") && before.ends_with("..."),
        "{before}"
    );
}

#[test]
fn a_new_object_is_told_in_few_words() {
    let deployment = json!({ "spec": { "replicas": 2, "template": { "spec": { "containers": [
        { "name": "api", "image": "api:1", "env": [{ "name": "A", "value": "1" }] },
    ] } } } });
    assert_eq!(
        summary("Deployment", &deployment, false),
        "pods: 2; api: api:1, variables: 1"
    );
    let service = json!({ "spec": { "type": "ClusterIP", "ports": [{ "port": 80 }] } });
    assert_eq!(summary("Service", &service, false), "ClusterIP, ports 80");
    let quota = json!({ "spec": { "hard": { "pods": "1" } } });
    assert_eq!(
        summary("ResourceQuota", &quota, false),
        "says of its spec: hard"
    );
}
