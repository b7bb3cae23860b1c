//! A migration inside one write lock: the data is compared before and after it there, where nobody
//! else writes, and a migration that loses some is taken back before anybody sees it.

use std::ops::DerefMut;

use sqlx::migrate::Migration;
use sqlx::sqlite::SqliteConnection;

use super::database::Database;
use super::effects::Effects;
use super::sqlite::{Locked, Sqlite, Tables};
use crate::step::StepError;

/// Rows above which the data is not compared under the lock: writers wait meanwhile, and about so
/// many rows are read twice in a second.
const MOST_ROWS: u64 = 100_000;

/// What the comparison under the lock gave.
pub(super) enum Guarded {
    /// So many rows were the same before and after.
    Agrees(u64),
    /// The migration was not compared there; why.
    NotCompared(&'static str),
}

/// Carries one migration out.
///
/// # Errors
/// The migration failed or lost data. Nothing of it is left then.
pub(super) async fn migrate(
    live: &mut Sqlite,
    database: &Database<'_>,
    migration: &Migration,
    effects: &Effects,
    rows: u64,
) -> Result<Guarded, StepError> {
    let alone = migration
        .no_tx
        .then_some("it asks to run outside a transaction");
    let many = (rows > MOST_ROWS).then_some("writers would wait too long");
    if let Some(why) = alone.or(many) {
        live.migrate_to(&database.migrations, migration.version)
            .await?;
        return Ok(Guarded::NotCompared(why));
    }
    let mut locked = live.lock().await?;
    let rows = compared(&mut locked, database, migration, effects).await?;
    locked.commit().await?;
    Ok(Guarded::Agrees(rows))
}

async fn compared(
    live: &mut Locked<'_>,
    database: &Database<'_>,
    migration: &Migration,
    effects: &Effects,
) -> Result<u64, StepError> {
    let before = live.contents("main").await?;
    live.migrate_to(&database.migrations, migration.version)
        .await?;
    match difference(live, &before, effects).await? {
        Ok(rows) => Ok(rows),
        Err(differs) => {
            let what = format!(
                "database {}: migration {} would lose data, which no statement of it says: {differs}",
                database.name, migration.version
            );
            let next = "It was taken back in its own transaction: nothing of it is left. Mend it.";
            Err(StepError::permanent("CD0607", what, next))
        }
    }
}

/// Compares all tables with what they held; returns how many rows agree, or the first table that
/// is not the same although no statement says that it changes.
pub(super) async fn difference<C>(
    live: &mut Sqlite<C>,
    before: &Tables,
    effects: &Effects,
) -> Result<Result<u64, String>, StepError>
where
    C: DerefMut<Target = SqliteConnection> + Send,
{
    let there = live.tables("main").await?;
    let mut agree = 0;
    for (name, table) in before {
        if effects.destroyed.contains(name) {
            continue;
        }
        if !there.contains(name) {
            return Ok(Err(format!("table {name} is gone")));
        }
        let columns = live.columns("main", name, false).await?;
        if let Some(lost) = table.columns.iter().find(|one| !columns.contains(one)) {
            return Ok(Err(format!("table {name} has no column {lost} any more")));
        }
        let (columns, keys) = (&table.columns, &table.keys);
        let (rows, sum) = live.checksum("main", name, columns, keys, None).await?;
        let held = table.rows;
        if rows < held {
            return Ok(Err(format!("table {name} has {rows} of {held} rows")));
        }
        if effects.changed.contains(name) || effects.added.contains(name) {
            continue;
        }
        if (rows, sum) != (held, table.checksum) {
            return Ok(Err(format!("table {name} has other rows than before")));
        }
        agree += held;
    }
    Ok(Ok(agree))
}
