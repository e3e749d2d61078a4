//! The right to remove what nothing needs: one at a time has it.

use std::collections::BTreeSet;

use crate::clock::{Clock, Seconds};
use crate::db::{Db, Error, EvaluationId, Result, Tx};

/// So long after its last heartbeat, a sweeper is taken for dead.
const LEASE: Seconds = 60;

/// Removes what nothing needs.
#[derive(Debug)]
pub struct Sweeper {
    pub(in crate::db) db: Db,
    clock: Clock,
    /// Distinguishes it from others.
    name: String,
    /// Until when nobody takes it for dead.
    expires_at: Seconds,
    /// When it only counts: the evaluations that it takes for forgotten.
    pub(in crate::db) dry: Option<BTreeSet<EvaluationId>>,
}

impl Sweeper {
    /// One that keeps evaluations from beginning until [`Sweeper::end`], or until it has said nothing for a
    /// minute. `None`: there is one already.
    pub async fn begin(db: &Db, clock: Clock, name: String) -> Result<Option<Self>> {
        const TAKE: &str = "insert into sweep (id, holder, expires_at) values (1, $1, $2)
            on conflict (id) do update set holder = excluded.holder, expires_at = excluded.expires_at where sweep.expires_at <= $3";
        let now = clock.now();
        let mut tx = db.begin().await?;
        let taken = execute!(&mut tx, TAKE, &name, now + LEASE, now) > 0;
        tx.commit().await?;
        Ok(taken.then(|| Self { db: db.clone(), clock, name, expires_at: now + LEASE, dry: None }))
    }

    /// One that only counts what others would remove if these evaluations were forgotten, and keeps nobody
    /// from anything.
    pub fn counting(db: &Db, clock: Clock, forgotten: BTreeSet<EvaluationId>) -> Self {
        Self { db: db.clone(), clock, name: String::new(), expires_at: 0, dry: Some(forgotten) }
    }

    /// Renews the lease, and gives whether evaluations run: as long as that is so, nothing can be removed.
    pub async fn must_wait(&mut self) -> Result<bool> {
        let mut tx = self.db.begin().await?;
        let running = self.still(&mut tx).await?;
        tx.commit().await?;
        Ok(running)
    }

    /// Evaluations may begin again.
    pub async fn end(self) -> Result<()> {
        let mut tx = self.db.begin().await?;
        execute!(&mut tx, "delete from sweep where id = 1 and holder = $1", &self.name);
        tx.commit().await
    }

    /// Makes sure that this transaction may remove; gives whether an evaluation runs.
    async fn still(&mut self, tx: &mut Tx) -> Result<bool> {
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

    /// While it only reads: renews the lease when that is due.
    pub(in crate::db) async fn go_on(&mut self) -> Result<()> {
        let due = self.dry.is_none() && self.clock.now() + LEASE * 3 / 4 > self.expires_at;
        if due && self.must_wait().await? { Err(Error::NotSweeping) } else { Ok(()) }
    }

    pub(in crate::db) async fn begin_removing(&mut self) -> Result<Tx> {
        let mut tx = self.db.begin().await?;
        if self.still(&mut tx).await? { Err(Error::NotSweeping) } else { Ok(tx) }
    }
}
