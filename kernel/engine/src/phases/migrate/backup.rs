//! The backup of every database, restored into a scratch file and compared.

use std::collections::BTreeMap;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use code_deploy_record::{Basis, Column, Digest, EvidenceRef, Report};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::database::Database;
use super::sqlite::{Sqlite, Tables, Timed, io_failed};
use crate::Step;
use crate::phases::look::counted;
use crate::section::{Outline, Section, Seen, Work, blocking, step as section_step};
use crate::step::StepError;

const ITEMS: [&str; 6] = ["4.1.1", "4.1.2", "4.1.3", "4.1.4", "4.1.5", "4.1.6"];

/// What is known of a database before the first migration.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Before {
    /// The last migration that was applied.
    pub version: i64,
    /// The backup; nothing when the database was not there yet.
    pub backup: Option<Backup>,
    /// The declared checks, as they were carried out.
    pub timed: BTreeMap<String, Timed>,
}

/// A backup.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Backup {
    pub path: PathBuf,
    /// The file of the database itself; nothing in records of earlier versions.
    #[serde(default)]
    pub of: Option<PathBuf>,
    pub digest: Digest,
    pub bytes: u64,
    pub taken: DateTime<Utc>,
    pub tables: Tables,
    /// What the integrity check of the backup said.
    pub integrity: String,
    /// How the comparison with the restored copy ended; nothing when it agreed.
    pub differs: Option<String>,
}

/// Returns what the backup step found of each database.
pub(super) fn before(section: &Section<'_>) -> BTreeMap<String, Before> {
    let result = section.result_of(super::BACKUP);
    let listed = result.get("databases").cloned().unwrap_or_default();
    serde_json::from_value(listed).unwrap_or_default()
}

/// Returns the step.
pub(super) fn step() -> Option<Arc<dyn Step>> {
    let outline = Outline {
        verb: ("migrate", 5),
        section: "backup",
        title: "back up every database, restore the backup into a scratch file and compare",
        items: "4.1.1 4.1.2 4.1.3 4.1.4 4.1.5 4.1.6",
        undo: None,
        methods: (
            "digest and permissions of each backup file",
            "integrity check and counts of each backup, opened anew",
        ),
        expected: Duration::from_secs(2),
    };
    section_step(&outline, Backing)
}

/// Backs every database up and proves that the backup can be restored.
///
/// # Flow
/// Copies each database as of one instant into the folder of the run, restores the copy into a
/// scratch file, compares every table, and removes the scratch file; verified by digest and mode of
/// the backup, and by opening it anew.
///
/// # Guarantees
/// The database itself is only read. A second apply makes the backups anew.
///
/// # Assumptions
/// The folder of the run has room for two copies of the largest database.
///
/// # Caveats
/// There is no undo: a backup is kept for as long as the run's folder is.
///
/// # Errors
/// `CD0606`, a backup that differs from what it restores to; what the database or the disk says.
struct Backing;

#[async_trait]
impl Work for Backing {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let folder = super::folder(section.context);
        make_private(&folder)?;
        let mut found = BTreeMap::new();
        for database in Database::all(section.context).await? {
            section.context.safe_point()?;
            let before = back_up(section, &database, &folder).await?;
            found.insert(database.name.to_owned(), before);
        }
        let event = section
            .report("Backup verification", report(&found))
            .await?;
        settle(section, &found, event).await?;
        Ok(json!({ "databases": found }))
    }

    async fn inside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let mut checked = 0;
        for (name, before) in before(section) {
            let Some(backup) = before.backup else {
                continue;
            };
            let path = backup.path.clone();
            let (digest, mode) = blocking("reading a backup", move || digest_of(&path)).await??;
            if digest != backup.digest || mode != 0o600 {
                let detail = format!("backup of {name}: digest {}, mode {mode:o}", digest.short());
                return Ok(Seen::new(false, detail));
            }
            checked += 1;
        }
        Ok(Seen::new(
            true,
            format!(
                "{} with digest and mode 600 as recorded",
                counted(checked, "backup")
            ),
        ))
    }

    async fn outside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let (mut rows, mut backups) = (0, 0);
        for (name, before) in before(section) {
            let Some(backup) = before.backup else {
                continue;
            };
            let mut opened = Sqlite::read(&name, &backup.path).await?;
            let integrity = opened.integrity().await?;
            let mut counted = 0;
            for table in backup.tables.keys() {
                let table = super::sqlite::quoted(table);
                counted += opened
                    .number(&format!("SELECT count(*) FROM {table}"))
                    .await?;
            }
            opened.close().await?;
            let expected: u64 = backup.tables.values().map(|table| table.rows).sum();
            if integrity != "ok" || counted != expected {
                let detail = format!("backup of {name}: {integrity}; {counted} of {expected} rows");
                return Ok(Seen::new(false, detail));
            }
            rows += counted;
            backups += 1;
        }
        Ok(Seen::new(
            true,
            format!(
                "{} read whole, {}",
                counted(backups, "backup"),
                counted(rows, "row")
            ),
        ))
    }
}

async fn back_up(
    section: &Section<'_>,
    database: &Database<'_>,
    folder: &Path,
) -> Result<Before, StepError> {
    if !database.path.exists() {
        return Ok(Before {
            version: 0,
            backup: None,
            timed: BTreeMap::new(),
        });
    }
    let mut live = Sqlite::open(database.name, &database.path, false).await?;
    let version = live.version().await?;
    let path = folder.join(format!("{}.db", database.name));
    let taken = section.context.clock.now();
    live.copy_to(&path).await?;
    let mut copy = Sqlite::read(database.name, &path).await?;
    let (integrity, tables) = (copy.integrity().await?, copy.contents("main").await?);
    copy.close().await?;
    let restored = folder.join(format!("{}.restored.db", database.name));
    let differs = restore(database, &path, &restored, &tables).await?;
    let mut timed = BTreeMap::new();
    for check in database.file.checks.iter().filter(|_| version > 0) {
        // A check of the new release may name what this schema does not have yet.
        if let Ok(one) = live.timed(&check.query).await {
            timed.insert(check.name.clone(), one);
        }
    }
    live.close().await?;
    let of = path.clone();
    let (digest, _) = blocking("reading a backup", move || digest_of(&of)).await??;
    let bytes = std::fs::metadata(&path)
        .map_err(|error| io_failed(&path, &error))?
        .len();
    let backup = Backup {
        path,
        of: Some(database.path.clone()),
        digest,
        bytes,
        taken,
        tables,
        integrity,
        differs,
    };
    Ok(Before {
        version,
        backup: Some(backup),
        timed,
    })
}

/// Restores a backup into a scratch file, and compares every table with what the backup holds.
async fn restore(
    database: &Database<'_>,
    backup: &Path,
    scratch: &Path,
    tables: &Tables,
) -> Result<Option<String>, StepError> {
    let name = database.name;
    let mut source = Sqlite::read(name, backup).await?;
    source.copy_to(scratch).await?;
    source.close().await?;
    let mut restored = Sqlite::read(name, scratch).await?;
    let now = restored.contents("main").await?;
    restored.close().await?;
    std::fs::remove_file(scratch).map_err(|error| io_failed(scratch, &error))?;
    let other = tables
        .iter()
        .find(|(name, held)| now.get(*name) != Some(*held));
    Ok(other.map(|(name, held)| {
        let rows = now.get(name).map_or(0, |now| now.rows);
        format!(
            "table {name}: {rows} rows restored of {}, or other content",
            held.rows
        )
    }))
}

/// Returns the first table whose rows, as far as they stand in the attached database, are not the
/// same in the main one.
pub(super) async fn compare(
    live: &mut Sqlite,
    attached: &str,
    tables: &Tables,
) -> Result<Option<String>, StepError> {
    for (name, table) in tables {
        let (columns, keys) = (&table.columns, &table.keys);
        let (rows, sum) = live
            .checksum("main", name, columns, keys, Some(attached))
            .await?;
        let (there, wanted) = live.checksum(attached, name, columns, keys, None).await?;
        if rows != there || sum != wanted {
            let what = format!(
                "table {name}: {rows} of {there} rows, checksum {}",
                sum.short()
            );
            return Ok(Some(format!("{what} against {}", wanted.short())));
        }
    }
    Ok(None)
}

fn digest_of(path: &Path) -> Result<(Digest, u32), StepError> {
    let failed = |error: std::io::Error| io_failed(path, &error);
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    Ok((Digest::of_reader(&mut file).map_err(failed)?, mode))
}

fn make_private(folder: &Path) -> Result<(), StepError> {
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder);
    made.map_err(|error| io_failed(folder, &error))
}

fn report(found: &BTreeMap<String, Before>) -> Report {
    let columns = vec![
        Column::text("Database"),
        Column::text("Taken (UTC)"),
        Column::number("Schema version"),
        Column::number("Bytes"),
        Column::text("SHA-256"),
        Column::text("Integrity"),
        Column::text("Restored and compared"),
    ];
    let mut tables = Vec::new();
    let rows = found.iter().map(|(name, before)| match &before.backup {
        None => vec![name.clone(), "not there yet".to_owned(), "0".to_owned()],
        Some(backup) => {
            for (table, held) in &backup.tables {
                let (rows, sum) = (held.rows.to_string(), held.checksum.short());
                tables.push(vec![name.clone(), table.clone(), rows, sum]);
            }
            vec![
                name.clone(),
                backup.taken.format("%Y-%m-%d %H:%M:%S%.3f").to_string(),
                before.version.to_string(),
                backup.bytes.to_string(),
                backup.digest.to_string(),
                backup.integrity.clone(),
                backup
                    .differs
                    .clone()
                    .unwrap_or_else(|| "agrees".to_owned()),
            ]
        }
    });
    let report = Report::new().with_table("Backups", columns, rows.collect());
    let columns = vec![
        Column::text("Database"),
        Column::text("Table"),
        Column::number("Rows"),
        Column::text("Checksum"),
    ];
    report.with_table("What each backup holds", columns, tables)
}

async fn settle(
    section: &Section<'_>,
    found: &BTreeMap<String, Before>,
    event: EvidenceRef,
) -> Result<(), StepError> {
    let backups: Vec<&Backup> = found
        .values()
        .filter_map(|one| one.backup.as_ref())
        .collect();
    if backups.is_empty() {
        let names: Vec<_> = found.keys().map(String::as_str).collect();
        let fact = format!(
            "no database is there before this run: {} is new",
            names.join(", ")
        );
        for item in ITEMS {
            section.none(item, fact.clone()).await?;
        }
        return Ok(());
    }
    let (count, performed) = (backups.len(), Basis::Performed);
    let bytes: u64 = backups.iter().map(|one| one.bytes).sum();
    let rows: u64 = backups
        .iter()
        .flat_map(|one| one.tables.values())
        .map(|one| one.rows)
        .sum();
    let evidence = [event];
    let (databases, rows) = (counted(count, "database"), counted(rows, "row"));
    let text = format!("{databases} backed up, {bytes} bytes, {rows}");
    section
        .judge("4.1.1", true, performed, text, &evidence)
        .await?;
    let whole = backups.iter().all(|one| one.integrity == "ok");
    let texts: Vec<_> = backups.iter().map(|one| one.integrity.as_str()).collect();
    let text = format!(
        "the integrity check of each backup says {}",
        texts.join(", ")
    );
    section
        .judge("4.1.2", whole, performed, text, &evidence)
        .await?;
    let same = backups.iter().all(|one| one.differs.is_none());
    let text = match backups.iter().find_map(|one| one.differs.as_ref()) {
        None => format!("restored into a scratch file; all of {rows} agree by checksum"),
        Some(differs) => format!("the restored copy differs: {differs}"),
    };
    section
        .judge("4.1.3", same, performed, text, &evidence)
        .await?;
    let points = backups
        .iter()
        .map(|one| format!("{} {}", one.taken, one.digest.short()));
    let text = format!("recovery points: {}", points.collect::<Vec<_>>().join("; "));
    section
        .judge("4.1.4", true, performed, text, &evidence)
        .await?;
    let text =
        "backups have mode 600 in a folder with mode 700; this program does not encrypt them";
    section.open("4.1.5", text).await?;
    let text = format!(
        "{} verified and restored before the first migration",
        counted(count, "backup")
    );
    section
        .judge("4.1.6", whole && same, performed, text, &evidence)
        .await?;
    if whole && same {
        return Ok(());
    }
    let what = "a backup is not whole or does not restore to what was backed up; see the section";
    Err(StepError::permanent(
        "CD0606",
        what,
        "Nothing was migrated. Look at disk and database.",
    ))
}
