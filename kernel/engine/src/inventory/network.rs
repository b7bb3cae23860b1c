//! Who talks to whom, on which ports, by which names.

use std::collections::BTreeSet;

use super::components::database_name;
use super::{Edge, HostName, InventoryComponent, Port};
use crate::spec::Spec;
use crate::target::Observed;

/// Returns the edges, and the names of hosts outside.
pub(super) fn edges(spec: &Spec, components: &[InventoryComponent]) -> (Vec<Edge>, Vec<HostName>) {
    let mut edges = BTreeSet::new();
    let mut names = BTreeSet::new();
    for service in &spec.services {
        let from = service.name.as_str();
        for needed in &service.needs {
            edges.insert(edge(from, needed, port_of(spec, needed), "depends_on"));
        }
        let process = service
            .file
            .process
            .iter()
            .flat_map(|process| &process.environment);
        for (variable, value) in service.environment.iter().chain(process) {
            if let Some(to) = address_of(value) {
                edges.insert(edge(from, to, port_of(spec, to), variable));
                continue;
            }
            let Some(url) = Url::parse(value) else {
                continue;
            };
            if components
                .iter()
                .any(|component| component.name == url.host)
            {
                let port = url.port.or_else(|| port_of(spec, &url.host));
                edges.insert(edge(from, &url.host, port, variable));
            } else if url.is_outside() {
                edges.insert(Edge {
                    outside: true,
                    ..edge(from, &url.host, url.port.or(url.default_port()), variable)
                });
                names.insert(HostName {
                    name: url.host,
                    found: format!("{from} {variable}"),
                });
            }
        }
    }
    for (name, database) in &spec.file.databases {
        for user in &database.used_by {
            let to = database_name(spec, name);
            edges.insert(edge(user, &to, None, &format!("databases.{name}.used_by")));
        }
    }
    (edges.into_iter().collect(), names.into_iter().collect())
}

fn edge(from: &str, to: &str, port: Option<u16>, reason: &str) -> Edge {
    Edge {
        from: from.to_owned(),
        to: to.to_owned(),
        port,
        outside: false,
        reason: reason.to_owned(),
    }
}

fn port_of(spec: &Spec, service: &str) -> Option<u16> {
    spec.service(service).map(|service| service.port)
}

/// Returns the service of `{address:SERVICE}`.
fn address_of(value: &str) -> Option<&str> {
    let (_, rest) = value.split_once("{address:")?;
    rest.split_once('}').map(|(service, _)| service)
}

/// The parts of a URL that say where it leads.
struct Url {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Url {
    fn parse(value: &str) -> Option<Self> {
        let (scheme, rest) = value.split_once("://")?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        if scheme.is_empty() || !scheme.chars().all(plain) {
            return None;
        }
        let authority = rest.split(['/', '?', '#']).next()?;
        let place = authority
            .rsplit_once('@')
            .map_or(authority, |(_, place)| place);
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') => (host, port.parse().ok()),
            _ => (place, None),
        };
        let host = host.trim_matches(['[', ']']).to_lowercase();
        (!host.is_empty()).then(|| Self {
            scheme: scheme.to_lowercase(),
            host,
            port,
        })
    }

    fn is_outside(&self) -> bool {
        let named = self
            .host
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'));
        named && self.host != "localhost" && self.host.parse::<std::net::IpAddr>().is_err()
    }

    fn default_port(&self) -> Option<u16> {
        match self.scheme.as_str() {
            "http" | "ws" => Some(80),
            "https" | "wss" => Some(443),
            "postgres" | "postgresql" => Some(5432),
            "mysql" => Some(3306),
            "redis" => Some(6379),
            "amqp" => Some(5672),
            "mongodb" => Some(27017),
            _ => None,
        }
    }
}

/// Returns the ports, by component.
pub(super) fn ports(spec: &Spec, observed: Option<&Observed>) -> Vec<Port> {
    let mut ports = BTreeSet::new();
    for service in &spec.services {
        let found = spec.compose.services.get(&service.name);
        let reached = observed
            .iter()
            .flat_map(|observed| &observed.addresses)
            .find(|address| address.service == service.name)
            .map(|address| address.address);
        let mut inside = BTreeSet::from([service.port]);
        inside.extend(found.iter().flat_map(|found| found.ports.iter().copied()));
        for port in inside {
            ports.insert(Port {
                component: service.name.clone(),
                inside: port,
                published: found.and_then(|found| found.published.get(&port).copied()),
                reached: reached.filter(|_| port == service.port),
            });
        }
    }
    ports.into_iter().collect()
}
