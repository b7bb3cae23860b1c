//! Requests that come through a Gateway: split by the weights of HTTPRoutes.
//!
//! While traffic is split, a route leads to the releases by weight; otherwise to the Service by which others
//! find the service, so that one that is left behind goes on leading to whoever serves.

use std::collections::BTreeMap;
use std::time::Duration;

use code_deploy_engine::http::{HttpClient, HttpError};
use code_deploy_engine::spec::{RouteFile, StrategyKind};
use code_deploy_engine::target::{Shares, TargetError};
use kube::ResourceExt as _;
use kube::api::ListParams;
use kube::core::DynamicObject;
use tokio::net::TcpStream;

use super::KubernetesTarget;
use super::changes::Answer;
use super::manifest::Manifest;
use super::names::{Part, selecting};
use super::objects::{Objects, Tried};
use super::route::{self, Given, PLURAL, Routed, Ways, accepted};
use super::served;
use super::store::{release_of, shares};
use super::weights::Unserved;
use crate::failure::{code, failed, transient};
use crate::lock::ChangeLock;

/// How long a Gateway may take until it answers where users ask.
const REACHED: Duration = Duration::from_secs(30);

/// How long its answer is waited for.
const ANSWERED: Duration = Duration::from_secs(5);

/// How long after a connection that was refused the next one is tried.
const AGAIN: Duration = Duration::from_millis(100);

/// The HTTPRoutes of the namespace.
pub(super) struct Routes<'a> {
    pub objects: Objects<'a, DynamicObject>,
    /// The version of their API.
    pub version: &'static str,
}

/// A route as it is.
pub(super) struct Standing {
    pub leads: Routed,
    /// Whether a controller serves it so.
    served: bool,
}

impl KubernetesTarget {
    /// Returns whether users reach a service through the Gateway that the deployment file names.
    pub(super) fn route_is_wanted(&self, service: &str) -> bool {
        let gateway = self.place.gateway.as_ref();
        gateway.is_some_and(|gateway| gateway.routes.contains_key(service))
    }

    /// Returns whether a split of a service's traffic is one of its requests, by weights. A rolling update
    /// moves pods: there the route always leads to the Service.
    pub(super) fn is_weighted(&self, service: &str) -> bool {
        let rolls = self.settings.spec.strategy.kind == StrategyKind::Rolling;
        self.route_is_wanted(service) && !rolls
    }

    /// Returns the HTTPRoutes of the namespace, where the cluster serves them.
    pub(super) async fn routes(&self) -> Result<Option<Routes<'_>>, TargetError> {
        let connection = self.cluster.connect().await?;
        let known = self.route_version.get().copied();
        let version = match known {
            Some(version) => Some(version),
            // Who may not even ask has no routes of ours.
            None => served::newest(connection, route::READ, PLURAL).await?,
        };
        Ok(version.map(|version| {
            // Another task may have been told the same.
            let _ = self.route_version.set(version);
            let resource = route::resource(version, "HTTPRoute", PLURAL);
            Routes {
                objects: connection.described(&resource),
                version,
            }
        }))
    }

    /// Returns the HTTPRoutes of the namespace, which have to be served.
    ///
    /// # Errors
    /// `CD0540` when the cluster knows none.
    pub(super) async fn needed_routes(&self) -> Result<Routes<'_>, TargetError> {
        if let Some(routes) = self.routes().await? {
            return Ok(routes);
        }
        let what = format!(
            "the cluster at {} serves no HTTPRoutes (gateway.networking.k8s.io), or not to this account, \
             and `kubernetes.gateway` of the environment wants some; nothing was changed",
            self.cluster.connect().await?.server
        );
        let next = "Have the Gateway API and a controller for it installed, or take `gateway` out.";
        Err(failed(code::GATEWAY, None, what, next))
    }

    /// Returns the routes of ours, of whatever service.
    pub(super) async fn own_routes(
        &self,
        routes: &Routes<'_>,
    ) -> Result<Vec<DynamicObject>, TargetError> {
        let connection = self.cluster.connect().await?;
        let params = ListParams::default().labels(&selecting(&self.names.everything()));
        let list = || async {
            match routes.objects.all().list(&params).await {
                // The API was taken away meanwhile, and all routes with it.
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
                listed => listed.map(|listed| listed.items),
            }
        };
        let mut listed = connection.ask("list httproutes", None, list).await?;
        listed.retain(|route| self.names.are_ours(route.metadata.labels.as_ref()));
        Ok(listed)
    }

    /// Returns which release each Service of a release leads to.
    pub(super) async fn ways(&self) -> Result<Ways, TargetError> {
        let ways = self.services(Part::Way).await?;
        let pairs = ways
            .iter()
            .filter_map(|way| Some((way.name_any(), release_of(&way.metadata)?)));
        Ok(pairs.collect())
    }

    /// Returns the routes of the services that the deployment file routes, as they are.
    pub(super) async fn standing(&self) -> Result<BTreeMap<String, Standing>, TargetError> {
        let Some(gateway) = &self.place.gateway else {
            return Ok(BTreeMap::new());
        };
        let Some(routes) = self.routes().await? else {
            return Ok(BTreeMap::new());
        };
        let (own, ways) = (self.own_routes(&routes).await?, self.ways().await?);
        let namespace = &self.cluster.connect().await?.namespace;
        let named = own
            .iter()
            .filter(|route| self.route_is_wanted(&route.name_any()));
        let standing = named.map(|route| {
            let name = route.name_any();
            let standing = Standing {
                leads: Routed::of(route, &name, &ways),
                served: accepted(route, gateway, namespace).is_ok(),
            };
            (name, standing)
        });
        Ok(standing.collect())
    }

    /// Returns where users reach services through the Gateway: those that have a route and are served.
    pub(super) fn fronts(
        &self,
        standing: &BTreeMap<String, Standing>,
        traffic: &BTreeMap<String, Shares>,
    ) -> BTreeMap<String, String> {
        let routes = self.place.gateway.iter().flat_map(|one| &one.routes);
        let served = routes.filter(|(service, _)| {
            let shares = traffic.get(*service);
            standing.contains_key(*service) && shares.is_some_and(|shares| !shares.is_empty())
        });
        let fronts = served.map(|(service, route)| {
            let url = route.url.trim_end_matches('/').to_owned();
            (service.clone(), url)
        });
        fronts.collect()
    }

    /// Has each route lead to whom it led before, or to its Service if it is new, and returns when all
    /// are accepted and what stands there takes connections.
    pub(super) async fn open_routes(&self) -> Result<(), TargetError> {
        let Some(gateway) = &self.place.gateway else {
            return Ok(());
        };
        let routes = self.needed_routes().await?;
        let _change = ChangeLock::of(&self.root, "traffic", "traffic.lock").await?;
        for service in gateway.routes.keys() {
            let leads = self.leads_now(&routes, service).await?;
            self.lead_route(&routes, service, &leads, Unserved::PutBack)
                .await?;
        }
        for (service, route) in &gateway.routes {
            front_answers(service, route).await?;
        }
        Ok(())
    }

    /// Returns whom the route of a service leads to, or is to lead to when there is none.
    ///
    /// # Errors
    /// `CD0526` when the name is somebody else's.
    pub(super) async fn leads_now(
        &self,
        routes: &Routes<'_>,
        service: &str,
    ) -> Result<Routed, TargetError> {
        let found = routes
            .objects
            .ours(&self.names, Some(service), service)
            .await?;
        let ways = self.ways().await?;
        let leads = found.map(|route| Routed::of(&route, service, &ways));
        let leads = leads.filter(|leads| *leads != Routed::Other);
        Ok(leads.unwrap_or(Routed::Service))
    }

    /// Returns the manifest of a service's route.
    pub(super) fn route_manifest(
        &self,
        routes: &Routes<'_>,
        service: &str,
        leads: &Routed,
    ) -> Result<Manifest, TargetError> {
        let gateway = self.place.gateway.as_ref();
        let route = gateway.and_then(|gateway| Some((gateway, gateway.routes.get(service)?)));
        let (gateway, route) = route.ok_or_else(|| self.no_such_service(service))?;
        let given = Given {
            names: &self.names,
            service: self.service(service)?,
            gateway,
            route,
            version: routes.version,
        };
        let manifest = given.manifest(leads);
        manifest.map_err(|what| self.cannot(service, &what))
    }

    /// Has the cluster go through a route without keeping it.
    pub(super) async fn route_tried_out(
        &self,
        service: &str,
        tried: Tried<'_>,
    ) -> Result<Answer, TargetError> {
        let routes = self.needed_routes().await?;
        let object = routes.objects.try_out(Some(service), tried).await?;
        let resource = route::resource(routes.version, "HTTPRoute", PLURAL);
        Ok(Answer::new(Some(service), resource, tried, object.as_ref()))
    }

    /// Removes the routes of ours, of whatever service: also those of a Gateway that is no longer named.
    pub(super) async fn remove_routes(&self) -> Result<(), TargetError> {
        let Some(routes) = self.routes().await? else {
            return Ok(());
        };
        let own = match self.own_routes(&routes).await {
            // An account that was never asked to have rights on them made none.
            Err(error) if error.code == code::ACCESS && self.place.gateway.is_none() => Vec::new(),
            own => own?,
        };
        for route in own {
            let name = route.name_any();
            routes.objects.remove(Some(&name), &name).await?;
        }
        Ok(())
    }
}

/// Puts the shares of services whose routes split requests in place of those of their Services; none where
/// nobody serves the route.
///
/// A route that leads to one release is on its way to its Service: how far that has come, the Service says.
pub(super) fn as_routed(
    traffic: &mut BTreeMap<String, Shares>,
    standing: &BTreeMap<String, Standing>,
) {
    for (service, one) in standing {
        let own = match &one.leads {
            Routed::Service => continue,
            Routed::Releases(weights) if one.served && weights.len() == 1 => continue,
            Routed::Releases(weights) if one.served => shares(weights),
            Routed::Releases(_) | Routed::Other => Shares::new(),
        };
        traffic.insert(service.clone(), own);
    }
}

/// Waits until what stands where users ask takes connections, with TLS and a certificate that is trusted where they
/// ask so: a client that starts later would find that out when users are served already.
async fn front_answers(service: &str, route: &RouteFile) -> Result<(), TargetError> {
    let Some((host, port)) = route.reached_at() else {
        return Ok(());
    };
    let end = tokio::time::Instant::now() + REACHED;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    loop {
        let why = match tokio::time::timeout_at(end, TcpStream::connect((bare, port))).await {
            Ok(Ok(_)) => match shown_certificate(route).await {
                Ok(()) => return Ok(()),
                Err(why) => why,
            },
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        if tokio::time::Instant::now() + AGAIN >= end {
            let what = format!(
                "the Gateway is not reached where users ask for it, at {host}:{port}, within {} s: {why}",
                REACHED.as_secs()
            );
            let next = "Look whether this machine finds that host and trusts its certificate, and whether the Gateway \
                        listens there; or write another `url` in `kubernetes.gateway.routes`.";
            return Err(transient(code::NOT_ROUTED, Some(service), what, next));
        }
        // The API does not say when a Gateway listens.
        tokio::time::sleep(AGAIN).await;
    }
}

/// Returns why no connection with TLS can be made, where the URL asks for one. Whether there is an answer is another
/// matter: nobody may be served yet.
async fn shown_certificate(route: &RouteFile) -> Result<(), String> {
    if !route.is_https() {
        return Ok(());
    }
    match HttpClient::new().get(&route.url, ANSWERED).await {
        Err(HttpError::Connect { what, .. }) => Err(what),
        _ => Ok(()),
    }
}
