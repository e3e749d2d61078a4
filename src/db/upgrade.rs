//! Backups before migrations: which databases need one, and the backup of an `SQLite` database.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use super::migrate::lock;
use super::{Db, Error, Result};

/// Copies a database that lacks migrations to `FILE.before-N` beside it, where N is the first
/// migration that it lacks. Then removes the copies of earlier upgrades. Does nothing if it lacks
/// none, or if that copy exists.
pub(super) async fn back_up(options: &SqliteConnectOptions) -> Result<(), sqlx::Error> {
    let file = options.get_filename();
    let _lock = lock(file).await?;
    let mut connection = options.connect().await?;
    let Some(next) = first_lacking(&mut connection).await? else { return connection.close().await };
    let copy = beside(file, &format!("before-{next}"));
    if !copy.exists() {
        tracing::info!(file = %copy.display(), "backing up the database before it is migrated");
        let part = beside(file, "before.part");
        remove(&part)?;
        sqlx::query("vacuum into $1").bind(part.display().to_string()).execute(&mut connection).await?;
        fs_err::File::open(&part)?.sync_all()?;
        fs_err::rename(&part, &copy)?;
        for old in (0..next).map(|version| beside(file, &format!("before-{version}"))) {
            remove(&old)?;
        }
    }
    connection.close().await
}

/// The first migration that a database lacks; `None` also for a database without any migration,
/// which has nothing to lose.
async fn first_lacking(connection: &mut SqliteConnection) -> Result<Option<i64>, sqlx::Error> {
    const TABLE: &str = "select count(*) from sqlite_schema where name = '_sqlx_migrations'";
    const LAST: &str = "select max(version) from _sqlx_migrations";
    let tables: i64 = sqlx::query_scalar(TABLE).fetch_one(&mut *connection).await?;
    if tables == 0 {
        return Ok(None);
    }
    let last: Option<i64> = sqlx::query_scalar(LAST).fetch_one(connection).await?;
    Ok(first_after(last, &sqlx::migrate!("migrations/sqlite")))
}

fn first_after(last: Option<i64>, migrator: &Migrator) -> Option<i64> {
    last.and_then(|last| migrator.iter().map(|one| one.version).find(|version| *version > last))
}

impl Db {
    /// The first migration that a `PostgreSQL` database lacks, if it has had others: it must be
    /// backed up before it is opened. `None` for an `SQLite` database, because opening it makes the
    /// backup.
    pub async fn lacks_migration(location: &str) -> Result<Option<i64>> {
        const TABLE: &str = "select to_regclass('_sqlx_migrations') is not null";
        const LAST: &str = "select max(version) from _sqlx_migrations";
        if !location.starts_with("postgres") {
            return Ok(None);
        }
        let unknown = |_| Error::Location { location: location.to_owned() };
        let options = PgConnectOptions::from_str(location).map_err(unknown)?;
        let failed = |error| Error::Open { location: super::described(&options), error };
        let ask = async {
            let mut connection: PgConnection = options.connect().await?;
            let is_populated = sqlx::query_scalar(TABLE).fetch_one(&mut connection).await?;
            let last: Option<i64> =
                if is_populated { sqlx::query_scalar(LAST).fetch_one(&mut connection).await? } else { None };
            connection.close().await?;
            Ok(first_after(last, &sqlx::migrate!("migrations/postgres")))
        };
        ask.await.map_err(failed)
    }
}

/// The path of the file with this ending after its name.
fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{ending}"));
    name.into()
}

fn remove(file: &Path) -> io::Result<()> {
    match fs_err::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
