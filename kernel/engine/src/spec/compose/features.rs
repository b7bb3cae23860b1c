//! What of a service not every target honours.

use code_deploy_record::Severity;
use docker_compose_types as compose_types;

use super::super::error::{SpecError, code};
use super::super::node::{Node, Value};
use super::keys::{Fate, fate};
use super::{Compose, Feature};

type Found<T> = Result<T, Box<SpecError>>;

/// Notes what not every target honours.
pub(super) fn features(
    compose: &mut Compose,
    name: &str,
    node: &Node,
    typed: &compose_types::Service,
) -> Found<()> {
    for entry in node.entries() {
        let key = entry.key.as_str();
        let harmless = match key {
            "privileged" => !typed.privileged,
            "network_mode" => typed.network_mode.as_deref() == Some("bridge"),
            "stop_signal" => matches!(typed.stop_signal.as_deref(), Some("SIGTERM" | "15")),
            _ => entry.node.value == Value::Bool(false) || entry.node.value == Value::Null,
        };
        if harmless {
            continue;
        }
        let mut feature = |local, why: &str| {
            compose.facts.features.push(Feature {
                service: name.to_owned(),
                key: key.to_owned(),
                line: entry.at.line,
                local,
                why: why.to_owned(),
            });
        };
        match fate(key) {
            Some(Fate::NotLocal(severity, why)) => feature(Some(severity), why),
            Some(Fate::Nowhere(why)) => {
                feature(None, why);
                compose.note(
                    entry.at.line,
                    &format!("`{key}` of `{name}` is not honoured: {why}"),
                );
            }
            Some(Fate::Honoured | Fate::Refused(_)) | None => {}
        }
    }
    deploy_features(compose, name, node)
}

fn deploy_features(compose: &mut Compose, name: &str, node: &Node) -> Found<()> {
    for entry in node.get("deploy").map_or(&[][..], Node::entries) {
        let key = format!("deploy.{}", entry.key);
        let why = match entry.key.as_str() {
            "replicas" | "labels" | "restart_policy" => continue,
            "mode" if entry.node.text().as_deref() == Some("replicated") => continue,
            "mode" => {
                let path = ["services", name, "deploy", "mode"];
                let what = format!("`{key}` of `{name}` is not supported");
                let help = "Take it out and give `deploy.replicas`.";
                return Err(compose.error(code::NOT_HONOURED, &path, what, help));
            }
            "resources" => {
                compose.facts.features.push(Feature {
                    service: name.to_owned(),
                    key,
                    line: entry.at.line,
                    local: Some(Severity::Medium),
                    why: "it is not enforced for a process of this machine".to_owned(),
                });
                continue;
            }
            "update_config" | "rollback_config" => {
                "the strategy of the deployment file says how releases change"
            }
            "placement" => "where instances run is the target's choice",
            "endpoint_mode" => "services are reached through the router or the cluster's service",
            other => {
                let path = ["services", name, "deploy", other];
                let what = format!("the Compose specification has no key `{other}` under `deploy`");
                let known = [
                    "endpoint_mode",
                    "labels",
                    "mode",
                    "placement",
                    "replicas",
                    "resources",
                    "restart_policy",
                    "rollback_config",
                    "update_config",
                ];
                let help = super::did_you_mean(other, "keys here", known.into_iter());
                return Err(compose
                    .document
                    .error_at_key(code::UNKNOWN_KEY, &path, what, help));
            }
        };
        compose.note(
            entry.at.line,
            &format!("`{key}` of `{name}` is not honoured: {why}"),
        );
    }
    Ok(())
}
