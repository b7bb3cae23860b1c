//! NetworkPolicies in words (<https://kubernetes.io/docs/concepts/services-networking/network-policies/>).

use kube::ResourceExt as _;
use kube::core::DynamicObject;
use serde_json::Value;

use super::rows::{at, labels, word};
use crate::kubernetes::served::Groups;

/// Groups of APIs whose rules for connections are not NetworkPolicies.
const OTHERS: [&str; 6] = [
    "cilium.io",
    "crd.antrea.io",
    "crd.projectcalico.org",
    "policy.networking.k8s.io",
    "projectcalico.org",
    "security.istio.io",
];

/// Returns a policy: its pods, from whom they take connections, and to whom they make some.
pub fn rows(object: &DynamicObject) -> Option<Vec<Vec<String>>> {
    let kinds = at(object, "/spec/policyTypes").and_then(Value::as_array)?;
    let rules = |kind: &str, place: &str, peers: &str| {
        if kinds.iter().any(|one| one == kind) {
            one_of(at(object, place), peers)
        } else {
            "whoever, as far as this policy says".to_owned()
        }
    };
    Some(vec![vec![
        object.name_any(),
        selected(at(object, "/spec/podSelector")),
        rules("Ingress", "/spec/ingress", "from"),
        rules("Egress", "/spec/egress", "to"),
    ]])
}

/// Returns what so many policies come to.
pub fn summary(count: usize, namespace: &str) -> String {
    let enforced = "whether its network enforces any, the cluster does not say";
    match count {
        0 => format!(
            "namespace {namespace} has no NetworkPolicy: its pods take connections from whoever reaches them"
        ),
        1 => format!("the one NetworkPolicy of namespace {namespace} is listed; {enforced}"),
        count => format!("{count} NetworkPolicies of namespace {namespace} are listed; {enforced}"),
    }
}

/// Returns in words which other rules the cluster may have.
pub fn others(groups: Option<&Groups>) -> Option<String> {
    let Some(groups) = groups else {
        return Some("the cluster did not say which other kinds of rules it knows".to_owned());
    };
    let known: Vec<&str> = OTHERS
        .into_iter()
        .filter(|group| groups.contains_key(*group))
        .collect();
    let known = (!known.is_empty()).then(|| known.join(", "))?;
    Some(format!(
        "the cluster knows other rules ({known}), which this program does not read"
    ))
}

/// A connection needs one of the rules only; where there is none, none is let through.
fn one_of(rules: Option<&Value>, peers: &str) -> String {
    let rules = rules
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    if rules.is_empty() {
        return "nobody".to_owned();
    }
    let words = rules.iter().map(|rule| {
        let peers = list(&rule[peers], peer);
        let peers = if peers.is_empty() {
            "anybody".to_owned()
        } else {
            peers
        };
        let ports = list(&rule["ports"], port);
        let ports = if ports.is_empty() {
            String::new()
        } else {
            format!(" at {ports}")
        };
        format!("{peers}{ports}")
    });
    words.collect::<Vec<_>>().join("; ")
}

fn list(items: &Value, words: fn(&Value) -> String) -> String {
    let items = items.as_array().into_iter().flatten();
    items.map(words).collect::<Vec<_>>().join(" or ")
}

fn peer(peer: &Value) -> String {
    let block = word(&peer["ipBlock"]["cidr"]);
    if !block.is_empty() {
        return match list(&peer["ipBlock"]["except"], word) {
            but if but.is_empty() => block,
            but => format!("{block} but {but}"),
        };
    }
    let pods = selected(peer.get("podSelector"));
    match peer.get("namespaceSelector") {
        None => pods,
        Some(namespaces) => match selector(namespaces) {
            named if named.is_empty() => format!("{pods} of all namespaces"),
            named => format!("{pods} of namespaces with {named}"),
        },
    }
}

fn port(port: &Value) -> String {
    let (protocol, from) = (word(&port["protocol"]), word(&port["port"]));
    let protocol = if protocol.is_empty() {
        "TCP".to_owned()
    } else {
        protocol
    };
    match (from, word(&port["endPort"])) {
        (from, _) if from.is_empty() => format!("all of {protocol}"),
        (from, to) if to.is_empty() => format!("{protocol} {from}"),
        (from, to) => format!("{protocol} {from} to {to}"),
    }
}

fn selected(pods: Option<&Value>) -> String {
    match pods.map(selector) {
        Some(named) if !named.is_empty() => format!("pods with {named}"),
        _ => "all pods".to_owned(),
    }
}

fn selector(selector: &Value) -> String {
    let mut words = Vec::new();
    let named = labels(selector.get("matchLabels"));
    if !named.is_empty() {
        words.push(named);
    }
    let expressions = selector["matchExpressions"].as_array();
    for one in expressions.into_iter().flatten() {
        let (key, operator) = (word(&one["key"]), word(&one["operator"]));
        let values = one["values"].as_array().into_iter().flatten();
        let values: Vec<String> = values.map(word).collect();
        words.push(match values.is_empty() {
            true => format!("{key} {operator}"),
            false => format!("{key} {operator} ({})", values.join(" ")),
        });
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn told(spec: Value) -> Vec<String> {
        let object = json!({ "metadata": { "name": "one" }, "spec": spec });
        rows(&serde_json::from_value(object).unwrap())
            .unwrap()
            .remove(0)
    }

    #[test]
    fn a_policy_is_told_as_what_it_lets_through() {
        let denied = told(json!({ "podSelector": {}, "policyTypes": ["Ingress"] }));
        let open = "whoever, as far as this policy says";
        assert_eq!(denied, ["one", "all pods", "nobody", open]);
        let some = told(json!({
            "podSelector": { "matchLabels": { "app": "shop" } },
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{
                "from": [
                    { "podSelector": { "matchLabels": { "app": "web" } } },
                    { "namespaceSelector": { "matchExpressions": [
                        { "key": "team", "operator": "In", "values": ["a", "b"] },
                    ] } },
                ],
                "ports": [{ "protocol": "TCP", "port": 8080 }, { "port": 90, "endPort": 99 }],
            }],
            "egress": [{ "to": [{ "ipBlock": { "cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"] } }] }, {}],
        }));
        assert_eq!(
            some,
            [
                "one",
                "pods with app=shop",
                "pods with app=web or all pods of namespaces with team In (a b) at TCP 8080 or TCP 90 to 99",
                "10.0.0.0/8 but 10.1.0.0/16; anybody",
            ]
        );
    }

    #[test]
    fn rules_of_other_kinds_are_no_secret() {
        assert!(others(None).is_some());
        let mut groups = Groups::from([("apps".to_owned(), vec!["v1".to_owned()])]);
        assert_eq!(others(Some(&groups)), None);
        groups.insert("cilium.io".to_owned(), vec!["v2".to_owned()]);
        assert!(others(Some(&groups)).unwrap().contains("(cilium.io)"));
    }
}
