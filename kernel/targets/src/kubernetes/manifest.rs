//! Manifests: the templates filled with what the Compose file says. Nothing here asks the cluster.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use code_deploy_engine::Spec;
use code_deploy_engine::spec::{ComposeService, Service};
use code_deploy_record::{Release, RunId, Secret};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde_json::{Map, Value, json};

use super::hidden::Kind;
use super::names::{self, Labels, Names, Part};
use super::pod;

const DEPLOYMENT: &str = include_str!("../../../../templates/kubernetes/deployment.yaml");
const SERVICE: &str = include_str!("../../../../templates/kubernetes/service.yaml");

/// Something that a cluster is asked to have.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// Its name there.
    pub name: String,
    /// Its text, as it is kept.
    pub text: String,
    /// The same, as it is sent.
    pub value: Value,
}

/// The values of secrets and configurations, by their keys in the cluster.
pub type Hidden = BTreeMap<Kind, BTreeMap<String, Secret>>;

/// What a release of a service is made from.
pub struct Given<'a> {
    pub names: &'a Names,
    /// The files as they are for that release.
    pub spec: &'a Spec,
    pub service: &'a Service,
    pub compose: &'a ComposeService,
    pub release: &'a Release,
}

/// What of a Deployment follows from the cluster and the run.
pub struct Wish<'a> {
    pub run: &'a RunId,
    pub replicas: u32,
    /// How long a start may take.
    pub limit: Duration,
    /// The addresses of services by their names, for a cluster without DNS of its own.
    pub aliases: BTreeMap<String, IpAddr>,
    /// Whether the cluster knows a pause before the end that needs no program in the image.
    pub knows_pause: bool,
}

impl Given<'_> {
    /// Returns the Deployment of the release. Its pods do not depend on the run: a second run
    /// replaces none of them.
    ///
    /// # Errors
    /// What of the files no cluster can be given.
    pub fn deployment(&self, wish: &Wish<'_>) -> Result<Manifest, String> {
        let name = self.names.release(&self.service.name, self.release)?;
        let labels = self.labels(Part::Release);
        let mut container = pod::container(self.spec, self.service, self.compose, &name)?;
        let pause = wish.knows_pause.then_some(pod::PAUSE);
        if let Some(container) = container.as_object_mut() {
            let pause = pause.map(|pause| pause.as_secs());
            container.insert("pause".to_owned(), json!(pause));
        }
        // The pause is a part of the time that a cluster gives a pod to end.
        let grace = self.service.stop_grace.get() + pause.unwrap_or_default();
        let aliases: Vec<Value> = wish
            .aliases
            .iter()
            .map(|(name, address)| json!({ "name": name, "address": address }))
            .collect();
        let mut annotations = pod::annotations(self.compose);
        annotations.insert(names::RELEASE.to_owned(), self.release.as_str().into());
        let pod = json!({
            "labels": labels,
            "annotations": annotations,
            "grace": grace.as_secs().max(1),
            "aliases": aliases,
            "volumes": pod::volumes_of(self.spec, self.service, self.compose, &name)?,
        });
        let context = json!({
            "name": name,
            "labels": labels,
            "annotations": self.annotations(wish.run),
            "selector": self.names.selector(&self.service.name, Some(self.release)),
            "replicas": wish.replicas,
            "deadline": wish.limit.as_secs().max(1),
            "pod": pod,
            "container": container,
        });
        filled("deployment.yaml", DEPLOYMENT, &name, &context)
    }

    /// Returns the Service that leads to this release only.
    ///
    /// # Errors
    /// As [`deployment`](Self::deployment).
    pub fn way(&self, run: &RunId) -> Result<Manifest, String> {
        let name = self.names.release(&self.service.name, self.release)?;
        let selector = self.names.selector(&self.service.name, Some(self.release));
        let context = json!({
            "stable": false,
            "name": name,
            "labels": self.labels(Part::Way),
            "annotations": self.annotations(run),
            "selector": selector,
            "port": self.service.port,
            "port_name": pod::PORT,
        });
        filled("service.yaml", SERVICE, &name, &context)
    }

    /// Returns the objects with the values of secrets and configurations, as far as there are any.
    /// Their text is not kept: it holds the values.
    ///
    /// # Errors
    /// As [`deployment`](Self::deployment).
    pub fn hidden(&self, run: &RunId, values: &Hidden) -> Result<Vec<(Kind, Value)>, String> {
        let name = self.names.release(&self.service.name, self.release)?;
        let of_kind = |(kind, values): (&Kind, &BTreeMap<String, Secret>)| {
            let values: BTreeMap<&str, &str> = values
                .iter()
                .map(|(key, value)| (key.as_str(), value.expose()))
                .collect();
            let (word, key) = match kind {
                Kind::Secret => ("Secret", "stringData"),
                Kind::Config => ("ConfigMap", "data"),
            };
            let metadata = json!({
                "name": name,
                "labels": self.labels(Part::Hidden),
                "annotations": self.annotations(run),
            });
            let object = json!({
                "apiVersion": "v1", "kind": word, "metadata": metadata, key: values,
            });
            (*kind, object)
        };
        Ok(values.iter().map(of_kind).collect())
    }

    fn labels(&self, part: Part) -> Labels {
        self.names
            .release_labels(part, &self.service.name, self.release)
    }

    fn annotations(&self, run: &RunId) -> Map<String, Value> {
        let pairs = [
            (names::RUN, run.as_str()),
            (names::RELEASE, self.release.as_str()),
        ];
        pairs
            .map(|(key, value)| (key.to_owned(), value.into()))
            .into_iter()
            .collect()
    }
}

/// Whom the Service leads to by which others find a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leads {
    Nobody,
    /// All ready pods of a release.
    Release(Release),
    /// The pods that are marked, of whatever release.
    Split,
}

impl Leads {
    /// Returns whom a Service leads to that is there.
    pub fn of(service: &k8s_openapi::api::core::v1::Service) -> Self {
        let selector = service
            .spec
            .as_ref()
            .and_then(|spec| spec.selector.as_ref());
        if selector.is_some_and(|labels| labels.contains_key(names::SPLIT)) {
            return Self::Split;
        }
        super::store::release_of(&service.metadata).map_or(Self::Nobody, Self::Release)
    }
}

/// Returns the Service by which others find a service.
///
/// # Errors
/// As [`Given::deployment`].
pub fn stable(names: &Names, service: &Service, leads: &Leads) -> Result<Manifest, String> {
    let mut annotations = Map::new();
    let (serves, selector) = match leads {
        Leads::Nobody => ("", names.selector(&service.name, None)),
        Leads::Release(release) => (
            release.as_str(),
            names.selector(&service.name, Some(release)),
        ),
        Leads::Split => ("", names.split_selector(&service.name)),
    };
    annotations.insert(names::RELEASE.to_owned(), serves.into());
    let context = json!({
        "stable": true,
        "name": service.name,
        "labels": names.labels(Part::Service, &service.name),
        "annotations": annotations,
        "selector": selector,
        "port": service.port,
        "port_name": pod::PORT,
    });
    filled("service.yaml", SERVICE, &service.name, &context)
}

/// Fills a template. Every value is written as JSON, so none of them can change what the template says.
///
/// # Errors
/// In words, when the template cannot be filled.
pub fn filled(file: &str, template: &str, name: &str, context: &Value) -> Result<Manifest, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{file} cannot be filled: {error}");
    let mut engine = Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
    engine.set_syntax(syntax.map_err(|error| failed(&error))?);
    engine
        .add_template(file, template)
        .map_err(|error| failed(&error))?;
    let template = engine.get_template(file).map_err(|error| failed(&error))?;
    let text = template
        .render(Serde(context))
        .map_err(|error| failed(&error))?;
    let value = serde_saphyr::from_str(&text).map_err(|error| failed(&error))?;
    Ok(Manifest {
        name: name.to_owned(),
        text,
        value,
    })
}

#[cfg(test)]
mod tests {
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
                "claims none",
            ),
            ("    pull_policy: build\n", "pull_policy"),
        ] {
            let (_folder, spec) = with(more);
            let error = made(&spec, "api", true).unwrap_err();
            assert!(error.contains(word), "{error}");
            let found = crate::kubernetes::limits::limits(&spec);
            let refused = |one: &&code_deploy_record::Finding| {
                one.severity == code_deploy_record::Severity::Critical && one.message.contains(word)
            };
            assert!(found.iter().any(|one| refused(&one)), "{found:?}");
        }
    }
}
