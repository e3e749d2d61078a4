use sqlx::error::DatabaseError;
use sqlx::migrate::MigrateError;
use sqlx::sqlite::SqliteError;

use super::EvaluationId;

/// An error of the database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The location is neither a path nor a known URL.
    #[error(
        "`{location}` does not name a database\nhint: give a path, `sqlite:PATH` or `postgres://USER@HOST/NAME`"
    )]
    Location {
        /// The location as it was given.
        location: String,
    },
    /// The database cannot be opened or reached.
    #[error("cannot open the database {location}: {}", explain(.error))]
    Open {
        /// A path, or a host and a name: never a password.
        location: String,
        /// The cause.
        error: sqlx::Error,
    },
    /// The file exists but is empty: its contents were lost, or it never had any.
    #[error(
        "the database {0} is an empty file\nhint: restore a backup; if there never was a farm here, remove the file and start again"
    )]
    Empty(String),
    /// The file is missing, but its log exists.
    #[error(
        "the database {0} is missing, but its log {0}-wal exists\nhint: restore a backup of both, or remove the log"
    )]
    Gone(String),
    /// A newer Gorget has migrated the tables.
    #[error(
        "the database {location} was made by a newer Gorget: it has migration {version}, which this one does not know\n\
         hint: install that version again, or restore the backup from before the upgrade"
    )]
    Newer {
        /// A path, or a host and a name.
        location: String,
        /// The newest migration of the database.
        version: i64,
    },
    /// The database could not be backed up before a migration.
    #[error(
        "cannot back up the database {location} before it is migrated: {}\n\
         hint: there must be room for a copy beside it",
        explain(.error)
    )]
    Backup {
        /// The path of the database.
        location: String,
        /// The cause.
        error: sqlx::Error,
    },
    /// The tables could not be migrated to the form that this version needs.
    #[error("cannot migrate the database {location}: {}", explain_migration(.error))]
    Migrate {
        /// A path, or a host and a name: never a password.
        location: String,
        /// The cause.
        error: sqlx::migrate::MigrateError,
    },
    /// A query failed.
    #[error("the database failed: {}", explain(.0))]
    Query(sqlx::Error),
    /// A stored value cannot be read back.
    #[error("the database is damaged: {what} cannot be read: {reason}")]
    Damaged {
        /// The table, and its row.
        what: String,
        /// What is wrong with the value.
        reason: String,
    },
    /// A derivation was named that neither the batch nor the database has.
    #[error("{user} refers to the derivation {hash}, which was not recorded before it")]
    UnknownDerivation {
        /// Hash of the missing derivation.
        hash: String,
        /// The derivation or job that names it.
        user: String,
    },
    /// Another host holds the lease of the evaluation, or the evaluation has ended.
    #[error("nothing is recorded for evaluation {0}: its lease was lost, or it has ended")]
    LeaseLost(EvaluationId),
    /// Another host has taken the scheduler lease.
    #[error("this host no longer schedules: another host took over")]
    NotScheduling,
    /// Another host of the same name sends heartbeats.
    #[error(
        "the host name `{0}` is taken by another host, or by another `gorget run` with its own state directory\nhint: give this one a name with --host, or `host` in gorget.toml"
    )]
    HostTaken(String),
    /// An evaluation began, or another process started a sweep.
    #[error(
        "the sweep was interrupted: an evaluation began, or another sweep took over\nhint: run it again; what was removed stays removed"
    )]
    NotSweeping,
    /// The target of a copy already has rows.
    #[error("the table `{0}` is not empty\nhint: copy into a new, empty database")]
    NotEmpty(String),
    /// Both databases are `SQLite` files, or both are in `PostgreSQL`.
    #[error(
        "both databases are of one kind\nhint: `gorget backup` copies an SQLite file, `pg_dump` a PostgreSQL database"
    )]
    SameKind,
    /// The store items of a spec exceed their quota.
    #[error(
        "the store items that evaluations of {spec} added take {used} MiB, and would take more than the {limit} MiB that a spec may have\n\
         hint: have the spec `keep` fewer evaluations and run `gorget gc`, or raise `stored-per-spec` in gorget.toml"
    )]
    OverQuota {
        /// The name of the spec.
        spec: String,
        /// What they take now, in MiB.
        used: u64,
        /// The quota, in MiB.
        limit: u64,
    },
    /// The request needs a complete evaluation.
    #[error("evaluation {0} is not complete")]
    NotComplete(EvaluationId),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Query(error)
    }
}

impl Error {
    /// Whether the database was unreachable or its machine at fault, so that a later retry may
    /// succeed.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Query(error)
            | Self::Open { error, .. }
            | Self::Migrate {
                error: MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _),
                ..
            } => is_passing(error),
            _ => false,
        }
    }
}

fn is_passing(error: &sqlx::Error) -> bool {
    use sqlx::Error as Sqlx;
    match error {
        // The last two occur on a connection whose transaction failed; the connection is replaced.
        Sqlx::Io(_)
        | Sqlx::PoolTimedOut
        | Sqlx::WorkerCrashed
        | Sqlx::BeginFailed
        | Sqlx::InvalidSavePointStatement => true,
        Sqlx::Database(error) => StorageFault::of(error.as_ref()).is_some(),
        _ => false,
    }
}

/// A fault of the database's machine, by the code of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StorageFault {
    DiskFull,
    Io,
    ReadOnly,
    CannotOpen,
    Memory,
    Away,
    Busy,
}

impl StorageFault {
    fn of(error: &(dyn DatabaseError + 'static)) -> Option<Self> {
        let code = error.code()?;
        if error.try_downcast_ref::<SqliteError>().is_some() {
            Self::of_sqlite(code.parse().ok()?)
        } else {
            Self::of_postgres(&code, error.message())
        }
    }

    /// SQLite's primary code is the lowest byte of an extended one.
    fn of_sqlite(code: u32) -> Option<Self> {
        Some(match code & 0xff {
            5 | 6 | 15 => Self::Busy,
            7 => Self::Memory,
            8 => Self::ReadOnly,
            10 => Self::Io,
            13 => Self::DiskFull,
            14 => Self::CannotOpen,
            _ => return None,
        })
    }

    fn of_postgres(code: &str, message: &str) -> Option<Self> {
        Some(match code {
            "53100" => Self::DiskFull,
            "53200" => Self::Memory,
            "58030" => Self::Io,
            "25006" => Self::ReadOnly,
            // The code alone means missing permissions.
            "42501" if message.contains("Read-only file system") => Self::ReadOnly,
            "25P03" | "40001" | "40P01" | "55P03" => Self::Busy,
            _ if code.starts_with("08") || code.starts_with("57P") || code.starts_with("53") => Self::Away,
            _ => return None,
        })
    }

    fn hint(self) -> Option<&'static str> {
        Some(match self {
            Self::DiskFull => "the disk is full: free space where the database is",
            Self::Io => "the disk fails where the database is: see the kernel's log",
            Self::ReadOnly => "the database is read-only: is its file system?",
            Self::CannotOpen => "the file cannot be opened: see its permissions, and those of its directory",
            Self::Memory => "out of memory",
            Self::Away | Self::Busy => return None,
        })
    }
}

/// The error with its cause, and a hint.
fn explain(error: &sqlx::Error) -> String {
    let hint = error.as_database_error().and_then(StorageFault::of).and_then(StorageFault::hint);
    hint.map_or_else(|| error.to_string(), |hint| format!("{error}\nhint: {hint}"))
}

fn explain_migration(error: &MigrateError) -> String {
    match error {
        MigrateError::Execute(error) => explain(error),
        MigrateError::ExecuteMigration(error, number) => format!("migration {number}: {}", explain(error)),
        error => error.to_string(),
    }
}

/// The result type of this module's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::StorageFault;

    #[test]
    fn faults_of_the_machine_are_known_by_their_codes() {
        // SQLITE_FULL, SQLITE_IOERR_WRITE, SQLITE_READONLY_DBMOVED, SQLITE_CORRUPT, SQLITE_CONSTRAINT_UNIQUE
        let sqlite = [13, 778, 1032, 11, 2067].map(StorageFault::of_sqlite);
        assert_eq!(
            sqlite,
            [Some(StorageFault::DiskFull), Some(StorageFault::Io), Some(StorageFault::ReadOnly), None, None]
        );
        let postgres = ["53100", "53300", "57P01", "55P03", "58030", "XX001", "23505", "42501"];
        let postgres = postgres.map(|code| StorageFault::of_postgres(code, "permission denied"));
        let [full, away, busy, io] =
            [StorageFault::DiskFull, StorageFault::Away, StorageFault::Busy, StorageFault::Io];
        assert_eq!(postgres, [Some(full), Some(away), Some(away), Some(busy), Some(io), None, None, None]);
    }
}
