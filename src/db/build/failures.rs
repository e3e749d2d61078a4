use crate::db::{BuildId, BuildState, Db, EvaluationId, Result, SpecId};
use crate::domain::failures::{BuildResult, OutputRange};
use crate::domain::spec::System;

/// A job with a failed build, and its results over time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobResults {
    /// The name of the job.
    pub job: String,
    /// The store path of its last derivation.
    pub derivation: String,
    /// The build of its last outputs.
    pub build: Option<BuildId>,
    /// The results, from first to last.
    pub ranges: Vec<OutputRange>,
}

#[derive(sqlx::FromRow)]
struct Row {
    name: String,
    first_evaluation: i64,
    last_evaluation: Option<i64>,
    derivation: String,
    build: Option<BuildId>,
    state: Option<BuildState>,
    failed: bool,
}

impl Db {
    /// All jobs of a spec and system with a build that failed or was rejected, sorted by name.
    pub async fn failing_jobs(&self, spec: SpecId, system: &System) -> Result<Vec<JobResults>> {
        let sql = sql!(
            "select j.name, j.first_evaluation, j.last_evaluation, b.id as build, b.state,
               exists (failures(b, d.id)) as failed, derivation_path(d) as derivation
             from job j join derivation d on d.id = j.derivation_id
               left join build b on b.output_set_id = d.output_set_id
             where j.spec_id = $1 and j.system = $2 and j.name in
               (select o.name from build f join derivation of_it on of_it.output_set_id = f.output_set_id
                  join job o on o.derivation_id = of_it.id
                where f.state in {failed} and o.spec_id = $1 and o.system = $2)
             order by j.name, j.first_evaluation"
        );
        let rows: Vec<Row> = each!(&self.readers, pool, sql =>
            sqlx::query_as(sql).bind(spec).bind(system.as_str()).fetch_all(pool).await?);
        let job = |rows: &[Row]| {
            let last = &rows[rows.len() - 1];
            let (job, derivation) = (last.name.clone(), last.derivation.clone());
            JobResults { job, derivation, build: last.build, ranges: rows.iter().map(range).collect() }
        };
        Ok(rows.chunk_by(|one, next| one.name == next.name).map(job).collect())
    }

    /// The newest complete evaluations of a spec for a system, up to `last` if given.
    pub async fn complete_evaluations(
        &self,
        spec: SpecId,
        system: &System,
        last: Option<EvaluationId>,
        limit: i64,
    ) -> Result<Vec<EvaluationId>> {
        const SQL: &str =
            "select id from evaluation where spec_id = $1 and system = $2 and state = 'complete'
            and id <= $3 order by id desc limit $4";
        let last = last.map_or(i64::MAX, |last| last.0);
        each!(&self.readers, pool => Ok(sqlx::query_scalar(SQL)
            .bind(spec).bind(system.as_str()).bind(last).bind(limit).fetch_all(pool).await?))
    }
}

fn range(row: &Row) -> OutputRange {
    let result = match row.state {
        Some(BuildState::Succeeded | BuildState::Substituted) => BuildResult::Good,
        Some(BuildState::Failed | BuildState::Rejected) if row.failed => BuildResult::Bad,
        _ => BuildResult::Unknown,
    };
    OutputRange { first: row.first_evaluation, last: row.last_evaluation, result }
}
