//! The ports of this machine at which services are reached, looked at before a run begins and when they are taken.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bollard::models::{PortSummary, PortSummaryTypeEnum};
use bollard::query_parameters::ListContainersOptionsBuilder;
use code_deploy_engine::spec::{Routing, Service};
use code_deploy_engine::target::TargetError;

use super::DockerTarget;
use super::store::Known;
use crate::failure::{code, failed, transient};

/// What helps where a port cannot be had.
const ANOTHER: &str = "Free the port, or give the service another: `ports` of the Compose file or \
                       `services.NAME.routing.port`.";

impl DockerTarget {
    /// Refuses ports at which services are to be reached and that they cannot have: two are to have one, a router has
    /// another already, or somebody else has it. The engine is one of this machine.
    pub(super) async fn admits_ports(&self, services: &[&str]) -> Result<(), TargetError> {
        let routers = self.routers().await?;
        let mut owners: BTreeMap<u16, &str> = BTreeMap::new();
        for &name in services {
            let service = self.service(name)?;
            let fixed = fixed_port(service, &service.file.routing);
            if let Some(port) = fixed
                && let Some(other) = owners.insert(port, name)
            {
                let what = format!(
                    "port {port} of this machine is to be that of {other} and of {name}; nothing was started"
                );
                return Err(failed(code::PORT_TAKEN, Some(name), what, ANOTHER));
            }
            let mut known = routers.iter().filter(|one| one.service == name);
            let known = known.find(|one| !one.was_never_started());
            if let Some(port) = port_to_take(known, fixed)? {
                self.not_published(port, name).await?;
                self.port(Some(port), name)?;
            }
        }
        Ok(())
    }

    /// Refuses a port that a container on the engine is published at. Not every engine listens there itself, so that the
    /// machine alone does not tell.
    async fn not_published(&self, port: u16, service: &str) -> Result<(), TargetError> {
        let filter = HashMap::from([("publish".to_owned(), vec![port.to_string()])]);
        let options = ListContainersOptionsBuilder::default()
            .filters(&filter)
            .build();
        let listed = self.engine.ask(|docker| {
            let options = options.clone();
            async move { docker.list_containers(Some(options)).await }
        });
        let listed = listed
            .await
            .map_err(|refusal| refusal.into_error(Some(service), "list containers"))?;
        let has = |ports: &Vec<PortSummary>| ports.iter().any(|one| is_at(one, port));
        let mut there = listed.iter();
        let Some(other) = there.find(|one| one.ports.as_ref().is_some_and(has)) else {
            return Ok(());
        };
        let name = other.names.as_ref().and_then(|names| names.first());
        let name = name.map_or("without a name", |name| name.trim_start_matches('/'));
        let what = format!(
            "port {port} of this machine is that of the container {name}; nothing was started"
        );
        Err(failed(code::PORT_TAKEN, Some(service), what, ANOTHER))
    }

    /// Returns an address of loopback for a port that is to be published.
    pub(super) fn port(
        &self,
        fixed: Option<u16>,
        service: &str,
    ) -> Result<SocketAddr, TargetError> {
        let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, fixed.unwrap_or(0)));
        let free = std::net::TcpListener::bind(wanted).and_then(|listener| listener.local_addr());
        free.map_err(|error| {
            let what = match fixed {
                Some(port) => format!(
                    "port {port} of this machine cannot be had: {error}; nothing was started"
                ),
                None => format!("there is no free port on 127.0.0.1: {error}; nothing was started"),
            };
            transient(code::PORT_TAKEN, Some(service), what, ANOTHER)
        })
    }
}

impl Known {
    /// Returns why a router cannot be published at another port than its own.
    pub(super) fn cannot_move_to(&self, fixed: Option<u16>) -> TargetError {
        let what = format!(
            "{} is published at {}, and the deployment asks for port {}; it was left as it is",
            self.name,
            self.published
                .map_or_else(|| "no port".to_owned(), |at| at.to_string()),
            fixed.unwrap_or_default()
        );
        let next = "An engine cannot move the port of a container that runs: stop the \
                    environment with `--stop`, then run again.";
        failed(code::PORT_TAKEN, Some(&self.service), what, next)
    }
}

/// Returns the port at which a service must be reached: the deployment file's, or else the Compose
/// file's.
pub(super) fn fixed_port(service: &Service, routing: &Routing) -> Option<u16> {
    let own = Some(routing.port).filter(|port| *port > 0);
    own.or(service.published)
}

/// Returns the port that a router is still to take; nothing where it has its own, or any would do.
fn port_to_take(known: Option<&Known>, fixed: Option<u16>) -> Result<Option<u16>, TargetError> {
    let Some(known) = known else {
        return Ok(fixed);
    };
    match known.published {
        Some(at) if fixed.is_none_or(|port| port == at.port()) => {
            Ok(Some(at.port()).filter(|_| !known.is_up()))
        }
        _ => Err(known.cannot_move_to(fixed)),
    }
}

/// Returns whether a container is published at a port of 127.0.0.1.
fn is_at(summary: &PortSummary, port: u16) -> bool {
    let address: Option<IpAddr> = summary.ip.as_ref().and_then(|ip| ip.parse().ok());
    let covers = address.is_none_or(|ip| ip.is_unspecified() || ip == Ipv4Addr::LOCALHOST);
    let is_tcp = summary.typ != Some(PortSummaryTypeEnum::UDP);
    summary.public_port == Some(port) && covers && is_tcp
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, missing_docs)]

    use super::*;

    #[test]
    fn a_container_is_in_the_way_only_at_the_address_that_is_to_be_published() {
        let summary = |ip: &str| PortSummary {
            ip: Some(ip.to_owned()).filter(|ip| !ip.is_empty()),
            private_port: 80,
            public_port: Some(8080),
            typ: None,
        };
        for ip in ["0.0.0.0", "127.0.0.1", "::", ""] {
            assert!(is_at(&summary(ip), 8080), "{ip}");
        }
        for ip in ["192.0.2.7", "127.0.0.2", "::1"] {
            assert!(!is_at(&summary(ip), 8080), "{ip}");
        }
        assert!(!is_at(&summary("0.0.0.0"), 80));
        let udp = PortSummary {
            typ: Some(PortSummaryTypeEnum::UDP),
            ..summary("0.0.0.0")
        };
        assert!(!is_at(&udp, 8080));
    }
}
