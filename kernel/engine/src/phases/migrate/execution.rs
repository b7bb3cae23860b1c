//! Carrying migrations out, each journaled, and taking them back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, Direction, EventBody, EvidenceRef, Report};
use serde_json::{Value, json};
use sqlx::migrate::Migration;

use super::backup::before;
use super::database::Database;
use super::effects::Effects;
use super::guard::{self, Guarded};
use super::sqlite::Sqlite;
use super::statements::{self, Does, Statement};
use crate::Step;
use crate::phases::work::{Outline, Section, Seen, Work, step as section_step};
use crate::settle::accepts_failed;
use crate::step::StepError;

/// A migration that holds a lock for longer than this is shown as one that blocks writers.
const LONG_LOCK: Duration = Duration::from_secs(1);

/// The item that forbids destroying what exists.
const DESTRUCTIVE: &str = "4.2.6";

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

struct Execution;

/// A migration that was carried out.
struct Ran {
    database: String,
    version: i64,
    description: String,
    statements: Vec<Statement>,
    took: Duration,
    rows: u64,
    guarded: Guarded,
}

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
            .report("Migration execution", report(&ran, &versions))
            .await?;
        settle(section, &ran, (&triggers, &destroying), event).await?;
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
            texts.push(format!("{name} is at version {version}"));
            if version < wanted {
                return Ok(Seen::new(
                    false,
                    format!("{name} is at {version}, not at {wanted}"),
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
            texts.push(format!("{} is at version {version}", database.name));
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
                    let upper = statement.text.to_lowercase();
                    created.retain(|name| !upper.contains(name.as_str()));
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

fn report(ran: &[Ran], versions: &BTreeMap<String, i64>) -> Report {
    let columns = vec![
        Column::text("Database"),
        Column::number("Version"),
        Column::text("Migration"),
        Column::number("Statements"),
        Column::number("Rows before"),
        Column::number("Took (ms)"),
        Column::text("Data under the lock"),
    ];
    let rows = ran.iter().map(|one| {
        vec![
            one.database.clone(),
            one.version.to_string(),
            one.description.clone(),
            one.statements.len().to_string(),
            one.rows.to_string(),
            format!("{:.1}", one.took.as_secs_f64() * 1000.0),
            match one.guarded {
                Guarded::Agrees(rows) => format!("{rows} rows are as before"),
                Guarded::NotCompared(why) => format!("not compared: {why}"),
            },
        ]
    });
    let stands = versions
        .iter()
        .map(|(name, version)| format!("{name} is at version {version}"));
    let text = format!(
        "{}; {} migrations were carried out.",
        stands.collect::<Vec<_>>().join(", "),
        ran.len()
    );
    let mut report =
        Report::new()
            .with_text(text)
            .with_table("Migrations carried out", columns, rows.collect());
    for one in ran {
        let text: Vec<_> = one
            .statements
            .iter()
            .map(|one| format!("{};", one.text))
            .collect();
        let caption = format!("{} {}: {}", one.database, one.version, one.description);
        report = report.with_code(caption, "sql", text.join("\n"));
    }
    report
}

async fn settle(
    section: &Section<'_>,
    ran: &[Ran],
    (triggers, destroying): (&[String], &[String]),
    event: EvidenceRef,
) -> Result<(), StepError> {
    let evidence = [event];
    let all = || ran.iter().flat_map(|one| one.statements.iter());
    let slowest = ran.iter().map(|one| one.took).max().unwrap_or_default();
    let longest = format!(
        "the longest migration took {:.1} ms",
        slowest.as_secs_f64() * 1000.0
    );
    let performed = Basis::Performed;
    let text = format!("{} migrations carried out; {longest}", ran.len());
    section
        .judge("4.2.1", true, performed, text, &evidence)
        .await?;
    let adds = all().filter(|one| one.does == Does::AddsRows).count();
    let changes = all().filter(|one| one.does == Does::ChangesRows).count();
    if changes > 0 {
        let text = format!("{changes} statements change rows in one transaction, not in batches");
        section.open("4.2.2", text).await?;
    } else if adds > 0 {
        let text = format!(
            "{adds} statements add rows that stand in the migration; none changes rows that exist"
        );
        section
            .judge("4.2.2", true, performed, text, &evidence)
            .await?;
    } else {
        section
            .none("4.2.2", "no pending migration changes data")
            .await?;
    }
    settle_indexes(section, ran, event).await?;
    let constrains = all().filter(|one| one.does == Does::Constrains).count();
    if constrains == 0 {
        section
            .none(
                "4.2.4",
                "no pending migration changes a constraint of a table that exists",
            )
            .await?;
    } else {
        let text = format!("{constrains} constraints changed; {longest}");
        section
            .judge("4.2.4", slowest < LONG_LOCK, performed, text, &evidence)
            .await?;
    }
    if triggers.is_empty() {
        section
            .none("4.2.5", "no database of the inventory has a trigger")
            .await?;
    } else {
        let text = format!(
            "{} triggers are there: {}",
            triggers.len(),
            triggers.join(", ")
        );
        section
            .judge("4.2.5", true, Basis::Observed, text, &evidence)
            .await?;
    }
    let text = match destroying.first() {
        None => format!(
            "{} statements read, none destroys anything that was there",
            all().count()
        ),
        Some(first) => format!(
            "{} statements destroy, the first: {first}",
            destroying.len()
        ),
    };
    section
        .judge(
            DESTRUCTIVE,
            destroying.is_empty(),
            Basis::Observed,
            text,
            &evidence,
        )
        .await
}

async fn settle_indexes(
    section: &Section<'_>,
    ran: &[Ran],
    event: EvidenceRef,
) -> Result<(), StepError> {
    let (mut on_new, mut on_old) = (0, Vec::new());
    for one in ran {
        let created: Vec<_> = one
            .statements
            .iter()
            .filter_map(|one| match &one.does {
                Does::Creates(name) => Some(name.as_str()),
                _ => None,
            })
            .collect();
        for statement in &one.statements {
            match &statement.does {
                Does::Indexes(table) if created.contains(&table.as_str()) => on_new += 1,
                Does::Indexes(table) => on_old.push((table.clone(), one.took)),
                _ => {}
            }
        }
    }
    if on_new == 0 && on_old.is_empty() {
        return section
            .none("4.2.3", "no pending migration builds an index")
            .await;
    }
    let longest = on_old
        .iter()
        .map(|(_, took)| *took)
        .max()
        .unwrap_or_default();
    let text = format!(
        "{on_new} indexes on tables of the same migration, which nobody writes yet; {} on tables \
         that exist, writers waited at most {:.1} ms",
        on_old.len(),
        longest.as_secs_f64() * 1000.0
    );
    section
        .judge(
            "4.2.3",
            longest < LONG_LOCK,
            Basis::Performed,
            text,
            &[event],
        )
        .await
}
