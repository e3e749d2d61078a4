use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::batch::{Batch, Known, Numbers, store_errors, store_pack};
use super::task::still_ours;
use super::{Db, DerivationId, EvaluationId, JobError, Result, Task, Tx, rows};
use crate::clock::Seconds;

/// Writes down what a running evaluation finds.
///
/// History is kept as intervals: a job that has the derivation it had in the evaluation before is
/// not written again. A batch that is recorded twice counts once.
#[derive(Debug)]
pub struct Recorder {
    task: Task,
    numbers: Numbers,
    /// Every job so far, and its derivation.
    seen: HashSet<(String, DerivationId)>,
}

impl Recorder {
    /// A recorder for the task that was just claimed.
    pub fn new(task: Task) -> Self {
        Self { task, numbers: HashMap::new(), seen: HashSet::new() }
    }

    /// Records a batch, wholly or not at all.
    pub async fn record(&mut self, db: &Db, batch: &Batch) -> Result<()> {
        const PROGRESS: &str = "update evaluation set errors = errors + $2, unscheduled = unscheduled or $3,
            jobs_done = case when $4 > jobs_done then $4 else jobs_done end where id = $1";
        let mut tx = db.begin().await?;
        still_ours(&mut tx, &self.task).await?;
        let mut known = Known { before: &self.numbers, added: HashMap::new() };
        known.look_up(&mut tx, batch).await?;
        known.store_derivations(&mut tx, batch).await?;
        let number = |job: &super::NewJob| Ok((job.name.clone(), known.number(&job.derivation, &job.name)?));
        let jobs = batch.jobs.iter().map(number).collect::<Result<Vec<_>>>()?;
        if let Some(pack) = &batch.pack {
            store_pack(&mut tx, pack).await?;
        }
        let begun = self.begin_intervals(&mut tx, &jobs).await?;
        let errors = store_errors(&mut tx, self.task.id, &batch.errors).await?;
        execute!(&mut tx, PROGRESS, self.task.id, errors.cast_signed(), begun > 0, batch.done);
        tx.commit().await?;
        let added = known.added;
        self.numbers.extend(added);
        self.seen.extend(jobs);
        Ok(())
    }

    /// Begins an interval for each job that has none open with its derivation.
    async fn begin_intervals(&self, tx: &mut Tx, jobs: &[(String, DerivationId)]) -> Result<u64> {
        let lines =
            rows(jobs.iter().map(|(name, derivation)| json!({ "name": name, "derivation": derivation })));
        Ok(execute!(
            tx,
            [
                "insert into job (spec_id, system, name, derivation_id, first_evaluation)
                 select distinct $2, $3, value->>'name', value->>'derivation', $4 from json_each($1)
                 where not exists (select 1 from job where spec_id = $2 and system = $3 and last_evaluation is null
                   and name = value->>'name' and derivation_id = value->>'derivation')",
                "insert into job (spec_id, system, name, derivation_id, first_evaluation)
                 select distinct $2, $3, new.name, new.derivation, $4
                 from json_to_recordset($1::json) as new (name text, derivation bigint)
                 where not exists (select 1 from job where spec_id = $2 and system = $3 and last_evaluation is null
                   and job.name = new.name and job.derivation_id = new.derivation)"
            ],
            &lines,
            self.task.spec_id,
            self.task.system.as_str(),
            self.task.id
        ))
    }

    /// Everything is recorded: the evaluation is complete. Jobs that it did not see ended with the
    /// complete evaluation before it. When it is `partial`, modules did not load, so what is absent
    /// was not removed: it gets an error with the cause `module`.
    pub async fn finish(self, db: &Db, partial: bool, figures: &Value, now: Seconds) -> Result<()> {
        const COMPLETE: &str = "update evaluation set state = 'complete', partial = $2, figures = $3,
            finished_at = $4, errors = errors + $5 where id = $1";
        let mut tx = db.begin().await?;
        still_ours(&mut tx, &self.task).await?;
        let gone = self.end_intervals(&mut tx).await?;
        let absent = if partial { self.absent(&mut tx, gone).await? } else { Vec::new() };
        let errors = store_errors(&mut tx, self.task.id, &absent).await?;
        execute!(&mut tx, COMPLETE, self.task.id, partial, figures.to_string(), now, errors.cast_signed());
        tx.commit().await
    }

    /// Ends the open intervals of jobs that were not seen, and gives the names of those jobs.
    async fn end_intervals(&self, tx: &mut Tx) -> Result<HashSet<String>> {
        const OPEN: &str = "select id, name, derivation_id from job
            where spec_id = $1 and system = $2 and last_evaluation is null";
        let open: Vec<(i64, String, DerivationId)> = each!(tx, tx => sqlx::query_as(OPEN)
            .bind(self.task.spec_id).bind(self.task.system.as_str()).fetch_all(&mut **tx).await?);
        let mut gone = Vec::new();
        let mut names = HashSet::new();
        for (id, name, derivation) in open {
            let job = (name, derivation);
            if !self.seen.contains(&job) {
                gone.push(Value::from(id));
                names.insert(job.0);
            }
        }
        execute!(
            tx,
            [
                "update job set last_evaluation = $2 where id in (select value from json_each($1))",
                "update job set last_evaluation = $2
                 where id in (select value::bigint from json_array_elements_text($1::json))"
            ],
            rows(gone),
            self.task.previous
        );
        Ok(names)
    }

    /// Errors for those of `names` that were neither seen nor have an error.
    async fn absent(&self, tx: &mut Tx, mut names: HashSet<String>) -> Result<Vec<JobError>> {
        const EXPLAINED: &str = "select name from evaluation_error where evaluation_id = $1";
        let explained: Vec<String> =
            each!(tx, tx => sqlx::query_scalar(EXPLAINED).bind(self.task.id).fetch_all(&mut **tx).await?);
        for name in self.seen.iter().map(|(name, _)| name).chain(&explained) {
            names.remove(name);
        }
        let error = |name| JobError {
            name,
            cause: "module".to_owned(),
            message: "modules failed to load, and the job was in one of them or needs one".to_owned(),
        };
        Ok(names.into_iter().map(error).collect())
    }

    /// The evaluation that is recorded.
    pub fn evaluation(&self) -> EvaluationId {
        self.task.id
    }
}
