#![allow(clippy::panic, clippy::unwrap_used)]

use std::path::Path;

use super::*;

fn spec_of(file: &Path) -> Spec {
    let vars = |name: &str| (name == "CODE_DEPLOY_DATA").then(|| "/data of shop".to_owned());
    Spec::load(file, "staging", "k8s", &vars).unwrap()
}

fn shop() -> Spec {
    spec_of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/shop/deploy.yaml"))
}

/// The files of a project with one service, whose Compose file says more.
fn with(more: &str) -> (tempfile::TempDir, Spec) {
    let folder = tempfile::tempdir().unwrap();
    let compose = format!(
        "services:\n  api:\n    image: api:${{CODE_DEPLOY_RELEASE}}\n    expose: ['8080']\n{more}"
    );
    let deploy = "application: one\nrelease: '1.1.0'\nenvironments:\n  staging: {}\n";
    std::fs::write(folder.path().join("compose.yaml"), compose).unwrap();
    std::fs::write(folder.path().join("deploy.yaml"), deploy).unwrap();
    let spec = spec_of(&folder.path().join("deploy.yaml"));
    (folder, spec)
}

fn made(spec: &Spec, service: &str, knows_pause: bool) -> Result<[Manifest; 3], String> {
    let (names, release) = (Names::of(spec), "1.1.0".parse().unwrap());
    let run = "20260101T000000Z-dev-1".parse().unwrap();
    let service = spec.service(service).unwrap();
    let given = Given {
        names: &names,
        spec,
        service,
        compose: &spec.compose.services[&service.name],
        release: &release,
    };
    let wish = Wish {
        run: &run,
        replicas: 2,
        limit: Duration::from_secs(20),
        aliases: BTreeMap::from([("catalog".to_owned(), "10.96.0.7".parse().unwrap())]),
        knows_pause,
    };
    Ok([
        given.deployment(&wish)?,
        given.way(&run)?,
        stable(&names, service, &Leads::Nobody)?,
    ])
}

#[test]
fn a_deployment_is_what_the_cluster_knows_as_one() {
    let [deployment, way, _] = made(&shop(), "storefront", true).unwrap();
    let typed: k8s_openapi::api::apps::v1::Deployment =
        serde_json::from_value(deployment.value).unwrap();
    let pod = typed.spec.unwrap().template.spec.unwrap();
    assert_eq!(pod.automount_service_account_token, Some(false));
    let container = &pod.containers[0];
    assert_eq!(container.args.as_deref().unwrap(), ["shop", "storefront"]);
    let pause = container.lifecycle.clone().unwrap().pre_stop.unwrap();
    let pause = pause.sleep.unwrap().seconds;
    assert_eq!(pod.termination_grace_period_seconds, Some(15 + pause));
    let typed: k8s_openapi::api::core::v1::Service = serde_json::from_value(way.value).unwrap();
    assert_eq!(typed.spec.unwrap().ports.unwrap()[0].port, 8080);
}

#[test]
fn a_cluster_that_knows_no_pause_is_not_asked_for_one() {
    let [deployment, ..] = made(&shop(), "storefront", false).unwrap();
    assert!(
        !deployment.text.contains("lifecycle"),
        "{}",
        deployment.text
    );
}

#[test]
fn a_pod_has_as_long_to_end_as_requests_in_flight_are_waited_for() {
    let grace = |own: &str, drain: &str, knows_pause: bool| {
        let (folder, _) = with(&format!("    stop_grace_period: {own}\n"));
        let path = folder.path().join("deploy.yaml");
        let deploy = std::fs::read_to_string(&path).unwrap();
        let more =
            format!("services: {{ api: {{ routing: {{ drain: {drain} }} }} }}\nenvironments:");
        std::fs::write(&path, deploy.replace("environments:", &more)).unwrap();
        let [deployment, ..] = made(&spec_of(&path), "api", knows_pause).unwrap();
        deployment.value["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].clone()
    };
    assert_eq!(grace("10s", "45s", false), 45);
    assert_eq!(grace("60s", "45s", false), 60);
    assert_eq!(grace("10s", "45s", true), 45 + pod::PAUSE.as_secs());
}

#[test]
fn values_cannot_change_what_the_template_says() {
    let (_folder, spec) = with(
        "    command: ['a\"', \"b\\nprivileged: true\", '$$(HOME)', '{{ name }}']\n    \
         environment: { ODD: \"x: y\\n  - z # <&>\" }\n",
    );
    let [deployment, ..] = made(&spec, "api", true).unwrap();
    let container = &deployment.value["spec"]["template"]["spec"]["containers"][0];
    let expected = json!(["a\"", "b\nprivileged: true", "$$(HOME)", "{{ name }}"]);
    assert_eq!(container["args"], expected);
    assert_eq!(container["env"][0]["value"], "x: y\n  - z # <&>");
}

#[test]
fn secrets_and_configurations_are_named_in_a_deployment_and_their_values_are_not() {
    let (folder, spec) = with(
        "    environment: { API_TOKEN: '${API_TOKEN}' }\n    secrets: [key]\n    configs: \
         [{ source: rules, target: /etc/rules.txt }]\nsecrets: { key: { file: ./key } }\nconfigs: { \
         rules: { content: rule-one } }\n",
    );
    std::fs::write(folder.path().join("key"), "k3y").unwrap();
    let [deployment, ..] = made(&spec, "api", true).unwrap();
    let pod = &deployment.value["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let place = json!({ "name": "api-1-1-0", "key": "API_TOKEN.variable" });
    let token = json!({ "name": "API_TOKEN", "valueFrom": { "secretKeyRef": place } });
    let variables = container["env"].as_array().unwrap();
    assert!(variables.contains(&token), "{variables:?}");
    let mounts = container["volumeMounts"].as_array().unwrap();
    let paths: Vec<_> = mounts.iter().map(|one| &one["mountPath"]).collect();
    assert_eq!(paths, ["/run/secrets/key", "/etc/rules.txt"]);
    assert_eq!(pod["volumes"][0]["secret"]["secretName"], "api-1-1-0");

    let names = Names::of(&spec);
    let given = Given {
        names: &names,
        spec: &spec,
        service: spec.service("api").unwrap(),
        compose: &spec.compose.services["api"],
        release: &"1.1.0".parse().unwrap(),
    };
    let lookup: crate::settings::Lookup =
        std::sync::Arc::new(|name| (name == "API_TOKEN").then(|| "t0ken".to_owned()));
    let values = super::super::hidden::Given {
        spec: &spec,
        service: given.compose,
        lookup: &lookup,
        redactor: &code_deploy_record::Redactor::default(),
    };
    let run = "20260101T000000Z-dev-1".parse().unwrap();
    let objects = given.hidden(&run, &values.values().unwrap()).unwrap();
    let [(Kind::Secret, secret), (Kind::Config, config)] = objects.as_slice() else {
        panic!("{objects:?}");
    };
    let expected = json!({ "API_TOKEN.variable": "t0ken", "key": "k3y" });
    assert_eq!(secret["stringData"], expected);
    assert_eq!(config["data"], json!({ "rules": "rule-one" }));
    for value in ["t0ken", "k3y", "rule-one"] {
        assert!(!deployment.text.contains(value), "{}", deployment.text);
    }
}

#[test]
fn a_health_check_says_whether_a_pod_is_ready_and_restarts_nothing() {
    let (_folder, spec) = with(
        "    healthcheck: { test: ['CMD', 'is-well'], interval: 7s, timeout: 2s, retries: 4 }\n",
    );
    let [deployment, ..] = made(&spec, "api", true).unwrap();
    let container = &deployment.value["spec"]["template"]["spec"]["containers"][0];
    let probe = json!({
        "exec": { "command": ["is-well"] },
        "periodSeconds": 7, "timeoutSeconds": 2, "failureThreshold": 4,
    });
    assert_eq!(container["readinessProbe"], probe);
    assert_eq!(container.get("livenessProbe"), None);
}

#[test]
fn what_no_pod_can_be_given_is_refused() {
    for (more, word) in [
        ("    user: somebody\n", "numbers only"),
        (
            "    volumes: ['data:/data']\nvolumes: { data: {} }\n",
            "no manifest claims it",
        ),
        ("    pull_policy: build\n", "pull_policy"),
    ] {
        let (_folder, spec) = with(more);
        let error = made(&spec, "api", true).unwrap_err();
        assert!(error.contains(word), "{error}");
        let found = crate::kubernetes::limits::limits(&spec);
        let refused = |one: &code_deploy_record::Finding| {
            one.severity == code_deploy_record::Severity::Critical && one.message.contains(word)
        };
        let is_refused = found.iter().any(|limit| refused(&limit.finding));
        assert!(is_refused, "{found:?}");
    }
}
