//! A service as the library of Compose types reads it, key by key.

use docker_compose_types as compose_types;

use super::super::error::{SpecError, code};
use super::super::node::{Node, Value};
use super::keys::{Fate, NOT_TYPED, fate};
use super::{Compose, units, unknown_key};

type Found<T> = Result<T, Box<SpecError>>;

/// Gives every key to the library that knows its type, one by one so that an error has its place.
pub(super) fn typed(compose: &Compose, name: &str, node: &Node) -> Found<compose_types::Service> {
    let mut all = serde_json::Map::new();
    for entry in node.entries() {
        let key = entry.key.as_str();
        match fate(key) {
            None => return Err(unknown_key(compose, name, key)),
            Some(Fate::Refused(why)) => return Err(refused(compose, name, key, why)),
            Some(_) => {}
        }
        if NOT_TYPED.contains(&key) || matches!(entry.node.value, Value::Null) {
            continue;
        }
        let json = normalised(key, &entry.node);
        let one = serde_json::Value::Object([(key.to_owned(), json.clone())].into_iter().collect());
        if let Err(error) = serde_json::from_value::<compose_types::Service>(one) {
            let detail = error.to_string();
            let detail = match detail.strip_prefix("data did not match") {
                Some(_) => String::new(),
                None => format!(": {detail}"),
            };
            let what = format!("`{key}` of `{name}` has a form that Compose does not know{detail}");
            let help = format!(
                "See https://docs.docker.com/reference/compose-file/services/#{key} for its forms."
            );
            return Err(compose.error(code::COMPOSE, &["services", name, key], what, help));
        }
        all.insert(key.to_owned(), json);
    }
    serde_json::from_value(serde_json::Value::Object(all)).map_err(|error| {
        let what = format!("`{name}` has a form that Compose does not know: {error}");
        compose.error(
            code::COMPOSE,
            &["services", name],
            what,
            "Compare it with the specification.",
        )
    })
}

fn refused(compose: &Compose, name: &str, key: &str, why: &str) -> Box<SpecError> {
    let path = ["services", name, key];
    let what = format!("`{key}` of `{name}` is not supported: {why}");
    let help = "Take it out, or write what it stands for: `docker compose config` prints a file \
                with everything resolved.";
    compose
        .document
        .error_at_key(code::NOT_HONOURED, &path, what, help)
}

/// Returns a key's value with numbers as texts where Compose takes both.
fn normalised(key: &str, node: &Node) -> serde_json::Value {
    let mut json = node.json();
    match key {
        "ports" if node.items().iter().any(|item| !item.entries().is_empty()) => {
            long_ports(&mut json);
        }
        "expose" | "ports" | "labels" | "command" | "entrypoint" | "depends_on" | "user"
        | "mem_limit" | "mem_reservation" | "restart" | "stop_grace_period" | "shm_size"
        | "image" | "container_name" | "hostname" => texts(&mut json, key == "depends_on"),
        "healthcheck" => {
            for part in [
                "test",
                "interval",
                "timeout",
                "start_period",
                "start_interval",
            ] {
                if let Some(part) = json.get_mut(part) {
                    texts(part, false);
                }
            }
        }
        "deploy" => {
            if let Some(object) = json.as_object_mut() {
                object.retain(|key, _| !DEPLOY_NOT_TYPED.contains(&key.as_str()));
            }
            for part in ["limits", "reservations"] {
                let found = json.pointer_mut(&format!("/resources/{part}"));
                if let Some(object) = found.and_then(serde_json::Value::as_object_mut) {
                    object.retain(|key, _| !matches!(key.as_str(), "pids" | "generic_resources"));
                    object
                        .iter_mut()
                        .filter(|(key, _)| *key == "cpus" || *key == "memory")
                        .for_each(|(_, value)| texts(value, false));
                }
            }
        }
        _ => {}
    }
    json
}

/// Writes short ports beside long ones in the long form: the library takes one form a list.
fn long_ports(json: &mut serde_json::Value) {
    for item in json.as_array_mut().into_iter().flatten() {
        let text = match item {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Number(number) => number.to_string(),
            _ => continue,
        };
        if let Some(port) = units::port(&text) {
            *item = serde_json::json!({"target": port.target, "published": port.published});
        }
    }
}

/// Keys of `deploy` that the specification knows and the library does not, or not in each form.
const DEPLOY_NOT_TYPED: &[&str] = &[
    "endpoint_mode",
    "labels",
    "rollback_config",
    "update_config",
];

fn texts(json: &mut serde_json::Value, keep_switches: bool) {
    use serde_json::Value as J;
    match json {
        J::Number(number) => *json = J::String(number.to_string()),
        J::Bool(value) if !keep_switches => *json = J::String(value.to_string()),
        J::Array(items) => items.iter_mut().for_each(|item| texts(item, keep_switches)),
        J::Object(map) => map.values_mut().for_each(|item| texts(item, keep_switches)),
        J::Null | J::Bool(_) | J::String(_) => {}
    }
}
