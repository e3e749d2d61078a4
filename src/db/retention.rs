//! Removes evaluations that specs do not keep, one per transaction.
//!
//! # Guarantees
//!
//! * All other evaluations keep their contents.
//! * The newest complete evaluation is never removed, because the running one ends intervals at it.
//!
//! # Design
//!
//! Intervals that begin with the removed evaluation then begin with the next complete one, and
//! those that end with it end with the one before it. Two intervals that become neighbours are
//! joined. A finished build moves to the first evaluation that still has its outputs, or is
//! deleted; if it is wanted again, substitute servers are asked again. The longest transaction is
//! that of the oldest evaluation of a system, because all its intervals begin with it.

use std::collections::BTreeMap;

use crate::clock::Seconds;
use crate::db::build::leave::hand_over_builds;
use crate::db::history::interval::{Ended, end_intervals, path};
use crate::db::log::audit::record;
use crate::db::watch::spec::StoredSpec;
use crate::db::{Db, Error, EvaluationId, Result, SpecId, Tx};
use crate::domain::access::{Action, Author};
use crate::domain::retention::{Finished, NeededFor, Reason, retention_reasons};

/// Whether an evaluation is kept under the retention rules of its spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retained {
    /// The number of the evaluation.
    pub id: EvaluationId,
    /// The name of the spec.
    pub spec: String,
    /// The system of the evaluation.
    pub system: String,
    /// When it ended.
    pub at: Seconds,
    /// Why it is kept; `None` if it is to be removed.
    pub reason: Option<Reason>,
}

/// Selects [`Row`]s, the newest first; a condition may follow.
macro_rules! finished {
    ($condition:literal) => {
        sql!(
            "select e.id, e.spec_id, e.system, e.state = 'complete' as complete, coalesce(e.finished_at, 0) as at,
               case when e.id in (select max(id) from evaluation group by spec_id, system)
                 or e.id in (select max(id) from evaluation where state = 'complete' group by spec_id, system)
                 then 'tip'
               when e.pinned_at is not null then 'pinned'
               when e.id in (select evaluation_id from build where state in {open}) then 'builds'
               when (e.spec_id, e.system) in
                   (select spec_id, system from evaluation where unscheduled and state = 'complete')
                 then 'unscheduled' end as needed_for
             from evaluation e where e.state in ('complete', 'failed') ",
            $condition,
            " order by e.id desc"
        )
    };
}

#[derive(sqlx::FromRow)]
struct Row {
    id: EvaluationId,
    spec_id: SpecId,
    system: String,
    complete: bool,
    at: Seconds,
    needed_for: Option<String>,
}

impl Row {
    fn finished(&self) -> Finished {
        let needed_for = self.needed_for.as_deref().map(|word| match word {
            "pinned" => NeededFor::Pinned,
            "builds" => NeededFor::Builds,
            "unscheduled" => NeededFor::Unscheduled,
            _ => NeededFor::Tip,
        });
        Finished { complete: self.complete, at: self.at, needed_for }
    }
}

impl Db {
    /// Applies the retention rules of all specs, including specs that are no longer present. The
    /// newest evaluation comes first.
    pub async fn retained(&self) -> Result<Vec<Retained>> {
        let sql = finished!("");
        let rows: Vec<Row> = each!(&self.readers, pool, sql => sqlx::query_as(sql).fetch_all(pool).await?);
        let specs: BTreeMap<SpecId, StoredSpec> =
            self.specs().await?.into_iter().map(|stored| (stored.id, stored)).collect();
        let mut sequences: BTreeMap<(SpecId, String), Vec<Row>> = BTreeMap::new();
        for row in rows {
            sequences.entry((row.spec_id, row.system.clone())).or_default().push(row);
        }
        let mut retained = Vec::new();
        for ((spec, system), rows) in sequences {
            let Some(stored) = specs.get(&spec) else { continue };
            let finished: Vec<Finished> = rows.iter().map(Row::finished).collect();
            for (row, reason) in rows.iter().zip(retention_reasons(stored.spec.keep, &finished)) {
                let (spec, system) = (stored.spec.name.clone(), system.clone());
                retained.push(Retained { id: row.id, spec, system, at: row.at, reason });
            }
        }
        retained.sort_by_key(|evaluation| std::cmp::Reverse(evaluation.id));
        Ok(retained)
    }

    /// Pins an evaluation, or unpins it. Returns whether that changed anything.
    pub async fn pin(&self, id: EvaluationId, keep: bool, author: &Author, now: Seconds) -> Result<bool> {
        const SQL: &str = "update evaluation set pinned_at = $2 where id = $1
            and (pinned_at is null) <> ($2 is null)";
        let mut tx = self.begin().await?;
        let found = execute!(&mut tx, SQL, id, keep.then_some(now)) > 0;
        if found {
            let action = if keep { Action::Pin } else { Action::Unpin };
            record(&mut tx, author, action, &format!("evaluation {id}"), now).await?;
        }
        tx.commit().await?;
        Ok(found)
    }

    /// Removes an evaluation that has ended; the contents of other evaluations stay the same.
    /// Returns `false`, and does nothing, if the evaluation has become needed or does not exist.
    ///
    /// Finished builds are deleted if no remaining job has their outputs; otherwise they move to
    /// the first evaluation that has.
    pub async fn forget_evaluation(&self, id: EvaluationId) -> Result<bool> {
        const REVISION: &str = "select revision_id from evaluation where id = $1";
        let mut tx = self.begin().await?;
        let sql = finished!("and e.id = $1");
        let row: Option<Row> =
            each!(&mut tx, tx, sql => sqlx::query_as(sql).bind(id).fetch_optional(&mut **tx).await?);
        let Some(row) = row.filter(|row| row.finished().needed_for.is_none()) else { return Ok(false) };
        if row.complete {
            leave_intervals(&mut tx, &row).await?;
        }
        hand_over_builds(&mut tx, id).await?;
        execute!(&mut tx, "delete from evaluation_error where evaluation_id = $1", id);
        let revision: i64 =
            each!(&mut tx, tx => sqlx::query_scalar(REVISION).bind(id).fetch_one(&mut **tx).await?);
        execute!(&mut tx, "delete from evaluation where id = $1", id);
        execute!(
            &mut tx,
            "delete from revision where id = $1 and not exists (select 1 from evaluation where revision_id = $1)",
            revision
        );
        tx.commit().await?;
        Ok(true)
    }
}

/// The previous complete evaluation of the same spec and system, or the next one.
async fn neighbour(tx: &mut Tx, row: &Row, after: bool) -> Result<Option<EvaluationId>> {
    const BEFORE: &str = "select max(id) from evaluation where spec_id = $1 and system = $2
        and state = 'complete' and id < $3";
    const AFTER: &str = "select min(id) from evaluation where spec_id = $1 and system = $2
        and state = 'complete' and id > $3";
    let sql = if after { AFTER } else { BEFORE };
    each!(tx, tx => Ok(sqlx::query_scalar(sql).bind(row.spec_id).bind(&row.system).bind(row.id)
        .fetch_one(&mut **tx).await?))
}

/// Takes an evaluation out of the intervals that begin or end with it. They then begin with the
/// next complete one, or end with the previous one. Intervals that only this evaluation separated
/// are joined.
async fn leave_intervals(tx: &mut Tx, row: &Row) -> Result<()> {
    const BEGINNING: &str = "select id, last_evaluation from job_interval where first_evaluation = $1";
    let ending = sql!(
        "select id, first_evaluation from job_interval
         where sequence_id = (select id from sequence where spec_id = $3 and system = $4)
           and on_path($2) and last_evaluation = $1"
    );
    let id = row.id;
    execute!(tx, "delete from job_interval where first_evaluation = $1 and last_evaluation = $1", id);
    let (before, after) = (neighbour(tx, row, false).await?, neighbour(tx, row, true).await?);
    let damaged = |what: &str| Error::Damaged {
        what: format!("the jobs of evaluation {id}"),
        reason: format!("job intervals continue across it, but there is no complete evaluation {what} it"),
    };
    let ending: Vec<(i64, EvaluationId)> = each!(tx, tx, ending => sqlx::query_as(ending)
        .bind(id).bind(path(id)).bind(row.spec_id).bind(&row.system).fetch_all(&mut **tx).await?);
    let last = if ending.is_empty() { id } else { before.ok_or_else(|| damaged("before"))? };
    let mut ended: Vec<Ended> = ending.into_iter().map(|(id, first)| Ended { id, first, last }).collect();
    let beginning: Vec<(i64, Option<EvaluationId>)> =
        each!(tx, tx => sqlx::query_as(BEGINNING).bind(id).fetch_all(&mut **tx).await?);
    let first = if beginning.is_empty() { id } else { after.ok_or_else(|| damaged("after"))? };
    ended.extend(beginning.into_iter().filter_map(|(id, last)| Some(Ended { id, first, last: last? })));
    end_intervals(tx, &ended).await?;
    execute!(tx, "update job_interval set first_evaluation = $2 where first_evaluation = $1", id, first);
    match before.zip(after) {
        Some((before, after)) => join_intervals(tx, before, after).await,
        None => Ok(()),
    }
}

/// Joins two intervals of a job with the same derivation, after `before`, the last evaluation of
/// one, and `after`, the first of the other, have become neighbours.
async fn join_intervals(tx: &mut Tx, before: EvaluationId, after: EvaluationId) -> Result<()> {
    const MEETING: &str = "select j.id, k.id, j.first_evaluation, k.last_evaluation from job_interval j join job_interval k
          on k.derivation_id = j.derivation_id and k.name_id = j.name_id and k.sequence_id = j.sequence_id
            and k.first_evaluation = $2 and (k.metadata_id = j.metadata_id or k.metadata_id is null and j.metadata_id is null)
        where j.last_evaluation = $1";
    type Meeting = (i64, i64, EvaluationId, Option<EvaluationId>);
    let meeting: Vec<Meeting> =
        each!(tx, tx => sqlx::query_as(MEETING).bind(before).bind(after).fetch_all(&mut **tx).await?);
    let mut ended = Vec::new();
    for (earlier, later, first, last) in meeting {
        execute!(tx, "delete from job_interval where id = $1", earlier);
        match last {
            Some(last) => ended.push(Ended { id: later, first, last }),
            None => drop(execute!(
                tx,
                "update job_interval set first_evaluation = $2 where id = $1",
                later,
                first
            )),
        }
    }
    end_intervals(tx, &ended).await
}
