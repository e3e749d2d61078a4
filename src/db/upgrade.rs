//! The backup of an `SQLite` database before it is migrated.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use super::migrate::lock;

/// Copies a database that lacks migrations to `FILE.before-N` beside it, N being the first that it lacks, and
/// removes the copy that an earlier upgrade made. Does nothing when it lacks none, or when that copy is there.
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

/// The first migration that a database lacks. One without any migration has nothing to lose.
async fn first_lacking(connection: &mut SqliteConnection) -> Result<Option<i64>, sqlx::Error> {
    const TABLE: &str = "select count(*) from sqlite_schema where name = '_sqlx_migrations'";
    const LAST: &str = "select max(version) from _sqlx_migrations";
    let tables: i64 = sqlx::query_scalar(TABLE).fetch_one(&mut *connection).await?;
    if tables == 0 {
        return Ok(None);
    }
    let last: Option<i64> = sqlx::query_scalar(LAST).fetch_one(connection).await?;
    let migrator = sqlx::migrate!("migrations/sqlite");
    Ok(last.and_then(|last| migrator.iter().map(|one| one.version).find(|version| *version > last)))
}

/// The file with this ending after its name.
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
