//! HTTPRoutes of the Gateway API (<https://gateway-api.sigs.k8s.io/reference/spec/>): whom one leads
//! to, and whether a controller serves it so. Nothing here asks the cluster.

use std::collections::BTreeMap;

use code_deploy_engine::spec::{GatewayFile, RouteFile, Service};
use code_deploy_record::Release;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Map, Value, json};

use super::manifest::{Manifest, filled};
use super::names::{Names, Part};
use super::served::Read;

/// The group of the Gateway API.
pub const GROUP: &str = "gateway.networking.k8s.io";
/// What its routes are called in paths.
pub const PLURAL: &str = "httproutes";
/// The group with the versions in which this program knows them, the newest first.
pub const READ: Read = (GROUP, &["v1", "v1beta1"]);

const TEMPLATE: &str = include_str!("../../../../templates/kubernetes/httproute.yaml");

/// What a controller has to find before it serves a route.
const CONDITIONS: [&str; 2] = ["Accepted", "ResolvedRefs"];

/// The largest weight that a route can give.
const HEAVIEST: u32 = 1_000_000;

/// Releases by the names of the Services that lead to them.
pub type Ways = BTreeMap<String, Release>;

/// Returns how routes, or Gateways, are asked for.
pub fn resource(version: &str, kind: &str, plural: &str) -> ApiResource {
    let gvk = GroupVersionKind::gvk(GROUP, version, kind);
    ApiResource::from_gvk_with_plural(&gvk, plural)
}

/// Whom a route leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Routed {
    /// To whom the Service leads by which others find the service.
    Service,
    /// Releases, by weight.
    Releases(BTreeMap<Release, u32>),
    /// Something that this program did not state.
    Other,
}

impl Routed {
    /// Returns whom a route of a service leads to.
    pub fn of(route: &DynamicObject, service: &str, ways: &Ways) -> Self {
        let rules = route.data.pointer("/spec/rules").and_then(Value::as_array);
        let Some([rule]) = rules.map(Vec::as_slice) else {
            return Self::Other;
        };
        let backends = rule["backendRefs"].as_array();
        let backends = backends.map_or(&[][..], Vec::as_slice);
        let mut releases = BTreeMap::new();
        for backend in backends {
            let name = backend["name"].as_str().unwrap_or_default();
            let weight = backend["weight"].as_u64().unwrap_or(1);
            match ways.get(name) {
                None if name == service && backends.len() == 1 => return Self::Service,
                None => return Self::Other,
                Some(release) => {
                    let weight = u32::try_from(weight).unwrap_or(HEAVIEST).min(HEAVIEST);
                    releases.insert(release.clone(), weight);
                }
            }
        }
        releases.retain(|_, weight| *weight > 0);
        match releases.is_empty() {
            true => Self::Other,
            false => Self::Releases(releases),
        }
    }

    /// Returns the same in words.
    pub fn text(&self) -> String {
        match self {
            Self::Service => "its Service".to_owned(),
            Self::Other => "something that this program did not state".to_owned(),
            Self::Releases(releases) => {
                let parts = releases
                    .iter()
                    .map(|(release, weight)| format!("{release} with weight {weight}"));
                parts.collect::<Vec<_>>().join(", ")
            }
        }
    }
}

/// What a route of a service is made from.
pub struct Given<'a> {
    pub names: &'a Names,
    pub service: &'a Service,
    pub gateway: &'a GatewayFile,
    pub route: &'a RouteFile,
    /// The version of its API.
    pub version: &'a str,
}

impl Given<'_> {
    /// Returns the route of the service.
    ///
    /// # Errors
    /// In words, when a release gives a name that no cluster takes.
    pub fn manifest(&self, leads: &Routed) -> Result<Manifest, String> {
        let name = &self.service.name;
        let mut backends = Vec::new();
        match leads {
            Routed::Service | Routed::Other => backends.push(json!({ "name": name, "weight": 1 })),
            Routed::Releases(releases) => {
                for (release, weight) in releases {
                    let name = self.names.release(name, release)?;
                    backends.push(json!({ "name": name, "weight": weight }));
                }
            }
        }
        let context = json!({
            "split": matches!(leads, Routed::Releases(_)),
            "version": format!("{GROUP}/{}", self.version),
            "name": name,
            "labels": self.names.labels(Part::Route, name),
            "parent": self.parent(),
            "hosts": self.route.hosts(),
            "port": self.service.port,
            "backends": backends,
        });
        filled("httproute.yaml", TEMPLATE, name, &context)
    }

    fn parent(&self) -> Map<String, Value> {
        let gateway = self.gateway;
        let keys = [
            ("name", Some(&gateway.name)),
            ("namespace", gateway.namespace.as_ref()),
            ("sectionName", gateway.section.as_ref()),
        ];
        let given = keys
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?.as_str().into())));
        given.collect()
    }
}

/// Returns whether a controller of the Gateway has accepted a route as it is now, and in words why
/// not. `namespace` is that of the route.
pub fn accepted(
    route: &DynamicObject,
    gateway: &GatewayFile,
    namespace: &str,
) -> Result<(), String> {
    let parents = route
        .data
        .pointer("/status/parents")
        .and_then(Value::as_array);
    let is_meant = |parent: &&Value| is_parent(&parent["parentRef"], gateway, namespace);
    let meant = parents.into_iter().flatten().filter(is_meant);
    let generation = route.metadata.generation.unwrap_or_default();
    let mut why = None;
    for parent in meant {
        match lacking(parent, generation) {
            None => return Ok(()),
            Some(said) => why = Some(said),
        }
    }
    Err(why.unwrap_or_else(|| {
        format!(
            "no controller has said anything of it as a route of the Gateway {}",
            gateway.name
        )
    }))
}

fn is_parent(reference: &Value, gateway: &GatewayFile, namespace: &str) -> bool {
    let wanted = gateway.namespace.as_deref().unwrap_or(namespace);
    reference["name"] == *gateway.name
        && reference["namespace"].as_str().unwrap_or(namespace) == wanted
        && reference["sectionName"].as_str() == gateway.section.as_deref()
}

/// Returns in words what a controller did not find, or has not looked at yet.
fn lacking(parent: &Value, generation: i64) -> Option<String> {
    let controller = parent["controllerName"].as_str().unwrap_or_default();
    let conditions = parent["conditions"].as_array();
    let find = |kind: &str| {
        let mut all = conditions.into_iter().flatten();
        all.find(|one| one["type"] == kind)
    };
    for kind in CONDITIONS {
        let Some(condition) = find(kind) else {
            return Some(format!("{controller} does not say whether it is {kind}"));
        };
        let seen = condition["observedGeneration"].as_i64();
        if seen.is_none_or(|seen| seen < generation) {
            return Some(format!("{controller} has not looked at its last change"));
        }
        if condition["status"] != "True" {
            let word = |key: &str| condition[key].as_str().unwrap_or_default();
            return Some(format!(
                "{controller} says that {kind} is {} ({}: {})",
                word("status"),
                word("reason"),
                word("message")
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use code_deploy_engine::Spec;

    use super::*;

    fn gateway() -> GatewayFile {
        let text = "{name: public, namespace: gates, section: http, routes: {web: {url: \
                    'http://shop.example:8080'}}}";
        serde_saphyr::from_str(text).unwrap()
    }

    fn shop() -> Spec {
        let file =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/shop/deploy.yaml");
        Spec::load(&file, "dev", "k8s", &|_| None).unwrap()
    }

    fn made(leads: &Routed) -> DynamicObject {
        let (spec, gateway) = (shop(), gateway());
        let given = Given {
            names: &Names::of(&spec),
            service: spec.service("storefront").unwrap(),
            gateway: &gateway,
            route: &gateway.routes["web"],
            version: "v1",
        };
        serde_json::from_value(given.manifest(leads).unwrap().value).unwrap()
    }

    fn weights(pairs: &[(&str, u32)]) -> BTreeMap<Release, u32> {
        pairs
            .iter()
            .map(|(release, weight)| (release.parse().unwrap(), *weight))
            .collect()
    }

    #[test]
    fn what_is_stated_is_what_is_read_back() {
        let ways = Ways::from([
            ("storefront-1-0-0".to_owned(), "1.0.0".parse().unwrap()),
            ("storefront-1-1-0".to_owned(), "1.1.0".parse().unwrap()),
        ]);
        for leads in [
            Routed::Service,
            Routed::Releases(weights(&[("1.1.0", 100)])),
            Routed::Releases(weights(&[("1.0.0", 95), ("1.1.0", 5)])),
        ] {
            let route = made(&leads);
            assert_eq!(Routed::of(&route, "storefront", &ways), leads);
        }
        let split = made(&Routed::Releases(weights(&[("1.0.0", 95), ("9.9.9", 5)])));
        assert_eq!(Routed::of(&split, "storefront", &ways), Routed::Other);
        let spec = &split.data["spec"];
        let parent = json!({ "name": "public", "namespace": "gates", "sectionName": "http" });
        assert_eq!(spec["parentRefs"], json!([parent]));
        assert_eq!(spec["hostnames"], json!(["shop.example"]));
        let backend = json!({ "name": "storefront-1-0-0", "port": 8080, "weight": 95 });
        assert_eq!(spec["rules"][0]["backendRefs"][0], backend);
    }

    fn judged(parents: &Value) -> Result<(), String> {
        let mut route = made(&Routed::Service);
        route.metadata.generation = Some(3);
        route.data["status"] = json!({ "parents": parents });
        accepted(&route, &gateway(), "shop")
    }

    fn said(kind: &str, status: &str, generation: i64) -> Value {
        json!({
            "type": kind, "status": status, "observedGeneration": generation,
            "reason": "Because", "message": "it is so",
        })
    }

    #[test]
    fn a_route_is_served_when_a_controller_has_found_all_of_it_as_it_is_now() {
        let meant = json!({ "name": "public", "namespace": "gates", "sectionName": "http" });
        let by = |conditions: Value| json!([{ "parentRef": meant, "controllerName": "c.example/c", "conditions": conditions }]);
        let well = |generation| {
            json!([
                said("Accepted", "True", generation),
                said("ResolvedRefs", "True", generation)
            ])
        };
        assert_eq!(judged(&by(well(3))), Ok(()));
        let mut elsewhere = by(well(3));
        elsewhere[0]["parentRef"]["sectionName"] = "https".into();
        for (parents, words) in [
            (json!([]), "no controller has said anything"),
            (elsewhere, "no controller has said anything"),
            (by(well(2)), "has not looked at its last change"),
            (
                by(json!([said("Accepted", "True", 3)])),
                "whether it is ResolvedRefs",
            ),
            (
                by(json!([said("Accepted", "False", 3)])),
                "Accepted is False (Because: it is so)",
            ),
        ] {
            let why = judged(&parents).unwrap_err();
            assert!(why.contains(words), "{words}: {why}");
        }
    }
}
