use super::evaluation::stored_system;
use super::{Db, Error, EvaluationId, Result, SpecId, Tx, stored};
use crate::clock::Seconds;
use crate::revision::Revision;
use crate::spec::{Spec, System};

/// An evaluation as its worker needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Which evaluation.
    pub id: EvaluationId,
    /// Which spec.
    pub spec_id: SpecId,
    /// The spec as it is now, except for the jobs, which are those that were asked for.
    pub spec: Spec,
    /// What to evaluate.
    pub revision: Revision,
    /// For which system.
    pub system: System,
    /// The newest complete evaluation of the same spec and system before this one.
    pub previous: Option<EvaluationId>,
    /// How often it was begun, this time included.
    pub attempts: i64,
}

const TASK: &str =
    "select e.spec_id, s.definition, coalesce(e.channels, r.channels), e.build, e.system, e.attempts,
      (select max(p.id) from evaluation p where p.spec_id = e.spec_id and p.system = e.system
         and p.state = 'complete' and p.id < e.id)
    from evaluation e join spec s on s.id = e.spec_id join revision r on r.id = e.revision_id
    where e.id = $1";

type Row = (SpecId, String, String, String, String, i64, Option<EvaluationId>);

impl Task {
    fn read(id: EvaluationId, row: &Row) -> Result<Self> {
        let place = |what: &str| format!("the {what} of evaluation {id}");
        let (spec_id, definition, channels, build, system, attempts, previous) = row;
        Ok(Self {
            id,
            spec_id: *spec_id,
            spec: Spec { build: stored(build, || place("jobs"))?, ..stored(definition, || place("spec"))? },
            revision: stored(channels, || place("revision"))?,
            system: stored_system(system, || place("system"))?,
            previous: *previous,
            attempts: *attempts,
        })
    }
}

impl Db {
    /// Takes the evaluation that is next, if one waits: by priority of its spec, then the oldest.
    /// Of one spec and system only one runs at a time and none before an older one, because each is
    /// written as the difference to the one before it. One that failed for reasons outside of it comes
    /// after those that were tried less often. None begins while somebody removes store items.
    pub async fn claim_evaluation(&self, now: Seconds) -> Result<Option<Task>> {
        const NEXT: &str = "select e.id from evaluation e join spec s on s.id = e.spec_id
            where e.state = 'waiting' and s.present and s.active and not exists
              (select 1 from evaluation o where o.spec_id = e.spec_id and o.system = e.system
                 and (o.state = 'running' or o.state = 'waiting' and o.id < e.id))
              and not exists (select 1 from sweep where until > $1)
            order by s.priority, e.attempts, e.id limit 1";
        const TAKE: &str = "update evaluation set state = 'running', started_at = $2, attempts = attempts + 1
            where id = $1";
        let next: Option<EvaluationId> =
            each!(&self.readers, pool => sqlx::query_scalar(NEXT).bind(now).fetch_optional(pool).await?);
        if next.is_none() {
            return Ok(None);
        }
        let mut tx = self.begin().await?;
        let next: Option<EvaluationId> =
            each!(&mut tx, tx => sqlx::query_scalar(NEXT).bind(now).fetch_optional(&mut **tx).await?);
        let Some(id) = next else { return Ok(None) };
        execute!(&mut tx, TAKE, id, now);
        let row: Row = each!(&mut tx, tx => sqlx::query_as(TASK).bind(id).fetch_one(&mut **tx).await?);
        let task = Task::read(id, &row)?;
        tx.commit().await?;
        Ok(Some(task))
    }

    /// An evaluation that has jobs which [`Db::queue_builds`] has not seen, the oldest first. It may
    /// still be running: what is new is queued as soon as it is found, and stays wanted if the
    /// evaluation fails later, for it was the branch's then.
    pub async fn unscheduled_evaluation(&self) -> Result<Option<Task>> {
        const NEXT: &str = "select id from evaluation where unscheduled and state in ('complete', 'running') order by id limit 1";
        let next: Option<EvaluationId> =
            each!(&self.readers, pool => sqlx::query_scalar(NEXT).fetch_optional(pool).await?);
        let Some(id) = next else { return Ok(None) };
        let row: Row = each!(&self.readers, pool => sqlx::query_as(TASK).bind(id).fetch_one(pool).await?);
        Ok(Some(Task::read(id, &row)?))
    }

    /// Lets the evaluations that were running when their worker died wait again, as if they had
    /// never been begun (except that the attempt counts). Gives their number.
    pub async fn reset_interrupted(&self) -> Result<u64> {
        self.reset(None).await
    }

    /// The same for one that is running and cannot go on.
    pub async fn wait_again(&self, id: EvaluationId) -> Result<()> {
        running(id, self.reset(Some(id)).await?)
    }

    async fn reset(&self, only: Option<EvaluationId>) -> Result<u64> {
        const JOBS: &str = "delete from span where first_evaluation in
            (select id from evaluation where state = 'running' and id = coalesce($1, id))";
        const ERRORS: &str = "delete from evaluation_error where evaluation_id in
            (select id from evaluation where state = 'running' and id = coalesce($1, id))";
        const WAIT: &str = "update evaluation set state = 'waiting', started_at = null, jobs_total = null,
            jobs_done = 0, errors = 0, unscheduled = false, scheduled_job = 0
            where state = 'running' and id = coalesce($1, id)";
        let mut tx = self.begin().await?;
        execute!(&mut tx, JOBS, only);
        execute!(&mut tx, ERRORS, only);
        let count = execute!(&mut tx, WAIT, only);
        tx.commit().await?;
        Ok(count)
    }

    /// Forgets an evaluation that was claimed and not begun.
    pub async fn drop_evaluation(&self, id: EvaluationId) -> Result<()> {
        const SQL: &str = "delete from evaluation where id = $1 and state = 'running'";
        let mut tx = self.begin().await?;
        running(id, execute!(&mut tx, SQL, id))?;
        tx.commit().await
    }

    /// How much there is to evaluate is known now.
    pub async fn set_total(&self, id: EvaluationId, total: i64) -> Result<()> {
        const SQL: &str = "update evaluation set jobs_total = $2 where id = $1 and state = 'running'";
        let mut tx = self.begin().await?;
        running(id, execute!(&mut tx, SQL, id, total))?;
        tx.commit().await
    }

    /// The evaluation came to nothing. Its errors stay, for people to read; its jobs are forgotten,
    /// so that the next evaluation is compared with the last complete one.
    pub async fn fail_evaluation(&self, id: EvaluationId, reason: &str, now: Seconds) -> Result<()> {
        const FAIL: &str = "update evaluation set state = 'failed', reason = $2, finished_at = $3,
            unscheduled = false where id = $1 and state = 'running'";
        let mut tx = self.begin().await?;
        running(id, execute!(&mut tx, FAIL, id, reason, now))?;
        execute!(&mut tx, "delete from span where first_evaluation = $1", id);
        tx.commit().await
    }
}

/// Turns "no row was touched" into an error: the statement looked for a running evaluation.
fn running(id: EvaluationId, touched: u64) -> Result<()> {
    if touched == 0 { Err(Error::NotRunning(id)) } else { Ok(()) }
}

/// Makes sure that the task is still the running one; holds until the transaction ends.
pub(super) async fn still_ours(tx: &mut Tx, task: &Task) -> Result<()> {
    const SQL: &str = "select id from evaluation where id = $1 and state = 'running' and attempts = $2";
    let found: Option<EvaluationId> = each!(tx, tx =>
        sqlx::query_scalar(SQL).bind(task.id).bind(task.attempts).fetch_optional(&mut **tx).await?);
    found.map(drop).ok_or(Error::NotRunning(task.id))
}
