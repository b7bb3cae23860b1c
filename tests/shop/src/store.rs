//! The database, SQLite or PostgreSQL. Its tables come from the files in `migrations/`.

use std::future::Future;
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use crate::config::DatabaseUrl;
use crate::error::Error;

/// Several processes write to one SQLite file; each waits this long for its turn.
const BUSY: Duration = Duration::from_secs(5);

/// The pause before a statement that was refused as locked is tried again.
const LOCKED_PAUSE: Duration = Duration::from_millis(5);

/// How long a request waits for a connection, and a readiness check for its answer.
const ACQUIRE: Duration = Duration::from_secs(3);

/// One service needs few connections, and SQLite has one writer.
const CONNECTIONS: u32 = 4;

/// A pool of connections, opened when they are first needed.
pub(crate) enum Store {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// Runs the same statement on whichever database there is: both take `$1`.
macro_rules! on_pool {
    ($store:expr, $pool:ident => $body:expr) => {
        match $store {
            $crate::store::Store::Sqlite($pool) => $body,
            $crate::store::Store::Postgres($pool) => $body,
        }
    };
}
pub(crate) use on_pool;

impl Store {
    /// Prepares the pool; whether the database is there shows in the readiness.
    pub(crate) async fn open(url: &DatabaseUrl) -> Result<Store, Error> {
        if url.is_sqlite() {
            let options = SqliteConnectOptions::from_str(url.reveal())
                .map_err(|source| Error::Database {
                    kind: "sqlite",
                    source,
                })?
                .create_if_missing(false)
                .synchronous(SqliteSynchronous::Normal)
                .busy_timeout(BUSY);
            let pool = SqlitePoolOptions::new()
                .max_connections(CONNECTIONS)
                .acquire_timeout(ACQUIRE)
                .after_connect(|connection, _| Box::pin(write_ahead(connection)));
            return Ok(Store::Sqlite(pool.connect_lazy_with(options)));
        }
        PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(ACQUIRE)
            .connect_lazy(url.reveal())
            .map(Store::Postgres)
            .map_err(|source| Error::Database {
                kind: "postgres",
                source,
            })
    }

    /// Asks the database whether the tables are as this release needs them.
    pub(crate) async fn check(&self, gift_notes: bool) -> Result<(), String> {
        let base = "SELECT 1 FROM products, orders WHERE 1 = 0";
        let expanded = "SELECT orders.gift_note FROM orders, reviews WHERE 1 = 0";
        let statement = if gift_notes { expanded } else { base };
        let missing = if gift_notes {
            "0002_gift_notes_and_reviews"
        } else {
            "0001_base"
        };
        within(async {
            on_pool!(self, pool => sqlx::query(statement).execute(pool).await.map(|_| ()))
        })
        .await
        .map_err(|error| format!("{error} (is migration {missing} applied?)"))
    }

    /// Closes the connections; for SQLite this also tidies the write-ahead log.
    pub(crate) async fn close(&self) {
        let closing = async { on_pool!(self, pool => pool.close().await) };
        // A connection that does not close ends with the process.
        let _late = tokio::time::timeout(ACQUIRE, closing).await;
    }
}

/// Puts the file into write-ahead mode, as whoever opens it first has to.
///
/// SQLite ignores its busy timeout for this one statement: while another connection is about the
/// same, it answers "database is locked" at once (<https://www.sqlite.org/wal.html>, section 2.3).
async fn write_ahead(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let give_up = tokio::time::Instant::now() + BUSY;
    loop {
        let tried = sqlx::query("PRAGMA journal_mode = WAL")
            .execute(&mut *connection)
            .await;
        match tried {
            Err(error) if is_locked(&error) && tokio::time::Instant::now() < give_up => {
                tokio::time::sleep(LOCKED_PAUSE).await;
            }
            other => return other.map(|_| ()),
        }
    }
}

fn is_locked(error: &sqlx::Error) -> bool {
    const SQLITE_BUSY: &str = "5";
    error
        .as_database_error()
        .and_then(|error| error.code())
        .is_some_and(|code| code == SQLITE_BUSY)
}

async fn within(query: impl Future<Output = Result<(), sqlx::Error>>) -> Result<(), String> {
    match tokio::time::timeout(ACQUIRE, query).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_elapsed) => Err(format!("no answer within {ACQUIRE:?}")),
    }
}
