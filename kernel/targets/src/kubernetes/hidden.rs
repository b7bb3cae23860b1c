//! Secrets and configurations of a service: objects of the cluster beside its Deployment.
//!
//! Both have the Deployment's name. A value is read when a release is started, goes to the cluster
//! and is kept nowhere else.

use std::collections::BTreeMap;

use code_deploy_engine::Spec;
use code_deploy_engine::spec::ComposeService;
use code_deploy_record::{Redactor, Secret};
use serde_json::{Value, json};

use crate::keys::{Found, Keys, text};
use crate::settings::Lookup;

/// The name of the volume that holds a service's files of that kind.
fn volume(kind: Kind) -> &'static str {
    match kind {
        Kind::Secret => "secrets",
        Kind::Config => "configurations",
    }
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Secret,
    Config,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Secret, Self::Config];

    /// Returns the key of the Compose file, and where its files stand without a path.
    fn of_compose(self) -> (&'static str, &'static str) {
        match self {
            Self::Secret => ("secrets", "/run/secrets"),
            Self::Config => ("configs", ""),
        }
    }
}

/// A file that a service is given.
#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    kind: Kind,
    /// Its name in the Compose file, and as a key in the cluster.
    name: String,
    target: String,
}

/// Returns whether a service is given secrets, and whether configurations.
pub fn uses(service: &ComposeService) -> (bool, bool) {
    let some = |key| {
        let listed = Keys(&service.keys).get(key).and_then(Value::as_array);
        listed.is_some_and(|items| !items.is_empty())
    };
    let variables = !service.secret_variables.is_empty();
    (variables || some("secrets"), some("configs"))
}

/// Returns the volumes of a pod and the mounts of its container for the files of a service.
/// `name` is that of its objects.
///
/// # Errors
/// What of the Compose file no cluster takes.
pub fn volumes(service: &ComposeService, name: &str) -> Found<(Vec<Value>, Vec<Value>)> {
    let files = files(service)?;
    let mut volumes = Vec::new();
    for kind in Kind::ALL {
        let items: Vec<Value> = files
            .iter()
            .filter(|file| file.kind == kind)
            .map(|file| json!({ "key": file.name, "path": file.name }))
            .collect();
        if items.is_empty() {
            continue;
        }
        // Whichever user the container runs as may read them, as Compose has it.
        volumes.push(match kind {
            Kind::Secret => json!({
                "name": volume(kind),
                "secret": { "secretName": name, "items": items, "defaultMode": 0o444 },
            }),
            Kind::Config => json!({
                "name": volume(kind),
                "configMap": { "name": name, "items": items, "defaultMode": 0o444 },
            }),
        });
    }
    let mounts = files.iter().map(|file| {
        json!({
            "name": volume(file.kind), "mountPath": file.target, "subPath": file.name,
            "readOnly": true,
        })
    });
    Ok((volumes, mounts.collect()))
}

/// Returns the variables of a container whose values are secret, each as where it is found.
pub fn variables(service: &ComposeService, name: &str) -> Vec<Value> {
    let names = service.secret_variables.keys();
    let found = names.map(|variable| {
        let place = json!({ "name": name, "key": variable_key(variable) });
        json!({ "name": variable, "from": { "secretKeyRef": place } })
    });
    found.collect()
}

/// Keys of variables and of files share an object; no name of a file ends so.
fn variable_key(variable: &str) -> String {
    format!("{variable}.variable")
}

/// Where values are found.
pub struct Given<'a> {
    pub spec: &'a Spec,
    pub service: &'a ComposeService,
    pub lookup: &'a Lookup,
    pub redactor: &'a Redactor,
}

impl Given<'_> {
    /// Returns the values of secrets and of configurations, by their keys in the cluster. Reads
    /// files.
    ///
    /// # Errors
    /// What cannot be found, in words without a value.
    pub fn values(&self) -> Found<BTreeMap<Kind, BTreeMap<String, Secret>>> {
        let mut values = BTreeMap::<Kind, BTreeMap<String, Secret>>::new();
        for (variable, place) in &self.service.secret_variables {
            let value = crate::local::resolve(place, self.spec, &**self.lookup)
                .map_err(|why| format!("secret {variable}: {why}"))?;
            self.redactor.know(variable.as_str(), value.clone());
            let secrets = values.entry(Kind::Secret).or_default();
            secrets.insert(variable_key(variable), value);
        }
        for file in files(self.service)? {
            let (key, _) = file.kind.of_compose();
            let value = crate::docker::hidden_value(self.spec, self.lookup, key, &file.name)?;
            if file.kind == Kind::Secret {
                self.redactor.know(file.name.as_str(), value.clone());
            }
            values
                .entry(file.kind)
                .or_default()
                .insert(file.name, value);
        }
        Ok(values)
    }
}

fn files(service: &ComposeService) -> Found<Vec<File>> {
    let mut files = Vec::new();
    for kind in Kind::ALL {
        let (key, above) = kind.of_compose();
        let listed = Keys(&service.keys).get(key).and_then(Value::as_array);
        for item in listed.into_iter().flatten() {
            let keys = Keys(item);
            let name = text(item).or_else(|| keys.text("source"));
            let name = name.ok_or_else(|| format!("`{key}` has an entry without a name"))?;
            if !is_key(&name) {
                return Err(format!(
                    "`{key}` names `{name}`, which no cluster takes as a key"
                ));
            }
            let target = keys.text("target").unwrap_or_else(|| name.clone());
            let target = match target.starts_with('/') {
                true => target,
                false => format!("{above}/{target}"),
            };
            files.push(File { kind, name, target });
        }
    }
    Ok(files)
}

/// Returns whether a cluster takes that as a key (RFC 1123's characters, `.` and `_`).
fn is_key(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !name.is_empty() && name.len() <= 240 && name.chars().all(fits) && !name.ends_with(".variable")
}
