//! Phase 5: backup, migrations, validation and the way back of every database.
//!
//! # Order
//! A backup is taken, restored into a scratch file and compared before the first migration. Each
//! migration is one transaction and is journaled. The release before keeps running on the new
//! schema; the undo takes the migrations back down to where the backup found them.

mod backup;
mod carried;
mod database;
mod effects;
mod execution;
mod guard;
mod performance;
mod rollback;
mod sqlite;
mod statements;
#[cfg(test)]
mod tests;
mod validation;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::plan::Inputs;
use crate::step::StepError;
use crate::{Context, Step};

pub(crate) use database::{Database, path_of};
pub(crate) use sqlite::Sqlite;

/// The name of the step that takes the backups.
const BACKUP: &str = "migrate.backup";

/// Returns the steps of phase 5; none without a database.
#[must_use]
pub fn steps(inputs: &Inputs) -> Vec<Arc<dyn Step>> {
    if inputs.spec.file.databases.is_empty() {
        return Vec::new();
    }
    let steps = [
        backup::step(),
        execution::step(),
        validation::step(),
        performance::step(),
        rollback::step(),
    ];
    steps.into_iter().flatten().collect()
}

/// Returns the folder of the run's backups.
fn folder(context: &Context) -> PathBuf {
    context.run.path().join("backups")
}

/// Makes every database of the deployment file anew in another data folder, with the migrations
/// of the release. For trying artifacts out.
pub(crate) async fn prepare(context: &Context, data: &Path) -> Result<(), StepError> {
    for database in Database::all(context).await? {
        let Some(path) = database::path_in(data, database.file) else {
            continue;
        };
        let mut scratch = Sqlite::open(database.name, &path, true).await?;
        scratch
            .migrate_to(&database.migrations, database.wanted)
            .await?;
        scratch.close().await?;
    }
    Ok(())
}
