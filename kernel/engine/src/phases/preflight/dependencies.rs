//! Whether everything that the application calls can be reached.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, Report};
use serde_json::{Value, json};

use crate::inventory::database_name;
use crate::phases::look::{self, LIMIT, list};
use crate::phases::migrate::path_of;
use crate::phases::work::{Outline, Section, Seen, Work, step as section_step};
use crate::spec::{DatabaseFile, Spec};
use crate::step::StepError;
use crate::{Context, Step};

/// Returns the step.
pub(super) fn step() -> Option<Arc<dyn Step>> {
    let outline = Outline {
        verb: ("preflight", 2),
        section: "dependencies",
        title: "reach everything that the application calls",
        items: "1.4.5",
        undo: None,
        methods: (
            "every connection of the map made again",
            "the addresses that the balancer gives",
        ),
        expected: Duration::from_secs(1),
    };
    section_step(&outline, Dependencies)
}

struct Dependencies;

/// A connection of the map: who, to whom, what came of it, and whether it was reached; nothing
/// when it is not there yet.
type Reached = (String, String, String, Option<bool>);

#[async_trait]
impl Work for Dependencies {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let reached = reach(section.context).await?;
        let rows = reached
            .iter()
            .map(|(from, to, text, _)| vec![from.clone(), to.clone(), text.clone()]);
        let columns = ["From", "To", "Answer"].map(Column::text).to_vec();
        let report =
            Report::new().with_table("Connections of the network map", columns, rows.collect());
        let event = section.report("Dependency checks", report).await?;
        let asked: Vec<_> = reached
            .iter()
            .filter(|(.., reached)| reached.is_some())
            .collect();
        if asked.is_empty() {
            let fact = "a first deployment: nothing that the application calls runs outside of it";
            section.none("1.4.5", fact).await?;
        } else {
            let bad: Vec<_> = asked
                .iter()
                .filter(|one| one.3 == Some(false))
                .map(|one| format!("{} -> {}", one.0, one.1))
                .collect();
            let text = format!(
                "{} of {} connections made; not reached: {}",
                asked.len(),
                reached.len(),
                list(&bad)
            );
            section
                .judge("1.4.5", bad.is_empty(), Basis::Observed, text, &[event])
                .await?;
        }
        Ok(json!({ "asked": asked.len() }))
    }

    async fn inside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let reached = reach(section.context).await?;
        let asked = reached.iter().filter(|one| one.3.is_some()).count();
        let bad: Vec<_> = reached
            .iter()
            .filter(|one| one.3 == Some(false))
            .map(|one| one.1.clone())
            .collect();
        Ok(Seen::new(
            bad.is_empty(),
            format!(
                "{asked} of {} connections made again, not reached: {}",
                reached.len(),
                list(&bad)
            ),
        ))
    }

    async fn outside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let observed = section.context.target.observe().await?;
        let (reached, failed) = look::reach_all(&observed).await;
        let passed = failed.is_none();
        Ok(Seen::new(
            passed,
            failed.unwrap_or_else(|| format!("{reached} addresses answer")),
        ))
    }
}

async fn reach(context: &Context) -> Result<Vec<Reached>, StepError> {
    let (inventory, observed) = look::inventory(context).await?;
    let addresses = look::addresses(&observed);
    let mut all = Vec::new();
    let mut asked = BTreeSet::new();
    for edge in &inventory.edges {
        // One connection may be declared in several places.
        if !asked.insert((edge.from.as_str(), edge.to.as_str(), edge.port)) {
            continue;
        }
        let (text, well) = if let Some(address) = addresses.get(edge.to.as_str()) {
            let made = look::connects(*address).await;
            let well = made.is_ok();
            let text = made.map_or_else(|why| why, |()| format!("connected to {address}"));
            (text, Some(well))
        } else if edge.outside {
            let (text, well) = outside(&edge.to, edge.port).await;
            (text, Some(well))
        } else if let Some(database) = database_of(&context.spec, &edge.to) {
            database_file(&context.spec, database)
        } else {
            ("does not run yet: this run starts it".to_owned(), None)
        };
        all.push((edge.from.clone(), edge.to.clone(), text, well));
    }
    Ok(all)
}

/// Returns the database that a component of the inventory stands for.
fn database_of<'a>(spec: &'a Spec, component: &str) -> Option<&'a DatabaseFile> {
    let mut databases = spec.file.databases.iter();
    databases
        .find(|(name, _)| database_name(spec, name) == component)
        .map(|(_, database)| database)
}

fn database_file(spec: &Spec, database: &DatabaseFile) -> (String, Option<bool>) {
    match path_of(spec, database) {
        Some(file) if file.exists() => ("the file is there".to_owned(), Some(true)),
        Some(_) => ("not there yet: this run makes it".to_owned(), None),
        None => ("its URL is given by reference: not asked".to_owned(), None),
    }
}

async fn outside(host: &str, port: Option<u16>) -> (String, bool) {
    let Some(port) = port else {
        return ("the port is not known".to_owned(), false);
    };
    let found = tokio::time::timeout(LIMIT, tokio::net::lookup_host((host, port))).await;
    let first = match found {
        Ok(Ok(mut addresses)) => addresses.next(),
        Ok(Err(error)) => return (format!("the name does not resolve: {error}"), false),
        Err(_) => {
            return (
                format!("the name was not resolved within {} s", LIMIT.as_secs()),
                false,
            );
        }
    };
    let Some(address) = first else {
        return ("the name has no address".to_owned(), false);
    };
    match look::connects(address).await {
        Ok(()) => (format!("connected to {address}"), true),
        Err(why) => (why, false),
    }
}
