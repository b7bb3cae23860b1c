//! The inventory: what an application consists of, as its files declare it and as it runs.

mod compare;
mod components;
mod endpoints;
mod files;
mod locks;
mod network;

use std::path::PathBuf;

use code_deploy_record::{Component, Role};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::spec::Spec;
use crate::target::Observed;

pub(crate) use components::database_name;
pub use endpoints::confirm_live;

/// What an application consists of. The same files and the same observation give the same
/// inventory; nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    /// The application.
    pub application: String,
    /// The environment.
    pub environment: String,
    /// The target.
    pub target: String,
    /// Services, frontends, databases, caches and queues.
    pub components: Vec<InventoryComponent>,
    /// Endpoints, from OpenAPI documents.
    pub endpoints: Vec<Endpoint>,
    /// What the application depends on, a lock file each.
    pub dependencies: Vec<Dependencies>,
    /// Where configuration comes from. Names only, never values.
    pub configuration: Vec<ConfigurationSource>,
    /// Who talks to whom.
    pub edges: Vec<Edge>,
    /// Ports.
    pub ports: Vec<Port>,
    /// Names of hosts that are not services of the application.
    pub names: Vec<HostName>,
    /// Files that look like certificates, relative to the project.
    pub certificates: Vec<PathBuf>,
    /// Named volumes and folders that services mount.
    pub volumes: Vec<String>,
    /// What runs differently from what is declared. Nothing when nobody looked.
    pub differences: Option<Vec<Difference>>,
    /// What could not be read or was left out, and why.
    pub unread: Vec<String>,
}

/// A component of the application.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InventoryComponent {
    /// Its name, unique in the inventory.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Its image, if it has one.
    pub image: Option<String>,
    /// The components it needs.
    pub needs: Vec<String>,
    /// The ports it listens on inside its network.
    pub ports: Vec<u16>,
    /// How many instances are wanted.
    pub replicas: u32,
    /// Where it is declared: `compose.yaml:9`, `deploy.yaml databases.orders`.
    pub declared: String,
    /// Whether it is a service that a deployment starts.
    pub deployed: bool,
}

/// An endpoint of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoint {
    /// The service, where it is known.
    pub service: Option<String>,
    /// The path, with `{name}` for its parameters.
    pub path: String,
    /// The method in capitals.
    pub method: String,
    /// The operation's name, if it has one.
    pub operation: Option<String>,
    /// The document's file, if a file declares it.
    pub declared: Option<PathBuf>,
    /// Whether the running service declares it. Nothing when nobody asked.
    pub live: Option<bool>,
}

/// What a lock file names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dependencies {
    /// The ecosystem.
    pub ecosystem: Ecosystem,
    /// The file, relative to the project.
    pub file: PathBuf,
    /// The SHA-256 of the file.
    pub digest: code_deploy_record::Digest,
    /// How many packages it names.
    pub count: usize,
    /// How many of these have no exact version.
    pub unpinned: usize,
    /// The packages, by name; at most [`MAX_PACKAGES`].
    pub packages: Vec<Package>,
}

/// The most packages of one lock file that an inventory lists.
pub const MAX_PACKAGES: usize = 20_000;

/// An ecosystem of packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ecosystem {
    /// Rust.
    Cargo,
    /// JavaScript.
    Npm,
    /// Python.
    PyPi,
    /// Go.
    Go,
}

/// A package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// The name.
    pub name: String,
    /// The version; nothing when it is not pinned.
    pub version: Option<String>,
}

/// Where configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ConfigurationSource {
    /// The component.
    pub component: String,
    /// What kind.
    pub kind: ConfigurationKind,
    /// The name of the variable, file, configuration or secret.
    pub name: String,
    /// Where it comes from, in words: `compose.yaml`, `env:DATABASE_URL`.
    pub origin: String,
}

/// The kinds of configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConfigurationKind {
    /// A variable of the environment.
    Variable,
    /// A file of variables.
    EnvironmentFile,
    /// A configuration that is mounted.
    Config,
    /// A secret, by reference.
    Secret,
}

/// One component talking to another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Edge {
    /// Who opens the connection.
    pub from: String,
    /// To whom: a component, or the name of a host outside.
    pub to: String,
    /// The port, where it is known.
    pub port: Option<u16>,
    /// Whether the other end is outside the application.
    pub outside: bool,
    /// From what it is known: `depends_on`, `CATALOG_URL`.
    pub reason: String,
}

/// A port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Port {
    /// The component.
    pub component: String,
    /// The port inside its network.
    pub inside: u16,
    /// The port of the machine, where it is published.
    pub published: Option<u16>,
    /// Where it is reached now, where it runs.
    pub reached: Option<std::net::SocketAddr>,
}

/// The name of a host outside the application.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostName {
    /// The name.
    pub name: String,
    /// Where it was found: `web API_URL`.
    pub found: String,
}

/// Something that runs differently from what is declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The component.
    pub component: String,
    /// What is declared, in words.
    pub declared: String,
    /// What runs, in words.
    pub running: String,
}

/// Takes the inventory from the files of a project, and compares it with what runs if that was
/// looked at. Reads files only; what cannot be read is said in [`Inventory::unread`].
///
/// # Errors
/// The project's folder cannot be listed.
pub fn take(spec: &Spec, observed: Option<&Observed>) -> Result<Inventory> {
    let found = files::walk(&spec.project)?;
    let mut unread = found.left_out.clone();
    let components = components::components(spec);
    let endpoints = endpoints::declared(spec, &found, &mut unread);
    let dependencies = locks::read(spec, &found, &mut unread);
    let (edges, names) = network::edges(spec, &components);
    let mut volumes: Vec<String> = spec
        .compose
        .services
        .values()
        .flat_map(|service| service.volumes.iter().cloned())
        .chain(spec.compose.volumes.iter().cloned())
        .collect();
    volumes.sort();
    volumes.dedup();
    Ok(Inventory {
        application: spec.application.clone(),
        environment: spec.environment.clone(),
        target: spec.target.clone(),
        endpoints,
        dependencies,
        configuration: components::configuration(spec),
        edges,
        ports: network::ports(spec, observed),
        names,
        certificates: found.certificates,
        volumes,
        differences: observed.map(|observed| compare::differences(spec, observed)),
        components,
        unread,
    })
}

/// Returns the OpenAPI documents of a project, relative to its folder.
pub(crate) fn openapi_documents(project: &std::path::Path) -> Result<Vec<PathBuf>> {
    Ok(files::walk(project)?.documents)
}

impl Inventory {
    /// Returns the components as the record refers to them.
    #[must_use]
    pub fn components(&self) -> Vec<Component> {
        self.components
            .iter()
            .map(|component| Component {
                name: component.name.clone(),
                role: component.role,
                owner: component.owner.clone(),
                needs: component.needs.clone(),
                ports: component.ports.clone(),
                replicas: component.replicas,
                endpoints: self.endpoints_of(&component.name),
            })
            .collect()
    }

    /// Returns the connections, each once however often it is declared: who opens it, to whom, to which port.
    #[must_use]
    pub fn connections(&self) -> std::collections::BTreeSet<(&str, &str, Option<u16>)> {
        let edges = self.edges.iter();
        edges
            .map(|edge| (edge.from.as_str(), edge.to.as_str(), edge.port))
            .collect()
    }

    /// Returns the components of a role.
    pub fn with_role(&self, role: Role) -> impl Iterator<Item = &InventoryComponent> {
        self.components
            .iter()
            .filter(move |component| component.role == role)
    }

    fn endpoints_of(&self, name: &str) -> Option<u32> {
        let of = |endpoint: &&Endpoint| endpoint.service.as_deref() == Some(name);
        let count = self.endpoints.iter().filter(of).count();
        u32::try_from(count).ok().filter(|count| *count > 0)
    }
}

#[cfg(test)]
mod tests;
