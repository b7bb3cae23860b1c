#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::super::limits::limits;
use super::super::manifest::Manifest;
use super::*;

const COMPOSE: &str = "services:
  api:
    image: api:${CODE_DEPLOY_RELEASE}
    expose: ['8080']
    stop_grace_period: 10s
    environment: { A: '1', B: '2' }
    volumes: ['data:/data']
volumes: { data: {} }
";

const DEPLOY: &str = "application: one
release: '1.1.0'
strategy: { steps: [{ percent: 50, soak: 1s }, { percent: 100, soak: 0s }] }
services:
  api: { role: backend, probes: { readiness: /readyz }, metrics: /metrics }
environments:
  staging: { kubernetes: { namespace: mine, manifests: [own.yaml] } }
";

const CLAIM: &str = "apiVersion: v1
kind: PersistentVolumeClaim
metadata: { name: data }
spec:
  accessModes: [ReadWriteMany]
";

fn with(own: &str) -> (tempfile::TempDir, Spec) {
    let folder = tempfile::tempdir().unwrap();
    let own = format!("{CLAIM}---\n{own}");
    for (name, text) in [
        ("compose.yaml", COMPOSE),
        ("deploy.yaml", DEPLOY),
        ("own.yaml", &own),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let path = folder.path().join("deploy.yaml");
    let spec = Spec::load(&path, "staging", "k8s", &|_| None).unwrap();
    (folder, spec)
}

/// Returns what refuses a run with those manifests: places and messages.
fn refusals(own: &str) -> Vec<String> {
    let (_folder, spec) = with(own);
    let critical = limits(&spec).into_iter().map(|limit| limit.finding);
    let critical = critical.filter(|one| one.severity == Severity::Critical);
    critical
        .map(|one| format!("{}: {}", one.place, one.message))
        .collect()
}

fn told(own: &str, rule: &str) -> Vec<Finding> {
    let (_folder, spec) = with(own);
    let all = limits(&spec).into_iter().map(|limit| limit.finding);
    all.filter(|one| one.rule == rule).collect()
}

fn deployment(own: &str, knows_pause: bool) -> Result<Manifest, String> {
    let (_folder, spec) = with(own);
    let names = Names::of(&spec);
    let given = Given {
        names: &names,
        spec: &spec,
        service: spec.service("api").unwrap(),
        compose: &spec.compose.services["api"],
        release: &"1.1.0".parse().unwrap(),
    };
    given.deployment(&Wish {
        run: &"20260101T000000Z-dev-1".parse().unwrap(),
        replicas: 2,
        limit: Duration::from_secs(20),
        aliases: BTreeMap::new(),
        knows_pause,
    })
}

/// A Deployment of the service with that in its pods' specification, from line 13 on.
fn pods(spec: &str) -> String {
    let head = "apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: api }\nspec:\n  template:\n    spec:\n";
    format!("{head}{spec}")
}

#[test]
fn a_deployment_of_the_service_is_laid_over_each_release() {
    let own = "apiVersion: apps/v1
kind: Deployment
metadata: { name: api, labels: { team: web } }
spec:
  replicas: 1
  minReadySeconds: 3
  strategy: { type: Recreate }
  template:
    metadata:
      creationTimestamp: null
      labels: { app: api }
      annotations: { example.org/scrape: 'yes' }
    spec:
      serviceAccountName: api
      terminationGracePeriodSeconds: 60
      securityContext: { fsGroup: 7 }
      tolerations: [{ key: dedicated, operator: Exists }]
      containers:
        - name: api
          resources: { requests: { cpu: 100m } }
          env: [{ name: B, value: '3' }, { name: C, value: '4' }]
        - { name: side, image: 'side:1' }
status: {}
";
    assert_eq!(refusals(own), Vec::<String>::new());
    let made = deployment(own, true).unwrap();
    let value = &made.value;
    assert_eq!(made.name, "api-1-1-0");
    assert_eq!(value["metadata"]["name"], "api-1-1-0");
    assert_eq!(value["metadata"]["labels"]["team"], "web");
    assert_eq!(value["spec"]["replicas"], 2);
    assert_eq!(value["spec"]["strategy"], json!({ "type": "Recreate" }));
    let template = &value["spec"]["template"];
    assert_eq!(template["metadata"]["labels"]["app"], "api");
    assert_eq!(template["metadata"]["labels"]["code-deploy.service"], "api");
    let pod = &template["spec"];
    assert_eq!(pod["terminationGracePeriodSeconds"], 60);
    assert_eq!(
        pod["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    assert_eq!(pod["securityContext"]["fsGroup"], 7);
    assert_eq!(pod["tolerations"][0]["key"], "dedicated");
    assert_eq!(
        pod["volumes"][0]["persistentVolumeClaim"]["claimName"],
        "data"
    );
    let container = &pod["containers"][0];
    assert_eq!(container["image"], "api:1.1.0");
    assert_eq!(container["env"][1]["value"], "3");
    assert_eq!(container["env"].as_array().unwrap().len(), 3);
    assert_eq!(pod["containers"][1]["name"], "side");
    assert!(
        made.text.starts_with("# With what own.yaml:7 says.\n"),
        "{}",
        made.text
    );
    let typed: k8s_openapi::api::apps::v1::Deployment =
        serde_json::from_value(value.clone()).unwrap();
    assert_eq!(typed.spec.unwrap().min_ready_seconds, Some(3));
    let kept: Value = serde_saphyr::from_str(&made.text).unwrap();
    assert_eq!(kept, *value);
}

#[test]
fn what_a_run_relies_on_is_refused_with_its_line() {
    let container = |said: &str| {
        pods(&format!(
            "      containers:\n        - name: api\n          {said}\n"
        ))
    };
    let of_deployment = |said: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{ name: api }}\nspec:\n  {said}\n"
        )
    };
    for (own, line, word) in [
        (of_deployment("replicas: 3"), 11, "spec.replicas"),
        (
            of_deployment("selector: { matchLabels: { app: api } }"),
            11,
            "spec.selector",
        ),
        (of_deployment("paused: true"), 11, "spec.paused"),
        (
            of_deployment("surprise: 1"),
            11,
            "no release takes this over",
        ),
        (
            of_deployment("template: { metadata: { labels: { app.kubernetes.io/name: other } } }"),
            11,
            "its own",
        ),
        (
            of_deployment("template: { metadata: { annotations: { code-deploy.run: other } } }"),
            11,
            "its own",
        ),
        (
            of_deployment("template: { spec: { containers: [{ image: x }] } }"),
            11,
            "`name`",
        ),
        (
            of_deployment("template: { spec: { $patch: replace } }"),
            11,
            "directive",
        ),
        (
            pods("      terminationGracePeriodSeconds: 9\n"),
            13,
            "10 s at least",
        ),
        (container("image: api:2"), 15, "the image is the release's"),
        (
            container("readinessProbe: { tcpSocket: { port: 1 } }"),
            15,
            "how health is asked",
        ),
        (
            container("ports: [{ containerPort: 8080, name: web }]"),
            15,
            "the routed port is 8080",
        ),
        (
            container("ports: [{ containerPort: 81, name: http }]"),
            15,
            "the routed port is 8080",
        ),
        (
            of_deployment("minReadySeconds: 1").replace("apps/v1", "apps/v1beta1"),
            7,
            "apps/v1",
        ),
    ] {
        let refused = refusals(&own);
        assert_eq!(refused.len(), 1, "{own}: {refused:?}");
        assert!(
            refused[0].starts_with(&format!("own.yaml:{line}: ")),
            "{refused:?}"
        );
        assert!(refused[0].contains(word), "{word}: {refused:?}");
        let error = deployment(&own, false).unwrap_err();
        assert!(error.contains(&format!("own.yaml:{line}")), "{error}");
    }
}

#[test]
fn a_pause_of_the_users_own_is_taken_where_the_cluster_knows_none() {
    let own = pods(
        "      containers:\n        - name: api\n          lifecycle: { preStop: { exec: { command: [sleep, '5'] } } }\n",
    );
    let made = deployment(&own, false).unwrap();
    let container = &made.value["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        container["lifecycle"]["preStop"]["exec"]["command"][0],
        "sleep"
    );
    let error = deployment(&own, true).unwrap_err();
    assert!(error.contains("own.yaml:15"), "{error}");
}

#[test]
fn kinds_that_a_run_does_not_bring_are_refused_with_their_line() {
    let of_kind = |version: &str, kind: &str, more: &str| {
        format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{ name: api }}\n{more}")
    };
    for (own, line, word) in [
        (of_kind("v1", "Namespace", ""), 8, "namespace"),
        (of_kind("apps/v1", "StatefulSet", ""), 8, "does not judge"),
        (of_kind("batch/v1", "Job", ""), 8, "does not judge"),
        (of_kind("v1", "PersistentVolume", ""), 8, "whole cluster"),
        (of_kind("v1", "Service", ""), 9, "a run makes it"),
        (
            of_kind("apps/v1", "Deployment", "").replace("api }", "other }"),
            9,
            "no service",
        ),
        (
            of_kind("v1", "ConfigMap", "").replace("api }", "api, namespace: theirs }"),
            9,
            "namespace theirs",
        ),
        (
            of_kind(
                "autoscaling/v2",
                "HorizontalPodAutoscaler",
                "spec: { scaleTargetRef: { kind: Deployment, name: api-1-1-0 } }\n",
            ),
            10,
            "shares of traffic are numbers of pods",
        ),
    ] {
        let refused = refusals(&own);
        assert_eq!(refused.len(), 1, "{own}: {refused:?}");
        assert!(
            refused[0].starts_with(&format!("own.yaml:{line}: ")),
            "{refused:?}"
        );
        assert!(refused[0].contains(word), "{word}: {refused:?}");
    }
}

#[test]
fn what_is_applied_is_told_and_that_it_stays() {
    let own = "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: api\n  labels: { app.kubernetes.io/managed-by: \
               Helm, team: web }\n";
    let told_of = told(own, "kubernetes/manifest");
    let messages: Vec<&str> = told_of.iter().map(|one| one.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "PersistentVolumeClaim data is applied before the first release starts",
            "ServiceAccount api is applied before the first release starts, with labels of this program in place of \
             `app.kubernetes.io/managed-by`",
        ]
    );
    assert_eq!(told(own, "kubernetes/manifests-stay").len(), 1);
}

#[test]
fn a_strategy_that_does_not_act_is_told() {
    let own = |strategy: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{ name: api }}\nspec:\n  minReadySeconds: 1\n{strategy}"
        )
    };
    let rolling = own("  strategy: { rollingUpdate: { maxSurge: 3 } }\n");
    let of_rule = told(&rolling, "kubernetes/strategy");
    let [one] = of_rule.as_slice() else {
        panic!("{of_rule:?}");
    };
    assert_eq!(one.place, "own.yaml:12");
    assert!(one.message.contains("does not act"), "{}", one.message);
    assert_eq!(refusals(&rolling), Vec::<String>::new());
    assert_eq!(told(&own(""), "kubernetes/strategy"), []);
}

#[test]
fn a_budget_that_selects_nothing_is_told() {
    let budget = |selector: &str| {
        format!(
            "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {{ name: api }}\nspec:\n  selector: {selector}\n"
        )
    };
    let labels = format!(
        "{}---\n{}",
        budget("{ matchLabels: { app: api } }"),
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: api }\nspec: { template: { metadata: { labels: { app: \
         api } } } }\n",
    );
    for own in [
        budget("{ matchLabels: { app.kubernetes.io/name: api } }"),
        budget("{ matchExpressions: [{ key: code-deploy.service, operator: In, values: [api] }] }"),
        labels,
    ] {
        assert_eq!(told(&own, "kubernetes/budget"), [], "{own}");
    }
    let nothing = told(
        &budget("{ matchLabels: { app: api } }"),
        "kubernetes/budget",
    );
    assert_eq!(nothing[0].place, "own.yaml:11");
    assert_eq!(nothing[0].severity, Severity::Medium);
}

#[test]
fn an_empty_selector_of_a_budget_means_what_it_means_in_its_version() {
    let told_of = |version: &str, selector: &str| {
        let own = format!(
            "apiVersion: policy/{version}\nkind: PodDisruptionBudget\nmetadata: {{ name: api }}\nspec:\n  \
             minAvailable: 1\n{selector}"
        );
        told(&own, "kubernetes/budget").len()
    };
    for empty in ["  selector: {}\n", "  selector: { matchLabels: {} }\n"] {
        assert_eq!(told_of("v1", empty), 0, "{empty}");
        assert_eq!(told_of("v1beta1", empty), 1, "{empty}");
    }
    for version in ["v1", "v1beta1"] {
        assert_eq!(told_of(version, ""), 1, "{version}");
        assert_eq!(told_of(version, "  selector: null\n"), 1, "{version}");
        let some = "  selector: { matchLabels: { app.kubernetes.io/name: api } }\n";
        assert_eq!(told_of(version, some), 0, "{version}");
    }
}

#[test]
fn a_budget_that_lets_no_pod_go_is_told_where_waves_replace_pods() {
    let budget = |keeps: &str| {
        format!(
            "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {{ name: api }}\nspec:\n  {keeps}\n  selector: {{ \
             matchLabels: {{ app.kubernetes.io/name: api }} }}\n"
        )
    };
    let told = |keeps: &str, strategy: &str| {
        let (folder, _) = with(&budget(keeps));
        let path = folder.path().join("deploy.yaml");
        let deploy = DEPLOY
            .replace("strategy: {", strategy)
            .replace("{ kubernetes", "{ replicas: { api: 2 }, kubernetes");
        std::fs::write(&path, deploy).unwrap();
        let spec = Spec::load(&path, "staging", "k8s", &|_| None).unwrap();
        let found = limits(&spec).into_iter().map(|limit| limit.finding);
        let found = found.filter(|one| one.rule == "kubernetes/budget");
        found.collect::<Vec<Finding>>()
    };
    let rolling = "strategy: { kind: rolling,";
    assert_eq!(told("minAvailable: 2", rolling), []);
    assert_eq!(told("minAvailable: 100%", "strategy: {"), []);
    let told = told("minAvailable: 100%", rolling);
    let [told] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!(told.place, "own.yaml:11");
    assert_eq!(told.severity, Severity::High);
    let words = "(minAvailable 100%) lets no pod of the release before go in the wave of 50 %: it is of 3 pods by then, of \
                 which 3 have to stay ready";
    assert!(told.message.contains(words), "{}", told.message);
}

#[test]
fn a_claim_that_one_node_has_is_told_and_one_that_one_pod_has_is_refused() {
    for (mode, severity) in [
        ("ReadWriteOnce", Some(Severity::Medium)),
        ("ReadWriteOncePod", Some(Severity::Critical)),
        ("ReadWriteMany", None),
    ] {
        let (folder, _) = with("");
        let path = folder.path().join("own.yaml");
        std::fs::write(&path, CLAIM.replace("ReadWriteMany", mode)).unwrap();
        let path = folder.path().join("deploy.yaml");
        let spec = Spec::load(&path, "staging", "k8s", &|_| None).unwrap();
        let found = limits(&spec).into_iter().map(|limit| limit.finding);
        let mut found = found.filter(|one| one.rule == "kubernetes/claim");
        assert_eq!(found.next().map(|one| one.severity), severity, "{mode}");
    }
}
