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
use super::{overlay, pod};

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

impl Manifest {
    /// Returns how many pods it asks for, as a Deployment.
    pub fn replicas(&self) -> u32 {
        let said = self.value.pointer("/spec/replicas");
        let said = said.and_then(Value::as_u64).unwrap_or(1);
        u32::try_from(said).unwrap_or(u32::MAX)
    }
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
    /// Returns the Deployment of the release, with what the user's own manifests lay over it. Its pods
    /// do not depend on the run: a second run replaces none of them.
    ///
    /// # Errors
    /// What of the files no cluster can be given.
    pub fn deployment(&self, wish: &Wish<'_>) -> Result<Manifest, String> {
        let made = self.made(wish)?;
        let Some(over) = overlay::of(self.spec, &self.service.name) else {
            return Ok(made);
        };
        overlay::laid_over(self.service, &made, over).map_err(|refused| {
            let refused: Vec<String> = refused.iter().map(ToString::to_string).collect();
            refused.join("; ")
        })
    }

    /// Returns the Deployment of the release as it is made from the Compose file alone.
    ///
    /// # Errors
    /// As [`deployment`](Self::deployment).
    pub fn made(&self, wish: &Wish<'_>) -> Result<Manifest, String> {
        let name = self.names.release(&self.service.name, self.release)?;
        let labels = self.labels(Part::Release);
        let mut container = pod::container(self.spec, self.service, self.compose, &name)?;
        let pause = wish.knows_pause.then_some(pod::PAUSE);
        if let Some(container) = container.as_object_mut() {
            let pause = pause.map(|pause| pause.as_secs());
            container.insert("pause".to_owned(), json!(pause));
        }
        // The pause is a part of the time that a cluster gives a pod to end.
        let grace = pod::grace(self.service) + pause.unwrap_or_default();
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
mod tests;
