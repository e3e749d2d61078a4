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
    /// The evaluation is not being worked on, or somebody else works on it by now.
    #[error("evaluation {0} is not running any more: nothing can be recorded for it")]
    NotRunning(EvaluationId),
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

/// What the functions of this room return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
