use sqlx::error::DatabaseError;
use sqlx::migrate::MigrateError;
use sqlx::sqlite::SqliteError;

use super::EvaluationId;

/// What can go wrong at the database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The location is neither a path nor a URL that we know.
    #[error(
        "`{location}` does not name a database\nhint: give a path, `sqlite:PATH` or `postgres://USER@HOST/NAME`"
    )]
    Location {
        /// As it was given.
        location: String,
    },
    /// It cannot be opened or reached.
    #[error("cannot open the database {location}: {}", explain(.error))]
    Open {
        /// A path, or a host and a name: never a password.
        location: String,
        /// Why not.
        error: sqlx::Error,
    },
    /// The file is there and has nothing in it: what it had is lost, or nothing was ever written.
    #[error(
        "the database {0} is an empty file\nhint: restore a backup; if there never was a farm here, remove the file and start again"
    )]
    Empty(String),
    /// The file is missing, and its log is there.
    #[error(
        "the database {0} is gone, but not its log {0}-wal\nhint: restore a backup of both, or remove the log"
    )]
    Gone(String),
    /// A newer Gorget has changed the tables.
    #[error(
        "the database {location} was made by a newer Gorget: it has migration {version}, which this one does not know\n\
         hint: install that version again, or restore the backup from before the upgrade"
    )]
    Newer {
        /// A path, or a host and a name.
        location: String,
        /// The newest of its migrations.
        version: i64,
    },
    /// It could not be copied before its tables are changed.
    #[error(
        "cannot back up the database {location} before it is migrated: {}\n\
         hint: there must be room for a copy beside it",
        explain(.error)
    )]
    Backup {
        /// Its path.
        location: String,
        /// Why not.
        error: sqlx::Error,
    },
    /// Its tables could not be brought to the form that this version wants.
    #[error("cannot bring the tables of the database {location} up to date: {}", explain_migration(.error))]
    Migrate {
        /// A path, or a host and a name: never a password.
        location: String,
        /// Why not.
        error: sqlx::migrate::MigrateError,
    },
    /// The database did not do what it was told.
    #[error("the database failed: {}", explain(.0))]
    Query(sqlx::Error),
    /// Something that was stored cannot be read back.
    #[error("the database is damaged: {what} cannot be read: {reason}")]
    Damaged {
        /// Table, and which row of it.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A derivation was named that neither a batch nor the database has.
    #[error("{user} refers to the derivation {hash}, which was not recorded before it")]
    UnknownDerivation {
        /// Hash of the derivation that is not there.
        hash: String,
        /// The derivation or job that names it.
        user: String,
    },
    /// Somebody else has leased the evaluation since, or it is over.
    #[error(
        "evaluation {0} is not ours any more, so nothing is recorded for it: its lease was lost, or it is over"
    )]
    LeaseLost(EvaluationId),
    /// Another host schedules by now.
    #[error("this host does not schedule any more: another one took over")]
    NotScheduling,
    /// A host of that name is at work.
    #[error(
        "another host is called `{0}`, or another `gorget run` with a state directory of its own\nhint: give this one a name with --host, or `host` in gorget.toml"
    )]
    HostTaken(String),
    /// An evaluation began, or somebody else sweeps.
    #[error(
        "the sweep was interrupted: an evaluation began, or another one took over\nhint: what was removed is gone; run it again"
    )]
    NotSweeping,
    /// A database that was to be filled has something in it.
    #[error("there are rows in `{0}` already\nhint: copy into a new, empty database")]
    NotEmpty(String),
    /// Both databases are `SQLite` files, or both are in `PostgreSQL`.
    #[error(
        "both databases are of one kind\nhint: `gorget backup` copies an SQLite file, `pg_dump` a PostgreSQL database"
    )]
    SameKind,
    /// The store items of a spec take more than they may.
    #[error(
        "the store items that evaluations of {spec} added take {used} MiB, and would take more than the {limit} MiB that a spec may have\n\
         hint: have the spec `keep` fewer evaluations and run `gorget gc`, or let `stored-per-spec` in gorget.toml be more"
    )]
    OverQuota {
        /// The spec's name.
        spec: String,
        /// What they take, in MiB.
        used: u64,
        /// What they may take, in MiB.
        limit: u64,
    },
    /// Only complete evaluations can be asked that.
    #[error("evaluation {0} is not complete")]
    NotComplete(EvaluationId),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Query(error)
    }
}

impl Error {
    /// Whether the database was away or its machine at fault: the same can be tried again later.
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
        // The last two are of a connection whose transaction failed: it is replaced.
        Sqlx::Io(_)
        | Sqlx::PoolTimedOut
        | Sqlx::WorkerCrashed
        | Sqlx::BeginFailed
        | Sqlx::InvalidSavePointStatement => true,
        Sqlx::Database(error) => Trouble::of(error.as_ref()).is_some(),
        _ => false,
    }
}

/// What is wrong with the machine that has the database, by the code of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    DiskFull,
    Io,
    ReadOnly,
    CannotOpen,
    Memory,
    Away,
    Busy,
}

impl Trouble {
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
            // The code is the one for missing permissions.
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
            Self::Memory => "no memory was left",
            Self::Away | Self::Busy => return None,
        })
    }
}

/// The error with its cause, and what to do.
fn explain(error: &sqlx::Error) -> String {
    let hint = error.as_database_error().and_then(Trouble::of).and_then(Trouble::hint);
    hint.map_or_else(|| error.to_string(), |hint| format!("{error}\nhint: {hint}"))
}

fn explain_migration(error: &MigrateError) -> String {
    match error {
        MigrateError::Execute(error) => explain(error),
        MigrateError::ExecuteMigration(error, number) => format!("migration {number}: {}", explain(error)),
        error => error.to_string(),
    }
}

/// What the functions of this room return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::Trouble;

    #[test]
    fn faults_of_the_machine_are_known_by_their_codes() {
        // SQLITE_FULL, SQLITE_IOERR_WRITE, SQLITE_READONLY_DBMOVED, SQLITE_CORRUPT, SQLITE_CONSTRAINT_UNIQUE
        let sqlite = [13, 778, 1032, 11, 2067].map(Trouble::of_sqlite);
        assert_eq!(sqlite, [Some(Trouble::DiskFull), Some(Trouble::Io), Some(Trouble::ReadOnly), None, None]);
        let postgres = ["53100", "53300", "57P01", "55P03", "58030", "XX001", "23505", "42501"];
        let postgres = postgres.map(|code| Trouble::of_postgres(code, "permission denied"));
        let [full, away, busy, io] = [Trouble::DiskFull, Trouble::Away, Trouble::Busy, Trouble::Io];
        assert_eq!(postgres, [Some(full), Some(away), Some(away), Some(busy), Some(io), None, None, None]);
    }
}
