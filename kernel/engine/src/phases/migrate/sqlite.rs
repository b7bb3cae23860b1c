//! One SQLite database: what it holds, its backup, its migrations.

use std::collections::BTreeMap;
use std::ops::DerefMut;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use code_deploy_record::Digest;
use futures::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use sqlx::migrate::{Migrate as _, MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _, Transaction};

use crate::error::with_sources;
use crate::step::StepError;

/// How long a statement waits for another writer.
const BUSY: Duration = Duration::from_secs(15);

/// The table in which sqlx keeps which migrations are applied.
const BOOKS: &str = "_sqlx_migrations";

/// A connection to a SQLite file.
pub(crate) struct Sqlite<C = Box<SqliteConnection>> {
    name: String,
    path: PathBuf,
    connection: C,
}

/// A connection that holds the write lock: nobody else writes. Dropping it takes back what it did.
pub(crate) type Locked<'a> = Sqlite<Transaction<'a, sqlx::Sqlite>>;

/// What a table holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Table {
    /// The columns, in order.
    pub columns: Vec<String>,
    /// The columns of the primary key, in order.
    pub keys: Vec<String>,
    /// How many rows.
    pub rows: u64,
    /// The SHA-256 over all rows in the order of their keys.
    pub checksum: Digest,
}

/// Tables by name.
pub(crate) type Tables = BTreeMap<String, Table>;

/// How a query is carried out and how long it takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Timed {
    /// The value it gives, as text.
    pub value: String,
    /// The planner's words.
    pub plan: String,
    /// The median of some runs, in microseconds.
    pub median_us: u64,
}

impl Sqlite {
    /// Opens a file; makes it when `create` and it is not there.
    pub(crate) async fn open(name: &str, path: &Path, create: bool) -> Result<Self, StepError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(create)
            .busy_timeout(BUSY)
            .disable_statement_logging();
        let connection = SqliteConnection::connect_with(&options).await;
        let connection = connection.map_err(|error| failed(name, path, "opening it", &error))?;
        Ok(Self {
            name: name.to_owned(),
            path: path.to_owned(),
            connection: Box::new(connection),
        })
    }

    /// Opens a file for reading only.
    pub(crate) async fn read(name: &str, path: &Path) -> Result<Self, StepError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .read_only(true)
            .busy_timeout(BUSY)
            .disable_statement_logging();
        let connection = SqliteConnection::connect_with(&options).await;
        let connection = connection.map_err(|error| failed(name, path, "reading it", &error))?;
        Ok(Self {
            name: name.to_owned(),
            path: path.to_owned(),
            connection: Box::new(connection),
        })
    }

    /// Takes the write lock, for migrations and comparisons in one transaction.
    pub(super) async fn lock(&mut self) -> Result<Locked<'_>, StepError> {
        let (name, path) = (self.name.clone(), self.path.clone());
        let begun = self.connection.begin_with("BEGIN IMMEDIATE").await;
        let connection =
            begun.map_err(|error| failed(&name, &path, "taking the write lock", &error))?;
        Ok(Sqlite {
            name,
            path,
            connection,
        })
    }

    /// Closes the connection.
    pub(crate) async fn close(self) -> Result<(), StepError> {
        let (name, path) = (self.name, self.path);
        let closed = self.connection.close().await;
        closed.map_err(|error| failed(&name, &path, "closing it", &error))
    }
}

impl Locked<'_> {
    /// Keeps what was done under the lock.
    pub(super) async fn commit(self) -> Result<(), StepError> {
        let (name, path) = (self.name, self.path);
        let done = self.connection.commit().await;
        done.map_err(|error| failed(&name, &path, "committing", &error))
    }
}

impl<C: DerefMut<Target = SqliteConnection> + Send> Sqlite<C> {
    fn failed(&self, doing: &str, error: &sqlx::Error) -> StepError {
        failed(&self.name, &self.path, doing, error)
    }

    async fn rows(&mut self, query: &str) -> Result<Vec<SqliteRow>, StepError> {
        let query_text = AssertSqlSafe(query.to_owned());
        let rows = sqlx::query(query_text)
            .fetch_all(&mut *self.connection)
            .await;
        rows.map_err(|error| failed(&self.name, &self.path, query, &error))
    }

    /// Runs a statement.
    pub(crate) async fn execute(&mut self, statement: &str) -> Result<(), StepError> {
        let text = AssertSqlSafe(statement.to_owned());
        let done = sqlx::raw_sql(text).execute(&mut *self.connection).await;
        done.map(drop)
            .map_err(|error| self.failed(statement, &error))
    }

    /// Returns the first column of each row as text.
    pub(crate) async fn texts(&mut self, query: &str) -> Result<Vec<String>, StepError> {
        let rows = self.rows(query).await?;
        let text = |row: &SqliteRow| {
            row.try_get_unchecked::<Option<String>, _>(0)
                .map(|text| text.unwrap_or_default())
        };
        let texts: Result<Vec<_>, _> = rows.iter().map(text).collect();
        texts.map_err(|error| self.failed(query, &error))
    }

    /// Returns the one value that a query gives, as text.
    pub(crate) async fn value(&mut self, query: &str) -> Result<String, StepError> {
        let query = format!("SELECT CAST(({query}) AS TEXT)");
        Ok(self
            .texts(&query)
            .await?
            .into_iter()
            .next()
            .unwrap_or_default())
    }

    /// Returns the one number that a query gives; 0 for anything else.
    pub(crate) async fn number(&mut self, query: &str) -> Result<u64, StepError> {
        Ok(self.value(query).await?.parse().unwrap_or(0))
    }

    /// Returns the names of the application's own tables in an attached database.
    pub(crate) async fn tables(&mut self, database: &str) -> Result<Vec<String>, StepError> {
        let query = format!(
            "SELECT name FROM {database}.sqlite_master WHERE type = 'table' \
             AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name <> '{BOOKS}' ORDER BY name"
        );
        self.texts(&query).await
    }

    /// Returns what every table of an attached database holds.
    pub(crate) async fn contents(&mut self, database: &str) -> Result<Tables, StepError> {
        let mut all = Tables::new();
        for name in self.tables(database).await? {
            let columns = self.columns(database, &name, false).await?;
            let keys = self.columns(database, &name, true).await?;
            let (rows, checksum) = self
                .checksum(database, &name, &columns, &keys, None)
                .await?;
            all.insert(
                name,
                Table {
                    columns,
                    keys,
                    rows,
                    checksum,
                },
            );
        }
        Ok(all)
    }

    /// Returns the names of a table's columns, or of those of its primary key, in order.
    pub(super) async fn columns(
        &mut self,
        database: &str,
        table: &str,
        keys: bool,
    ) -> Result<Vec<String>, StepError> {
        let only = if keys {
            "WHERE pk > 0 ORDER BY pk"
        } else {
            "ORDER BY cid"
        };
        let table = literal(table);
        let query = format!("SELECT name FROM pragma_table_info({table}, '{database}') {only}");
        self.texts(&query).await
    }

    /// Returns count and checksum of a table's rows over the given columns; of those rows only
    /// whose keys stand in `only`, if that is given.
    pub(crate) async fn checksum(
        &mut self,
        database: &str,
        table: &str,
        columns: &[String],
        keys: &[String],
        only: Option<&str>,
    ) -> Result<(u64, Digest), StepError> {
        let keys = if keys.is_empty() { columns } else { keys };
        let order: Vec<_> = keys.iter().map(|key| quoted(key)).collect();
        let line: Vec<_> = columns
            .iter()
            .map(|name| format!("quote({})", quoted(name)))
            .collect();
        let name = quoted(table);
        let filter = only.map_or_else(String::new, |other| {
            let keys = order.join(", ");
            format!("WHERE ({keys}) IN (SELECT {keys} FROM {other}.{name})")
        });
        let query = format!(
            "SELECT {} FROM {database}.{name} {filter} ORDER BY {}",
            line.join(" || '|' || "),
            order.join(", ")
        );
        let mut lines = Lines::default();
        let text = AssertSqlSafe(query.clone());
        let streamed = async {
            let mut rows = sqlx::query(text).fetch(&mut *self.connection);
            while let Some(row) = rows.try_next().await? {
                lines.add(&row.try_get_unchecked::<String, _>(0)?);
            }
            Ok::<_, sqlx::Error>(())
        };
        streamed
            .await
            .map_err(|error| self.failed(&query, &error))?;
        Ok(lines.digest())
    }

    /// Returns what the integrity check says; `ok` when the file is whole and every constraint
    /// of columns holds.
    pub(crate) async fn integrity(&mut self) -> Result<String, StepError> {
        Ok(self.texts("PRAGMA integrity_check(20)").await?.join("; "))
    }

    /// Returns how many rows refer to a row that is not there.
    pub(crate) async fn orphans(&mut self) -> Result<u64, StepError> {
        self.number("SELECT count(*) FROM pragma_foreign_key_check")
            .await
    }

    /// Attaches another file under a name.
    pub(crate) async fn attach(&mut self, path: &Path, name: &str) -> Result<(), StepError> {
        let path = literal(&path.to_string_lossy());
        self.execute(&format!("ATTACH DATABASE {path} AS {name}"))
            .await
    }

    /// Writes a consistent copy, also while others write; private, whole or not there.
    pub(crate) async fn copy_to(&mut self, path: &Path) -> Result<(), StepError> {
        let part = path.with_extension("part");
        let io = |error: std::io::Error| io_failed(path, &error);
        if part.exists() {
            std::fs::remove_file(&part).map_err(io)?;
        }
        let target = literal(&part.to_string_lossy());
        self.execute(&format!("VACUUM INTO {target}")).await?;
        std::fs::set_permissions(&part, std::fs::Permissions::from_mode(0o600)).map_err(io)?;
        std::fs::File::open(&part)
            .and_then(|file| file.sync_all())
            .map_err(io)?;
        std::fs::rename(&part, path).map_err(io)?;
        let folder = path.parent().unwrap_or(path);
        std::fs::File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(io)
    }

    /// Returns the last migration that is applied; 0 for none.
    pub(crate) async fn version(&mut self) -> Result<i64, StepError> {
        let books = format!("SELECT count(*) FROM sqlite_master WHERE name = '{BOOKS}'");
        if self.number(&books).await? == 0 {
            return Ok(0);
        }
        let query = format!("SELECT coalesce(max(version), 0) FROM {BOOKS} WHERE success");
        Ok(self.value(&query).await?.parse().unwrap_or(0))
    }

    /// Applies migrations up to a version.
    pub(crate) async fn migrate_to(
        &mut self,
        all: &Migrator,
        version: i64,
    ) -> Result<(), StepError> {
        // The one form of the migrator's methods whose future can be sent between threads.
        let done = all
            .run_direct(Some(version), &mut *self.connection, false)
            .await;
        done.map_err(|error| self.migration_failed(version, &error))
    }

    /// Takes migrations back down to a version, each in a transaction with its line of the books.
    pub(crate) async fn back_to(&mut self, all: &Migrator, version: i64) -> Result<(), StepError> {
        let done = self.revert(all, version).await;
        done.map_err(|error| self.migration_failed(version, &error))
    }

    async fn revert(&mut self, all: &Migrator, version: i64) -> Result<(), MigrateError> {
        let connection = &mut *self.connection;
        connection.ensure_migrations_table(BOOKS).await?;
        if let Some(dirty) = connection.dirty_version(BOOKS).await? {
            return Err(MigrateError::Dirty(dirty));
        }
        let applied = connection.list_applied_migrations(BOOKS).await?;
        for migration in all.iter().rev() {
            let down = migration.migration_type.is_down_migration() && migration.version > version;
            if down && applied.iter().any(|one| one.version == migration.version) {
                connection.revert(BOOKS, migration).await?;
            }
        }
        Ok(())
    }

    fn migration_failed(&self, version: i64, error: &MigrateError) -> StepError {
        let what = format!(
            "database {} ({}): migrating to version {version}: {}",
            self.name,
            self.path.display(),
            with_sources(error)
        );
        let next =
            "Each migration is one transaction: those before it hold. Mend it, or roll back.";
        StepError::permanent("CD0602", what, next)
    }

    /// Returns how a query is planned, what it gives and how long it takes.
    pub(crate) async fn timed(&mut self, query: &str) -> Result<Timed, StepError> {
        let rows = self.rows(&format!("EXPLAIN QUERY PLAN {query}")).await?;
        let detail = |row: &SqliteRow| row.try_get_unchecked::<String, _>("detail");
        let plan: Result<Vec<_>, _> = rows.iter().map(detail).collect();
        let plan = plan.map_err(|error| self.failed(query, &error))?.join("; ");
        let mut times = Vec::new();
        let mut value = String::new();
        for _ in 0..5 {
            let began = Instant::now();
            value = self.value(query).await?;
            times.push(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
        times.sort_unstable();
        let median_us = times.get(times.len() / 2).copied().unwrap_or(0);
        Ok(Timed {
            value,
            plan,
            median_us,
        })
    }
}

/// Adds lines up to a digest without holding them.
#[derive(Default)]
struct Lines {
    count: u64,
    chained: Option<Digest>,
    pending: Vec<u8>,
}

/// Lines are digested in pieces of this size, each with the digest of the one before.
const PIECE: usize = 1024 * 1024;

impl Lines {
    fn add(&mut self, line: &str) {
        self.count += 1;
        self.pending.extend_from_slice(line.as_bytes());
        self.pending.push(b'\n');
        if self.pending.len() >= PIECE {
            self.chain();
        }
    }

    fn chain(&mut self) {
        let before = self
            .chained
            .map_or_else(String::new, |digest| digest.to_string());
        let piece = [before.as_bytes(), &self.pending].concat();
        self.chained = Some(Digest::of(&piece));
        self.pending.clear();
    }

    fn digest(mut self) -> (u64, Digest) {
        self.chain();
        (self.count, self.chained.unwrap_or(Digest::ZERO))
    }
}

/// Returns a name as SQL quotes names.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn failed(name: &str, path: &Path, doing: &str, error: &sqlx::Error) -> StepError {
    let doing: String = doing.chars().take(200).collect();
    let what = format!(
        "database {name} ({}): {doing}: {}",
        path.display(),
        with_sources(error)
    );
    let next = "Look at the file, its permissions and who writes to it.";
    if what.contains("database is locked") {
        return StepError::transient(crate::code::DATABASE, what, next);
    }
    StepError::permanent(crate::code::DATABASE, what, next)
}

/// Returns the error of a file of a backup.
pub(crate) fn io_failed(path: &Path, error: &std::io::Error) -> StepError {
    let what = format!("{}: {error}", path.display());
    StepError::permanent(
        "CD0603",
        what,
        "Look at the path, its permissions and the free disk.",
    )
}
