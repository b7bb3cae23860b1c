//! Whether the cluster is one that a run can deploy to, asked before anything is changed.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use code_deploy_engine::target::TargetError;
use k8s_openapi::api::core::v1::{Namespace, Node, Service};
use kube::Api;
use kube::api::ListParams;
use tokio::net::TcpStream;

use super::cluster::{Connection, within};
use super::{KubernetesTarget, access, pod};
use crate::failure::{code, failed};

/// How long a connection to an address of the cluster may take.
const CONNECT: Duration = Duration::from_secs(5);

impl KubernetesTarget {
    /// Checks namespace, rights, folders and the way there.
    ///
    /// # Errors
    /// `CD0530` to `CD0534`, before anything is changed.
    pub(super) async fn check_fit(&self) -> Result<(), TargetError> {
        let connection = self.cluster.connect().await?;
        namespace_is_there(connection).await?;
        access::check(connection).await?;
        self.folders_are_here(connection).await?;
        is_routed(connection).await
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
        let listed = within(
            "list nodes, to see whether a folder is theirs",
            None,
            nodes.list(&params),
        );
        let listed = listed.await?;
        let addresses = own_addresses();
        let elsewhere = listed.items.iter().find(|node| !is_here(node, &addresses));
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
    match within("look for the namespace", None, all.get_opt(name)).await {
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
    let found = within(
        "look for the API's own address",
        None,
        services.get_opt("kubernetes"),
    );
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

fn own_addresses() -> BTreeSet<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let addresses = interfaces.filter_map(|one| {
        let address = one.address?;
        let v4 = address.as_sockaddr_in().map(|at| IpAddr::from(at.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|at| IpAddr::from(at.ip())))
    });
    addresses.collect()
}

fn is_here(node: &Node, own: &BTreeSet<IpAddr>) -> bool {
    let status = node.status.as_ref();
    let mut addresses = status
        .iter()
        .flat_map(|status| status.addresses.iter().flatten());
    addresses.any(|one| {
        let internal = one.type_ == "InternalIP";
        internal
            && one
                .address
                .parse()
                .is_ok_and(|address| own.contains(&address))
    })
}
