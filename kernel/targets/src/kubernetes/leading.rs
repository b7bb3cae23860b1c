//! Whom the Services lead to, as the cluster tells its nodes: by EndpointSlices, or by Endpoints where it serves no
//! slices of version 1 (before 1.21), or where the account may read endpoints only, as roles had it before. Endpoints are
//! on their way out since 1.33, and name no more than 1000 pods.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use code_deploy_engine::target::TargetError;
use k8s_openapi::api::core::v1::{Endpoints, ObjectReference};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::api::ListParams;
use kube::runtime::watcher;
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use super::KubernetesTarget;
use super::access;
use super::names::selecting;
use super::served::{self, Read};
use super::store::labelled;
use super::wait::{Objects, Waited, until};

/// The label of a slice that names its Service.
pub const OF_SERVICE: &str = "kubernetes.io/service-name";

/// What slices are called in paths, and in which versions they are read.
pub const PLURAL: &str = "endpointslices";
pub const SLICES: Read = ("discovery.k8s.io", &["v1"]);

/// By which objects a cluster says whom its Services lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leading {
    Slices,
    Endpoints,
}

impl Leading {
    /// Returns the words with which kubectl shows whom a Service leads to.
    pub fn shown(self, service: &str) -> String {
        match self {
            Self::Slices => format!("describe {PLURAL} --selector {OF_SERVICE}={service}"),
            Self::Endpoints => format!("describe endpoints {service}"),
        }
    }
}

impl KubernetesTarget {
    /// Returns by which objects the cluster says whom its Services lead to.
    pub(super) async fn leading(&self) -> Result<Leading, TargetError> {
        let connection = self.cluster.connect().await?;
        let found = self.leading.get_or_try_init(|| async {
            match served::newest(connection, SLICES, PLURAL).await? {
                Some(_) => access::leading(connection).await,
                None => Ok(Leading::Endpoints),
            }
        });
        found.await.copied()
    }

    /// Returns the names of the ready pods that each of these Services leads to.
    pub(super) async fn led(
        &self,
        services: &[String],
    ) -> Result<BTreeMap<String, BTreeSet<String>>, TargetError> {
        let mut led = BTreeMap::<String, BTreeSet<String>>::new();
        if services.is_empty() {
            return Ok(led);
        }
        let connection = self.cluster.connect().await?;
        match self.leading().await? {
            Leading::Slices => {
                let named = format!("{OF_SERVICE} in ({})", services.join(","));
                let params = ListParams::default().labels(&named);
                let all = connection.all::<EndpointSlice>();
                let list = || all.list(&params);
                let listed = connection.ask("list endpointslices", None, list).await?;
                for slice in &listed.items {
                    if let Some(service) = labelled(&slice.metadata, OF_SERVICE) {
                        led.entry(service).or_default().extend(of_slice(slice));
                    }
                }
            }
            Leading::Endpoints => {
                // They have the labels of their Service.
                let params = ListParams::default().labels(&selecting(&self.names.everything()));
                let all = connection.all::<Endpoints>();
                let list = || all.list(&params);
                let listed = connection.ask("list endpoints", None, list).await?;
                for one in &listed.items {
                    led.insert(one.name_any(), of_endpoints(one));
                }
            }
        }
        led.retain(|service, _| services.contains(service));
        Ok(led)
    }

    /// Waits until the ready pods that a Service leads to are as wanted. Returns the names of those that it leads to at
    /// last where that takes too long.
    pub(super) async fn until_led(
        &self,
        service: &str,
        limit: Duration,
        wanted: impl Fn(&BTreeSet<String>) -> bool + Send,
    ) -> Result<Option<BTreeSet<String>>, TargetError> {
        let connection = self.cluster.connect().await?;
        let config = watcher::Config::default();
        match self.leading().await? {
            Leading::Slices => {
                let config = config.labels(&format!("{OF_SERVICE}={service}"));
                let all = connection.all::<EndpointSlice>();
                until_told(all, config, limit, service, of_slice, wanted).await
            }
            Leading::Endpoints => {
                let config = config.fields(&format!("metadata.name={service}"));
                let all = connection.all::<Endpoints>();
                until_told(all, config, limit, service, of_endpoints, wanted).await
            }
        }
    }
}

async fn until_told<K>(
    all: Api<K>,
    config: watcher::Config,
    limit: Duration,
    service: &str,
    named_by: fn(&K) -> BTreeSet<String>,
    wanted: impl Fn(&BTreeSet<String>) -> bool + Send,
) -> Result<Option<BTreeSet<String>>, TargetError>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
    K::DynamicType: Default,
{
    let look = move |known: &Objects<K>| wanted(&named(known, named_by)).then_some(());
    let waited = until(all, config, limit, service, look).await?;
    Ok(match waited {
        Waited::Found(()) => None,
        Waited::TooLong(last) => Some(named(&last, named_by)),
    })
}

/// Returns the names of the pods that objects name. A Service has a slice for each kind of address, and more where its
/// pods are many.
fn named<K>(known: &Objects<K>, named_by: fn(&K) -> BTreeSet<String>) -> BTreeSet<String> {
    known.values().flat_map(named_by).collect()
}

fn of_endpoints(endpoints: &Endpoints) -> BTreeSet<String> {
    let subsets = endpoints.subsets.iter().flatten();
    let ready = subsets.flat_map(|subset| subset.addresses.iter().flatten());
    let pods = ready.filter_map(|address| name_of(address.target_ref.as_ref()));
    pods.collect()
}

fn of_slice(slice: &EndpointSlice) -> BTreeSet<String> {
    let ready = slice.endpoints.iter().filter(|one| is_ready(one));
    let pods = ready.filter_map(|one| name_of(one.target_ref.as_ref()));
    pods.collect()
}

/// A pod that is asked to end is not ready, also where it serves on until then: proxies lead to it only where a Service
/// has nobody else. What is not said of an endpoint is that it is ready.
fn is_ready(endpoint: &Endpoint) -> bool {
    let conditions = endpoint.conditions.as_ref();
    conditions.and_then(|one| one.ready).unwrap_or(true)
}

fn name_of(pod: Option<&ObjectReference>) -> Option<String> {
    pod?.name.clone()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::*;

    /// Returns the pods that slices with those endpoints name: of each its name and conditions.
    fn told(slices: &[&[(&str, Value)]]) -> BTreeSet<String> {
        let slices = slices.iter().enumerate().map(|(index, endpoints)| {
            let endpoints = endpoints.iter().map(|(name, conditions)| {
                let pod = json!({ "kind": "Pod", "name": name });
                json!({ "addresses": ["10.0.0.1"], "conditions": conditions, "targetRef": pod })
            });
            let slice = json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": { "name": format!("api-{index}") },
                "endpoints": endpoints.collect::<Vec<_>>(),
            });
            let slice: EndpointSlice = serde_json::from_value(slice).unwrap();
            (format!("api-{index}"), slice)
        });
        named(&slices.collect(), of_slice)
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_slices_of_a_service_say_together_who_is_led_to() {
        let ready = || json!({ "ready": true, "serving": true, "terminating": false });
        let ends = json!({ "ready": false, "serving": true, "terminating": true });
        let ill = json!({ "ready": false, "serving": false });
        let told = told(&[
            &[("a", ready()), ("b", ends), ("c", ill)],
            &[("a", ready()), ("d", json!({})), ("e", Value::Null)],
        ]);
        assert_eq!(told, names(&["a", "d", "e"]));
    }

    #[test]
    fn a_slice_without_endpoints_leads_to_nobody() {
        let slice =
            json!({ "metadata": { "name": "api" }, "addressType": "IPv4", "endpoints": null });
        let slice: EndpointSlice = serde_json::from_value(slice).unwrap();
        assert!(of_slice(&slice).is_empty());
    }

    #[test]
    fn where_to_look_is_said_by_what_the_cluster_has() {
        let label = "kubernetes.io/service-name=api";
        let slices = format!("describe endpointslices --selector {label}");
        assert_eq!(Leading::Slices.shown("api"), slices);
        assert_eq!(Leading::Endpoints.shown("api"), "describe endpoints api");
    }
}
