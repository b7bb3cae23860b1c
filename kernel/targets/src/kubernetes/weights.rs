//! Moving requests that come through a Gateway, by the weights of HTTPRoutes.

use std::collections::BTreeMap;
use std::time::Duration;

use code_deploy_engine::target::{Shares, TargetError};
use code_deploy_record::Release;
use kube::core::DynamicObject;
use kube::runtime::watcher;
use serde_json::json;

use super::KubernetesTarget;
use super::manifest::Manifest;
use super::route::{self, PLURAL, Routed, accepted};
use super::routes::{Routes, Standing};
use super::wait::{Waited, until_of};
use crate::failure::{code, failed};

/// How long a controller may take with a route.
const ACCEPTED: Duration = Duration::from_secs(30);

/// What becomes of a route that no controller serves as it was stated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unserved {
    /// It is stated as it was before.
    PutBack,
    /// It is left: a controller that comes late is to find where users are safe.
    Stays,
}

impl KubernetesTarget {
    /// Has routes split requests as wanted, and those that split them lead to one release where that is
    /// wanted: at once, before any Service moves. Where a split is not accepted, all are put back.
    pub(super) async fn route_splits(
        &self,
        shares: &BTreeMap<String, Shares>,
    ) -> Result<(), TargetError> {
        let standing = self.standing().await?;
        let wanted: Vec<(&String, Routed)> = shares
            .iter()
            .filter_map(|(service, shares)| {
                let now = standing.get(service);
                Some((service, self.before_services(service, shares, now)?))
            })
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let routes = self.needed_routes().await?;
        let mut changed = Vec::new();
        for (service, leads) in &wanted {
            let unserved = match leads {
                Routed::Releases(weights) if weights.len() == 1 => Unserved::Stays,
                _ => Unserved::PutBack,
            };
            match self.lead_route(&routes, service, leads, unserved).await {
                Ok(before) => changed.push((service, before)),
                Err(error) if unserved == Unserved::Stays => return Err(error),
                Err(mut error) => {
                    for (service, before) in changed.into_iter().rev() {
                        let done = self.put_back(&routes, service, before.as_ref()).await;
                        error
                            .what
                            .push_str(&format!("; the HTTPRoute {service} {done}"));
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Has routes lead to the Services again whose traffic is no longer split by weights.
    pub(super) async fn route_wholes(
        &self,
        shares: &BTreeMap<String, Shares>,
    ) -> Result<(), TargetError> {
        if self.place.gateway.is_none() {
            return Ok(());
        }
        let Some(routes) = self.routes().await? else {
            return Ok(());
        };
        let standing = self.standing().await?;
        for (service, shares) in shares {
            let split = self.is_weighted(service) && some(shares).len() > 1;
            let now = standing.get(service);
            let there = now.is_some_and(|now| now.leads == Routed::Service);
            if self.route_is_wanted(service) && !split && !there {
                let leads = Routed::Service;
                self.lead_route(&routes, service, &leads, Unserved::Stays)
                    .await?;
            }
        }
        Ok(())
    }

    fn before_services(
        &self,
        service: &str,
        shares: &Shares,
        now: Option<&Standing>,
    ) -> Option<Routed> {
        let some = some(shares);
        let splits = now.is_some_and(|now| now.leads != Routed::Service);
        let wanted = match some.len() {
            0 => false,
            1 => splits,
            _ => self.is_weighted(service),
        };
        wanted.then_some(Routed::Releases(some))
    }

    /// Has a route lead there, and returns the one before when a controller has accepted that.
    ///
    /// # Errors
    /// `CD0541` where none does within a limit; `CD0526` for a route of others.
    pub(super) async fn lead_route(
        &self,
        routes: &Routes<'_>,
        service: &str,
        leads: &Routed,
        unserved: Unserved,
    ) -> Result<Option<DynamicObject>, TargetError> {
        let before = routes
            .objects
            .ours(&self.names, Some(service), service)
            .await?;
        let manifest = self.route_manifest(routes, service, leads)?;
        // Proxies follow a route as nodes follow endpoints: on their own, and without saying when.
        self.moves.noted();
        let applied = routes.objects.apply(Some(service), &manifest).await?;
        self.moves.noted();
        let generation = applied.metadata.generation.unwrap_or_default();
        let refused = self.unaccepted(routes, service, leads, generation).await;
        self.moves.noted();
        let Some(why) = refused? else {
            return Ok(before);
        };
        let done = match unserved {
            Unserved::PutBack => self.put_back(routes, service, before.as_ref()).await,
            Unserved::Stays => "stays stated so".to_owned(),
        };
        let what = format!(
            "its HTTPRoute is not served as it was stated ({}) within {} s: {why}; it {done}",
            leads.text(),
            ACCEPTED.as_secs()
        );
        let next = format!(
            "Look at it and at its Gateway (`kubectl -n {} describe httproute {service}`): whether the \
             Gateway's controller runs, and whether its listener takes routes of this namespace and host.",
            self.cluster.connect().await?.namespace
        );
        Err(failed(code::NOT_ACCEPTED, Some(service), what, next))
    }

    /// Waits until a controller has accepted that a route leads there; returns in words why not.
    async fn unaccepted(
        &self,
        routes: &Routes<'_>,
        service: &str,
        leads: &Routed,
        generation: i64,
    ) -> Result<Option<String>, TargetError> {
        let Some(gateway) = &self.place.gateway else {
            return Ok(None);
        };
        let namespace = &self.cluster.connect().await?.namespace;
        let ways = self.ways().await?;
        let config = watcher::Config::default().fields(&format!("metadata.name={service}"));
        let all = routes.objects.all().clone();
        let look = |route: &DynamicObject| {
            let now = Routed::of(route, service, &ways);
            if now != *leads {
                return Err(format!(
                    "somebody has changed it, and it leads to {}",
                    now.text()
                ));
            }
            accepted(route, gateway, namespace)
        };
        let waited = until_of(PLURAL, all, config, ACCEPTED, service, |known| {
            let route = known.get(service)?;
            let fresh = route.metadata.generation.unwrap_or_default() >= generation;
            (fresh && look(route).is_ok()).then_some(())
        });
        match waited.await? {
            Waited::Found(()) => Ok(None),
            Waited::TooLong(last) => Ok(Some(match last.get(service).map(look) {
                Some(Err(why)) => why,
                Some(Ok(())) => "the cluster tells of an older state only".to_owned(),
                None => "somebody has removed it".to_owned(),
            })),
        }
    }

    /// States a route as it was, and says what came of that.
    async fn put_back(
        &self,
        routes: &Routes<'_>,
        service: &str,
        before: Option<&DynamicObject>,
    ) -> String {
        let (done, said) = match before {
            None => {
                let removed = routes.objects.remove(Some(service), service);
                (removed.await, "was removed again")
            }
            Some(before) => {
                let value = json!({
                    "apiVersion": format!("{}/{}", route::GROUP, routes.version),
                    "kind": "HTTPRoute",
                    "metadata": { "name": service, "labels": before.metadata.labels },
                    "spec": before.data["spec"],
                });
                let manifest = Manifest {
                    name: service.to_owned(),
                    text: String::new(),
                    value,
                };
                let applied = routes.objects.apply(Some(service), &manifest).await;
                (applied.map(drop), "is as it was before")
            }
        };
        self.moves.noted();
        match done {
            Ok(()) => said.to_owned(),
            Err(error) => format!("could not be put back: {error}"),
        }
    }
}

/// Returns the shares that are some.
fn some(shares: &Shares) -> BTreeMap<Release, u32> {
    let some = shares.iter().filter(|(_, share)| **share > 0);
    some.map(|(release, share)| (release.clone(), u32::from(*share)))
        .collect()
}
