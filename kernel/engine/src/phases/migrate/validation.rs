//! The data after the migrations against the backup before them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, EvidenceRef, Report};
use serde_json::{Value, json};

use super::backup::{Backup, before, compare};
use super::database::Database;
use super::effects::Effects;
use super::execution::unguarded;
use super::sqlite::{Sqlite, Tables, quoted};
use crate::Step;
use crate::phases::look::counted;
use crate::section::{Outline, Section, Seen, Work, step as section_step};
use crate::step::StepError;

/// How many rows of each table are looked up one by one.
const SAMPLED: u32 = 20;

/// Returns the step.
pub(super) fn step() -> Option<Arc<dyn Step>> {
    let outline = Outline {
        verb: ("migrate", 5),
        section: "validation",
        title: "compare the data after the migrations with the backup before them",
        items: "4.3.1 4.3.2 4.3.3 4.3.4 4.3.6",
        undo: None,
        methods: (
            "checksums of every table against the backup",
            "counts and rows looked up one by one",
        ),
        expected: Duration::from_secs(1),
    };
    section_step(&outline, Validation)
}

struct Validation;

/// What was seen of one database.
#[derive(Default)]
struct Looked {
    rows: Vec<Vec<String>>,
    checks: Vec<Vec<String>>,
    differs: Option<String>,
    lost: Option<String>,
    compared: u64,
    /// Tables that others wrote to since the backup, while the migrations left them as they were.
    meanwhile: Vec<String>,
    orphans: u64,
    integrity: Vec<String>,
    failed_checks: Vec<String>,
    old: bool,
}

#[async_trait]
impl Work for Validation {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let mut looked = Looked::default();
        for database in Database::all(section.context).await? {
            section.context.safe_point()?;
            look(section, &database, &mut looked).await?;
        }
        let event = section.report("Data validation", report(&looked)).await?;
        settle(section, &looked, event).await?;
        let failed = looked.differs.or(looked.lost);
        if let Some(what) = failed {
            let what = format!("the data after the migration is not the data before it: {what}");
            return Err(StepError::permanent(
                "CD0610",
                what,
                "The run goes back; the backup is whole.",
            ));
        }
        Ok(json!({ "compared": looked.compared }))
    }

    async fn inside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let (mut agree, mut written) = (0, 0);
        for database in Database::all(section.context).await? {
            let Some((backup, effects)) = backup_of(section, &database) else {
                continue;
            };
            let mut live = attached(&database, &backup).await?;
            let tables = effects.spared(&backup);
            let kept = kept(&mut live, &tables).await?;
            let lost = tables.iter().find(|(name, table)| {
                kept.get(*name)
                    .is_none_or(|kept| kept.columns != table.columns)
            });
            if let Some((name, _)) = lost {
                return Ok(Seen::new(false, format!("table {name} has lost columns")));
            }
            for (name, table) in kept {
                let one = [(name, table)].into_iter().collect();
                match compare(&mut live, "before", &one).await? {
                    None => agree += 1,
                    Some(_) if is_guarded(section, &database) => written += 1,
                    Some(differs) => return Ok(Seen::new(false, differs)),
                }
            }
            live.close().await?;
        }
        Ok(Seen::new(true, agreed(agree, written)))
    }

    async fn outside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let mut found = 0;
        for database in Database::all(section.context).await? {
            let Some((backup, effects)) = backup_of(section, &database) else {
                continue;
            };
            let mut live = attached(&database, &backup).await?;
            let lost = sample(&mut live, &lasting(&backup, &effects), &mut found).await?;
            live.close().await?;
            if let Some(lost) = lost.filter(|lost| lost.all || !is_guarded(section, &database)) {
                return Ok(Seen::new(false, lost.what));
            }
        }
        Ok(Seen::new(
            true,
            format!("{found} rows of the backup looked up and found"),
        ))
    }
}

/// Returns the backup of a database with what the migrations after it do on purpose.
fn backup_of(section: &Section<'_>, database: &Database<'_>) -> Option<(Backup, Effects)> {
    let before = before(section).remove(database.name)?;
    let effects = Effects::read(database, Some(&before));
    Some((before.backup?, effects))
}

/// Returns whether every migration left the data as it was while nobody else could write, so that
/// what differs from the backup was written by somebody else.
fn is_guarded(section: &Section<'_>, database: &Database<'_>) -> bool {
    !unguarded(section).contains(database.name)
}

/// Says how many tables are as they were backed up, and how many others live services went on writing to.
fn agreed(agree: usize, written: usize) -> String {
    let same = format!("as in the backup, by checksum: {}", counted(agree, "table"));
    if written == 0 {
        return same;
    }
    format!(
        "{same}; written to meanwhile by live services: {}, whose data each migration compared under its lock and found \
         the same",
        counted(written, "table")
    )
}

/// Returns the tables that no migration destroys on purpose.
fn lasting(backup: &Backup, effects: &Effects) -> Tables {
    let mut tables = backup.tables.clone();
    tables.retain(|name, _| !effects.destroyed.contains(name));
    tables
}

async fn attached(database: &Database<'_>, backup: &Backup) -> Result<Sqlite, StepError> {
    let mut live = Sqlite::open(database.name, &database.path, false).await?;
    live.attach(&backup.path, "before").await?;
    Ok(live)
}

/// Returns tables of the backup with those of their columns that are still there.
async fn kept(live: &mut Sqlite, tables: &Tables) -> Result<Tables, StepError> {
    let mut tables = tables.clone();
    for (name, table) in &mut tables {
        let there = live.columns("main", name, false).await?;
        table.columns.retain(|column| there.contains(column));
    }
    tables.retain(|_, table| !table.columns.is_empty());
    Ok(tables)
}

async fn look(
    section: &Section<'_>,
    database: &Database<'_>,
    looked: &mut Looked,
) -> Result<(), StepError> {
    let name = database.name;
    if let Some((backup, effects)) = backup_of(section, database) {
        looked.old = true;
        let guarded = is_guarded(section, database);
        let mut live = attached(database, &backup).await?;
        tables(&mut live, (name, &backup, &effects), guarded, looked).await?;
        let mut found = 0;
        let lost = sample(&mut live, &lasting(&backup, &effects), &mut found).await?;
        if let Some(lost) = lost {
            if lost.all || !guarded {
                looked.lost.get_or_insert(lost.what);
            } else {
                looked.meanwhile.push(lost.what);
            }
        }
        live.close().await?;
    }
    let mut live = Sqlite::open(name, &database.path, false).await?;
    looked.orphans += live.orphans().await?;
    looked.integrity.push(live.integrity().await?);
    for check in &database.file.checks {
        let value = live
            .value(&check.query)
            .await
            .unwrap_or_else(|error| error.to_string());
        let passed = value == check.expect;
        if !passed {
            looked.failed_checks.push(format!(
                "{}: {value}, expected {}",
                check.name, check.expect
            ));
        }
        let word = if passed { "passed" } else { "failed" };
        looked.checks.push(vec![
            name.to_owned(),
            check.name.clone(),
            check.expect.clone(),
            value,
            word.to_owned(),
        ]);
    }
    live.close().await
}

/// Compares every table of a backup with what it holds now.
async fn tables(
    live: &mut Sqlite,
    (name, backup, effects): (&str, &Backup, &Effects),
    guarded: bool,
    looked: &mut Looked,
) -> Result<(), StepError> {
    let kept = kept(live, &backup.tables).await?;
    for (table, held) in &backup.tables {
        let Some(now) = kept.get(table) else {
            if effects.destroyed.contains(table) {
                looked.rows.push(row(
                    name,
                    table,
                    held.rows,
                    ["0", "0", "destroyed on purpose"],
                ));
            } else {
                looked.lost = Some(format!("table {table} of {name} is gone"));
            }
            continue;
        };
        let (rows, sum) = live
            .checksum("main", table, &now.columns, &held.keys, Some("before"))
            .await?;
        let total = live
            .number(&format!("SELECT count(*) FROM main.{}", quoted(table)))
            .await?;
        let (_, wanted) = live
            .checksum("before", table, &now.columns, &held.keys, None)
            .await?;
        let same = sum == wanted && rows == held.rows;
        let what = format!(
            "{name}.{table}: {rows} of {} rows, other checksum",
            held.rows
        );
        let word = match (same, effects.spares(table), guarded) {
            (true, ..) => "agrees",
            (false, false, _) => "changed on purpose",
            (false, true, true) => "written to meanwhile",
            (false, true, false) => "differs",
        };
        match word {
            "differs" if looked.differs.is_none() => looked.differs = Some(what),
            "written to meanwhile" => looked.meanwhile.push(what),
            _ => {}
        }
        looked.compared += rows;
        let (total, columns) = (total.to_string(), now.columns.len().to_string());
        let sum = format!("{} {word}", sum.short());
        looked
            .rows
            .push(row(name, table, held.rows, [&total, &columns, &sum]));
    }
    Ok(())
}

fn row(name: &str, table: &str, rows: u64, rest: [&str; 3]) -> Vec<String> {
    let first = [name.to_owned(), table.to_owned(), rows.to_string()];
    first.into_iter().chain(rest.map(str::to_owned)).collect()
}

/// Rows of a backup that are not there any more.
struct Lost {
    what: String,
    /// Whether the table is empty, which nobody who goes on writing leaves behind.
    all: bool,
}

/// Looks up rows of the backup by their keys, and compares counts. Returns what is lost.
async fn sample(
    live: &mut Sqlite,
    tables: &Tables,
    found: &mut u64,
) -> Result<Option<Lost>, StepError> {
    for (table, held) in tables {
        let count = format!("SELECT count(*) FROM main.{}", quoted(table));
        let now = live.number(&count).await?;
        if now < held.rows {
            let what = format!("table {table} has {now} rows, it had {}", held.rows);
            return Ok(Some(Lost {
                what,
                all: now == 0,
            }));
        }
        let [key] = held.keys.as_slice() else {
            continue;
        };
        let (table_name, key) = (quoted(table), quoted(key));
        let query = format!(
            "SELECT quote({key}) FROM before.{table_name} ORDER BY random() LIMIT {SAMPLED}"
        );
        for value in live.texts(&query).await? {
            let query = format!("SELECT count(*) FROM main.{table_name} WHERE {key} = {value}");
            if live.number(&query).await? != 1 {
                let what = format!("table {table} has no row with the key {value} any more");
                return Ok(Some(Lost { what, all: false }));
            }
            *found += 1;
        }
    }
    Ok(None)
}

fn report(looked: &Looked) -> Report {
    let columns = vec![
        Column::text("Database"),
        Column::text("Table"),
        Column::number("Rows before"),
        Column::number("Rows after"),
        Column::number("Columns compared"),
        Column::text("Checksum over the rows of before"),
    ];
    let checks = vec![
        Column::text("Database"),
        Column::text("Check"),
        Column::text("Expected"),
        Column::text("Given"),
        Column::text("Result"),
    ];
    let text = format!(
        "{} rows of before were compared; {} rows refer to a row that is not there; the integrity \
         check says {}.",
        looked.compared,
        looked.orphans,
        looked.integrity.join(", ")
    );
    Report::new()
        .with_text(text)
        .with_table(
            "Data before and after the migrations",
            columns,
            looked.rows.clone(),
        )
        .with_table("Declared checks", checks, looked.checks.clone())
}

async fn settle(
    section: &Section<'_>,
    looked: &Looked,
    event: EvidenceRef,
) -> Result<(), StepError> {
    let (evidence, observed) = ([event], Basis::Observed);
    if looked.old {
        let text = looked.differs.clone().unwrap_or_else(|| {
            let compared = looked.compared;
            match looked.meanwhile.first() {
                None => format!("{compared} rows compared by checksum with the backup"),
                Some(first) => format!(
                    "the migrations left all rows as they were, compared under the write lock of \
                     each; others wrote to {} tables since the backup, the first: {first}",
                    looked.meanwhile.len()
                ),
            }
        });
        section
            .judge("4.3.1", looked.differs.is_none(), observed, text, &evidence)
            .await?;
        let lost = looked.lost.as_ref().or(looked.differs.as_ref());
        let text = lost.cloned().unwrap_or_else(|| {
            let by = if looked.meanwhile.is_empty() {
                "checksums agree, no table has fewer rows, and sampled rows were found by key"
            } else {
                "checksums agreed under the lock; what differs from the backup was written since"
            };
            by.to_owned()
        });
        section
            .judge("4.3.6", lost.is_none(), observed, text, &evidence)
            .await?;
    } else {
        let fact = "no database is there before this run";
        section.none("4.3.1", fact).await?;
        section.none("4.3.6", fact).await?;
    }
    let text = format!("{} rows refer to a row that is not there", looked.orphans);
    section
        .judge("4.3.2", looked.orphans == 0, observed, text, &evidence)
        .await?;
    let whole = looked.integrity.iter().all(|text| text == "ok");
    let text = format!(
        "the integrity check, constraints included, says {}",
        looked.integrity.join(", ")
    );
    section
        .judge("4.3.3", whole, observed, text, &evidence)
        .await?;
    if looked.checks.is_empty() {
        return section
            .none("4.3.4", "no check is declared in `databases`")
            .await;
    }
    let text = match looked.failed_checks.first() {
        None => format!(
            "{} declared queries gave what they should",
            looked.checks.len()
        ),
        Some(first) => format!(
            "{} declared queries failed, the first: {first}",
            looked.failed_checks.len()
        ),
    };
    section
        .judge(
            "4.3.4",
            looked.failed_checks.is_empty(),
            observed,
            text,
            &evidence,
        )
        .await
}

#[cfg(test)]
mod tests {
    use super::agreed;

    #[test]
    fn tables_that_services_went_on_writing_to_are_named_only_where_there_are_some() {
        assert_eq!(agreed(2, 0), "as in the backup, by checksum: 2 tables");
        assert_eq!(
            agreed(1, 2),
            "as in the backup, by checksum: 1 table; written to meanwhile by live services: 2 tables, whose data each \
             migration compared under its lock and found the same"
        );
    }
}
