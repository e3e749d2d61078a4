//! Migrates the tables when the database is opened.
//!
//! Each migration runs in one transaction unless it says otherwise. A migration that reads or
//! writes all of a table that grows with every job, derivation or build begins with
//! `-- Takes long: WHY`; a test rejects any other that does so.
//!
//! **PostgreSQL.** An index for such a table is built in a separate migration that begins with
//! `-- no-transaction` and says `create index concurrently if not exists`. It blocks neither
//! readers nor writers, and waits for earlier writers. An unfinished index is dropped and built
//! again. A change of a table waits for its readers, and blocks new readers in the meantime. So it
//! gives up after a second, and is retried for a minute.
//!
//! **SQLite.** While an index is built, readers go on and writers wait. Foreign keys are off during
//! a migration, so that one table can replace another; `gorget verify` checks them.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::error::DatabaseError;
use sqlx::migrate::{Migrate as _, MigrateError};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, PgPool};

use super::{BUSY_TIMEOUT, Error};

/// Migrates the tables. When a migration replaces a table, references to it are left alone.
pub(super) async fn sqlite(options: &SqliteConnectOptions) -> Result<(), MigrateError> {
    let _lock = lock(options.get_filename()).await.map_err(sqlx::Error::from)?;
    let options = options.clone().foreign_keys(false);
    let pool = SqlitePoolOptions::new().max_connections(1).acquire_timeout(BUSY_TIMEOUT);
    let pool = pool.connect_with(options).await?;
    let result = sqlx::migrate!("migrations/sqlite").run(&pool).await;
    pool.close().await;
    result
}

/// Locks the directory of a database until the result is dropped. SQLite has no lock that outlasts
/// a transaction, so two processes could begin the same migration. (Closing a locked handle of the
/// file itself would release SQLite's own locks.)
pub(super) async fn lock(file: &Path) -> io::Result<File> {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (directory, begun) = (fs_err::File::open(directory)?.into_file(), Instant::now());
    loop {
        match directory.try_lock() {
            Ok(()) => return Ok(directory),
            Err(TryLockError::WouldBlock) if begun.elapsed() < BUSY_TIMEOUT => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Migrates the tables. A change of a table waits for its readers, and meanwhile blocks new ones.
/// So it gives up after a second, and is retried.
pub(super) async fn postgres(options: &PgConnectOptions) -> Result<(), MigrateError> {
    let begun = Instant::now();
    loop {
        match attempt(options).await {
            Err(error) if begun.elapsed() < BUSY_TIMEOUT && lock_timed_out(&error) => {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            result => return result,
        }
    }
}

/// Migrates over a single connection. Closing that connection releases its lock.
async fn attempt(options: &PgConnectOptions) -> Result<(), MigrateError> {
    let options = options.clone().options([("lock_timeout", "1s")]);
    let pool =
        PgPoolOptions::new().max_connections(1).acquire_timeout(BUSY_TIMEOUT).connect_with(options).await?;
    let result = migrate(&pool).await;
    pool.close().await;
    result
}

async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    pool.acquire().await?.lock().await?;
    // Concurrent index operations block nobody, but must wait for all writers. So they have no
    // timeout.
    let [patient, hasty] = ["set lock_timeout = 0", "set lock_timeout = '1s'"];
    sqlx::query(patient).execute(pool).await?;
    drop_unfinished(pool).await?;
    sqlx::query(hasty).execute(pool).await?;
    let mut migrator = sqlx::migrate!("migrations/postgres");
    migrator.set_locking(false);
    for beside in migrator.iter().filter(|migration| migration.no_tx) {
        migrator.run_to(beside.version - 1, pool).await?;
        sqlx::query(patient).execute(pool).await?;
        migrator.run_to(beside.version, pool).await?;
        sqlx::query(hasty).execute(pool).await?;
    }
    migrator.run(pool).await
}

/// Drops indexes whose concurrent build was not finished: they exist, but are unusable.
async fn drop_unfinished(pool: &PgPool) -> Result<(), MigrateError> {
    const UNFINISHED: &str = "select quote_ident(relname) from pg_index join pg_class c on c.oid = indexrelid
        where not indisvalid and relnamespace = current_schema()::regnamespace";
    let names: Vec<String> = sqlx::query_scalar(UNFINISHED).fetch_all(pool).await?;
    for name in names {
        let sql = AssertSqlSafe(format!("drop index concurrently if exists {name}"));
        sqlx::query(sql).execute(pool).await?;
    }
    Ok(())
}

/// Converts the error. If a newer Gorget has migrated the database, the result says what to do.
pub(super) fn failed(location: &str, error: MigrateError) -> Error {
    let location = location.to_owned();
    match error {
        MigrateError::VersionMissing(version) => Error::Newer { location, version },
        error => Error::Migrate { location, error },
    }
}

/// Whether a lock timed out, or two transactions waited for each other.
fn lock_timed_out(error: &MigrateError) -> bool {
    const NOT_AVAILABLE: &str = "55P03";
    const DEADLOCK: &str = "40P01";
    let (MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) = error else {
        return false;
    };
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| [NOT_AVAILABLE, DEADLOCK].contains(&code.as_ref()))
}
