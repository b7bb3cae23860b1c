//! Endpoints: from OpenAPI documents in the project, confirmed by the running services.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::files::{self, Found};
use super::{Endpoint, Inventory};
use crate::http::HttpClient;
use crate::spec::{Document, Spec};
use crate::target::ServiceAddress;

const METHODS: [&str; 8] = [
    "get", "put", "post", "delete", "options", "head", "patch", "trace",
];

/// The most endpoints of one document.
const MAX_ENDPOINTS: usize = 10_000;

/// Returns the endpoints that documents in the project declare.
pub(super) fn declared(spec: &Spec, found: &Found, unread: &mut Vec<String>) -> Vec<Endpoint> {
    let mut all = BTreeSet::new();
    for path in &found.documents {
        match read(&spec.project, path) {
            Ok(document) => all.extend(operations(&document).into_iter().map(|one| Endpoint {
                service: service_of(spec, path),
                declared: Some(path.clone()),
                ..one
            })),
            Err(why) => unread.push(why),
        }
    }
    all.into_iter().collect()
}

fn read(project: &Path, path: &Path) -> Result<serde_json::Value, String> {
    let content = files::read(project, path)?;
    let bad = |why: String| format!("{}: not an OpenAPI document: {why}", path.display());
    let document = if path.extension().is_some_and(|end| end == "json") {
        serde_json::from_slice(&content).map_err(|error| bad(error.to_string()))?
    } else {
        let text = String::from_utf8(content).map_err(|error| bad(error.to_string()))?;
        let document = Document::parse(path, text, "OpenAPI document")
            .map_err(|error| bad(error.what.clone()))?;
        document.root.json()
    };
    if is_openapi(&document) {
        Ok(document)
    } else {
        Err(bad("it has neither `openapi` nor `swagger`".to_owned()))
    }
}

fn is_openapi(document: &serde_json::Value) -> bool {
    document
        .get("openapi")
        .or_else(|| document.get("swagger"))
        .is_some()
}

fn operations(document: &serde_json::Value) -> Vec<Endpoint> {
    let paths = document.get("paths").and_then(|paths| paths.as_object());
    paths
        .into_iter()
        .flatten()
        .flat_map(|(path, item)| {
            METHODS.iter().filter_map(move |method| {
                let operation = item.get(*method)?;
                let name = operation.get("operationId").and_then(|name| name.as_str());
                Some(Endpoint {
                    service: None,
                    path: path.clone(),
                    method: method.to_uppercase(),
                    operation: name.map(str::to_owned),
                    declared: None,
                    live: None,
                })
            })
        })
        .take(MAX_ENDPOINTS)
        .collect()
}

/// Returns the service that a document's path names, in a folder or in the file's name.
fn service_of(spec: &Spec, path: &Path) -> Option<String> {
    let parts: Vec<String> = path
        .components()
        .flat_map(|part| {
            let text = part.as_os_str().to_string_lossy().to_lowercase();
            text.split(['.', '_'])
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    let mut found = spec.services.iter().filter(|service| {
        let name = service.name.to_lowercase();
        parts
            .iter()
            .any(|part| *part == name || part.ends_with(&format!("-{name}")))
    });
    match (found.next(), found.next(), spec.services.as_slice()) {
        (Some(service), None, _) | (None, _, [service]) => Some(service.name.clone()),
        _ => None,
    }
}

/// Asks every running service for its OpenAPI document, marks the endpoints that it declares as
/// live and adds those that no file declares. A service that does not answer within `limit`, or
/// not with a document, is said in [`Inventory::unread`].
///
/// # Cancel safety
/// Not cancelled safely in the middle of a service: its endpoints may be marked only in part.
pub async fn confirm_live(
    inventory: &mut Inventory,
    spec: &Spec,
    addresses: &[ServiceAddress],
    client: &HttpClient,
    limit: Duration,
) {
    for service in &spec.services {
        let Some(path) = &service.file.openapi else {
            continue;
        };
        let Some(found) = addresses.iter().find(|found| found.service == service.name) else {
            continue;
        };
        let url = format!("http://{}{path}", found.address);
        let why = match client.get(&url, limit).await {
            Err(error) => error.to_string(),
            Ok(answer) => match answer.json().filter(is_openapi) {
                Some(document) if answer.status.is_success() => {
                    merge(inventory, &service.name, &document);
                    continue;
                }
                _ => format!("status {}, and no OpenAPI document", answer.status.as_u16()),
            },
        };
        inventory
            .unread
            .push(format!("{} {path}: {why}", service.name));
    }
}

fn merge(inventory: &mut Inventory, service: &str, document: &serde_json::Value) {
    let mut live = operations(document);
    for known in &mut inventory.endpoints {
        if known.service.as_deref() != Some(service) {
            continue;
        }
        let same = |one: &Endpoint| one.path == known.path && one.method == known.method;
        known.live = Some(live.iter().any(same));
        live.retain(|one| !same(one));
    }
    inventory
        .endpoints
        .extend(live.into_iter().map(|one| Endpoint {
            service: Some(service.to_owned()),
            live: Some(true),
            ..one
        }));
    inventory.endpoints.sort();
}
