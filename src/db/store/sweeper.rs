//! The lease of the sweep: only one sweeper at a time holds it.

use std::collections::BTreeSet;

use crate::clock::{Clock, Seconds};
use crate::db::{Db, Error, EvaluationId, Result, Tx};

/// The lease expires this many seconds after the sweeper last renewed it.
const LEASE: Seconds = 60;

/// A sweep that holds the lease, or a dry run.
#[derive(Debug)]
pub struct Sweeper {
    pub(in crate::db) db: Db,
    clock: Clock,
    /// Distinguishes it from other sweepers.
    name: String,
    /// When its lease expires.
    expires_at: Seconds,
    /// In a dry run: the evaluations that are assumed to be forgotten.
    pub(in crate::db) dry: Option<BTreeSet<EvaluationId>>,
}

impl Sweeper {
    /// Takes the lease. It keeps evaluations from beginning until [`Sweeper::end`], or until it has
    /// not been renewed for a minute. `None` if another sweeper holds it.
    pub async fn begin(db: &Db, clock: Clock, name: String) -> Result<Option<Self>> {
        const TAKE: &str = "insert into sweep (id, holder, expires_at) values (1, $1, $2)
            on conflict (id) do update set holder = excluded.holder, expires_at = excluded.expires_at where sweep.expires_at <= $3";
        let now = clock.now();
        let mut tx = db.begin().await?;
        let taken = execute!(&mut tx, TAKE, &name, now + LEASE, now) > 0;
        tx.commit().await?;
        Ok(taken.then(|| Self { db: db.clone(), clock, name, expires_at: now + LEASE, dry: None }))
    }

    /// A dry run. It only counts what would be removed if these evaluations were forgotten, and
    /// blocks nothing.
    pub fn counting(db: &Db, clock: Clock, forgotten: BTreeSet<EvaluationId>) -> Self {
        Self { db: db.clone(), clock, name: String::new(), expires_at: 0, dry: Some(forgotten) }
    }

    /// Renews the lease, and returns whether evaluations run. While they do, nothing can be
    /// removed.
    pub async fn must_wait(&mut self) -> Result<bool> {
        let mut tx = self.db.begin().await?;
        let running = self.renew_lease(&mut tx).await?;
        tx.commit().await?;
        Ok(running)
    }

    /// Releases the lease, so that evaluations may begin again.
    pub async fn end(self) -> Result<()> {
        let mut tx = self.db.begin().await?;
        execute!(&mut tx, "delete from sweep where id = 1 and holder = $1", &self.name);
        tx.commit().await
    }

    /// Checks that this transaction may remove rows; returns whether an evaluation runs.
    async fn renew_lease(&mut self, tx: &mut Tx) -> Result<bool> {
        const HOLD: &str =
            "update sweep set expires_at = $2 where id = 1 and holder = $1 and expires_at > $3";
        const RUNNING: &str = "select count(*) from evaluation where state = 'running'";
        let now = self.clock.now();
        if execute!(tx, HOLD, &self.name, now + LEASE, now) == 0 {
            return Err(Error::NotSweeping);
        }
        self.expires_at = now + LEASE;
        let running: i64 = each!(tx, tx => sqlx::query_scalar(RUNNING).fetch_one(&mut **tx).await?);
        Ok(running > 0)
    }

    /// Renews the lease when that is due, during phases that only read.
    pub(in crate::db) async fn renew_if_due(&mut self) -> Result<()> {
        let due = self.dry.is_none() && self.clock.now() + LEASE * 3 / 4 > self.expires_at;
        if due && self.must_wait().await? { Err(Error::NotSweeping) } else { Ok(()) }
    }

    pub(in crate::db) async fn begin_removing(&mut self) -> Result<Tx> {
        let mut tx = self.db.begin().await?;
        if self.renew_lease(&mut tx).await? { Err(Error::NotSweeping) } else { Ok(tx) }
    }
}
