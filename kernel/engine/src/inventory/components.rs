//! Components and where their configuration comes from.

use std::collections::BTreeSet;

use code_deploy_record::{Component, Role};

use super::{ConfigurationKind, ConfigurationSource, InventoryComponent};
use crate::spec::{DatabaseFile, DatabaseUrl, SecretRef, Spec};

/// Returns the name of a database among the components: its own, with what it is where a service has that name too.
pub(crate) fn database_name(spec: &Spec, name: &str) -> String {
    if spec.service(name).is_some() {
        Component::name_beside(name, Role::Database)
    } else {
        name.to_owned()
    }
}

/// Returns services in the order of the deployment, then databases by name.
pub(super) fn components(spec: &Spec) -> Vec<InventoryComponent> {
    let compose = file_name(&spec.compose.path);
    let mut all: Vec<InventoryComponent> = spec
        .services
        .iter()
        .map(|service| {
            let found = spec.compose.services.get(&service.name);
            let mut ports = BTreeSet::from([service.port]);
            ports.extend(found.iter().flat_map(|found| found.ports.iter().copied()));
            InventoryComponent {
                name: service.name.clone(),
                role: service.role,
                owner: service.owner.clone(),
                image: service.image.clone(),
                needs: needs(spec, &service.name, &service.needs),
                ports: ports.into_iter().collect(),
                replicas: service.replicas,
                declared: format!("{compose}:{}", found.map_or(0, |found| found.line)),
                deployed: true,
            }
        })
        .collect();
    let databases = spec
        .file
        .databases
        .iter()
        .map(|(name, database)| InventoryComponent {
            name: database_name(spec, name),
            role: Role::Database,
            owner: None,
            image: None,
            needs: Vec::new(),
            ports: port_of(database).into_iter().collect(),
            replicas: 1,
            declared: format!("{} databases.{name}", file_name(&spec.path)),
            deployed: false,
        });
    all.extend(databases);
    all
}

fn needs(spec: &Spec, service: &str, declared: &[String]) -> Vec<String> {
    let mut needs: BTreeSet<String> = declared.iter().cloned().collect();
    let databases = spec.file.databases.iter();
    needs.extend(
        databases
            .filter(|(_, database)| database.used_by.iter().any(|user| user == service))
            .map(|(name, _)| database_name(spec, name)),
    );
    needs.into_iter().collect()
}

/// A SQLite database has no port; the address of another one is a secret.
fn port_of(database: &DatabaseFile) -> Option<u16> {
    match &database.url {
        DatabaseUrl::Plain(_) | DatabaseUrl::Reference { .. } => None,
    }
}

/// Returns the sources of configuration, by component, kind and name.
pub(super) fn configuration(spec: &Spec) -> Vec<ConfigurationSource> {
    let mut all = BTreeSet::new();
    let (compose, deploy) = (file_name(&spec.compose.path), file_name(&spec.path));
    let mut add = |component: &str, kind, name: &str, origin: String| {
        all.insert(ConfigurationSource {
            component: component.to_owned(),
            kind,
            name: name.to_owned(),
            origin,
        });
    };
    for (component, found) in &spec.compose.services {
        for name in found.environment.keys() {
            add(
                component,
                ConfigurationKind::Variable,
                name,
                compose.clone(),
            );
        }
        for (name, from) in &found.secret_variables {
            add(component, ConfigurationKind::Secret, name, reference(from));
        }
        for file in &found.env_files {
            let name = file.display().to_string();
            add(
                component,
                ConfigurationKind::EnvironmentFile,
                &name,
                compose.clone(),
            );
        }
        for name in &found.configs {
            add(component, ConfigurationKind::Config, name, compose.clone());
        }
        for name in &found.secrets {
            add(component, ConfigurationKind::Secret, name, compose.clone());
        }
    }
    for service in &spec.services {
        let Some(process) = &service.file.process else {
            continue;
        };
        for name in process.environment.keys() {
            add(
                &service.name,
                ConfigurationKind::Variable,
                name,
                deploy.clone(),
            );
        }
        for (name, from) in &process.secrets {
            add(
                &service.name,
                ConfigurationKind::Secret,
                name,
                reference(from),
            );
        }
    }
    for (name, database) in &spec.file.databases {
        if let DatabaseUrl::Reference { from } = &database.url {
            let component = database_name(spec, name);
            add(
                &component,
                ConfigurationKind::Secret,
                "url",
                reference(from),
            );
        }
    }
    all.into_iter().collect()
}

fn reference(from: &SecretRef) -> String {
    String::from(from.clone())
}

fn file_name(path: &std::path::Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
