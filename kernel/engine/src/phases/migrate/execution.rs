//! Carrying migrations out, each journaled, and taking them back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use code_deploy_record::{Basis, Direction, EventBody, Report};
use serde_json::{Value, json};
use sqlx::migrate::Migration;

use super::backup::before;
use super::carried::{self, Ran};
use super::database::{Database, NO_WAY_BACK};
use super::effects::Effects;
use super::guard::{self, Guarded};
use super::sqlite::Sqlite;
use super::statements::{self, Does};
use crate::Step;
use crate::section::{Outline, Section, Seen, Work, step as section_step};
use crate::settle::accepts_failed;
use crate::step::StepError;

/// The item that forbids destroying what exists.
pub(super) const DESTRUCTIVE: &str = "4.2.6";

/// Returns the databases of which a migration was not compared under the write lock.
pub(super) fn unguarded(section: &Section<'_>) -> BTreeSet<String> {
    let result = section.result_of("migrate.execution");
    let listed = result.get("unguarded").cloned().unwrap_or_default();
    serde_json::from_value(listed).unwrap_or_default()
}

/// Returns the step.
pub(super) fn step() -> Option<Arc<dyn Step>> {
    let outline = Outline {
        verb: ("migrate", 5),
        section: "execution",
        title: "carry out the migrations of the release",
        items: "4.2.1 4.2.2 4.2.3 4.2.4 4.2.5 4.2.6",
        undo: Some("take the migrations back down to where the backup found them"),
        methods: (
            "the database's own list of migrations",
            "the tables and columns that the migrations name",
        ),
        expected: Duration::from_secs(1),
    };
    section_step(&outline, Execution)
}

/// Carries the pending migrations of every database out, or takes them back down.
///
/// # Flow
/// Refuses statements that destroy what exists unless somebody accepted that. Then, database by
/// database and migration by migration: carries it out under the write lock, compares the data
/// there, and journals it; verified by the database's own list and by the tables that are to be
/// there. Undone: each migration's way back, the last one first, down to the version at the backup.
///
/// # Guarantees
/// A migration in a transaction is there whole or not at all, together with its line in the
/// database's list, so a second apply or undo goes on after the last whole one. One that loses rows
/// which it does not name is taken back before anybody sees it. Pausing and going back begin between
/// two migrations.
///
/// # Assumptions
/// The old release works with the schema of the new one; each migration has a way back, which a
/// later section of the phase tries on a copy.
///
/// # Caveats
/// A migration outside a transaction, or over more rows than can be read under the lock, is not
/// compared there; the record names it. Rows that were written after a migration and that the older
/// schema has no place for go with its way back.
///
/// # Errors
/// `CD0609`, destroying statements that nobody accepted; `CD0607`, a migration that lost data;
/// what the database says (`CD0602`, `CD0603`).
struct Execution;

#[async_trait]
impl Work for Execution {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let mut ran = Vec::new();
        let mut versions = BTreeMap::new();
        let mut triggers = Vec::new();
        let destroying = allowed(section).await?;
        for database in Database::all(section.context).await? {
            ran.extend(forward(section, &database).await?);
            let mut live = Sqlite::open(database.name, &database.path, false).await?;
            versions.insert(database.name.to_owned(), live.version().await?);
            triggers.extend(
                live.texts("SELECT name FROM sqlite_master WHERE type = 'trigger'")
                    .await?,
            );
            live.close().await?;
        }
        let event = section
            .report("Migration execution", carried::report(&ran, &versions))
            .await?;
        carried::settle(section, &ran, (&triggers, &destroying), event).await?;
        let unguarded: BTreeSet<_> = ran
            .iter()
            .filter(|one| matches!(one.guarded, Guarded::NotCompared(_)))
            .map(|one| &one.database)
            .collect();
        Ok(json!({ "versions": versions, "applied": ran.len(), "unguarded": unguarded }))
    }

    async fn inside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let mut texts = Vec::new();
        for database in Database::all(section.context).await? {
            let mut live = Sqlite::read(database.name, &database.path).await?;
            let version = live.version().await?;
            live.close().await?;
            let (name, wanted) = (database.name, database.wanted);
            texts.push(format!("database {name} is at version {version}"));
            if version < wanted {
                return Ok(Seen::new(
                    false,
                    format!("database {name} is at {version}, not at {wanted}"),
                ));
            }
        }
        Ok(Seen::new(true, texts.join("; ")))
    }

    async fn outside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let mut found = 0;
        for database in Database::all(section.context).await? {
            let mut live = Sqlite::read(database.name, &database.path).await?;
            let there = live.tables("main").await?;
            live.close().await?;
            let created = created_tables(&database);
            if let Some(missing) = created.iter().find(|name| !holds(&there, name)) {
                return Ok(Seen::new(
                    false,
                    format!("{} has no table {missing}", database.name),
                ));
            }
            found += created.len();
        }
        Ok(Seen::new(
            true,
            format!("{found} tables that migrations create are there"),
        ))
    }

    async fn undo(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let before = before(section);
        let mut versions = BTreeMap::new();
        for database in Database::all(section.context).await? {
            let Some(former) = before.get(database.name) else {
                continue;
            };
            if database.path.exists() {
                backward(section, &database, former.version).await?;
            }
            versions.insert(database.name.to_owned(), former.version);
        }
        Ok(json!({ "versions": versions }))
    }

    async fn inside_undone(&self, section: &Section<'_>) -> Result<Seen, StepError> {
        let before = before(section);
        let mut texts = Vec::new();
        for database in Database::all(section.context).await? {
            let Some(former) = before.get(database.name) else {
                continue;
            };
            if !database.path.exists() {
                continue;
            }
            let mut live = Sqlite::read(database.name, &database.path).await?;
            let version = live.version().await?;
            live.close().await?;
            texts.push(format!(
                "database {} is at version {version}",
                database.name
            ));
            if version > former.version {
                return Ok(Seen::new(false, texts.join("; ")));
            }
        }
        Ok(Seen::new(true, texts.join("; ")))
    }

    async fn outside_undone(&self, section: &Section<'_>) -> Result<Seen, StepError> {
        let mut tables = 0;
        for database in Database::all(section.context).await? {
            let before = before(section);
            let backup = before
                .get(database.name)
                .and_then(|before| before.backup.clone());
            let Some(backup) = backup.filter(|_| database.path.exists()) else {
                continue;
            };
            let mut live = Sqlite::read(database.name, &database.path).await?;
            let now = live.contents("main").await?;
            live.close().await?;
            for (name, table) in &backup.tables {
                let same = now
                    .get(name)
                    .is_some_and(|now| now.columns == table.columns);
                if !same {
                    let detail = format!("table {name} does not have the columns of the backup");
                    return Ok(Seen::new(false, detail));
                }
                tables += 1;
            }
        }
        Ok(Seen::new(
            true,
            format!("{tables} tables have the columns they had in the backup"),
        ))
    }
}

fn holds(names: &[String], wanted: &str) -> bool {
    names.iter().any(|name| name.eq_ignore_ascii_case(wanted))
}

/// Returns the tables that the migrations up to the wanted one create and none of them drops.
fn created_tables(database: &Database<'_>) -> Vec<String> {
    let mut created: Vec<String> = Vec::new();
    for migration in database.pending(0) {
        for statement in statements::read(migration.sql.as_str()) {
            match statement.does {
                Does::Creates(name) => created.push(name),
                Does::Destroys(_) => {
                    created.retain(|name| !statements::names(&statement.text, name));
                }
                _ => {}
            }
        }
    }
    created
}

/// Raises what the pending migrations destroy, and refuses it before anything is done when nobody
/// accepted it. Returns the statements that destroy.
async fn allowed(section: &Section<'_>) -> Result<Vec<String>, StepError> {
    let before = before(section);
    let mut destroying = Vec::new();
    for database in Database::all(section.context).await? {
        let effects = Effects::read(&database, before.get(database.name));
        for finding in effects.findings(database.name) {
            destroying.push(format!("{}: {}", finding.place, finding.message));
            section.context.find(finding).await?;
        }
    }
    let Some(first) = destroying.first() else {
        return Ok(destroying);
    };
    if accepts_failed(section.context, DESTRUCTIVE)? {
        return Ok(destroying);
    }
    let (count, list) = (destroying.len(), destroying.join("\n"));
    let report = Report::new()
        .with_text("Nothing was migrated: pending migrations destroy what exists, and nobody accepted that.")
        .with_code("Statements that destroy", "text", list);
    let event = section.report("Migration execution", report).await?;
    let text = format!("{count} pending statements would destroy, the first: {first}");
    section
        .judge(DESTRUCTIVE, false, Basis::Observed, text, &[event])
        .await?;
    let what = format!("{count} pending statements destroy what exists, the first: {first}");
    let next = format!("Nothing was migrated. Expand first, or waive {DESTRUCTIVE} in `waivers`.");
    Err(StepError::permanent("CD0609", what, next))
}

async fn forward(section: &Section<'_>, database: &Database<'_>) -> Result<Vec<Ran>, StepError> {
    if let Some(folder) = database.path.parent() {
        let made = tokio::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .await;
        made.map_err(|error| super::sqlite::io_failed(folder, &error))?;
    }
    let mut live = Sqlite::open(database.name, &database.path, true).await?;
    restrict(database)?;
    let version = live.version().await?;
    let effects = Effects::read(database, before(section).get(database.name));
    let mut ran = Vec::new();
    for migration in database.pending(version) {
        section.context.safe_point()?;
        let rows = rows(&mut live).await?;
        let began = Instant::now();
        let guarded = guard::migrate(&mut live, database, migration, &effects, rows).await?;
        let took = began.elapsed();
        journal(section, database, migration, (Direction::Apply, took, rows)).await?;
        ran.push(Ran {
            database: database.name.to_owned(),
            version: migration.version,
            description: migration.description.to_string(),
            statements: statements::read(migration.sql.as_str()),
            took,
            rows,
            guarded,
        });
    }
    live.close().await?;
    Ok(ran)
}

/// A database's file is private from the beginning on.
fn restrict(database: &Database<'_>) -> Result<(), StepError> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&database.path, mode)
        .map_err(|error| super::sqlite::io_failed(&database.path, &error))
}

async fn backward(
    section: &Section<'_>,
    database: &Database<'_>,
    former: i64,
) -> Result<(), StepError> {
    let mut live = Sqlite::open(database.name, &database.path, false).await?;
    let now = live.version().await?;
    let mut applied: Vec<&Migration> = database.pending(former);
    applied.retain(|one| one.version <= now);
    let without = database.without_way_back(former);
    // Nothing is half way back, and nothing is said to be that is not.
    if let Some(one) = applied.iter().find(|one| without.contains(&one.version)) {
        live.close().await?;
        let what = format!(
            "database {} cannot be taken back to version {former}: migration {} ({}) has no way down; it is at \
             version {now}",
            database.name, one.version, one.description
        );
        let next = "Where its file that ends with `.down.sql` has gone, put it back and go on with `code-deploy retry --reason TEXT`; where \
             it never had one, take it back by hand, then `code-deploy skip STEP --reason TEXT`.";
        return Err(StepError::permanent(NO_WAY_BACK, what, next));
    }
    while let Some(migration) = applied.pop() {
        let target = applied.last().map_or(former, |before| before.version);
        let rows = rows(&mut live).await?;
        let began = Instant::now();
        live.back_to(&database.migrations, target).await?;
        let took = began.elapsed();
        journal(section, database, migration, (Direction::Undo, took, rows)).await?;
    }
    live.close().await
}

async fn rows(live: &mut Sqlite) -> Result<u64, StepError> {
    let mut rows = 0;
    for table in live.tables("main").await? {
        let table = super::sqlite::quoted(&table);
        rows += live
            .number(&format!("SELECT count(*) FROM {table}"))
            .await?;
    }
    Ok(rows)
}

async fn journal(
    section: &Section<'_>,
    database: &Database<'_>,
    migration: &Migration,
    (direction, took, rows): (Direction, Duration, u64),
) -> Result<(), StepError> {
    let body = EventBody::Migrated {
        database: database.name.to_owned(),
        version: migration.version,
        description: migration.description.to_string(),
        direction,
        duration_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        rows,
    };
    section.context.journal.append("engine", body).await?;
    Ok(())
}
