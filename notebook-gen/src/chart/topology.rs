//! What runs where, as far as a record tells it: the inventory, what sections reported, what steps gave, and probes.

use std::collections::BTreeMap;

use code_deploy_record::{Block, Component, PhaseNumber, Release, Role};
use serde_json::Value;

use crate::facts::Facts;
use crate::stopped::{self, Stop};

/// An instance that the record tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Instance {
    pub(super) service: String,
    pub(super) release: Release,
    pub(super) name: String,
    /// Where it listens, where the record says so.
    pub(super) address: Option<String>,
    /// Whether a step of this run ended it.
    pub(super) stopped: bool,
}

/// Returns whether a component answers requests; others store data or pass messages on.
pub(super) fn is_service(component: &Component) -> bool {
    matches!(component.role, Role::Frontend | Role::Backend)
}

/// Returns the services at which users come in: those that serve pages and the one that the outside client asks;
/// without any, those that no other needs.
pub(super) fn entries(facts: &Facts) -> Vec<&str> {
    let components = &facts.state.components;
    let asked = asked(facts).map(|(service, _)| service);
    let services = components.iter().filter(|one| is_service(one));
    let named = services
        .clone()
        .filter(|one| one.role == Role::Frontend || Some(one.name.as_str()) == asked);
    let named: Vec<&str> = named.map(|one| one.name.as_str()).collect();
    if !named.is_empty() {
        return named;
    }
    let needed = |name: &String| components.iter().any(|other| other.needs.contains(name));
    let first = services.filter(|one| !needed(&one.name));
    first.map(|one| one.name.as_str()).collect()
}

/// Returns the service that the outside client asks, and the URL.
pub(super) fn asked(facts: &Facts) -> Option<(&str, &str)> {
    let url = facts.asked.as_deref()?;
    let (_, host) = parts_of(url);
    let known = addresses(facts);
    let at = known.iter().find(|(_, address)| **address == host);
    if let Some((service, _)) = at {
        return Some((*service, url));
    }
    // What a target has in front of a service has an address of its own.
    let mut components = facts.state.components.iter();
    let said = |name: &str| says(facts, &format!("to service {name} at {url}"));
    let service = components.find(|one| is_service(one) && said(one.name.as_str()))?;
    Some((service.name.as_str(), url))
}

/// Returns scheme and host of a URL, the host with its port.
pub(super) fn parts_of(url: &str) -> (&str, &str) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    (scheme, rest.split('/').next().unwrap_or(rest))
}

/// Returns whether the report on the outside client has these words.
fn says(facts: &Facts, words: &str) -> bool {
    let sections = facts
        .sections
        .iter()
        .filter(|one| one.phase == PhaseNumber::new(4) && one.what.name == "outside-client");
    let mut blocks = sections.flat_map(|one| &one.what.report.blocks);
    blocks.any(|block| matches!(block, Block::Text { text } if text.contains(words)))
}

/// Returns the address at which each service is asked by others: the one that the run gave it, else the one at which
/// it was found.
pub(super) fn addresses(facts: &Facts) -> BTreeMap<&str, &str> {
    let found = table(
        facts,
        (1, "network"),
        "Ports",
        ["Component", "Reached now at"],
    );
    let given = table(
        facts,
        (4, "resources"),
        "Addresses of services",
        ["Service", "Address"],
    );
    let all = found.into_iter().chain(given);
    all.filter(|[_, address]| address.contains(':'))
        .map(|[service, address]| (service, address))
        .collect()
}

/// Returns the share of each release of a service that it is served now, the release that is deployed first. Before
/// the run moves traffic that is the release before, whose share nothing tells.
pub(super) fn shares<'a>(facts: &'a Facts, service: &str) -> Vec<(&'a Release, Option<u16>)> {
    let mut shares: Vec<(&Release, Option<u16>)> = match facts.state.traffic.get(service) {
        Some((served, _)) => {
            let served = served.iter().filter(|(_, share)| **share > 0);
            served.map(|(one, share)| (one, Some(*share))).collect()
        }
        None => facts.started.from.iter().map(|from| (from, None)).collect(),
    };
    shares.sort_by_key(|(release, _)| **release != facts.started.to);
    shares
}

/// Returns the instances that the record tells of, in the order of services, releases and names.
pub(super) fn instances(facts: &Facts) -> Vec<Instance> {
    let mut found: BTreeMap<(String, Release, String), Option<String>> = BTreeMap::new();
    let mut add = |[name, service, release, address]: [&str; 4]| {
        let Ok(release) = release.parse::<Release>() else {
            return;
        };
        let key = (service.to_owned(), release, name.to_owned());
        let known = found.entry(key).or_default();
        if !address.is_empty() {
            *known = Some(address.to_owned());
        }
    };
    let titles = ["Instance", "Service", "Release", "Address"];
    for row in table(facts, (1, "infrastructure"), "Running instances", titles) {
        add(row);
    }
    for state in facts.state.steps.values() {
        let started = state.result.get("instances").and_then(Value::as_array);
        for one in started.into_iter().flatten() {
            let text = |key: &str| one.get(key).and_then(Value::as_str);
            if let (Some(name), Some(service), Some(release)) =
                (text("id"), text("service"), text("release"))
            {
                add([name, service, release, text("address").unwrap_or_default()]);
            }
        }
    }
    for note in &facts.health {
        let what = &note.what;
        let (name, service) = (what.instance.as_str(), what.service.as_str());
        add([name, service, what.release.as_str(), ""]);
    }
    let stops = stopped::stops(facts);
    let found = found
        .into_iter()
        .map(|((service, release, name), address)| {
            let stopped = is_stopped(facts, &stops, (service.as_str(), &release, name.as_str()));
            Instance {
                service,
                release,
                name,
                address,
                stopped,
            }
        });
    found.collect()
}

fn is_stopped(
    facts: &Facts,
    stops: &[Stop],
    (service, release, name): (&str, &Release, &str),
) -> bool {
    let mut notes = facts.health.iter();
    let last = notes.rfind(|note| note.what.instance == name && note.what.service == service);
    let drained =
        last.is_some_and(|note| !note.what.healthy && stops.iter().any(|stop| stop.explains(note)));
    let own = stops.iter().filter(|one| one.stopped_all(service, release));
    let end = own.filter_map(|stop| stop.end).max();
    let again = last.is_some_and(|note| note.what.healthy && Some(note.time) > end);
    drained || (end.is_some() && !again)
}

/// Returns the rows of a table that a section of a phase reported, each with the entries below these titles; nothing
/// where the record has no such table.
fn table<'a, const N: usize>(
    facts: &'a Facts,
    (phase, section): (u8, &str),
    caption: &str,
    titles: [&str; N],
) -> Vec<[&'a str; N]> {
    let phase = PhaseNumber::new(phase);
    let mut sections = facts.sections.iter();
    let found = sections.find(|one| one.phase == phase && one.what.name == section);
    let blocks = found.map(|one| one.what.report.blocks.as_slice());
    for block in blocks.unwrap_or_default() {
        let Block::Table {
            caption: own,
            columns,
            rows,
        } = block
        else {
            continue;
        };
        if own == caption {
            let place = |title: &str| columns.iter().position(|column| column.title == title);
            let places = titles.map(place);
            let rows = rows.iter().map(|row| places.map(|at| entry(row, at)));
            return rows.collect();
        }
    }
    Vec::new()
}

fn entry(row: &[String], place: Option<usize>) -> &str {
    let found = place.and_then(|place| row.get(place));
    found.map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_parted_into_scheme_and_host() {
        assert_eq!(
            parts_of("https://shop.example:8443/a?b"),
            ("https", "shop.example:8443")
        );
        assert_eq!(parts_of("http://[::1]:80"), ("http", "[::1]:80"));
        assert_eq!(parts_of("10.0.0.1:80"), ("", "10.0.0.1:80"));
    }
}
