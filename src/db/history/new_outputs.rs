use crate::db::complete::Complete;
use crate::db::{Db, EvaluationId, Result};

impl Db {
    /// The number of output sets that `running` has found so far and the complete evaluation `base`
    /// does not have. Both are of the same spec and system.
    pub async fn new_outputs(&self, running: EvaluationId, base: EvaluationId) -> Result<i64> {
        // `+ 0` keeps SQLite from reading all jobs of the sequence for each output set.
        let sql = sql!(
            "select count(distinct d.output_set_id) from job_interval new join derivation d on d.id = new.derivation_id
             where new.first_evaluation = $1 and new.sequence_id + 0 = $2 and not exists
               (select 1 from derivation other join job_interval its on its.derivation_id = other.id
                where other.output_set_id = d.output_set_id and its.sequence_id + 0 = $2
                  and its.first_evaluation <= $3 and (its.last_evaluation is null or its.last_evaluation >= $3))"
        );
        let base = Complete::find(self, base).await?;
        each!(&self.readers, pool, sql => Ok(sqlx::query_scalar(sql).bind(running).bind(base.sequence).bind(base.id)
            .fetch_one(pool).await?))
    }
}
