//! The connections of the network map, tried.

use std::collections::BTreeSet;

use crate::Context;
use crate::inventory::database_name;
use crate::phases::look::{self, LIMIT};
use crate::phases::migrate::path_of;
use crate::spec::{DatabaseFile, Spec};
use crate::step::StepError;

/// A connection of the map, and what came of trying it.
pub(crate) struct Path {
    /// Who calls.
    pub from: String,
    /// Who is called.
    pub to: String,
    /// What came of it, in words.
    pub answer: String,
    /// Whether it was reached; nothing when it could not be tried.
    pub reached: Option<bool>,
}

impl Path {
    /// Returns it in one word: `orders -> database`.
    pub(crate) fn name(&self) -> String {
        format!("{} -> {}", self.from, self.to)
    }
}

/// Returns the declared calls from one service of the deployment file to another.
pub(crate) fn calls(spec: &Spec) -> BTreeSet<(String, String)> {
    let needs = spec.services.iter().flat_map(|service| {
        let needs = service
            .needs
            .iter()
            .filter(|need| spec.service(need).is_some());
        needs.map(|need| (service.name.clone(), need.clone()))
    });
    needs.collect()
}

/// Returns how many could be tried.
pub(crate) fn tried(paths: &[Path]) -> usize {
    paths.iter().filter(|path| path.reached.is_some()).count()
}

/// Returns those that were tried and not reached.
pub(crate) fn lost(paths: &[Path]) -> impl Iterator<Item = &Path> {
    paths.iter().filter(|path| path.reached == Some(false))
}

/// Tries every connection of the inventory's map, from this machine: each is a connection to
/// where it leads, or for a database in a file, a look whether the file is there.
pub(crate) async fn try_all(context: &Context) -> Result<Vec<Path>, StepError> {
    let (inventory, observed) = look::inventory(context).await?;
    let addresses = look::addresses(&observed);
    let mut all = Vec::new();
    let mut asked = BTreeSet::new();
    for edge in &inventory.edges {
        // One connection may be declared in several places.
        if !asked.insert((edge.from.as_str(), edge.to.as_str(), edge.port)) {
            continue;
        }
        let unserved = look::is_unserved(&observed, context.target.balancing(), &edge.to);
        let served = addresses.get(edge.to.as_str()).filter(|_| !unserved);
        let (answer, reached) = if let Some(address) = served {
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
        all.push(Path {
            from: edge.from.clone(),
            to: edge.to.clone(),
            answer,
            reached,
        });
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
