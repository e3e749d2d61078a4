//! Completes an evaluation.

use std::collections::HashSet;

use serde_json::Value;

use crate::clock::Seconds;
use crate::db::evaluation::batch::store_errors;
use crate::db::evaluation::record::EvaluationWriter;
use crate::db::farm::notify::{Wake, ring};
use crate::db::history::interval::{Ended, end_intervals};
use crate::db::log::event_log::log_evaluations;
use crate::db::{Db, Error, EvaluationId, JobError, Result, Tx, rows};

impl EvaluationWriter {
    /// Completes the evaluation after all its jobs are recorded. The intervals of jobs that it did
    /// not see end with the complete evaluation before it. When it is `partial`, modules did not
    /// load, so an absent job does not count as removed: it gets an error with the cause `module`.
    pub async fn finish(&mut self, db: &Db, partial: bool, metrics: &Value, now: Seconds) -> Result<()> {
        const COMPLETE: &str = "update evaluation set state = 'complete', partial = $2, metrics = $3,
            finished_at = $4, errors = errors + $5 where id = $1";
        let mut tx = self.begin(db).await?;
        let gone = self.end_unseen(&mut tx).await?;
        let absent = if partial { self.absent(&mut tx, gone).await? } else { Vec::new() };
        let errors = store_errors(&mut tx, self.task.id, &absent).await?;
        execute!(&mut tx, COMPLETE, self.task.id, partial, metrics.to_string(), now, errors.cast_signed());
        log_evaluations(&mut tx, &[self.task.id], now).await?;
        ring(&mut tx, Wake::Schedule).await?;
        tx.commit().await
    }

    /// Ends the open intervals of jobs that were not seen. Returns the names of those jobs.
    async fn end_unseen(&self, tx: &mut Tx) -> Result<HashSet<String>> {
        let open = self.open.iter().flatten();
        let unseen: Vec<_> = open.filter(|(job, _)| !self.seen.contains(*job)).collect();
        if unseen.is_empty() {
            return Ok(HashSet::new());
        }
        // The first evaluation of an interval may have changed, because earlier evaluations can be
        // removed meanwhile.
        let wanted = rows(unseen.iter().map(|(_, row)| Value::from(**row)));
        let sql = sql!("select id, first_evaluation from job_interval where id in ids($1)");
        let begun: Vec<(i64, EvaluationId)> =
            each!(tx, tx, sql => sqlx::query_as(sql).bind(&wanted).fetch_all(&mut **tx).await?);
        // An open interval that is not of this evaluation began in an earlier one.
        let last = self.task.previous.ok_or(Error::LeaseLost(self.task.id))?;
        let gone: Vec<Ended> = begun.into_iter().map(|(id, first)| Ended { id, first, last }).collect();
        end_intervals(tx, &gone).await?;
        Ok(unseen.into_iter().map(|((name, ..), _)| name.clone()).collect())
    }

    /// Errors for those of `names` that were not seen and have no error yet.
    async fn absent(&self, tx: &mut Tx, mut names: HashSet<String>) -> Result<Vec<JobError>> {
        const EXPLAINED: &str = "select name from evaluation_error where evaluation_id = $1";
        let explained: Vec<String> =
            each!(tx, tx => sqlx::query_scalar(EXPLAINED).bind(self.task.id).fetch_all(&mut **tx).await?);
        for name in self.seen.iter().map(|(name, ..)| name).chain(&explained) {
            names.remove(name);
        }
        let error = |name| JobError {
            name,
            cause: "module".to_owned(),
            message: "modules failed to load, and the job was in one of them or needs one".to_owned(),
        };
        Ok(names.into_iter().map(error).collect())
    }
}
