//! The way back, tried on a copy: migrations are taken back down and the data compared with the
//! backup, so that the procedure that is written down is one that was seen to work.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use code_deploy_record::{Column, Report, WayDown};
use serde_json::{Value, json};

use super::backup::before;
use super::database::{Database, NO_WAY_BACK};
use super::effects::Effects;
use super::guard;
use super::sqlite::{Sqlite, io_failed};
use crate::Step;
use crate::phases::look::counted;
use crate::section::{Outline, Section, Seen, Work, step as section_step};
use crate::step::StepError;

/// Returns the step.
pub(super) fn step() -> Option<Arc<dyn Step>> {
    let outline = Outline {
        verb: ("migrate", 5),
        section: "rollback",
        title: "take the migrations back on a copy and compare it with the backup",
        items: "",
        undo: None,
        methods: (
            "the live database still has the new version",
            "the copy is gone, the backup is there",
        ),
        expected: Duration::from_secs(1),
    };
    section_step(&outline, Rollback)
}

struct Rollback;

/// Returns the version at which a database stands.
async fn version_of(database: &Database<'_>) -> Result<i64, StepError> {
    let mut live = Sqlite::read(database.name, &database.path).await?;
    let version = live.version().await?;
    live.close().await?;
    Ok(version)
}

#[async_trait]
impl Work for Rollback {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let mut rows = Vec::new();
        let mut steps = Vec::new();
        let (mut tried, mut on_a_copy, mut without_way_down) = (Vec::new(), Vec::new(), Vec::new());
        for database in Database::all(section.context).await? {
            section.context.safe_point()?;
            let Some(former) = before(section).remove(database.name) else {
                continue;
            };
            let stands = version_of(&database).await?;
            let without = database.without_way_back(former.version);
            let took = if without.is_empty() {
                Some(try_back(section, &database).await?)
            } else {
                None
            };
            let (name, version) = (database.name, former.version);
            rows.push(vec![
                name.to_owned(),
                stands.to_string(),
                version.to_string(),
                took.as_ref().map_or_else(
                    || format!("no: migrations {without:?} have no way down"),
                    |(_, differs)| {
                        differs.clone().unwrap_or_else(|| {
                            if stands == version {
                                "nothing to take back".to_owned()
                            } else {
                                "yes, the data agrees".to_owned()
                            }
                        })
                    },
                ),
                took.as_ref().map_or_else(String::new, |(took, _)| {
                    format!("{:.1}", took.as_secs_f64() * 1000.0)
                }),
            ]);
            if let Some((_, Some(differs))) = &took {
                let what = format!("database {name} cannot be taken back without loss: {differs}");
                return Err(StepError::permanent(
                    NO_WAY_BACK,
                    what,
                    "Mend the down migration.",
                ));
            }
            let by_hand = match former.backup {
                Some(_) => {
                    "the backup is put in its place by hand, while no service uses it: `code-deploy record rollback after` \
                     has the commands; what was written since is lost"
                }
                None => {
                    "remove it while no service uses it: it is new, and what was written is lost"
                }
            };
            let back = if stands == version {
                format!("leaves database {name} at version {version}, where it was before")
            } else {
                format!("takes database {name} back to version {version}")
            };
            steps.push(format!(
                "While this run is not ended, `code-deploy rollback` {back}. After its end, `rollback` deploys the former release and leaves it at \
                 version {stands}: that release has to work with it, as it did while both served. If neither \
                 will do, {by_hand}.",
            ));
            tried.push(name.to_owned());
            match took {
                Some(_) if stands != version => on_a_copy.push(name.to_owned()),
                Some(_) => {}
                None => without_way_down.push(name.to_owned()),
            }
        }
        let columns = vec![
            Column::text("Database"),
            Column::number("From version"),
            Column::number("To version"),
            Column::text("Tried on a copy"),
            Column::number("Took (ms)"),
        ];
        let mut report = Report::new().with_table("Taking the migrations back", columns, rows);
        for text in steps {
            report = report.with_text(text);
        }
        section.report("Rollback procedures", report).await?;
        Ok(json!({
            "tried": tried,
            (WayDown::ON_A_COPY): on_a_copy,
            (WayDown::WITHOUT): without_way_down,
        }))
    }

    async fn inside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let mut texts = Vec::new();
        for database in Database::all(section.context).await? {
            let version = version_of(&database).await?;
            texts.push(format!(
                "database {} is at version {version}",
                database.name
            ));
            if version < database.wanted {
                return Ok(Seen::new(false, texts.join("; ")));
            }
        }
        Ok(Seen::new(true, texts.join("; ")))
    }

    async fn outside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let mut backups = 0;
        for database in Database::all(section.context).await? {
            if scratch(section, &database).exists() {
                return Ok(Seen::new(
                    false,
                    format!("the copy of {} is left", database.name),
                ));
            }
            let backup = before(section)
                .remove(database.name)
                .and_then(|before| before.backup);
            let Some(backup) = backup else { continue };
            if !backup.path.is_file() {
                return Ok(Seen::new(
                    false,
                    format!("{} is gone", backup.path.display()),
                ));
            }
            backups += 1;
        }
        Ok(Seen::new(
            true,
            format!("{} there, no copy left", counted(backups, "backup")),
        ))
    }
}

fn scratch(section: &Section<'_>, database: &Database<'_>) -> PathBuf {
    super::folder(section.context).join(format!("{}.back.db", database.name))
}

/// Takes a copy back; returns how long it took, and what of the rows that the backup has columns
/// for did not come through.
async fn try_back(
    section: &Section<'_>,
    database: &Database<'_>,
) -> Result<(Duration, Option<String>), StepError> {
    let Some(former) = before(section).remove(database.name) else {
        return Ok((Duration::ZERO, None));
    };
    let effects = Effects::read(database, Some(&former));
    let path = scratch(section, database);
    let mut live = Sqlite::open(database.name, &database.path, false).await?;
    live.copy_to(&path).await?;
    live.close().await?;
    let mut copy = Sqlite::open(database.name, &path, false).await?;
    let now = copy.tables("main").await?;
    let mut held = former
        .backup
        .as_ref()
        .map(|one| effects.spared(one))
        .unwrap_or_default();
    held.retain(|name, _| now.contains(name));
    for (name, table) in &mut held {
        let (columns, keys) = (&table.columns, &table.keys);
        (table.rows, table.checksum) = copy.checksum("main", name, columns, keys, None).await?;
    }
    let began = Instant::now();
    copy.back_to(&database.migrations, former.version).await?;
    let took = began.elapsed();
    let differs = guard::difference(&mut copy, &held, &Effects::default())
        .await?
        .err();
    copy.close().await?;
    std::fs::remove_file(&path).map_err(|error| io_failed(&path, &error))?;
    Ok((took, differs))
}
