//! The machine, what orchestrates on it, the balancer, databases, caches and queues.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, EvidenceRef, Report, Role};
use serde_json::{Value, json};

use super::listings::{listings, with_listings};
use crate::Step;
use crate::inventory::Inventory;
use crate::phases::look::{self, bytes, list};
use crate::section::{Outline, Section, Seen, Work, step as section_step};
use crate::step::StepError;
use crate::target::{Capacity, Observed};

/// Returns the step.
pub(super) fn step() -> Option<Arc<dyn Step>> {
    let outline = Outline {
        verb: ("inventory", 1),
        section: "infrastructure",
        title: "map the machine, its processes, the balancer and the stores of data",
        items: "1.2.1 1.2.2 1.2.3 1.2.4 1.2.5 1.2.6 1.2.7 1.2.8",
        undo: None,
        methods: (
            "the machine measured again",
            "a connection to the address of every service",
        ),
        expected: Duration::from_secs(2),
    };
    section_step(&outline, Infrastructure)
}

struct Infrastructure;

#[async_trait]
impl Work for Infrastructure {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let (inventory, observed) = look::inventory(section.context).await?;
        let capacity = section.context.target.capacity().await?;
        let (shown, _) = listings(section).await?;
        let report = report(section, &inventory, &observed, &capacity);
        let report = with_listings(report, &shown);
        let event = section.report("Infrastructure", report).await?;
        settle(section, &inventory, &observed, &capacity, event).await?;
        Ok(
            json!({ "host": capacity.host, "processors": capacity.processors, "memory": capacity.memory }),
        )
    }

    async fn inside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let capacity = section.context.target.capacity().await?;
        let (host, processors) = (capacity.host, capacity.processors);
        let again = json!({ "host": host, "processors": processors, "memory": capacity.memory });
        Ok(Seen::new(
            again == *result,
            format!("{host} has {processors} processors"),
        ))
    }

    async fn outside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let observed = section.context.target.observe().await?;
        let reached = look::reach_all(section.context, &observed).await;
        Ok(Seen::new(reached.failed.is_none(), reached.text()))
    }
}

fn report(
    section: &Section<'_>,
    inventory: &Inventory,
    observed: &Observed,
    capacity: &Capacity,
) -> Report {
    let machine = vec![vec![
        capacity.host.clone(),
        capacity.system.clone(),
        capacity.processors.to_string(),
        bytes(capacity.memory),
        bytes(capacity.disk_free),
        list(capacity.network.keys()),
    ]];
    let columns = [
        "Machine",
        "System",
        "Processors",
        "Memory",
        "Free disk",
        "Interfaces",
    ];
    let mut report =
        Report::new().with_table("Machines", columns.map(Column::text).to_vec(), machine);
    let columns = [
        "Instance", "Service", "Release", "Process", "Address", "Runs",
    ];
    let rows = observed.instances.iter().map(|one| {
        vec![
            one.id.clone(),
            one.service.clone(),
            one.release.to_string(),
            one.pid
                .map_or_else(|| "not known".to_owned(), |pid| pid.to_string()),
            one.address.to_string(),
            if one.running { "yes" } else { "no" }.to_owned(),
        ]
    });
    report = report.with_table(
        "Running instances",
        columns.map(Column::text).to_vec(),
        rows.collect(),
    );
    let context = section.context;
    let target = format!("On a {} target", context.target.name());
    let columns = ["Service", "Key", "Line", &target];
    let limits = context.target.cannot_honour(&context.spec);
    let rows = context.spec.compose.features.iter().map(|one| {
        let mut keys = limits.iter().filter_map(|limit| limit.key.as_ref());
        let limit = keys.find(|limit| limit.key == one.key && limit.service == one.service);
        vec![
            one.service.clone(),
            one.key.clone(),
            one.line.to_string(),
            limit.map_or_else(|| "honoured".to_owned(), |limit| limit.why.clone()),
        ]
    });
    report = report.with_table(
        "Orchestration: what the Compose file asks for",
        columns.map(Column::text).to_vec(),
        rows.collect(),
    );
    let stores = inventory
        .components
        .iter()
        .filter(|one| !matches!(one.role, Role::Frontend | Role::Backend));
    let rows = stores.map(|one| {
        vec![
            one.name.clone(),
            format!("{:?}", one.role).to_lowercase(),
            one.declared.clone(),
        ]
    });
    let columns = ["Store", "Role", "Declared in"];
    report.with_table(
        "Databases, caches and queues",
        columns.map(Column::text).to_vec(),
        rows.collect(),
    )
}

async fn settle(
    section: &Section<'_>,
    inventory: &Inventory,
    observed: &Observed,
    capacity: &Capacity,
    event: EvidenceRef,
) -> Result<(), StepError> {
    let (evidence, seen) = ([event], Basis::Observed);
    let text = format!(
        "{}: {}, {} processors, {} memory, {} instances run",
        capacity.host,
        capacity.system,
        capacity.processors,
        bytes(capacity.memory),
        observed.instances.iter().filter(|one| one.running).count()
    );
    section.judge("1.2.1", true, seen, text, &evidence).await?;
    let spec = &section.context.spec;
    if spec.in_containers() {
        let text = format!(
            "{} containers of the application by the engine's list, beside {} routers",
            observed.instances.len(),
            observed.addresses.len()
        );
        section.judge("1.2.2", true, seen, text, &evidence).await?;
    } else if spec.target != "local" {
        let text = format!(
            "{} containers of the application by the platform's list",
            observed.instances.len()
        );
        section.judge("1.2.2", true, seen, text, &evidence).await?;
    } else {
        let fact = "services run as processes: the inventory holds no running container";
        section.none("1.2.2", fact).await?;
    }
    let text = format!(
        "{} keys of {} services in the Compose file",
        spec.compose.features.len(),
        spec.services.len()
    );
    section.judge("1.2.3", true, seen, text, &evidence).await?;
    let text = if observed.addresses.is_empty() {
        format!(
            "one balancer of the target for {} services; it is put in place by this run",
            spec.services.len()
        )
    } else {
        format!(
            "one balancer of the target, with {} addresses",
            observed.addresses.len()
        )
    };
    section.judge("1.2.4", true, seen, text, &evidence).await?;
    for (item, role, word) in [
        ("1.2.5", Role::Database, "database"),
        ("1.2.6", Role::Cache, "cache"),
        ("1.2.7", Role::Queue, "queue"),
    ] {
        let names: Vec<_> = inventory
            .with_role(role)
            .map(|one| one.name.clone())
            .collect();
        if names.is_empty() {
            section
                .none(item, format!("no {word} in the inventory"))
                .await?;
        } else {
            section
                .judge(
                    item,
                    true,
                    seen,
                    format!("{}: {}", word, list(names)),
                    &evidence,
                )
                .await?;
        }
    }
    let known = |name: &String| inventory.components.iter().any(|one| one.name == *name);
    let missing: Vec<_> = inventory
        .components
        .iter()
        .flat_map(|one| &one.needs)
        .filter(|name| !known(name))
        .collect();
    let text = match missing.len() {
        0 => format!(
            "each of {} components needs only components of the map",
            inventory.components.len()
        ),
        count => format!(
            "{count} needed components are not in the map: {}",
            list(missing.iter())
        ),
    };
    section
        .judge("1.2.8", missing.is_empty(), seen, text, &evidence)
        .await
}
