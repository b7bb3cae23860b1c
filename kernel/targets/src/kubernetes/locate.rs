//! Where in the user's manifest a field stands that the cluster names.

use code_deploy_engine::spec::UserManifest;
use serde_json::Value;

use super::merge;

/// Returns the place of a field as the cluster names it, `spec.template.spec.containers[1].image`, or
/// as near to it as the manifest goes. `applied` is the object as it was applied: what it has of its
/// own may stand before what the manifest says.
pub fn place(origin: &UserManifest, applied: &Value, field: &str) -> String {
    let mut path: Vec<String> = Vec::new();
    let (mut own, mut there) = (Some(&origin.value), Some(applied));
    let mut list = String::new();
    for part in parts(field) {
        let part = match there.and_then(|value| index_of(value, &part)) {
            Some(index) => {
                there = there.and_then(|value| value.get(index));
                index_in(own, there, &list).unwrap_or(index).to_string()
            }
            None => {
                there = there.and_then(|value| value.get(&part));
                list.clone_from(&part);
                part
            }
        };
        own = own.and_then(|value| match part.parse::<usize>() {
            Ok(index) if value.is_array() => value.get(index),
            _ => value.get(&part),
        });
        path.push(part);
    }
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    origin.place_of(&path)
}

/// Returns which item of a list is meant: by its number, or by a key of it (`name="api"`).
fn index_of(value: &Value, part: &str) -> Option<usize> {
    let items = value.as_array()?;
    let Some((key, known)) = part.split_once('=') else {
        return part.parse().ok();
    };
    let known = known.split(',').next().unwrap_or_default();
    // As the server writes it: text in quotes, a number without.
    let known: Value = serde_json::from_str(known).ok()?;
    let is_known = |value: &Value| *value == known;
    let mut all = items.iter();
    all.position(|item| item.get(key).is_some_and(is_known))
}

/// Returns which item of the manifest's list one is that was applied.
fn index_in(own: Option<&Value>, item: Option<&Value>, list: &str) -> Option<usize> {
    let by = merge::key_of(list)?;
    let known = item?.get(by)?;
    let mut items = own?.as_array()?.iter();
    items.position(|one| one.get(by) == Some(known))
}

/// Returns the parts of a field's name. Keys with points in them stand in brackets.
fn parts(field: &str) -> Vec<String> {
    let mut parts = Vec::new();
    for (index, piece) in field.split('[').enumerate() {
        let rest = match piece.split_once(']') {
            Some((key, rest)) if index > 0 => {
                parts.push(key.to_owned());
                rest
            }
            _ => piece,
        };
        let names = rest.split('.').filter(|name| !name.is_empty());
        parts.extend(names.map(str::to_owned));
    }
    parts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{index_of, parts};

    #[test]
    fn fields_have_their_parts() {
        let field = "spec.template.spec.containers[1].image";
        let expected = ["spec", "template", "spec", "containers", "1", "image"];
        assert_eq!(parts(field), expected);
        let field = "metadata.labels[app.kubernetes.io/name]";
        let expected = ["metadata", "labels", "app.kubernetes.io/name"];
        assert_eq!(parts(field), expected);
    }

    #[test]
    fn items_are_found_by_number_and_by_key() {
        let items = json!([{ "name": "api" }, { "name": "side", "containerPort": 53 }]);
        assert_eq!(index_of(&items, "1"), Some(1));
        assert_eq!(index_of(&items, "name=\"side\""), Some(1));
        assert_eq!(
            index_of(&items, "containerPort=53,protocol=\"UDP\""),
            Some(1)
        );
        assert_eq!(index_of(&items, "name=\"none\""), None);
    }
}
