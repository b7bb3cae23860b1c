//! How many addresses each Service leads to. An object tells some of them, and of a Service there may be several.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt as _;
use kube::core::DynamicObject;
use serde_json::Value;

use super::rows::{at, word};
use crate::kubernetes::leading::OF_SERVICE;

/// What one row of an object tells, behind the name of the Service.
const READY: &str = "ready";
const UNREADY: &str = "not ready";
const PORT: &str = "port";

type Rows = Option<Vec<Vec<String>>>;

/// Addresses of Endpoints. One that is ready at some of its ports only counts as both.
pub fn endpoints(object: &DynamicObject) -> Rows {
    let service = object.name_any();
    let mut rows = vec![row(&service, "", String::new())];
    for subset in items(at(object, "/subsets")) {
        for (key, what) in [("addresses", READY), ("notReadyAddresses", UNREADY)] {
            let listed = items(subset.get(key));
            rows.extend(listed.map(|one| row(&service, what, word(&one["ip"]))));
        }
        rows.extend(ports(&service, subset.get("ports")));
    }
    Some(rows)
}

/// Addresses of a slice. What is not said of one is that it is ready; a slice that is of no Service tells nothing.
pub fn slice(object: &DynamicObject) -> Rows {
    let Some(service) = object.labels().get(OF_SERVICE) else {
        return Some(Vec::new());
    };
    let mut rows = vec![row(service, "", String::new())];
    for endpoint in items(at(object, "/endpoints")) {
        let is_ready = endpoint.pointer("/conditions/ready") != Some(&Value::Bool(false));
        let what = if is_ready { READY } else { UNREADY };
        let addresses = items(endpoint.get("addresses"));
        rows.extend(addresses.map(|one| row(service, what, word(one))));
    }
    rows.extend(ports(service, at(object, "/ports")));
    Some(rows)
}

/// Returns a row for each Service of what all its objects tell: each address and each port counts once.
pub fn summed(rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    let mut services = BTreeMap::<String, [BTreeSet<String>; 3]>::new();
    for row in rows {
        let Ok([service, what, value]) = <[String; 3]>::try_from(row) else {
            continue;
        };
        let [ready, unready, ports] = services.entry(service).or_default();
        match what.as_str() {
            READY => ready.insert(value),
            UNREADY => unready.insert(value),
            PORT => ports.insert(value),
            _ => false,
        };
    }
    let rows = services
        .into_iter()
        .map(|(service, [ready, unready, ports])| {
            let ports: Vec<String> = ports.into_iter().collect();
            vec![
                service,
                ready.len().to_string(),
                unready.len().to_string(),
                ports.join(", "),
            ]
        });
    rows.collect()
}

fn row(service: &str, what: &str, value: String) -> Vec<String> {
    vec![service.to_owned(), what.to_owned(), value]
}

fn ports(service: &str, listed: Option<&Value>) -> Vec<Vec<String>> {
    let port = |one: &Value| format!("{}/{}", word(&one["port"]), word(&one["protocol"]));
    let ports = items(listed).map(|one| row(service, PORT, port(one)));
    ports.collect()
}

fn items(listed: Option<&Value>) -> impl Iterator<Item = &Value> {
    listed.and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn object(value: Value, of: Option<&str>) -> DynamicObject {
        let mut whole = value;
        whole["metadata"] = json!({ "name": "one" });
        if let Some(service) = of {
            whole["metadata"]["labels"] = json!({ OF_SERVICE: service });
        }
        serde_json::from_value(whole).unwrap()
    }

    #[test]
    fn addresses_of_endpoints_are_counted_once() {
        let told = endpoints(&object(
            json!({ "subsets": [
                {
                    "addresses": [{ "ip": "10.0.0.1" }, { "ip": "10.0.0.2" }],
                    "notReadyAddresses": [{ "ip": "10.0.0.3" }],
                    "ports": [{ "port": 8080, "protocol": "TCP" }],
                },
                { "addresses": [{ "ip": "10.0.0.1" }], "ports": [{ "port": 9090, "protocol": "TCP" }] },
            ] }),
            None,
        ));
        let expected = ["one", "2", "1", "8080/TCP, 9090/TCP"];
        assert_eq!(summed(told.unwrap()), [expected]);
        let nobody = endpoints(&object(json!({}), None)).unwrap();
        assert_eq!(summed(nobody), [["one", "0", "0", ""]]);
    }

    #[test]
    fn all_slices_of_a_service_are_counted_together() {
        let of_slice = |of: Option<&str>, endpoints: Value| {
            let ports = json!([{ "port": 8080, "protocol": "TCP" }]);
            slice(&object(
                json!({ "endpoints": endpoints, "ports": ports }),
                of,
            ))
            .unwrap()
        };
        let ready = json!({ "addresses": ["10.0.0.1"], "conditions": { "ready": true } });
        let unsaid = json!({ "addresses": ["10.0.0.2"], "conditions": {} });
        let ends = json!({ "addresses": ["10.0.0.3"], "conditions": { "ready": false } });
        let told = [
            of_slice(Some("api"), json!([ready, unsaid, ends])),
            of_slice(Some("web"), Value::Null),
            of_slice(Some("api"), json!([ready])),
            of_slice(None, json!([ready])),
        ];
        let expected = [["api", "2", "1", "8080/TCP"], ["web", "0", "0", "8080/TCP"]];
        assert_eq!(summed(told.concat()), expected);
    }
}
