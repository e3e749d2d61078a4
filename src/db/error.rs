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
    #[error("cannot open the database {location}")]
    Open {
        /// A path, or a host and a name: never a password.
        location: String,
        /// Why not.
        source: sqlx::Error,
    },
    /// Its tables could not be brought to the form that this version wants.
    #[error("cannot bring the tables of the database {location} up to date")]
    Migrate {
        /// A path, or a host and a name: never a password.
        location: String,
        /// Why not.
        source: sqlx::migrate::MigrateError,
    },
    /// The database did not do what it was told.
    #[error("the database failed")]
    Query(#[from] sqlx::Error),
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
    /// Only complete evaluations can be asked that.
    #[error("evaluation {0} is not complete")]
    NotComplete(EvaluationId),
}

impl Error {
    /// Whether the database was not there, or went away: what was to be done can be done once more when it
    /// is back.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Query(sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed) => true,
            // Classes 08 and 57 of PostgreSQL: connections that broke, and a server that stops or starts.
            Self::Query(sqlx::Error::Database(error)) => {
                error.code().is_some_and(|code| code.starts_with("08") || code.starts_with("57P"))
            }
            _ => false,
        }
    }
}

/// What the functions of this room return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
