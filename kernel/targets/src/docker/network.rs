//! The networks of services, in which everything has an address that stays.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest, NetworkInspect};
use bollard::query_parameters::InspectNetworkOptions;
use code_deploy_engine::Spec;
use code_deploy_engine::spec::ComposeService;
use code_deploy_engine::target::TargetError;
use serde_json::Value;

use super::DockerTarget;
use super::container::Place;
use super::engine::Refusal;
use super::names::Part;
use crate::failure::{code, failed};
use crate::keys::{Found, Keys, text};

/// Addresses below this one of a network are left to the engine.
const FIRST: u32 = 16;

/// How often a network is made again when somebody else took its addresses meanwhile.
const TRIES: u32 = 5;

/// A network that a service is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its name on the engine.
    pub name: String,
    /// Whether it is somebody else's and must be there.
    pub external: bool,
    /// Whether nothing outside is reached from it.
    pub internal: bool,
    /// Further names of the service in it.
    pub aliases: Vec<String>,
}

impl DockerTarget {
    /// Returns the networks of a service; the first is the one its router reaches it in.
    pub(super) fn networks(
        &self,
        spec: &Spec,
        service: &str,
        compose: &ComposeService,
    ) -> Result<Vec<Network>, TargetError> {
        let read = read(spec, &|name| self.names.scoped(name), compose);
        read.map_err(|what| {
            let what = format!("{what}; nothing was started");
            let next = "Mend the Compose file and run again.";
            failed(code::COMPOSE_VALUE, Some(service), what, next)
        })
    }

    /// Returns a network if it is there. One that others were to make must be.
    pub(super) async fn network_there(
        &self,
        wanted: &Network,
    ) -> Result<Option<NetworkInspect>, TargetError> {
        let name = &wanted.name;
        match self.inspect_network(name).await {
            Ok(found) => self.our_own(wanted, found).map(Some),
            Err(refusal) if refusal.is_missing() && wanted.external => {
                let what = format!(
                    "there is no network {name}, which the Compose file calls external; nothing was started"
                );
                let next = format!("Make it (`docker network create {name}`) and run again.");
                Err(failed(code::COMPOSE_VALUE, None, what, next))
            }
            Err(refusal) if refusal.is_missing() => Ok(None),
            Err(refusal) => Err(refusal.into_error(None, &format!("look for {name}"))),
        }
    }

    /// Makes a network if there is none yet, and returns it.
    pub(super) async fn network(&self, wanted: &Network) -> Result<NetworkInspect, TargetError> {
        let name = &wanted.name;
        for _ in 0..TRIES {
            if let Some(found) = self.network_there(wanted).await? {
                return Ok(found);
            }
            match self.make(wanted).await {
                Ok(()) => {}
                // Its addresses were taken meanwhile, or another process made it.
                Err(Refusal::Answer(403 | 409, _)) => {}
                Err(refusal) => {
                    return Err(refusal.into_error(None, &format!("make the network {name}")));
                }
            }
        }
        let what =
            format!("the network {name} could not be made in {TRIES} tries; nothing was started");
        let next =
            "Look at `docker network ls` for networks whose addresses overlap, and run again.";
        Err(failed(code::ENGINE, None, what, next))
    }

    fn our_own(
        &self,
        wanted: &Network,
        found: NetworkInspect,
    ) -> Result<NetworkInspect, TargetError> {
        let labels = found.labels.clone().unwrap_or_default();
        if wanted.external || self.names.are_ours(&labels) {
            return Ok(found);
        }
        let what = format!(
            "there is a network {} that was not made for {} in {}; it was not touched, and \
             nothing was started",
            wanted.name,
            self.names.project(),
            self.names.folder()
        );
        let next = "Remove it, call it `external` in the Compose file, or give the application or \
                    the environment another name.";
        Err(failed(code::FOREIGN, None, what, next))
    }

    async fn inspect_network(&self, name: &str) -> Result<NetworkInspect, Refusal> {
        self.engine
            .ask(|docker| {
                let name = name.to_owned();
                async move {
                    docker
                        .inspect_network(&name, None::<InspectNetworkOptions>)
                        .await
                }
            })
            .await
    }

    /// The engine lets addresses be given only in a network whose range was given, and only it
    /// knows which ranges are free: so it is asked for one first.
    async fn make(&self, wanted: &Network) -> Result<(), Refusal> {
        let probe = NetworkCreateRequest {
            name: format!("{}-probe", wanted.name),
            labels: Some(self.names.labels(Part::Network).into_iter().collect()),
            ..NetworkCreateRequest::default()
        };
        let docker = self.engine.docker().await?;
        self.remove_left(&probe.name).await?;
        let made = docker.create_network(probe).await?;
        let found = docker
            .inspect_network(&made.id, None::<InspectNetworkOptions>)
            .await;
        docker.remove_network(&made.id).await?;
        let range = found?.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
        let range = range.into_iter().next().unwrap_or_default();
        let mut labels = self.names.labels(Part::Network);
        labels.insert("com.docker.compose.network".to_owned(), wanted.name.clone());
        let request = NetworkCreateRequest {
            name: wanted.name.clone(),
            internal: Some(wanted.internal),
            labels: Some(labels.into_iter().collect()),
            ipam: Some(Ipam {
                config: Some(vec![IpamConfig {
                    subnet: range.subnet,
                    gateway: range.gateway,
                    ..IpamConfig::default()
                }]),
                ..Ipam::default()
            }),
            ..NetworkCreateRequest::default()
        };
        docker
            .create_network(request)
            .await
            .map(|_| ())
            .map_err(Refusal::from)
    }

    /// Removes the network of that name, if a killed run left one.
    async fn remove_left(&self, name: &str) -> Result<(), Refusal> {
        let left = match self.inspect_network(name).await {
            Ok(left) => left,
            Err(refusal) if refusal.is_missing() => return Ok(()),
            Err(refusal) => return Err(refusal),
        };
        match left.id {
            Some(id) if self.names.are_ours(&left.labels.unwrap_or_default()) => {
                let docker = self.engine.docker().await?;
                docker.remove_network(&id).await.map_err(Refusal::from)
            }
            _ => Ok(()),
        }
    }

    /// Chooses the places of a new container in its networks. The caller holds the lock on
    /// addresses until the container is made.
    pub(super) async fn places(
        &self,
        networks: &[Network],
        aliases: &[String],
    ) -> Result<Vec<Place>, TargetError> {
        let mut known = self.instances().await?;
        known.extend(self.routers().await?);
        let mut places = Vec::new();
        for network in networks {
            let found = self.network(network).await?;
            let taken = known
                .iter()
                .filter_map(|one| one.addresses.get(&network.name));
            let address = if network.external {
                None
            } else {
                free(&found, taken.copied().collect())
            };
            let mut aliases = aliases.to_vec();
            if !aliases.is_empty() {
                aliases.extend(network.aliases.iter().cloned());
            }
            places.push(Place {
                network: network.name.clone(),
                address,
                aliases,
            });
        }
        Ok(places)
    }
}

fn read(
    spec: &Spec,
    scoped: &dyn Fn(&str) -> String,
    compose: &ComposeService,
) -> Found<Vec<Network>> {
    let listed = match Keys(&compose.keys).get("networks") {
        None => vec![("default".to_owned(), Vec::new())],
        Some(Value::Object(map)) => map
            .iter()
            .map(|(name, value)| {
                let keys = Keys(value);
                if keys.get("ipv4_address").is_some() || keys.get("ipv6_address").is_some() {
                    let what = "`networks.{name}` gives an address, which several instances \
                                cannot share";
                    return Err(what.replace("{name}", name));
                }
                Ok((name.clone(), keys.list("aliases").unwrap_or_default()))
            })
            .collect::<Found<_>>()?,
        Some(value) => value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(text)
            .map(|name| (name, Vec::new()))
            .collect(),
    };
    let all = Keys(&spec.compose.whole).under("networks");
    let networks = listed.into_iter().map(|(key, aliases)| {
        let declared = all.under(&key);
        if key != "default" && all.0.get(&key).is_none() {
            return Err(format!(
                "`networks` names `{key}`, which the file does not declare"
            ));
        }
        for known in ["driver", "driver_opts", "ipam", "enable_ipv6", "attachable"] {
            let usual = known == "driver" && declared.text(known).as_deref() == Some("bridge");
            if declared.get(known).is_some() && !usual {
                return Err(format!("`networks.{key}.{known}` is not honoured"));
            }
        }
        let external = declared.switch("external")?.unwrap_or(false);
        let name = declared.text("name");
        let usual = || if external { key.clone() } else { scoped(&key) };
        Ok(Network {
            name: name.unwrap_or_else(usual),
            external,
            internal: declared.switch("internal")?.unwrap_or(false),
            aliases,
        })
    });
    networks.collect()
}

/// Returns an address of the network that nobody has.
fn free(network: &NetworkInspect, mut taken: BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr> {
    let configured = network.ipam.as_ref()?.config.as_ref()?.first()?;
    let gateway = configured
        .gateway
        .as_ref()
        .and_then(|text| text.parse().ok());
    taken.extend::<Option<Ipv4Addr>>(gateway);
    let inside: HashMap<_, _> = network.containers.clone().unwrap_or_default();
    taken.extend(inside.into_values().filter_map(|one| {
        let text = one.ipv4_address?;
        text.split_once('/')?.0.parse::<Ipv4Addr>().ok()
    }));
    let (base, length) = configured.subnet.as_ref()?.split_once('/')?;
    let base = u32::from(base.parse::<Ipv4Addr>().ok()?);
    let size = 1_u32.checked_shl(32_u32.checked_sub(length.parse().ok()?)?)?;
    (FIRST..size.saturating_sub(1))
        .map(|offset| Ipv4Addr::from(base + offset))
        .find(|address| !taken.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_given_once() {
        let network = NetworkInspect {
            ipam: Some(Ipam {
                config: Some(vec![IpamConfig {
                    subnet: Some("172.18.0.0/27".to_owned()),
                    gateway: Some("172.18.0.1".to_owned()),
                    ..IpamConfig::default()
                }]),
                ..Ipam::default()
            }),
            ..NetworkInspect::default()
        };
        let mut taken = BTreeSet::new();
        while let Some(address) = free(&network, taken.clone()) {
            assert!(taken.insert(address), "{address} was given twice");
        }
        assert_eq!(taken.len(), 15);
    }
}
