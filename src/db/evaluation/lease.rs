//! Leases of evaluations.
//!
//! # Guarantees
//!
//! * Every write of an evaluation carries the newest term of its lease, or is rejected. Terms are
//!   given once, by the whole farm, and compared in the transaction that writes.
//! * Clocks decide only who may take a lease; the term decides who may write. So no clock has to
//!   be right for the history to be right.
//!
//! # Design
//!
//! A lease is three columns of a row of `evaluation`: host, term, until when. It is for a revision
//! and one system, not for the whole revision: several hosts can share the systems, each system
//! has a state of its own, and one that fails is retried alone. A host prefers systems of the
//! revision that it has loaded, and takes one that another host has loaded only when nothing else
//! of that priority waits. A revision with as many systems as there are idle hosts is loaded by
//! all of them, which costs CPU and saves time.
//!
//! A host that looks for work first takes back expired leases. Intervals and errors of such an
//! evaluation are deleted, and it is pending again. An evaluation that was started five times by
//! then has failed: it may be what ends its hosts. Attempts that a fault of the machine ended do
//! not count.
//!
//! # Races
//!
//! * The former host may still be at work. Its next write finds another term and is rejected
//!   (`Error::LeaseLost`), and it drops the evaluation.
//! * A lease that expired and that nobody took is as good as before. After the database was
//!   unreachable, every host goes on where it was, and records the batches that it could not
//!   record.

use serde_json::Value;

use crate::clock::Seconds;
use crate::db::evaluation::task::{Task, fail, reset};
use crate::db::farm::notify::{Wake, ring};
use crate::db::farm::term::{LEASE, next_term};
use crate::db::log::event_log::log_evaluations;
use crate::db::{Db, EvaluationId, Result, SpecId, rows};
use crate::domain::revision::Revision;
use crate::domain::spec::System;

/// Who asks for something to evaluate.
#[derive(Debug, Clone, Default)]
pub struct Claimant {
    /// The name of the host.
    pub host: String,
    /// The systems that it evaluates; none: all of them.
    pub systems: Vec<System>,
    /// The spec and the revision that it has loaded.
    pub warm: Option<(SpecId, Revision)>,
}

/// An evaluation that is interrupted when it was begun so often is not begun again: it may be what ends its hosts.
pub const BEGINNINGS: i64 = 5;

/// An evaluation that nobody worked at any more.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Interrupted {
    /// Which one.
    pub id: EvaluationId,
    /// The name of the host that had it.
    pub host: String,
    /// Whether it had been begun too often, and has failed.
    pub failed: bool,
}

impl Db {
    /// Leases the evaluation that is next, if one waits: by priority of its spec, then the oldest.
    ///
    /// Of one spec and system only one runs at a time and none before an older one, because each is
    /// written as the difference to the one before it. One that failed for reasons outside of it comes
    /// after those that were tried less often. None begins while somebody removes store items. Other
    /// systems of the revision that the claimant has loaded come first, those of one that another host
    /// has loaded come last.
    pub async fn claim_evaluation(&self, claimant: &Claimant, now: Seconds) -> Result<Option<Task>> {
        const TAKE: &str =
            "update evaluation set state = 'running', started_at = $2, attempts = attempts + 1,
            host = $3, term = $4, lease_expires_at = $5 where id = $1";
        // What is next at $1, for one of the systems $2, preferably of the spec $3 at the revision $4, on the host $5.
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

    /// Takes back the evaluations that `host` began and does not work at any more, and those whose hosts have given
    /// no heartbeat for the length of a lease. They wait again as if they had never been begun, except that the
    /// attempt counts; those that were begun [`BEGINNINGS`] times have failed;
    /// times that a fault of a machine ended do not count.
    pub async fn reclaim_expired(&self, host: &str, now: Seconds) -> Result<Vec<Interrupted>> {
        const LOST: &str =
            "select id, coalesce(host, '') as host, attempts - faults >= $3 as failed from evaluation
            where state = 'running' and (host = $1 or coalesce(lease_expires_at, 0) <= $2) order by id";
        let lost: Vec<Interrupted> = each!(&self.readers, pool =>
            sqlx::query_as(LOST).bind(host).bind(now).bind(BEGINNINGS).fetch_all(pool).await?);
        if lost.is_empty() {
            return Ok(lost);
        }
        let mut tx = self.begin().await?;
        let lost: Vec<Interrupted> = each!(&mut tx, tx =>
            sqlx::query_as(LOST).bind(host).bind(now).bind(BEGINNINGS).fetch_all(&mut **tx).await?);
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

    /// The host lives, and so do its leases.
    pub(in crate::db) async fn renew_leases(&self, host: &str, now: Seconds) -> Result<()> {
        const RENEW: &str =
            "update evaluation set lease_expires_at = $2 where state = 'running' and host = $1";
        each!(&self.aside, pool =>
            sqlx::query(RENEW).bind(host).bind(now + LEASE).execute(pool).await.map(drop)?);
        Ok(())
    }
}

/// Why an evaluation is given up.
fn interrupted(id: EvaluationId, host: &str) -> String {
    format!(
        "it was begun {BEGINNINGS} times and never came to an end; at last its host, {host:?}, was stopped or lost\n\
         hint: that host's logs say what ended it; if it is out of memory, let `memory` in gorget.toml be less, then \
         `gorget retry {id}`"
    )
}
