use serde_json::Value;

use crate::clock::Seconds;
use crate::db::farm::notify::{Wake, ring};
use crate::db::log::event_log::log_evaluations;
use crate::db::stored_system::stored_system;
use crate::db::{Db, Error, EvaluationId, Result, SpecId, Tx, stored};
use crate::domain::revision::Revision;
use crate::domain::spec::{Spec, System};

/// An evaluation, in the form that its worker needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The number of the evaluation.
    pub id: EvaluationId,
    /// The number of the spec.
    pub spec_id: SpecId,
    /// The current spec, except for the jobs, which are those that were requested.
    pub spec: Spec,
    /// The revision to evaluate.
    pub revision: Revision,
    /// The system to evaluate for.
    pub system: System,
    /// The newest complete evaluation of the same spec and system before this one.
    pub previous: Option<EvaluationId>,
    /// How often it was started, including this time, but without the attempts that a fault of a
    /// machine ended.
    pub attempts: i64,
    /// The term of its lease. Only the holder of the newest term can write anything of the
    /// evaluation.
    pub term: Option<i64>,
}

const TASK: &str =
    "select e.spec_id, s.definition, coalesce(e.channels, r.channels), e.build, e.system, e.attempts - e.faults, e.term,
      (select max(p.id) from evaluation p where p.spec_id = e.spec_id and p.system = e.system
         and p.state = 'complete' and p.id < e.id)
    from evaluation e join spec s on s.id = e.spec_id join revision r on r.id = e.revision_id
    where e.id = $1";

type Row = (SpecId, String, String, String, String, i64, Option<i64>, Option<EvaluationId>);

impl Task {
    /// The evaluation that this transaction has just leased.
    pub(in crate::db) async fn find(tx: &mut Tx, id: EvaluationId) -> Result<Self> {
        let row: Row = each!(tx, tx => sqlx::query_as(TASK).bind(id).fetch_one(&mut **tx).await?);
        Self::read(id, &row)
    }

    fn read(id: EvaluationId, row: &Row) -> Result<Self> {
        let place = |what: &str| format!("the {what} of evaluation {id}");
        let (spec_id, definition, channels, build, system, attempts, term, previous) = row;
        Ok(Self {
            id,
            spec_id: *spec_id,
            spec: Spec { build: stored(build, || place("jobs"))?, ..stored(definition, || place("spec"))? },
            revision: stored(channels, || place("revision"))?,
            system: stored_system(system, || place("system"))?,
            previous: *previous,
            attempts: *attempts,
            term: *term,
        })
    }
}

impl Db {
    /// The oldest evaluation with jobs that [`Db::queue_builds`] has not seen. It may still be
    /// running: new builds are queued as soon as they are found. They stay wanted if the evaluation
    /// fails later, because they belonged to the branch at that time.
    pub async fn unscheduled_evaluation(&self) -> Result<Option<Task>> {
        const NEXT: &str = "select id from evaluation where unscheduled and state in ('complete', 'running') order by id limit 1";
        let next: Option<EvaluationId> =
            each!(&self.readers, pool => sqlx::query_scalar(NEXT).fetch_optional(pool).await?);
        let Some(id) = next else { return Ok(None) };
        let row: Row = each!(&self.readers, pool => sqlx::query_as(TASK).bind(id).fetch_one(pool).await?);
        Ok(Some(Task::read(id, &row)?))
    }

    /// Makes an evaluation that cannot go on pending again, as if it had never been started, except
    /// that the attempt counts.
    pub async fn reset_to_pending(&self, task: &Task) -> Result<()> {
        let mut tx = self.begin().await?;
        check_lease(&mut tx, task).await?;
        reset(&mut tx, &[task.id]).await?;
        tx.commit().await
    }

    /// Makes an evaluation pending again after a fault of this machine ended it. The attempt does
    /// not count.
    pub async fn reset_after_fault(&self, task: &Task) -> Result<()> {
        let mut tx = self.begin().await?;
        check_lease(&mut tx, task).await?;
        reset(&mut tx, &[task.id]).await?;
        execute!(&mut tx, "update evaluation set faults = faults + 1 where id = $1", task.id);
        ring(&mut tx, Wake::Evaluate).await?;
        tx.commit().await
    }

    /// Deletes an evaluation that was claimed but not started.
    pub async fn drop_evaluation(&self, task: &Task) -> Result<()> {
        let mut tx = self.begin().await?;
        check_lease(&mut tx, task).await?;
        execute!(&mut tx, "delete from evaluation where id = $1", task.id);
        ring(&mut tx, Wake::Fetch).await?;
        tx.commit().await
    }

    /// Records how many modules of its Guix are compiled, and how many must be.
    pub async fn set_preparation(&self, task: &Task, done: i64, total: i64) -> Result<()> {
        const SQL: &str = "update evaluation set modules_done = $2, modules_total = $3 where id = $1";
        let mut tx = self.begin().await?;
        check_lease(&mut tx, task).await?;
        execute!(&mut tx, SQL, task.id, done, total);
        tx.commit().await
    }

    /// Records how many units there are to evaluate.
    pub async fn set_unit_count(&self, task: &Task, total: i64) -> Result<()> {
        let mut tx = self.begin().await?;
        check_lease(&mut tx, task).await?;
        execute!(&mut tx, "update evaluation set jobs_total = $2 where id = $1", task.id, total);
        tx.commit().await
    }

    /// Records the measurements of an evaluation that is about to fail or to become pending again.
    pub async fn note_metrics(&self, task: &Task, metrics: &Value) -> Result<()> {
        let mut tx = self.begin().await?;
        check_lease(&mut tx, task).await?;
        execute!(&mut tx, "update evaluation set metrics = $2 where id = $1", task.id, metrics.to_string());
        tx.commit().await
    }

    /// Marks the evaluation as failed. Its errors stay, for people to read. Its jobs are deleted,
    /// so that the next evaluation is compared with the last complete one.
    pub async fn fail_evaluation(&self, task: &Task, reason: &str, now: Seconds) -> Result<()> {
        let mut tx = self.begin().await?;
        check_lease(&mut tx, task).await?;
        fail(&mut tx, task.id, reason, now).await?;
        tx.commit().await
    }
}

/// See [`Db::fail_evaluation`].
pub(in crate::db) async fn fail(tx: &mut Tx, id: EvaluationId, reason: &str, now: Seconds) -> Result<()> {
    const FAIL: &str = "update evaluation set state = 'failed', reason = $2, finished_at = $3,
        unscheduled = false where id = $1";
    execute!(tx, FAIL, id, reason, now);
    log_evaluations(tx, &[id], now).await?;
    execute!(tx, "delete from job_interval where first_evaluation = $1", id);
    ring(tx, Wake::Schedule).await
}

/// Checks that this host may still write the evaluation: no other host has leased it since, and it
/// has not ended. That holds until the transaction ends.
pub(in crate::db) async fn check_lease(tx: &mut Tx, task: &Task) -> Result<()> {
    const SQL: &str = "select id from evaluation where id = $1 and state = 'running' and term = $2";
    let found: Option<EvaluationId> = each!(tx, tx =>
        sqlx::query_scalar(SQL).bind(task.id).bind(task.term).fetch_optional(&mut **tx).await?);
    found.map(drop).ok_or(Error::LeaseLost(task.id))
}

/// Deletes everything that these running evaluations have written, and makes them pending.
pub(in crate::db) async fn reset(tx: &mut Tx, evaluations: &[EvaluationId]) -> Result<()> {
    const WAIT: &str = "update evaluation set state = 'pending', started_at = null, jobs_total = null,
        jobs_done = 0, modules_done = 0, modules_total = 0, errors = 0, unscheduled = false, scheduled_job = 0 where id = $1 and state = 'running'";
    for id in evaluations {
        execute!(tx, "delete from job_interval where first_evaluation = $1", id);
        execute!(tx, "delete from evaluation_error where evaluation_id = $1", id);
        execute!(tx, WAIT, id);
    }
    Ok(())
}
