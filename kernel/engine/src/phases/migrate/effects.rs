//! What pending migrations mean to do to tables that hold data, as far as their words say it.

use std::collections::BTreeSet;

use code_deploy_record::{Finding, Severity};

use super::backup::{Backup, Before};
use super::database::Database;
use super::statements::{self, Does};

/// What the pending migrations of a database say they do to the tables of its backup.
#[derive(Default)]
pub(super) struct Effects {
    /// Each statement that destroys something: the migration, why, and the statement.
    pub destroying: Vec<(i64, &'static str, String)>,
    /// Tables that such statements name: their rows or columns go on purpose.
    pub destroyed: BTreeSet<String>,
    /// Tables whose rows are changed on purpose.
    pub changed: BTreeSet<String>,
    /// Tables that get rows of the migration's own; those that were there stay.
    pub added: BTreeSet<String>,
}

impl Effects {
    /// Reads the migrations after the backup. Nothing is destroyed of a database that is new.
    pub(super) fn read(database: &Database<'_>, before: Option<&Before>) -> Self {
        let mut effects = Self::default();
        let Some((version, backup)) =
            before.and_then(|one| Some((one.version, one.backup.as_ref()?)))
        else {
            return effects;
        };
        for migration in database.pending(version) {
            for statement in statements::read(migration.sql.as_str()) {
                let named = backup.tables.keys();
                let named = named.filter(|table| statements::names(&statement.text, table));
                match statement.does {
                    Does::Destroys(why) => {
                        effects.destroyed.extend(named.cloned());
                        let text = statement.text.chars().take(160).collect();
                        effects.destroying.push((migration.version, why, text));
                    }
                    Does::AddsRows => effects.added.extend(named.cloned()),
                    Does::ChangesRows | Does::Triggers => effects.changed.extend(named.cloned()),
                    _ => {}
                }
            }
        }
        effects
    }

    /// Returns whether rows of that table are to be as they were.
    pub(super) fn spares(&self, table: &str) -> bool {
        !self.destroyed.contains(table) && !self.changed.contains(table)
    }

    /// Returns the tables of a backup whose rows are to be as they were.
    pub(super) fn spared(&self, backup: &Backup) -> super::sqlite::Tables {
        let mut tables = backup.tables.clone();
        tables.retain(|name, _| self.spares(name));
        tables
    }

    /// Returns what is destroyed as findings.
    pub(super) fn findings(&self, database: &str) -> Vec<Finding> {
        let each = self.destroying.iter().map(|(version, why, text)| Finding {
            rule: "migration/destructive".to_owned(),
            severity: Severity::High,
            place: format!("{database} migration {version}"),
            message: format!("{why}: {text}"),
            cure: "Expand first, contract in a later release when nothing uses it.".to_owned(),
        });
        each.collect()
    }
}
