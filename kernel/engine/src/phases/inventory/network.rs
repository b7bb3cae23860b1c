//! Who talks to whom, on which ports, by which names, behind which walls.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, EvidenceRef, Report};
use serde_json::{Value, json};

use super::listings::{listings, with_listings};
use super::walls;
use crate::Step;
use crate::inventory::Inventory;
use crate::phases::look::{self, counted, list};
use crate::section::{Outline, Section, Seen, Work, step as section_step};
use crate::step::StepError;
use crate::target::{Listing, Observed};

/// Returns the step.
pub(super) fn step() -> Option<Arc<dyn Step>> {
    let outline = Outline {
        verb: ("inventory", 1),
        section: "network",
        title: "map connections, ports, certificates and names",
        items: "1.3.1 1.3.2 1.3.3 1.3.4 1.3.5 1.3.6 1.3.7",
        undo: None,
        methods: (
            "the map drawn again",
            "each end of the map looked up among services and names",
        ),
        expected: Duration::from_secs(1),
    };
    section_step(&outline, Network)
}

struct Network;

#[async_trait]
impl Work for Network {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let (inventory, observed) = look::inventory(section.context).await?;
        let (_, listed) = listings(section).await?;
        let report = with_listings(report(&inventory, &observed), &listed);
        let event = section.report("Dependency and network map", report).await?;
        settle(section, &inventory, &observed, &listed, event).await?;
        Ok(json!({ "edges": inventory.edges.len(), "ports": inventory.ports.len() }))
    }

    async fn inside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let (inventory, _) = look::inventory(section.context).await?;
        let (edges, ports) = (inventory.edges.len(), inventory.ports.len());
        let again = json!({ "edges": edges, "ports": ports });
        Ok(Seen::new(
            again == *result,
            format!("{} and {ports} ports", connections(&inventory)),
        ))
    }

    async fn outside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let (inventory, _) = look::inventory(section.context).await?;
        let lost = unknown_ends(&inventory);
        let detail = format!(
            "{}, ends not known: {}",
            connections(&inventory),
            list(&lost)
        );
        Ok(Seen::new(lost.is_empty(), detail))
    }
}

/// Says how many connections there are: the table has a row for each place that declares one.
fn connections(inventory: &Inventory) -> String {
    let number = inventory.connections().len();
    let declared = inventory.edges.len();
    let connections = counted(number, "connection");
    match declared == number {
        true => connections,
        false => format!("{connections} declared in {declared} places"),
    }
}

/// Returns the ends of connections that are neither a component nor a name outside.
fn unknown_ends(inventory: &Inventory) -> Vec<String> {
    let component = |name: &str| inventory.components.iter().any(|one| one.name == name);
    let name = |name: &str| inventory.names.iter().any(|one| one.name == name);
    let ends = inventory
        .edges
        .iter()
        .flat_map(|edge| [&edge.from, &edge.to]);
    ends.filter(|end| !component(end) && !name(end))
        .cloned()
        .collect()
}

fn report(inventory: &Inventory, observed: &Observed) -> Report {
    let columns = ["From", "To", "Port", "Outside", "Known from"];
    let rows = inventory.edges.iter().map(|one| {
        vec![
            one.from.clone(),
            one.to.clone(),
            one.port.map_or_else(String::new, |port| port.to_string()),
            if one.outside { "yes" } else { "no" }.to_owned(),
            one.reason.clone(),
        ]
    });
    let mut report = Report::new().with_table(
        "Who talks to whom",
        columns.map(Column::text).to_vec(),
        rows.collect(),
    );
    let columns = ["Component", "Port inside", "Published", "Reached now at"];
    let rows = inventory.ports.iter().map(|one| {
        vec![
            one.component.clone(),
            one.inside.to_string(),
            one.published
                .map_or_else(|| "no".to_owned(), |port| port.to_string()),
            one.reached
                .map_or_else(|| "does not run".to_owned(), |address| address.to_string()),
        ]
    });
    report = report.with_table("Ports", columns.map(Column::text).to_vec(), rows.collect());
    let rows = inventory
        .names
        .iter()
        .map(|one| vec![one.name.clone(), one.found.clone()]);
    report = report.with_table(
        "Names of hosts outside",
        ["Name", "Found in"].map(Column::text).to_vec(),
        rows.collect(),
    );
    report.with_text(format!(
        "Certificates found in the project: {}. Listening now: {}.",
        list(inventory.certificates.iter().map(|path| path.display())),
        list(&observed.listening)
    ))
}

async fn settle(
    section: &Section<'_>,
    inventory: &Inventory,
    observed: &Observed,
    listed: &[Listing],
    event: EvidenceRef,
) -> Result<(), StepError> {
    let (evidence, seen) = ([event], Basis::Observed);
    let text = format!(
        "{} between {} components, declared in {}",
        counted(inventory.connections().len(), "connection"),
        inventory.components.len(),
        counted(inventory.edges.len(), "place")
    );
    section.judge("1.3.1", true, seen, text, &evidence).await?;
    let text = format!(
        "{} ports of {} services",
        inventory.ports.len(),
        section.context.spec.services.len()
    );
    section.judge("1.3.2", true, seen, text, &evidence).await?;
    walls::settle_certificates(section, inventory, listed, &evidence).await?;
    let outside = list(inventory.names.iter().map(|one| one.name.clone()));
    let inside = list(
        section
            .context
            .spec
            .services
            .iter()
            .map(|one| one.name.clone()),
    );
    let text = format!(
        "{} names outside ({outside}); services are called {inside}",
        inventory.names.len()
    );
    section.judge("1.3.4", true, seen, text, &evidence).await?;
    walls::settle_rules(section, observed, listed, &evidence).await?;
    if inventory.edges.iter().any(|edge| edge.outside) {
        section
            .open(
                "1.3.6",
                "connections leave the application; nobody attested how they are carried",
            )
            .await?;
    } else {
        section
            .none(
                "1.3.6",
                "no connection of the network map leaves the application",
            )
            .await?;
    }
    let lost = unknown_ends(inventory);
    let text = format!("ends of connections that are not known: {}", list(&lost));
    section
        .judge("1.3.7", lost.is_empty(), seen, text, &evidence)
        .await
}
