//! Services, frontends, endpoints, owners, configuration; declared against running.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, EvidenceRef, Report, Role};
use serde_json::{Value, json};

use crate::inventory::{ConfigurationKind, Endpoint, Inventory};
use crate::phases::look::{self, counted, list};
use crate::section::{Outline, Section, Seen, Work, step as section_step};
use crate::step::StepError;
use crate::target::Observed;
use crate::{Context, Step};

/// Returns the step.
pub(super) fn step() -> Option<Arc<dyn Step>> {
    let outline = Outline {
        verb: ("inventory", 1),
        section: "components",
        title: "find services, endpoints, owners and configuration, and compare with what runs",
        items: "1.1.1 1.1.2 1.1.3 1.1.4 1.1.6 1.1.7 1.1.8",
        undo: None,
        methods: (
            "the inventory taken again",
            "the services of the Compose file against the addresses that answer",
        ),
        expected: Duration::from_secs(2),
    };
    section_step(&outline, Components)
}

struct Components;

#[async_trait]
impl Work for Components {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let context = section.context;
        let (inventory, observed) = look::inventory(context).await?;
        let document =
            serde_json::to_vec_pretty(&inventory).map_err(code_deploy_record::Error::from)?;
        let digest = context
            .keep("inventory with what runs", "application/json", document)
            .await?;
        let event = section
            .report("Component inventory", report(&inventory))
            .await?;
        let evidence = [event, EvidenceRef::File(digest)];
        settle(section, &inventory, &observed, &evidence).await?;
        Ok(
            json!({ "components": inventory.components.len(), "endpoints": inventory.endpoints.len() }),
        )
    }

    async fn inside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let (inventory, _) = look::inventory(section.context).await?;
        let (components, endpoints) = (inventory.components.len(), inventory.endpoints.len());
        let again = json!({ "components": components, "endpoints": endpoints });
        let detail = format!("{components} components and {endpoints} endpoints found again");
        Ok(Seen::new(again == *result, detail))
    }

    async fn outside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let context = section.context;
        let observed = context.target.observe().await?;
        let declared = context
            .spec
            .compose
            .services
            .keys()
            .filter(|name| context.spec.service(name).is_some());
        let declared = declared.count();
        let reached = look::reach_all(context, &observed).await;
        let passed = reached.failed.is_none() && declared == context.spec.services.len();
        let detail = match reached.failed {
            Some(failed) => failed,
            None => format!("{declared} services declared, {}", reached.text()),
        };
        Ok(Seen::new(passed, detail))
    }
}

fn report(inventory: &Inventory) -> Report {
    let columns = vec![
        Column::text("Component"),
        Column::text("Role"),
        Column::text("Owner"),
        Column::text("Needs"),
        Column::text("Ports"),
        Column::number("Replicas"),
        Column::number("Endpoints"),
        Column::text("Declared in"),
    ];
    let recorded = inventory.components();
    let rows = inventory
        .components
        .iter()
        .zip(&recorded)
        .map(|(one, recorded)| {
            vec![
                one.name.clone(),
                one.role.word().to_owned(),
                one.owner
                    .clone()
                    .unwrap_or_else(|| "nobody is named".to_owned()),
                list(&one.needs),
                list(&one.ports),
                one.replicas.to_string(),
                recorded
                    .endpoints
                    .map_or_else(|| "not known".to_owned(), |count| count.to_string()),
                one.declared.clone(),
            ]
        });
    let mut report = Report::new().with_table("Components", columns, rows.collect());
    let columns = [
        "Service",
        "Method",
        "Path",
        "Declared in a file",
        "Declared by what runs",
    ];
    let rows = inventory.endpoints.iter().map(|one| {
        vec![
            one.service.clone().unwrap_or_default(),
            one.method.clone(),
            one.path.clone(),
            one.declared
                .as_ref()
                .map_or_else(|| "no".to_owned(), |path| path.display().to_string()),
            one.live
                .map_or("nobody asked", |live| if live { "yes" } else { "no" })
                .to_owned(),
        ]
    });
    report = report.with_table(
        "Endpoints",
        columns.map(Column::text).to_vec(),
        rows.collect(),
    );
    let columns = ["Component", "Kind", "Name", "Comes from"];
    let rows = inventory.configuration.iter().map(|one| {
        vec![
            one.component.clone(),
            kind(one.kind).to_owned(),
            one.name.clone(),
            one.origin.clone(),
        ]
    });
    report = report.with_table(
        "Sources of configuration, by name only",
        columns.map(Column::text).to_vec(),
        rows.collect(),
    );
    let columns = ["Component", "Declared", "Running"];
    let differences = inventory.differences.iter().flatten();
    let rows = differences.map(|one| {
        vec![
            one.component.clone(),
            one.declared.clone(),
            one.running.clone(),
        ]
    });
    report = report.with_table(
        "What runs differently from what is declared",
        columns.map(Column::text).to_vec(),
        rows.collect(),
    );
    for text in &inventory.unread {
        report = report.with_text(format!("Not read: {text}"));
    }
    report
}

fn kind(kind: ConfigurationKind) -> &'static str {
    match kind {
        ConfigurationKind::Variable => "variable",
        ConfigurationKind::EnvironmentFile => "file of variables",
        ConfigurationKind::Config => "configuration",
        ConfigurationKind::Secret => "secret, by reference",
    }
}

async fn settle(
    section: &Section<'_>,
    inventory: &Inventory,
    observed: &Observed,
    evidence: &[EvidenceRef],
) -> Result<(), StepError> {
    let seen = Basis::Observed;
    let names = |role| list(inventory.with_role(role).map(|one| one.name.clone()));
    let backends = inventory.with_role(Role::Backend).count();
    if backends == 0 {
        section.none("1.1.1", "no backend in the inventory").await?;
    } else {
        let text = format!("{}: {}", counted(backends, "backend"), names(Role::Backend));
        section.judge("1.1.1", true, seen, text, evidence).await?;
    }
    let frontends = inventory.with_role(Role::Frontend).count();
    if frontends == 0 {
        section
            .none("1.1.2", "no frontend in the inventory")
            .await?;
    } else {
        let text = format!(
            "{}: {}",
            counted(frontends, "frontend"),
            names(Role::Frontend)
        );
        section.judge("1.1.2", true, seen, text, evidence).await?;
    }
    settle_endpoints(section, inventory, evidence).await?;
    let deployed = || inventory.components.iter().filter(|one| one.deployed);
    let nobody: Vec<_> = deployed()
        .filter(|one| one.owner.is_none())
        .map(|one| &one.name)
        .collect();
    let text = match nobody.len() {
        0 => format!("all {} services have an owner", deployed().count()),
        count => format!("{count} services name no owner: {}", list(nobody.iter())),
    };
    section
        .judge("1.1.4", nobody.is_empty(), seen, text, evidence)
        .await?;
    let text = format!(
        "{} sources of configuration, by name",
        inventory.configuration.len()
    );
    section.judge("1.1.6", true, seen, text, evidence).await?;
    settle_running(section, inventory, observed, evidence).await?;
    let whole = inventory.unread.is_empty();
    let text = if whole {
        format!(
            "{} components; every file that was found was read",
            inventory.components.len()
        )
    } else {
        format!(
            "{} sources were not read: {}",
            inventory.unread.len(),
            list(&inventory.unread)
        )
    };
    section.judge("1.1.8", whole, seen, text, evidence).await
}

async fn settle_endpoints(
    section: &Section<'_>,
    inventory: &Inventory,
    evidence: &[EvidenceRef],
) -> Result<(), StepError> {
    let known = |name: &str| {
        inventory
            .endpoints
            .iter()
            .any(|one| one.service.as_deref() == Some(name))
    };
    let unknown: Vec<_> = services(section.context)
        .filter(|name| !known(name))
        .collect();
    if unknown.is_empty() {
        let text = mapped(&inventory.endpoints);
        return section
            .judge("1.1.3", true, Basis::Observed, text, evidence)
            .await;
    }
    let text = format!(
        "no OpenAPI document of {} is known: none in a file, and none that a running instance gave (`openapi` of a service \
         says where it is)",
        list(unknown)
    );
    section.open("1.1.3", text).await
}

/// Tells where the endpoints are known from: a document that a service gives about itself does
/// not confirm itself.
fn mapped(endpoints: &[Endpoint]) -> String {
    let count = |test: fn(&Endpoint) -> bool| endpoints.iter().filter(|one| test(one)).count();
    let both = count(|one| one.declared.is_some() && one.live == Some(true));
    let file = count(|one| one.declared.is_some() && one.live != Some(true));
    let running = count(|one| one.declared.is_none());
    let parts = [
        (both, "declared in a file and by the running service"),
        (file, "declared in a file alone"),
        (running, "declared by the running service alone"),
    ];
    let told: Vec<_> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    format!(
        "{} endpoints in OpenAPI documents: {}",
        endpoints.len(),
        told.join(", ")
    )
}

fn services(context: &Context) -> impl Iterator<Item = &str> {
    context
        .spec
        .services
        .iter()
        .map(|service| service.name.as_str())
}

async fn settle_running(
    section: &Section<'_>,
    inventory: &Inventory,
    observed: &Observed,
    evidence: &[EvidenceRef],
) -> Result<(), StepError> {
    if !observed.instances.iter().any(|instance| instance.running) {
        return section
            .none(
                "1.1.7",
                "a first deployment: nothing of the application runs",
            )
            .await;
    }
    let differences = inventory.differences.as_deref().unwrap_or_default();
    let text = match differences.first() {
        None => format!(
            "{} running instances are what is declared",
            observed.instances.len()
        ),
        Some(first) => format!(
            "{} differences, the first: {} declares {}, and {} runs",
            differences.len(),
            first.component,
            first.declared,
            first.running
        ),
    };
    section
        .judge(
            "1.1.7",
            differences.is_empty(),
            Basis::Observed,
            text,
            evidence,
        )
        .await
}
