//! The data after the migrations against the backup before them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, EvidenceRef, Report};
use serde_json::{Value, json};

use super::backup::{Backup, before, compare};
use super::database::Database;
use super::sqlite::{Sqlite, quoted};
use crate::Step;
use crate::phases::work::{Outline, Section, Seen, Work, step as section_step};
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
                "CD0607",
                what,
                "The run goes back; the backup is whole.",
            ));
        }
        Ok(json!({ "compared": looked.compared }))
    }

    async fn inside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let mut tables = 0;
        for database in Database::all(section.context).await? {
            let Some(backup) = backup_of(section, &database) else {
                continue;
            };
            let mut live = attached(&database, &backup).await?;
            let kept = kept(&mut live, &backup).await?;
            let differs = compare(&mut live, "before", &kept).await?;
            live.close().await?;
            if let Some(differs) = differs {
                return Ok(Seen::new(false, differs));
            }
            tables += backup.tables.len();
        }
        Ok(Seen::new(
            true,
            format!("{tables} tables agree with the backup by checksum"),
        ))
    }

    async fn outside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let mut found = 0;
        for database in Database::all(section.context).await? {
            let Some(backup) = backup_of(section, &database) else {
                continue;
            };
            let mut live = attached(&database, &backup).await?;
            let lost = sample(&mut live, &backup, &mut found).await?;
            live.close().await?;
            if let Some(lost) = lost {
                return Ok(Seen::new(false, lost));
            }
        }
        Ok(Seen::new(
            true,
            format!("{found} rows of the backup looked up and found"),
        ))
    }
}

fn backup_of(section: &Section<'_>, database: &Database<'_>) -> Option<Backup> {
    before(section).remove(database.name)?.backup
}

async fn attached(database: &Database<'_>, backup: &Backup) -> Result<Sqlite, StepError> {
    let mut live = Sqlite::open(database.name, &database.path, false).await?;
    live.attach(&backup.path, "before").await?;
    Ok(live)
}

/// Returns the tables of the backup with those of their columns that are still there.
async fn kept(live: &mut Sqlite, backup: &Backup) -> Result<super::sqlite::Tables, StepError> {
    let mut tables = backup.tables.clone();
    for (name, table) in &mut tables {
        let text = name.replace('\'', "''");
        let there = live
            .texts(&format!("SELECT name FROM pragma_table_info('{text}')"))
            .await?;
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
    if let Some(backup) = backup_of(section, database) {
        looked.old = true;
        let mut live = attached(database, &backup).await?;
        let kept = kept(&mut live, &backup).await?;
        for (table, held) in &backup.tables {
            let Some(now) = kept.get(table) else {
                looked.lost = Some(format!("table {table} of {name} is gone"));
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
            if !same {
                let what = format!(
                    "{name}.{table}: {rows} of {} rows, other checksum",
                    held.rows
                );
                looked.differs.get_or_insert(what);
            }
            looked.compared += rows;
            let word = if same { "agrees" } else { "differs" };
            looked.rows.push(vec![
                name.to_owned(),
                table.clone(),
                held.rows.to_string(),
                total.to_string(),
                now.columns.len().to_string(),
                format!("{} {word}", sum.short()),
            ]);
        }
        let mut found = 0;
        if let Some(lost) = sample(&mut live, &backup, &mut found).await? {
            looked.lost.get_or_insert(lost);
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

/// Looks up rows of the backup by their keys, and compares counts. Returns what is lost.
async fn sample(
    live: &mut Sqlite,
    backup: &Backup,
    found: &mut u64,
) -> Result<Option<String>, StepError> {
    for (table, held) in &backup.tables {
        let now = live
            .number(&format!("SELECT count(*) FROM main.{}", quoted(table)))
            .await?;
        if now < held.rows {
            return Ok(Some(format!(
                "table {table} has {now} rows, it had {}",
                held.rows
            )));
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
                return Ok(Some(format!(
                    "table {table} has no row with the key {value} any more"
                )));
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
            format!("{} rows agree by checksum with the backup", looked.compared)
        });
        section
            .judge("4.3.1", looked.differs.is_none(), observed, text, &evidence)
            .await?;
        let lost = looked.lost.as_ref().or(looked.differs.as_ref());
        let text = lost.cloned().unwrap_or_else(|| {
            "checksums agree, no table has fewer rows, and sampled rows were found by key"
                .to_owned()
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
