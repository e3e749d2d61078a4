//! Leases of evaluations.
//!
//! # Guarantees
//!
//! * Every write of an evaluation carries the newest term of its lease, or is rejected. Each term
//!   is given out only once in the whole farm, and compared in the transaction that writes.
//! * Clocks decide only which host may take a lease; the term decides which may write. So the
//!   history is right even if clocks are wrong.
//!
//! # Design
//!
//! A lease is three columns of a row of `evaluation`: host, term and expiry. It is for a revision
//! and one system, not for the whole revision. So several hosts can share the systems, each system
//! has its own state, and a failed one is retried alone. A host prefers systems of the revision
//! that it has loaded. It takes a system of a revision that another host has loaded only when no
//! other evaluation of that priority waits. A revision with as many systems as there are idle hosts
//! is loaded by all of them, which costs CPU and saves time.
//!
//! A host that looks for work first reclaims expired leases. The intervals and errors of such an
//! evaluation are deleted, and it is pending again. An evaluation that has been started five times
//! has failed instead, because it may be what crashes its hosts. Attempts that a fault of the
//! machine ended do not count.
//!
//! # Races
//!
//! * The former host may still be at work. Its next write finds another term and is rejected
//!   (`Error::LeaseLost`), and it abandons the evaluation.
//! * An expired lease that no host took stays valid. After the database was unreachable, every host
//!   resumes where it was, and records the batches that it could not record.

use serde_json::Value;

use crate::clock::Seconds;
use crate::db::evaluation::task::{Task, fail, reset};
use crate::db::farm::notify::{Wake, ring};
use crate::db::farm::term::{LEASE, next_term};
use crate::db::log::event_log::log_evaluations;
use crate::db::{Db, EvaluationId, Result, SpecId, rows};
use crate::domain::revision::Revision;
use crate::domain::spec::System;

/// The host that asks for an evaluation.
#[derive(Debug, Clone, Default)]
pub struct Claimant {
    /// The name of the host.
    pub host: String,
    /// The systems that it evaluates; empty for all.
    pub systems: Vec<System>,
    /// The spec and the revision that it has loaded.
    pub warm: Option<(SpecId, Revision)>,
}

/// An evaluation that is interrupted after this many starts fails, because it may be what crashes
/// its hosts.
pub const MAX_STARTS: i64 = 5;

/// An evaluation whose host stopped working on it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Interrupted {
    /// The number of the evaluation.
    pub id: EvaluationId,
    /// The name of the host that had it.
    pub host: String,
    /// Whether it had been started too often, and has failed.
    pub failed: bool,
}

impl Db {
    /// Leases the next evaluation, if one waits: by priority of its spec, then the oldest.
    ///
    /// For one spec and system, only one evaluation runs at a time and none before an older one,
    /// because each is written as the difference to the one before it. An evaluation that failed
    /// for outside reasons comes after those with fewer attempts. None begins while a host removes
    /// store items. Other systems of the revision that the claimant has loaded come first; those of
    /// a revision that another host has loaded come last.
    pub async fn claim_evaluation(&self, claimant: &Claimant, now: Seconds) -> Result<Option<Task>> {
        const TAKE: &str =
            "update evaluation set state = 'running', started_at = $2, attempts = attempts + 1,
            host = $3, term = $4, lease_expires_at = $5 where id = $1";
        // The next evaluation at $1, for one of the systems $2, preferably of the spec $3 at the
        // revision $4, on the host $5.
        let next = sql!(
            "select e.id from evaluation e join spec s on s.id = e.spec_id join revision r on r.id = e.revision_id
            where e.state = 'pending' and s.present and s.active and ($2 = '[]' or e.system in texts($2))
              and not exists
              (select 1 from evaluation o where o.spec_id = e.spec_id and o.system = e.system
                 and (o.state = 'running' or o.state = 'pending' and o.id < e.id))
              and not ",
            is_paused!("s", "e.system"),
            " and not exists (select 1 from pause p where p.kind = 'host' and p.name = $5)
              and not exists (select 1 from sweep where expires_at > $1)
            order by s.priority, e.attempts, case
              when e.spec_id = $3 and r.key = $4 then 0
              when exists (select 1 from evaluation o where o.state = 'running' and o.spec_id = e.spec_id
                and o.revision_id = e.revision_id) then 2
              else 1 end, e.id limit 1"
        );
        let systems = rows(claimant.systems.iter().map(|system| Value::from(system.as_str())));
        let (spec, revision) = claimant.warm.as_ref().map(|(spec, revision)| (*spec, revision.key())).unzip();
        let found: Option<EvaluationId> = each!(&self.readers, pool, next =>
            sqlx::query_scalar(next).bind(now).bind(&systems).bind(spec).bind(&revision).bind(&claimant.host)
                .fetch_optional(pool).await?);
        if found.is_none() {
            return Ok(None);
        }
        let mut tx = self.begin().await?;
        let found: Option<EvaluationId> = each!(&mut tx, tx, next =>
            sqlx::query_scalar(next).bind(now).bind(&systems).bind(spec).bind(&revision).bind(&claimant.host)
                .fetch_optional(&mut **tx).await?);
        let Some(id) = found else { return Ok(None) };
        let term = next_term(&mut tx).await?;
        execute!(&mut tx, TAKE, id, now, &claimant.host, term, now + LEASE);
        let task = Task::find(&mut tx, id).await?;
        log_evaluations(&mut tx, &[id], now).await?;
        tx.commit().await?;
        Ok(Some(task))
    }

    /// Reclaims the evaluations that `host` began and no longer works on, and those of hosts
    /// without a heartbeat for the length of a lease. They are pending again as if they had never
    /// been started, except that the attempt counts. Those that were started [`MAX_STARTS`] times
    /// have failed; attempts that a fault of a machine ended do not count.
    pub async fn reclaim_expired(&self, host: &str, now: Seconds) -> Result<Vec<Interrupted>> {
        const LOST: &str =
            "select id, coalesce(host, '') as host, attempts - faults >= $3 as failed from evaluation
            where state = 'running' and (host = $1 or coalesce(lease_expires_at, 0) <= $2) order by id";
        let lost: Vec<Interrupted> = each!(&self.readers, pool =>
            sqlx::query_as(LOST).bind(host).bind(now).bind(MAX_STARTS).fetch_all(pool).await?);
        if lost.is_empty() {
            return Ok(lost);
        }
        let mut tx = self.begin().await?;
        let lost: Vec<Interrupted> = each!(&mut tx, tx =>
            sqlx::query_as(LOST).bind(host).bind(now).bind(MAX_STARTS).fetch_all(&mut **tx).await?);
        log_evaluations(&mut tx, &lost.iter().map(|one| one.id).collect::<Vec<_>>(), now).await?;
        let (failed, again): (Vec<_>, Vec<_>) = lost.iter().partition(|evaluation| evaluation.failed);
        reset(&mut tx, &again.iter().map(|evaluation| evaluation.id).collect::<Vec<_>>()).await?;
        for Interrupted { id, host, .. } in failed {
            fail(&mut tx, *id, &interrupted(*id, host), now).await?;
        }
        ring(&mut tx, Wake::Evaluate).await?;
        tx.commit().await?;
        Ok(lost)
    }

    /// Renews the leases of a host that sent a heartbeat.
    pub(in crate::db) async fn renew_leases(&self, host: &str, now: Seconds) -> Result<()> {
        const RENEW: &str =
            "update evaluation set lease_expires_at = $2 where state = 'running' and host = $1";
        each!(&self.side_pool, pool =>
            sqlx::query(RENEW).bind(host).bind(now + LEASE).execute(pool).await.map(drop)?);
        Ok(())
    }
}

/// The reason of an evaluation that was interrupted too often.
fn interrupted(id: EvaluationId, host: &str) -> String {
    format!(
        "it was started {MAX_STARTS} times and never finished; its last host, {host:?}, was stopped or lost\n\
         hint: that host's logs say what ended it; if it is out of memory, lower `memory` in gorget.toml, then \
         `gorget retry {id}`"
    )
}
