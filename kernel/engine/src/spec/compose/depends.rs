//! What a service waits for before it is started.

use docker_compose_types as compose_types;

use super::super::error::{SpecError, code};
use super::super::node::{Node, Value};
use super::Compose;

type Found<T> = Result<T, Box<SpecError>>;

/// Returns the services that have to be there before one is started. Each is started once those are healthy, which is
/// more than `service_started` asks.
pub(super) fn needed(
    compose: &mut Compose,
    name: &str,
    node: &Node,
    typed: &compose_types::Service,
) -> Found<Vec<String>> {
    let mut names = match &typed.depends_on {
        compose_types::DependsOnOptions::Simple(names) => names.clone(),
        compose_types::DependsOnOptions::Conditional(map) => map.keys().cloned().collect(),
    };
    names.dedup();
    for entry in node.get("depends_on").map_or(&[][..], Node::entries) {
        let needed = entry.key.as_str();
        condition(compose, name, needed, &entry.node)?;
        if let Some(restart) = entry
            .node
            .entry("restart")
            .filter(|one| is(&one.node, true))
        {
            let text = format!(
                "`depends_on.{needed}.restart` of `{name}` is not honoured: an instance of `{needed}` that is \
                 started again restarts no other; a release starts every service anew"
            );
            compose.note(restart.at.line, &text);
        }
    }
    Ok(names)
}

fn condition(compose: &Compose, name: &str, needed: &str, entry: &Node) -> Found<()> {
    let written = entry.get("condition").and_then(Node::text);
    let path = ["services", name, "depends_on", needed, "condition"];
    match written.as_deref() {
        None | Some("service_started" | "service_healthy") => Ok(()),
        Some("service_completed_successfully") => Err(compose.error(
            code::NOT_HONOURED,
            &path,
            format!(
                "`{name}` is to wait until `{needed}` has completed, and a deployment starts services that go on \
                 running: none is waited for until it has ended"
            ),
            format!(
                "Run `{needed}` before the deployment, put it under `profiles` and take it out of `depends_on`; \
                 migrations of a database have a place in the deployment file, `databases`."
            ),
        )),
        Some(other) => Err(compose.error(
            code::COMPOSE,
            &path,
            format!("`{other}` is no condition of `depends_on`"),
            "Write service_started or service_healthy.",
        )),
    }
}

/// Takes out of the needs of services what they can do without and what is not deployed; tells what is deployed although
/// it is not required.
pub(super) fn settle_optional(compose: &mut Compose, root: &Node) {
    let Compose {
        facts, profiled, ..
    } = compose;
    let mut notes = Vec::new();
    for (name, service) in &mut facts.services {
        let node = root.get("services").and_then(|all| all.get(name));
        let listed = node.and_then(|node| node.get("depends_on"));
        service.depends_on.retain(|needed| {
            let entry = listed.and_then(|listed| listed.get(needed));
            let optional = entry.and_then(|entry| entry.entry("required"));
            let Some(optional) = optional.filter(|one| is(&one.node, false)) else {
                return true;
            };
            let is_left_out = profiled.contains(needed);
            let text = if is_left_out {
                format!("`{name}` goes without `{needed}`, which belongs to profiles and is not deployed")
            } else {
                format!(
                    "`depends_on.{needed}.required` of `{name}` is not honoured: `{needed}` is deployed as well, and \
                     `{name}` is started once it is healthy"
                )
            };
            notes.push((optional.at.line, text));
            !is_left_out
        });
    }
    for (line, text) in notes {
        compose.note(line, &text);
    }
}

fn is(node: &Node, value: bool) -> bool {
    node.value == Value::Bool(value)
}
