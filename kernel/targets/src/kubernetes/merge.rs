//! Laying one object over another, by the rules of strategic merge
//! (<https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/>).

use serde_json::{Map, Value};

/// What becomes of an item that both lists have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    /// It is laid over the other.
    Merged,
    /// It stands in place of the other, because it is one of several things and never two of them.
    Replaced,
}

/// The lists whose items are known by a key. Every other list stands in place of the one below it, as
/// the cluster has it: commands, tolerations, capabilities.
const LISTS: &[(&str, &str, Item)] = &[
    ("containers", "name", Item::Merged),
    ("initContainers", "name", Item::Merged),
    ("volumes", "name", Item::Replaced),
    ("env", "name", Item::Replaced),
    ("volumeMounts", "mountPath", Item::Merged),
    ("volumeDevices", "devicePath", Item::Merged),
    ("ports", "containerPort", Item::Merged),
    ("imagePullSecrets", "name", Item::Merged),
    ("hostAliases", "ip", Item::Merged),
    ("topologySpreadConstraints", "topologyKey", Item::Merged),
    ("resourceClaims", "name", Item::Merged),
];

/// Mappings that stand in place of the one below them: what goes with one type does not with another.
const WHOLE: &[&str] = &["strategy"];

/// Why something cannot be laid over: where it stands, and what is wrong.
#[derive(Debug, PartialEq, Eq)]
pub struct Unfit {
    pub path: Vec<String>,
    pub why: String,
}

/// Returns the key by which items of a list are known, if they are known by one.
pub fn key_of(list: &str) -> Option<&'static str> {
    let found = LISTS.iter().find(|(name, ..)| *name == list);
    found.map(|(_, key, _)| *key)
}

/// Lays a mapping over another. A key without a value takes the one below it away.
///
/// # Errors
/// On an item without its key, and on a directive (`$patch`): which of them would hold nobody could
/// see from the file.
pub fn lay(base: &mut Map<String, Value>, over: &Map<String, Value>) -> Result<(), Unfit> {
    lay_at(base, over, &mut Vec::new())
}

fn lay_at(
    base: &mut Map<String, Value>,
    over: &Map<String, Value>,
    path: &mut Vec<String>,
) -> Result<(), Unfit> {
    for (key, value) in over {
        path.push(key.clone());
        if key.starts_with('$') {
            let why = "a directive of a patch is not carried out".to_owned();
            return Err(unfit(path, why));
        }
        let keyed = LISTS.iter().find(|(list, ..)| list == key);
        match (value, keyed) {
            (Value::Null, _) => drop(base.remove(key)),
            (Value::Object(over), _) if !WHOLE.contains(&key.as_str()) => {
                let mut below = match base.remove(key) {
                    Some(Value::Object(below)) => below,
                    _ => Map::new(),
                };
                lay_at(&mut below, over, path)?;
                base.insert(key.clone(), below.into());
            }
            (Value::Array(over), Some((_, by, item))) => {
                let mut below = match base.remove(key) {
                    Some(Value::Array(below)) => below,
                    _ => Vec::new(),
                };
                lay_items(&mut below, over, (by, *item), path)?;
                base.insert(key.clone(), below.into());
            }
            _ => drop(base.insert(key.clone(), value.clone())),
        }
        path.pop();
    }
    Ok(())
}

fn lay_items(
    base: &mut Vec<Value>,
    over: &[Value],
    (by, item): (&str, Item),
    path: &mut Vec<String>,
) -> Result<(), Unfit> {
    let were = base.len();
    for (index, value) in over.iter().enumerate() {
        path.push(index.to_string());
        let (Some(over), Some(known)) = (value.as_object(), value.get(by)) else {
            return Err(unfit(
                path,
                format!("an item here has `{by}`, by which it is known"),
            ));
        };
        let mut before = base.iter_mut().take(were);
        let before = before.find(|one| one.get(by) == Some(known));
        let mut laid = match &before {
            Some(Value::Object(below)) if item == Item::Merged => below.clone(),
            _ => Map::new(),
        };
        lay_at(&mut laid, over, path)?;
        match before {
            Some(before) => *before = laid.into(),
            None => base.push(laid.into()),
        }
        path.pop();
    }
    Ok(())
}

fn unfit(path: &[String], why: String) -> Unfit {
    Unfit {
        path: path.to_vec(),
        why,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn laid(base: Value, over: &Value) -> Result<Value, Unfit> {
        let mut base = base.as_object().unwrap().clone();
        lay(&mut base, over.as_object().unwrap()).map(|()| base.into())
    }

    #[test]
    fn mappings_are_merged_and_values_replaced() {
        let base = json!({ "a": { "x": 1, "y": [1, 2] }, "b": 1 });
        let over = json!({ "a": { "y": [3], "z": 4 }, "b": null });
        let expected = json!({ "a": { "x": 1, "y": [3], "z": 4 } });
        assert_eq!(laid(base, &over).unwrap(), expected);
    }

    #[test]
    fn items_are_known_by_their_key_and_new_ones_come_last() {
        let base = json!({ "containers": [{
            "name": "api", "image": "api:1", "args": ["serve"],
            "ports": [{ "containerPort": 80, "name": "http" }],
            "env": [{ "name": "A", "value": "1" }, { "name": "B", "value": "2" }],
            "volumeMounts": [{ "mountPath": "/a", "name": "a", "readOnly": true }],
        }] });
        let over = json!({ "containers": [{ "name": "side", "image": "side:1" }, {
            "name": "api", "args": ["more"],
            "ports": [
                { "containerPort": 53, "protocol": "TCP" },
                { "containerPort": 53, "protocol": "UDP" },
            ],
            "env": [{ "name": "B", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } }],
            "volumeMounts": [{ "mountPath": "/a", "name": "b" }],
        }] });
        let merged = laid(base, &over).unwrap();
        let own = &merged["containers"][0];
        assert_eq!(own["image"], "api:1");
        assert_eq!(own["args"], json!(["more"]));
        assert_eq!(own["ports"].as_array().unwrap().len(), 3);
        assert_eq!(own["env"][0], json!({ "name": "A", "value": "1" }));
        assert_eq!(own["env"][1].get("value"), None, "{own}");
        let mount = json!({ "mountPath": "/a", "name": "b", "readOnly": true });
        assert_eq!(own["volumeMounts"], json!([mount]));
        assert_eq!(merged["containers"][1]["name"], "side");
    }

    #[test]
    fn what_cannot_be_merged_is_told_with_its_place() {
        let over = json!({ "spec": { "containers": [{ "name": "a" }, { "image": "x" }] } });
        let error = laid(json!({}), &over).unwrap_err();
        assert_eq!(error.path, ["spec", "containers", "1"]);
        let over = json!({ "spec": { "$patch": "replace" } });
        let error = laid(json!({}), &over).unwrap_err();
        assert_eq!(error.path, ["spec", "$patch"]);
    }
}
