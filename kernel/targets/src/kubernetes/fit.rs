//! Whether the cluster is one that a run can deploy to, asked before anything is changed.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use code_deploy_engine::spec::StrategyKind;
use code_deploy_engine::target::TargetError;
use k8s_openapi::api::core::v1::{Namespace, Node, Service};
use kube::Api;
use kube::api::ListParams;
use tokio::net::TcpStream;

use super::access::{self, Extras, Right};
use super::cluster::Connection;
use super::leading::Leading;
use super::{KubernetesTarget, hidden, pod};
use crate::failure::{code, failed};

/// How long a connection to an address of the cluster may take.
const CONNECT: Duration = Duration::from_secs(5);

/// The number of this machine, which the kubelet tells of its own
/// (<https://www.freedesktop.org/software/systemd/man/latest/machine-id.html>).
const MACHINE: &str = "/etc/machine-id";

impl KubernetesTarget {
    /// Checks namespace, rights, the Gateway, folders and the way there.
    ///
    /// # Errors
    /// `CD0530` to `CD0534` and `CD0540`, before anything is changed.
    pub(super) async fn check_fit(&self) -> Result<(), TargetError> {
        let connection = self.cluster.connect().await?;
        namespace_is_there(connection).await?;
        if self.place.gateway.is_some() {
            // Rights on what is not there nobody grants.
            self.needed_routes().await?;
        }
        let (brought, leading) = (self.rights_of_brought().await?, self.leading().await?);
        access::check(connection, &self.extras(brought, leading)).await?;
        self.gateway_fits(connection).await?;
        self.folders_are_here(connection).await?;
        is_routed(connection).await
    }

    /// Returns what this deployment needs beside what each does.
    fn extras(&self, brought: Vec<Right>, leading: Leading) -> Extras {
        let spec = &self.settings.spec;
        let uses = spec.compose.services.values().map(hidden::uses);
        let (secrets, configurations) =
            uses.fold((false, false), |all, one| (all.0 | one.0, all.1 | one.1));
        Extras {
            secrets,
            configurations,
            rolling: spec.strategy.kind == StrategyKind::Rolling,
            routes: self.place.gateway.is_some(),
            leading,
            brought,
        }
    }

    /// A folder that a service mounts is one of the node. Only where all nodes are this machine is
    /// it the folder of the Compose file.
    async fn folders_are_here(&self, connection: &Connection) -> Result<(), TargetError> {
        let spec = &self.settings.spec;
        let mut folders = BTreeSet::new();
        for service in &spec.services {
            if let Some(compose) = spec.compose.services.get(&service.name) {
                folders.extend(pod::node_folders(spec, service, compose));
            }
        }
        let Some(first) = folders.first() else {
            return Ok(());
        };
        let nodes: Api<Node> = Api::all(connection.client());
        let params = ListParams::default();
        let action = "list nodes, to see whether a folder is theirs";
        let listed = connection.ask(action, None, || nodes.list(&params));
        let listed = listed.await?;
        let own = std::fs::read_to_string(MACHINE).unwrap_or_default();
        let elsewhere = listed.items.iter().find(|node| !is_here(node, own.trim()));
        match elsewhere {
            None => Ok(()),
            Some(node) => {
                let what = format!(
                    "the folder {first} of the Compose file would be one of the node {}, which is \
                     another machine; nothing was changed",
                    node.metadata.name.as_deref().unwrap_or_default()
                );
                let next =
                    "Keep data outside of the services, or deploy to a cluster on this machine.";
                Err(failed(code::COMPOSE_VALUE, None, what, next))
            }
        }
    }
}

async fn namespace_is_there(connection: &Connection) -> Result<(), TargetError> {
    let all: Api<Namespace> = Api::all(connection.client());
    let name = connection.namespace.as_str();
    let found = connection.ask("look for the namespace", None, || all.get_opt(name));
    match found.await {
        Ok(Some(_)) => Ok(()),
        // Whether it is there may be hidden from who may work in it.
        Err(error) if error.code == code::ACCESS => Ok(()),
        Err(error) => Err(error),
        Ok(None) => {
            let what = format!(
                "the cluster at {} has no namespace {name}; nothing was changed",
                connection.server
            );
            let next = format!(
                "Make it (`kubectl create namespace {name}`), or name another as \
                 `kubernetes.namespace` of the environment."
            );
            Err(failed(code::CLUSTER_FILE, None, what, next))
        }
    }
}

/// Probes, critical paths and the outside client ask pods and Services at their own addresses.
/// The address of the API inside the cluster is one that always answers.
async fn is_routed(connection: &Connection) -> Result<(), TargetError> {
    let services: Api<Service> = Api::namespaced(connection.client(), "default");
    let ask = || services.get_opt("kubernetes");
    let found = connection.ask("look for the API's own address", None, ask);
    let found = match found.await {
        Ok(found) => found,
        // Then the first connection to a pod tells.
        Err(error) if error.code == code::ACCESS => return Ok(()),
        Err(error) => return Err(error),
    };
    let spec = found.and_then(|service| service.spec);
    let address: Option<IpAddr> = spec.and_then(|spec| spec.cluster_ip?.parse().ok());
    let Some(address) = address else {
        return Ok(());
    };
    let address = SocketAddr::new(address, 443);
    match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Ok(()),
        refused => {
            let why = match refused {
                Ok(Err(error)) => error.to_string(),
                _ => format!("no connection within {} s", CONNECT.as_secs()),
            };
            let what = format!(
                "addresses of the cluster are not reached from this machine ({address}: {why}), and \
                 a run asks pods and Services at theirs; nothing was changed"
            );
            let next =
                "Run this program on a machine in the cluster's network, for instance on a node.";
            Err(failed(code::NOT_ROUTED, None, what, next))
        }
    }
}

/// A node says which machine it is: one in a container of this machine, whose folders are others,
/// has a number of its own.
fn is_here(node: &Node, own: &str) -> bool {
    let status = node.status.as_ref();
    let info = status.and_then(|status| status.node_info.as_ref());
    info.is_some_and(|info| !own.is_empty() && info.machine_id == own)
}
