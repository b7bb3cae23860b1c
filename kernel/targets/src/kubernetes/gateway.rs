//! Whether the cluster has the Gateway that the deployment file names, asked before anything is changed.

use code_deploy_engine::spec::GatewayFile;
use code_deploy_engine::target::TargetError;
use kube::core::DynamicObject;
use kube::{Api, ResourceExt as _};
use serde_json::Value;

use super::KubernetesTarget;
use super::cluster::Connection;
use super::route::{self, Routed};
use super::routes::Routes;
use crate::failure::{code, failed};

impl KubernetesTarget {
    /// Checks that the Gateway that the deployment file names is there, and that no route of a Gateway that
    /// it no longer names splits requests: nobody would move those.
    ///
    /// # Errors
    /// `CD0540`, before anything is changed.
    pub(super) async fn gateway_fits(&self, connection: &Connection) -> Result<(), TargetError> {
        let routes = match &self.place.gateway {
            None => self.routes().await?,
            Some(gateway) => {
                let routes = self.needed_routes().await?;
                self.is_there(connection, gateway, routes.version).await?;
                Some(routes)
            }
        };
        match routes {
            Some(routes) => self.none_is_left(connection, &routes).await,
            None => Ok(()),
        }
    }

    async fn is_there(
        &self,
        connection: &Connection,
        gateway: &GatewayFile,
        version: &str,
    ) -> Result<(), TargetError> {
        let namespace = gateway.namespace.as_ref();
        let namespace = namespace.unwrap_or(&connection.namespace);
        let resource = route::resource(version, "Gateway", "gateways");
        let all: Api<DynamicObject> =
            Api::namespaced_with(connection.client(), namespace, &resource);
        let name = gateway.name.as_str();
        let found = connection.ask("look for the Gateway", None, || all.get_opt(name));
        let found = match found.await {
            // Then the first route tells.
            Err(error) if error.code == code::ACCESS => return Ok(()),
            found => found?,
        };
        let lacks = match found {
            None => format!("has no Gateway {name}"),
            Some(found) => match &gateway.section {
                Some(section) if !has_listener(&found, section) => {
                    format!("has a Gateway {name} without a listener {section}")
                }
                _ => return Ok(()),
            },
        };
        let what = format!(
            "namespace {namespace} {lacks}, and `kubernetes.gateway` of the environment names it; \
             nothing was changed"
        );
        let next = format!(
            "Look which there are (`kubectl -n {namespace} get gateways`), and name one of these."
        );
        Err(failed(code::GATEWAY, None, what, next))
    }

    async fn none_is_left(
        &self,
        connection: &Connection,
        routes: &Routes<'_>,
    ) -> Result<(), TargetError> {
        let own = match self.own_routes(routes).await {
            // What is missing is said with all other rights.
            Err(error) if error.code == code::ACCESS => return Ok(()),
            own => own?,
        };
        let ways = self.ways().await?;
        for route in own {
            let name = route.name_any();
            let leads = Routed::of(&route, &name, &ways);
            if self.route_is_wanted(&name) || leads == Routed::Service {
                continue;
            }
            let what = format!(
                "the HTTPRoute {name} still leads users to {}, and `kubernetes.gateway` of the \
                 environment no longer names it: nobody would move them; nothing was changed",
                leads.text()
            );
            let next = format!(
                "Name it there again, or remove it (`kubectl -n {} delete httproute {name}`) once users \
                 come another way.",
                connection.namespace
            );
            return Err(failed(code::GATEWAY, Some(&name), what, next));
        }
        Ok(())
    }
}

fn has_listener(gateway: &DynamicObject, section: &str) -> bool {
    let listeners = gateway.data.pointer("/spec/listeners");
    let listeners = listeners.and_then(Value::as_array);
    let mut listeners = listeners.into_iter().flatten();
    listeners.any(|one| one["name"] == *section)
}
