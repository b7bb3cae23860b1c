//! What changed since the last finished run, in words: releases, steps, components, names of configuration, packages,
//! migrations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use code_deploy_record::{
    Direction, EventBody, Release, RunFolder, RunId, RunOutcome, RunStarted, RunState, RunsFolder,
};

use crate::Context;
use crate::inventory::Inventory;
use crate::phases::look::{counted, list};
use crate::phases::migrate::Database;
use crate::section::blocking;
use crate::step::StepError;

/// Names that a row gives of what is new or gone; more are counted.
const NAMED: usize = 6;

/// What stands in a row where a run's record does not tell.
const UNKNOWN: &str = "not in the record";

/// A run with what its record tells of the files.
struct Told {
    state: Arc<RunState>,
    inventory: Option<Inventory>,
}

/// The migrations that a run carried out and did not take back, by database.
type Migrated = BTreeMap<String, BTreeSet<i64>>;

/// Returns the rows of a table: what, then, now.
pub(super) async fn changes(context: &Context) -> Result<Vec<Vec<String>>, StepError> {
    let (spec, run, own) = (
        Arc::clone(&context.spec),
        context.run.clone(),
        context.state(),
    );
    let name = own.started.as_ref().map(|started| started.run.clone());
    let looked = blocking("reading the last run", move || {
        let runs = RunsFolder::of_project(&spec.project);
        let names = runs.list().unwrap_or_default();
        let others = names.into_iter().rev();
        let others = others.filter(|other| Some(other) != name.as_ref());
        let is_same = |started: &RunStarted| {
            started.application == spec.application && started.environment == spec.environment
        };
        let mut found = others.filter_map(|other| finished(&runs, other, is_same));
        (found.next(), inventory_of(&run))
    });
    let (last, inventory) = looked.await?;
    let now = Told {
        state: own,
        inventory,
    };
    let Some((name, then, migrated)) = last else {
        return Ok(vec![none_before(&now.state)]);
    };
    let mut rows = of_run(context, &name, &then.state);
    rows.extend(of_files(&then, &now));
    rows.extend(of_databases(context, &migrated).await);
    Ok(rows)
}

/// Returns a run that has ended, if it is one of those that are wanted.
fn finished(
    runs: &RunsFolder,
    name: RunId,
    is_same: impl Fn(&RunStarted) -> bool,
) -> Option<(RunId, Told, Migrated)> {
    let folder = runs.run(&name).ok()?;
    let state = folder.state().ok()?;
    let same = is_same(state.started.as_ref()?);
    if !same || state.finished.is_none() {
        return None;
    }
    let inventory = inventory_of(&folder);
    let migrated = migrated_in(&folder);
    let state = Arc::new(state);
    Some((name, Told { state, inventory }, migrated))
}

/// Returns the inventory that a run has taken; nothing where it has none that can be read.
fn inventory_of(run: &RunFolder) -> Option<Inventory> {
    let mut events = run.events().ok()?.map_while(Result::ok);
    let taken = events.find_map(|event| match event.body {
        EventBody::InventoryTaken(taken) => Some(taken.evidence),
        _ => None,
    })?;
    let content = run.evidence().read(&taken).ok()?;
    serde_json::from_slice(&content).ok()
}

/// Returns the migrations that a run left in its databases.
fn migrated_in(run: &RunFolder) -> Migrated {
    let mut left = Migrated::new();
    for event in run.events().into_iter().flatten().map_while(Result::ok) {
        let EventBody::Migrated {
            database,
            version,
            direction,
            ..
        } = event.body
        else {
            continue;
        };
        let own = left.entry(database).or_default();
        match direction {
            Direction::Apply => own.insert(version),
            Direction::Undo => own.remove(&version),
        };
    }
    left
}

fn row(what: &str, then: impl Into<String>, now: impl Into<String>) -> Vec<String> {
    vec![what.to_owned(), then.into(), now.into()]
}

fn none_before(state: &RunState) -> Vec<String> {
    let previous = state.started.as_ref().and_then(|own| own.previous.as_ref());
    let before = previous.map_or_else(
        || "none before".to_owned(),
        |previous| {
            let run = &previous.run;
            format!("{run}: it has not ended, or its record is not here; nothing is compared")
        },
    );
    row("run", before, "this one")
}

/// Returns the rows of what both runs are.
fn of_run(context: &Context, name: &RunId, then: &RunState) -> Vec<Vec<String>> {
    let own = context.state();
    let (Some(now), Some(then_began)) = (own.started.as_ref(), then.started.as_ref()) else {
        return Vec::new();
    };
    let outcome = then
        .finished
        .as_ref()
        .map_or("", |(outcome, ..): &(RunOutcome, _, _)| outcome.words());
    let release = |release: &Release| release.to_string();
    let (digest, is) = (then_began.deployment_file, context.spec.digest);
    let files = match digest == is {
        true => "the same".to_owned(),
        false => format!("another ({is})"),
    };
    vec![
        row("run", format!("{name} ({outcome})"), "this one"),
        row("release", release(&then_began.to), release(&now.to)),
        row("strategy", &then_began.strategy, &now.strategy),
        row("target", &then_began.target, &now.target),
        row("version of this program", &then_began.program, &now.program),
        row(
            "deployment file and what it names, by digest",
            digest.to_string(),
            files,
        ),
    ]
}

/// Returns the rows of what the files of both runs tell, in counts, with the names of what is new and what is gone.
fn of_files(then: &Told, now: &Told) -> Vec<Vec<String>> {
    let steps = |told: &Told| {
        let steps = told.state.plan.iter().flat_map(|plan| &plan.steps);
        Some(steps.map(|step| step.step.to_string()).collect())
    };
    let components = |told: &Told| {
        let components = told.state.components.iter().map(|one| {
            let instances = counted(one.replicas, "instance");
            format!("{} ({}, {instances})", one.own_name(), one.role.word())
        });
        Some(components.collect())
    };
    let of = |told: &Told, names: Names| told.inventory.as_ref().map(names);
    let mut rows = vec![
        compared("plan", "step", steps(then), steps(now)),
        compared("components", "component", components(then), components(now)),
    ];
    let kinds: [(&str, &str, Names); 3] = [
        ("configuration, by name", "name", configuration),
        ("endpoints that files declare", "endpoint", endpoints),
        ("packages of lock files", "package", packages),
    ];
    for (what, noun, names) in kinds {
        let (then, now) = (of(then, names), of(now, names));
        if is_told(then.as_ref()) || is_told(now.as_ref()) {
            rows.push(compared(what, noun, then, now));
        }
    }
    rows
}

/// What of an inventory is compared, by name.
type Names = fn(&Inventory) -> BTreeSet<String>;

/// Where files name none, the run may still find some: a count of 0 would say that there are none.
fn is_told(names: Option<&BTreeSet<String>>) -> bool {
    names.is_some_and(|names| !names.is_empty())
}

/// Returns a row for each database that is migrated: what the last run left, and what the release now wants. What the
/// database itself holds is looked at before it is migrated, which is later.
async fn of_databases(context: &Context, migrated: &Migrated) -> Vec<Vec<String>> {
    // Migrations that cannot be read are told by the steps that need them.
    let databases = Database::all(context).await.unwrap_or_default();
    let rows = databases.iter().filter(|one| one.wanted > 0).map(|one| {
        let what = format!("migrations of database {}", one.name);
        let left = migrated.get(one.name).and_then(BTreeSet::last).copied();
        let after = left.map_or_else(Vec::new, |left| {
            let pending = one.pending(left).into_iter();
            let names = pending.map(|new| format!("{} {}", new.version, new.description));
            names.collect()
        });
        let (then, now) = schemas(left, one.wanted, &after);
        row(&what, then, now)
    });
    rows.collect()
}

/// Says to which version a run has migrated, and which one is wanted with the migrations after that.
fn schemas(left: Option<i64>, wanted: i64, after: &[String]) -> (String, String) {
    let then = left.map_or_else(
        || "that run left no migration of its own".to_owned(),
        |left| format!("migrated to version {left} by that run"),
    );
    let now = format!("version {wanted} is wanted");
    match after.is_empty() {
        true => (then, now),
        false => (then, format!("{now}; new: {}", list(after.iter()))),
    }
}

/// Values are in no record.
fn configuration(inventory: &Inventory) -> BTreeSet<String> {
    let sources = inventory.configuration.iter();
    sources
        .map(|one| format!("{} {}", one.component, one.name))
        .collect()
}

fn endpoints(inventory: &Inventory) -> BTreeSet<String> {
    let declared = inventory.endpoints.iter();
    let declared = declared.filter(|one| one.declared.is_some());
    declared
        .map(|one| {
            let service = one.service.as_deref().unwrap_or("no service");
            format!("{} {} of {service}", one.method, one.path)
        })
        .collect()
}

fn packages(inventory: &Inventory) -> BTreeSet<String> {
    let packages = inventory.dependencies.iter().flat_map(|one| &one.packages);
    packages
        .map(|one| {
            let version = one.version.as_deref().unwrap_or("without a version");
            format!("{} {version}", one.name)
        })
        .collect()
}

/// Returns a row that counts what there was and what there is, and names what only one of both runs has.
fn compared(
    what: &str,
    noun: &str,
    then: Option<BTreeSet<String>>,
    now: Option<BTreeSet<String>>,
) -> Vec<String> {
    let told = |own: &BTreeSet<String>, other: Option<&BTreeSet<String>>, word: &str| {
        let number = counted(own.len(), noun);
        let only: Vec<&String> =
            other.map_or_else(Vec::new, |other| own.difference(other).collect());
        if only.is_empty() {
            return number;
        }
        let named = list(only.iter().take(NAMED));
        match only.len().saturating_sub(NAMED) {
            0 => format!("{number}; {word}: {named}"),
            more => format!("{number}; {word}: {named} and {more} more"),
        }
    };
    let before = then.as_ref().map_or_else(
        || UNKNOWN.to_owned(),
        |then| told(then, now.as_ref(), "not any more"),
    );
    let is = now
        .as_ref()
        .map_or_else(|| UNKNOWN.to_owned(), |now| told(now, then.as_ref(), "new"));
    row(what, before, is)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Option<BTreeSet<String>> {
        Some(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn a_row_names_what_is_new_and_what_is_gone() {
        let row = compared(
            "configuration, by name",
            "name",
            names(&["catalog PORT", "catalog OLD"]),
            names(&["catalog PORT", "orders PORT", "orders URL"]),
        );
        let expected = [
            "configuration, by name",
            "2 names; not any more: catalog OLD",
            "3 names; new: orders PORT, orders URL",
        ];
        assert_eq!(row, expected);
    }

    #[test]
    fn the_same_is_counted_and_what_no_record_tells_is_not_compared() {
        let same = compared("plan", "step", names(&["a"]), names(&["a"]));
        assert_eq!(same, ["plan", "1 step", "1 step"]);
        let unknown = compared("plan", "step", None, names(&["a", "b"]));
        assert_eq!(unknown, ["plan", UNKNOWN, "2 steps"]);
    }

    #[test]
    fn names_that_no_file_tells_are_not_counted_as_none() {
        assert!(!is_told(names(&[]).as_ref()) && !is_told(None));
        assert!(is_told(names(&["GET /orders of orders"]).as_ref()));
    }

    #[test]
    fn of_a_database_it_is_said_what_is_new_only_where_the_last_run_migrated_it() {
        let (then, now) = schemas(Some(1), 2, &["2 gift notes".to_owned()]);
        assert_eq!(then, "migrated to version 1 by that run");
        assert_eq!(now, "version 2 is wanted; new: 2 gift notes");
        let (then, now) = schemas(None, 2, &[]);
        assert_eq!(then, "that run left no migration of its own");
        assert_eq!(now, "version 2 is wanted");
    }

    #[test]
    fn of_many_the_first_are_named() {
        let many: Vec<String> = (10..20).map(|number| format!("part-{number}")).collect();
        let row = compared("plan", "step", names(&[]), Some(many.into_iter().collect()));
        assert!(
            row.last().unwrap().ends_with("part-15 and 4 more"),
            "{row:?}"
        );
    }
}
