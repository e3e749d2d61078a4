//! The only place with SQL.
//!
//! # Guarantees
//!
//! * Writers take turns, in both databases: `begin immediate` in SQLite, an advisory lock for the
//!   length of the transaction in PostgreSQL. So a transaction can rely on what it read until it
//!   commits, none is rolled back for another, and none has to be retried.
//! * A commit waits for the disk.
//! * Times are seconds since 1970 and come from the caller. If many machines share PostgreSQL, all
//!   follow its clock.
//!
//! # Design
//!
//! The same code serves both databases. `Db` holds pools of either SQLite or PostgreSQL, and
//! `each!` runs the same query against the open one. Both get the same SQL, except for a few
//! placeholders that `dialect` replaces. Only statements that are tuned for each database have two
//! texts.
//!
//! **History.** A revision is the tuple of its channels' commits, including channels that others
//! need. The origin of each commit (branch, introduction, signer) is stored with the evaluation and
//! is no part of the revision's identity. A job's derivation over the evaluations of a spec and
//! system is one row, an interval from the first evaluation to the last. So an evaluation with *k*
//! changes writes O(*k*) rows. The job's metadata (version, file, target, timeouts) belong to that
//! row; each combination is stored once. The line is that of the first evaluation, because lines
//! move with every commit. A build is identified by its set of output paths. The edges of the graph
//! are a compact blob for each derivation; ids grow from inputs to users. Store items are
//! compressed in packs of about 1 MiB.
//!
//! **Compact tables.** A year has millions of rows, so nothing is stored twice, and indexes hold
//! only a part of long values. For hashes of derivations and store items, and for the first path of
//! an output set, SQLite's index has twelve characters, and the query compares the rest.
//! PostgreSQL's index has a number made of them (`using hash`), which takes a third of the time to
//! add to and does not depend on the collation. An output set stores `*` in place of its
//! derivations' name. A build has the number of its name, and the system of its evaluation. No
//! constraint makes a derivation, an output set or an item unique: the transaction that records
//! them looks first, and writers take turns.
//!
//! **Bulk reads.** Thousands of rows are read as one text: for each column of a comparison, for all
//! rows of a sweep. A row each would cost a message between two threads. SQLite's readers map the
//! file into memory instead of copying its pages. SQLite maps 2 GiB at most unless it is built for
//! more, as `.cargo/config.toml` says. A disk error under a mapping kills the process, which may
//! die at any time anyway.
//!
//! **Foreign keys.** PostgreSQL looks up and locks the other row for each key of each inserted row.
//! So `job_interval`, `derivation`, `store_item` and `build` have none there. SQLite keeps those
//! that cost it nothing. One function writes the rows of each such table, and has just read or
//! written the rows that they refer to. `gorget verify` finds rows that refer to nothing.

use std::str::FromStr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, PgPool, Postgres, Sqlite, SqlitePool, Transaction};

#[macro_use]
mod dialect;
#[macro_use]
mod farm;
#[macro_use]
mod build;
mod access;
mod backup;
mod bulk;
mod complete;
mod copy;
mod coverage;
mod create;
mod error;
mod evaluation;
mod history;
mod id;
mod log;
mod migrate;
mod retention;
mod snapshot_view;
mod states;
mod store;
mod stored_system;
mod upgrade;
mod verdict;
mod verify;
mod watch;

pub use crate::domain::build::BuildState;
pub use access::token::{NewToken, Token};
pub use build::blockers::Blocker;
pub use build::builds::{Build, QueueFilter};
pub use build::count::BuildCount;
pub use build::derivation::DerivationRecord;
pub use build::event::{BuildEvent, BuildRef, NewEvent, RecordedEvents};
pub use build::explain::{FormerError, JobRecord};
pub use build::failed::FailedDerivation;
pub use build::failures::JobResults;
pub use build::guard::AwaitingApproval;
pub use build::list::{BuildFilter, BuildPlace};
pub use build::live::{Live, PlanInput, Planned};
pub use build::route::{CoordinatorCount, Unserved};
pub use build::snapshot::{OpenBuild, Snapshot};
pub use build::substitutes::{Answered, SubstituteServer, WantedBuild};
pub use build::timed::{BuildOrder, JobBuild, TimedBuild, TimedFilter};
pub use build::timeouts::Times;
pub use build::wanted::Changes;
pub use coverage::presence::{DueOutputs, MissingJob, NewPresence, Presence};
pub use coverage::{Coverage, NewCoverage};
pub use error::{Error, Result};
pub use evaluation::batch::{Batch, Item, NewDerivation, NewJob, Pack};
pub use evaluation::evaluations::{Evaluation, EvaluationState};
pub use evaluation::lease::{Claimant, Interrupted, MAX_STARTS};
pub use evaluation::record::EvaluationWriter;
pub use evaluation::task::Task;
pub use farm::host::{Host, NewHost, SchedulerLease};
pub use farm::notify::{Listener, Wake};
pub use farm::pause::{Pausable, Pause};
pub use farm::term::LEASE;
pub use history::jobs::{Job, JobError};
pub use history::versions::Span;
pub use id::{BranchId, BuildId, DerivationId, EvaluationId, PushId, SpecId, TokenId};
pub use log::audit::AuditEntry;
pub use log::event_log::{EventKind, LoggedEvent, Progress};
pub use retention::Retained;
pub use store::item::{ItemPlace, StoredItem};
pub use store::item_kind::ItemKind;
pub use store::pack::compress;
pub use store::packed::{Packed, PackedItem, Pieces};
pub use store::sweep::Swept;
pub use store::sweeper::Sweeper;
pub use verdict::Verdict;
pub use verdict::outcomes::OutputBuild;
pub use verdict::waiver::{NewWaiver, StoredWaiver};
pub use verify::Finding;
pub use watch::blocked_spec::{BlockKind, BlockedSpec, NewBlock};
pub use watch::branch::{Branch, BranchProblem, BranchState, GONE_AFTER, PollResult};
pub use watch::mirror::{Mirror, MirrorProblem};
pub use watch::push::{Push, PushKind, Trust};
pub use watch::spec::StoredSpec;

use farm::host::still_schedules;

/// The name of a `PostgreSQL` database in messages, without a password.
fn described(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or_else(|| options.get_username());
    format!("{database} at {}", options.get_host())
}

/// How long a query waits for its turn before it fails.
const BUSY_TIMEOUT: Duration = Duration::from_mins(1);

/// The open database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Db {
    readers: Pool,
    writer: Pool,
    /// For heartbeats and for listening, which wait for no writer, and for the second transaction
    /// of a writer.
    side_pool: Pool,
    /// The term under which this host schedules; without one, writes are not restricted.
    term: Option<i64>,
    unpacked: Arc<Mutex<store::item::Unpacked>>,
    /// Number of writing transactions that may still begin.
    writes: Arc<AtomicI64>,
}

#[derive(Debug, Clone)]
enum Either<S, P> {
    Sqlite(S),
    Postgres(P),
}

type Pool = Either<SqlitePool, PgPool>;
type Tx = Either<Transaction<'static, Sqlite>, Transaction<'static, Postgres>>;

impl Db {
    /// Opens the database at a path or at an `sqlite:` or `postgres:` URL. Creates the file if it
    /// is missing, and migrates the tables.
    pub async fn open(location: &str) -> Result<Self> {
        let unknown = || Error::Location { location: location.to_owned() };
        match location.split_once(':') {
            Some(("postgres" | "postgresql", _)) => {
                Self::open_postgres(PgConnectOptions::from_str(location).map_err(|_| unknown())?).await
            }
            Some(("sqlite", _)) => {
                Self::open_sqlite(SqliteConnectOptions::from_str(location).map_err(|_| unknown())?).await
            }
            Some((_, rest)) if rest.starts_with("//") => Err(unknown()),
            _ if location.is_empty() => Err(unknown()),
            _ => Self::open_sqlite(SqliteConnectOptions::new().filename(location)).await,
        }
    }

    async fn open_sqlite(options: SqliteConnectOptions) -> Result<Self> {
        let location = options.get_filename().display().to_string();
        let failed = |error| Error::Open { location: location.clone(), error };
        let options = options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A commit that others know of must survive a power loss, as in PostgreSQL.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        create::if_missing(&options).await?;
        let options = options.create_if_missing(false);
        {
            // An older database is not in WAL mode. SQLite does not wait for its turn to change that.
            let _lock = migrate::lock(options.get_filename()).await.map_err(|error| failed(error.into()))?;
            options.connect().await.map_err(failed)?.close().await.map_err(failed)?;
        }
        upgrade::back_up(&options)
            .await
            .map_err(|error| Error::Backup { location: location.clone(), error })?;
        migrate::sqlite(&options).await.map_err(|error| migrate::failed(&location, error))?;
        // New entries are spread over the whole indexes. With a small cache, each batch would read
        // and write the same pages again. The undo data of a statement is kept in memory, too, not
        // in a file.
        let writing = options.clone().pragma("cache_size", "-131072").pragma("temp_store", "memory");
        let writing = writing.pragma("wal_autocheckpoint", "32768");
        let writer = sqlite_pool(1).connect_with(writing).await.map_err(failed)?;
        // A comparison reads half a million rows from pages that the system has in memory anyway.
        let reading =
            options.read_only(true).pragma("cache_size", "-16384").pragma("mmap_size", "1099511627776");
        let readers = sqlite_pool(4).connect_with(reading).await.map_err(failed)?;
        let side_pool = Either::Sqlite(writer.clone());
        Ok(Self::new(Either::Sqlite(readers), Either::Sqlite(writer), side_pool))
    }

    async fn open_postgres(options: PgConnectOptions) -> Result<Self> {
        let location = described(&options);
        // A silent client must not hold the writers' lock for ever. Commits must survive a crash of
        // the server, whatever its configuration, because an evaluation resumes after it. JIT
        // compilation of a comparison took three times as long as running it.
        let options = options.options([
            ("idle_in_transaction_session_timeout", "60s"),
            ("synchronous_commit", "on"),
            ("jit", "off"),
        ]);
        let failed = |error| Error::Open { location: location.clone(), error };
        // A pool would retry until its acquire timeout.
        options.connect().await.map_err(failed)?.close().await.map_err(failed)?;
        migrate::postgres(&options).await.map_err(|error| migrate::failed(&location, error))?;
        let pool = |size| PgPoolOptions::new().max_connections(size).acquire_timeout(BUSY_TIMEOUT);
        let side_pool = Either::Postgres(pool(3).connect_lazy_with(options.clone()));
        // Each connection is a server process that must first set up its view of the tables and of
        // the memory that they are in. One is enough, because only one can write.
        let writer = pool(1).connect_lazy_with(options.clone());
        let readers = pool(7).connect_with(options).await.map_err(failed)?;
        Ok(Self::new(Either::Postgres(readers), Either::Postgres(writer), side_pool))
    }

    fn new(readers: Pool, writer: Pool, side_pool: Pool) -> Self {
        let unpacked = Arc::default();
        Self { readers, writer, side_pool, term: None, unpacked, writes: Arc::new(AtomicI64::new(i64::MAX)) }
    }

    /// Waits for running queries, and closes all connections.
    pub async fn close(&self) {
        each!(&self.readers, pool => pool.close().await);
        each!(&self.writer, pool => pool.close().await);
        each!(&self.side_pool, pool => pool.close().await);
    }

    /// Permits this many more writing transactions. A later one waits for ever, or until it is
    /// dropped. This shows what a process leaves behind that ends before any of its writes.
    pub fn permit_writes(&self, count: i64) {
        self.writes.store(count, Ordering::Relaxed);
    }

    /// Whether a transaction was blocked by that limit.
    pub fn is_cut_off(&self) -> bool {
        self.writes.load(Ordering::Relaxed) < 0
    }

    /// Begins a writing transaction, which has the database for itself until it ends. On a host
    /// that schedules, it is rejected once another host has taken over.
    async fn begin(&self) -> Result<Tx> {
        let mut tx = self.begin_unfenced().await?;
        if let Some(term) = self.term {
            still_schedules(&mut tx, term).await?;
        }
        Ok(tx)
    }

    /// Begins a second transaction beside the writing one, so that the database server works on
    /// both. `None` for `SQLite`, where only one can write.
    async fn begin_beside(&self) -> Result<Option<Tx>> {
        let Either::Postgres(pool) = &self.side_pool else { return Ok(None) };
        if self.writes.fetch_sub(1, Ordering::Relaxed) <= 0 {
            return std::future::pending().await;
        }
        Ok(Some(Either::Postgres(pool.begin().await?)))
    }

    async fn begin_unfenced(&self) -> Result<Tx> {
        /// Any number will do, if every process uses the same one.
        const TAKE_TURN: &str = "select pg_advisory_xact_lock(7311148)";
        if self.writes.fetch_sub(1, Ordering::Relaxed) <= 0 {
            return std::future::pending().await;
        }
        Ok(match &self.writer {
            Either::Sqlite(pool) => Either::Sqlite(pool.begin_with("begin immediate").await?),
            Either::Postgres(pool) => {
                let mut tx = pool.begin().await?;
                sqlx::query(TAKE_TURN).execute(&mut *tx).await?;
                Either::Postgres(tx)
            }
        })
    }
}

impl Tx {
    async fn commit(self) -> Result<()> {
        each!(self, tx => Ok(tx.commit().await?))
    }
}

/// A pool that closes a connection whose transaction did not end properly. SQLite ends a
/// transaction by itself when the disk is full or fails. The rollback that sqlx requests then fails
/// as well, and sqlx refuses to begin another transaction. (PostgreSQL's driver does not wait for
/// the answer to a rollback, and checks whether the server is reachable.)
fn sqlite_pool(size: u32) -> SqlitePoolOptions {
    let options = SqlitePoolOptions::new().max_connections(size).acquire_timeout(BUSY_TIMEOUT);
    options.after_release(|connection, _| {
        Box::pin(async move {
            // This carries out a pending rollback first.
            connection.ping().await?;
            Ok(!connection.is_in_transaction())
        })
    })
}

/// Encodes rows for one bulk statement as a JSON array.
fn rows(values: impl IntoIterator<Item = Value>) -> String {
    Value::Array(values.into_iter().collect()).to_string()
}

/// Reads stored JSON; `what` names the place in errors.
fn stored<T: DeserializeOwned>(text: &str, what: impl FnOnce() -> String) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::Damaged { what: what(), reason: error.to_string() })
}
