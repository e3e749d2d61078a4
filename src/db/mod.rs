//! The only place with SQL.
//!
//! # Guarantees
//!
//! * Writers take turns, in both databases: `begin immediate` in SQLite, an advisory lock for the
//!   length of the transaction in PostgreSQL. So a transaction can rely on what it read until it
//!   commits, none is rolled back for another, and none has to be retried.
//! * A commit waits for the disk.
//! * Times are seconds since 1970 and come from the caller. Where many machines share PostgreSQL,
//!   all go by its clock.
//!
//! # Design
//!
//! One code serves two databases: `Db` holds pools of either SQLite or PostgreSQL, and `each!`
//! runs the same query against whichever it is. Both get the same SQL, except for a few placeholders
//! that `dialect` replaces; only statements that are tuned for each database have two texts.
//!
//! **History.** A revision is the tuple of its channels' commits, including channels that others
//! need. How each commit came in (branch, introduction, signer) stands with the evaluation and is
//! no part of the revision's identity. A job's derivation over the evaluations of a spec and
//! system is one row, an interval from the first evaluation to the last, so an evaluation with *k*
//! changes writes O(*k*) rows. Its metadata (version, file, target, timeouts) belong to that row;
//! each combination is stored once. The line is that of the first evaluation, because lines move
//! with every commit. A build is identified by its set of output paths. The edges of the graph are
//! a compact blob for each derivation; ids grow from inputs to users. Store items are compressed
//! in packs of about 1 MiB.
//!
//! **What the tables leave out.** A year has millions of rows, so nothing is written twice, and an
//! index holds less of what is only looked for. Of hashes of derivations and store items, and of
//! the first path of an output set, SQLite's index has twelve characters and compares the rest;
//! PostgreSQL's has a number made of them (`using hash`, which takes a third of the time to add to
//! and does not depend on the collation). The name of the derivations that make an output set
//! stands in it as `*`. A build has the number of its name, and the system of its evaluation. No
//! constraint says that a derivation, an output set or an item exists once: the transaction that
//! records looks first, and writers take turns.
//!
//! **Reading much.** What is read by the thousand comes as one text: for each column of a
//! comparison, for all rows of a sweep. One row each would cost a message between two threads.
//! SQLite's readers map the file into memory instead of copying its pages. SQLite maps 2 GiB at
//! most unless it is built for more, as `.cargo/config.toml` says. A disk that fails under a
//! mapping ends the process, which can end anywhere.
//!
//! **Foreign keys.** PostgreSQL looks up and locks the other row for each key of each inserted
//! row. So `job_interval`, `derivation`, `store_item` and `build` have none there; SQLite keeps
//! those that cost it nothing. One function writes the rows of each such table, and has just read
//! or written what they refer to. `gorget verify` finds rows that refer to nothing.

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
mod create;
mod error;
mod evaluation;
mod history;
mod id;
mod log;
mod migrate;
mod moment;
mod retention;
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
pub use build::event::{BuildEvent, BuildRef, NewEvent, RecordedEvents};
pub use build::explain::{FormerError, JobRecord};
pub use build::failed::FailedDerivation;
pub use build::failures::JobRuns;
pub use build::guard::AwaitingApproval;
pub use build::live::{Live, PlanInput, Planned};
pub use build::route::{CoordinatorCount, Unserved};
pub use build::snapshot::{OpenBuild, Snapshot};
pub use build::substitutes::{Answered, SubstituteServer, WantedBuild};
pub use build::timeouts::Times;
pub use build::wanted::Changes;
pub use error::{Error, Result};
pub use evaluation::batch::{Batch, Item, NewDerivation, NewJob, Pack};
pub use evaluation::evaluations::{Evaluation, EvaluationState};
pub use evaluation::lease::{BEGINNINGS, Claimant, Interrupted};
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

/// What a `PostgreSQL` database is called in messages: no password.
fn described(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or_else(|| options.get_username());
    format!("{database} at {}", options.get_host())
}

/// How long a query waits for its turn before it fails.
const BUSY_TIMEOUT: Duration = Duration::from_mins(1);

/// The database, opened. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Db {
    readers: Pool,
    writer: Pool,
    /// For heartbeats and for listening, which wait for no writer, and for what is written beside.
    aside: Pool,
    /// The term under which this host schedules; without one, anything can be written.
    term: Option<i64>,
    unpacked: Arc<Mutex<store::item::Unpacked>>,
    /// How many more transactions may begin that write.
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
    /// Opens the database at a path or at an `sqlite:` or `postgres:` URL, makes the file if there
    /// is none, and brings the tables up to date.
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
            // A commit that others were told of has to outlast a power loss, as in PostgreSQL.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        create::if_missing(&options).await?;
        let options = options.create_if_missing(false);
        options.connect().await.map_err(failed)?.close().await.map_err(failed)?;
        upgrade::back_up(&options)
            .await
            .map_err(|error| Error::Backup { location: location.clone(), error })?;
        migrate::sqlite(&options).await.map_err(|error| migrate::failed(&location, error))?;
        // What is new stands all over the indices: with little memory, the same pages are read and written anew
        // with each batch. What a statement would have to undo is kept in memory, too, not in a file.
        let writing = options.clone().pragma("cache_size", "-131072").pragma("temp_store", "memory");
        let writing = writing.pragma("wal_autocheckpoint", "32768");
        let writer = sqlite_pool(1).connect_with(writing).await.map_err(failed)?;
        // Whoever compares reads half a million rows out of pages that the system has in memory anyway.
        let reading =
            options.read_only(true).pragma("cache_size", "-16384").pragma("mmap_size", "1099511627776");
        let readers = sqlite_pool(4).connect_with(reading).await.map_err(failed)?;
        let aside = Either::Sqlite(writer.clone());
        Ok(Self::new(Either::Sqlite(readers), Either::Sqlite(writer), aside))
    }

    async fn open_postgres(options: PgConnectOptions) -> Result<Self> {
        let location = described(&options);
        // Who holds the writers' lock and says nothing any more must not hold it for ever. What was committed has to
        // outlast a server that breaks down, whatever that server does for others: an evaluation goes on after it.
        // Compiling a comparison took three times as long as running it.
        let options = options.options([
            ("idle_in_transaction_session_timeout", "60s"),
            ("synchronous_commit", "on"),
            ("jit", "off"),
        ]);
        let failed = |error| Error::Open { location: location.clone(), error };
        // A pool would go on trying for as long as its patience lasts.
        options.connect().await.map_err(failed)?.close().await.map_err(failed)?;
        migrate::postgres(&options).await.map_err(|error| migrate::failed(&location, error))?;
        let pool = |size| PgPoolOptions::new().max_connections(size).acquire_timeout(BUSY_TIMEOUT);
        let aside = Either::Postgres(pool(3).connect_lazy_with(options.clone()));
        // Each connection is a process that has to become acquainted with the tables and with the memory they are in;
        // one is enough where only one can write.
        let writer = pool(1).connect_lazy_with(options.clone());
        let readers = pool(7).connect_with(options).await.map_err(failed)?;
        Ok(Self::new(Either::Postgres(readers), Either::Postgres(writer), aside))
    }

    fn new(readers: Pool, writer: Pool, aside: Pool) -> Self {
        let unpacked = Arc::default();
        Self { readers, writer, aside, term: None, unpacked, writes: Arc::new(AtomicI64::new(i64::MAX)) }
    }

    /// Waits for what is under way and closes all connections.
    pub async fn close(&self) {
        each!(&self.readers, pool => pool.close().await);
        each!(&self.writer, pool => pool.close().await);
        each!(&self.aside, pool => pool.close().await);
    }

    /// Lets so many more transactions begin that write. Who would begin one after that waits for ever, or until
    /// it is dropped: so it can be seen what a process leaves behind that ends there, before any of its writes.
    pub fn permit_writes(&self, count: i64) {
        self.writes.store(count, Ordering::Relaxed);
    }

    /// Whether somebody has waited for ever.
    pub fn is_cut_off(&self) -> bool {
        self.writes.load(Ordering::Relaxed) < 0
    }

    /// Begins a transaction that writes. It has the database for itself until it ends. That of a host that
    /// schedules is refused once another one does.
    async fn begin(&self) -> Result<Tx> {
        let mut tx = self.begin_unfenced().await?;
        if let Some(term) = self.term {
            still_schedules(&mut tx, term).await?;
        }
        Ok(tx)
    }

    /// Begins a transaction beside the one that writes, so that the database's server has two to work for; none
    /// where only one can write.
    async fn begin_beside(&self) -> Result<Option<Tx>> {
        let Either::Postgres(pool) = &self.aside else { return Ok(None) };
        if self.writes.fetch_sub(1, Ordering::Relaxed) <= 0 {
            return std::future::pending().await;
        }
        Ok(Some(Either::Postgres(pool.begin().await?)))
    }

    async fn begin_unfenced(&self) -> Result<Tx> {
        /// Any number will do, if only everybody uses the same.
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

/// A pool that closes a connection whose transaction did not end as it should. SQLite ends one by itself when the
/// disk is full or fails; the end that sqlx asks for then fails as well, and it refuses to begin another one.
/// (PostgreSQL's driver does not wait for an answer to a rollback, and asks whether the server is there.)
fn sqlite_pool(size: u32) -> SqlitePoolOptions {
    let options = SqlitePoolOptions::new().max_connections(size).acquire_timeout(BUSY_TIMEOUT);
    options.after_release(|connection, _| {
        Box::pin(async move {
            // A rollback that was begun is carried out first.
            connection.ping().await?;
            Ok(!connection.is_in_transaction())
        })
    })
}

/// Rows for one bulk statement.
fn rows(values: impl IntoIterator<Item = Value>) -> String {
    Value::Array(values.into_iter().collect()).to_string()
}

/// Reads JSON that we stored; `what` names the place.
fn stored<T: DeserializeOwned>(text: &str, what: impl FnOnce() -> String) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::Damaged { what: what(), reason: error.to_string() })
}
