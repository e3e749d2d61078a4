use crate::db::build::builds::Row;
use crate::db::{Build, BuildId, Db, EvaluationId, EvaluationState, Result};

/// A job as in the last evaluation that had it, for one spec and system.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct JobRecord {
    /// The name of the job.
    pub name: String,
    /// The name of the spec.
    pub spec: String,
    /// The system of the evaluation.
    pub system: String,
    /// Store path of the derivation.
    pub derivation: String,
    /// The outputs, a line each: name, blank, base name of the store path.
    pub outputs: String,
    /// The number of the output set.
    output_set_id: i64,
    /// The evaluation since which the job has this derivation.
    pub first_evaluation: EvaluationId,
    /// The state of that evaluation.
    pub first_state: EvaluationState,
    /// The last evaluation that had the job with this derivation; `None` while it still has it.
    pub last_evaluation: Option<EvaluationId>,
}

/// A job that an evaluation could not evaluate.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct FormerError {
    /// The name of the spec.
    pub spec: String,
    /// The system of the evaluation.
    pub system: String,
    /// The evaluation that had the error.
    pub evaluation_id: EvaluationId,
    /// The kind of error, one word.
    pub cause: String,
    /// The message of the error.
    pub message: String,
}

/// All columns of a [`JobRecord`]; a condition on `j` may follow.
macro_rules! job_records {
    () => {
        "select j.name, s.name as spec, j.system, derivation_path(d) as derivation, outputs(o, d) as outputs,
           d.output_set_id, j.first_evaluation, e.state as first_state, j.last_evaluation
         from job j join spec s on s.id = j.spec_id join evaluation e on e.id = j.first_evaluation
           join derivation d on d.id = j.derivation_id join output_set o on o.id = d.output_set_id "
    };
}

/// A build in the form of a job: all columns of a [`JobRecord`]; a condition on `b` may follow.
macro_rules! build_records {
    () => {
        "select n.name, s.name as spec, e.system, derivation_path(d) as derivation, outputs(o, d) as outputs,
           d.output_set_id, b.evaluation_id as first_evaluation, e.state as first_state,
           cast(null as bigint) as last_evaluation
         from build b join evaluation e on e.id = b.evaluation_id join spec s on s.id = e.spec_id
           join derivation d on d.id = b.derivation_id join output_set o on o.id = d.output_set_id
           join job_name n on n.id = b.name_id "
    };
}

impl Db {
    /// The jobs called `name`, each as in the last evaluation of its spec and system that had it.
    pub async fn jobs_called(&self, name: &str) -> Result<Vec<JobRecord>> {
        let sql = sql!(
            job_records!(),
            "where j.id in (select max(id) from job where name = $1 group by spec_id, system)
             order by s.name, j.system"
        );
        each!(&self.readers, pool, sql => Ok(sqlx::query_as(sql).bind(name).fetch_all(pool).await?))
    }

    /// The jobs that ever had the derivation with this hash in its store path, each in its last
    /// form.
    pub async fn jobs_of_derivation(&self, hash: &str) -> Result<Vec<JobRecord>> {
        let sql = sql!(
            job_records!(),
            "where j.id in (select max(j.id) from job j join derivation d on d.id = j.derivation_id
               where has_hash(d, $1) group by j.spec_id, j.system, j.name)
             order by s.name, j.system, j.name"
        );
        each!(&self.readers, pool, sql => Ok(sqlx::query_as(sql).bind(hash).fetch_all(pool).await?))
    }

    /// The builds that are not jobs but are needed for others: those called `name`, or of the
    /// derivation with this hash in its store path. They are returned in the form of jobs.
    pub async fn inputs_called(&self, name: &str) -> Result<Vec<JobRecord>> {
        let sql = sql!(
            build_records!(),
            "where b.needed_by is not null and (n.name = $1 or d.hash = $1) order by b.id"
        );
        each!(&self.readers, pool, sql => Ok(sqlx::query_as(sql).bind(name).fetch_all(pool).await?))
    }

    /// The jobs with the outputs of a build, each in its last form with them, those that still have
    /// them first; at most `limit`.
    pub async fn jobs_of_build(&self, build: BuildId, limit: i64) -> Result<Vec<JobRecord>> {
        let sql = sql!(
            job_records!(),
            "where j.id in (select max(j.id) from job j join derivation d on d.id = j.derivation_id
               where d.output_set_id = (select output_set_id from build where id = $1)
               group by j.spec_id, j.system, j.name)
             order by j.last_evaluation is not null, s.name, j.system, j.name limit $2"
        );
        each!(&self.readers, pool, sql =>
            Ok(sqlx::query_as(sql).bind(build).bind(limit).fetch_all(pool).await?))
    }

    /// A build in the form of a job.
    pub async fn build_as_job(&self, build: BuildId) -> Result<Option<JobRecord>> {
        let sql = sql!(build_records!(), "where b.id = $1");
        each!(&self.readers, pool, sql => Ok(sqlx::query_as(sql).bind(build).fetch_optional(pool).await?))
    }

    /// Names of jobs that contain `text`, at most `limit`.
    pub async fn jobs_like(&self, text: &str, limit: i64) -> Result<Vec<String>> {
        let sql = sql!(
            "select name from job_name n where instr(name, $1) > 0
               and exists (select 1 from job_interval where name_id = n.id) order by name limit $2"
        );
        each!(&self.readers, pool, sql =>
            Ok(sqlx::query_scalar(sql).bind(text).bind(limit).fetch_all(pool).await?))
    }

    /// The errors of the job called `name` in the newest evaluations of each spec and system.
    pub async fn errors_called(&self, name: &str) -> Result<Vec<FormerError>> {
        const SQL: &str = "select s.name as spec, e.system, x.evaluation_id, x.cause, x.message
            from evaluation_error x join evaluation e on e.id = x.evaluation_id join spec s on s.id = e.spec_id
            where x.name = $1 and e.id in (select max(id) from evaluation where state <> 'pending'
              group by spec_id, system) order by s.name, e.system, x.message";
        each!(&self.readers, pool => Ok(sqlx::query_as(SQL).bind(name).fetch_all(pool).await?))
    }

    /// The build of a job's outputs, if they are wanted or known.
    pub async fn build_of(&self, job: &JobRecord) -> Result<Option<Build>> {
        let sql = sql!(builds!(), "where b.output_set_id = $1");
        let row: Option<Row> = each!(&self.readers, pool, sql =>
            sqlx::query_as(sql).bind(job.output_set_id).fetch_optional(pool).await?);
        row.map(Build::try_from).transpose()
    }

    /// The builds of the same state and coordinator that come before this one: their number, and
    /// the first `limit` of them.
    pub async fn ahead_of(&self, build: &Build, limit: i64) -> Result<(i64, Vec<Build>)> {
        const COUNT: &str =
            "select count(*) from build where state = $1 and coordinator is not distinct from $4
            and (urgency > $2 or urgency = $2 and derivation_id < $3)";
        let sql = sql!(
            builds!(),
            "where b.state = $1 and (b.urgency > $2 or b.urgency = $2 and b.derivation_id < $3)
               and b.coordinator is not distinct from $4
             order by b.urgency desc, b.derivation_id limit $5"
        );
        let count: i64 = each!(&self.readers, pool => sqlx::query_scalar(COUNT)
            .bind(build.state).bind(build.urgency).bind(build.derivation_id).bind(&build.coordinator).fetch_one(pool).await?);
        let rows: Vec<Row> = each!(&self.readers, pool, sql => sqlx::query_as(sql)
            .bind(build.state).bind(build.urgency).bind(build.derivation_id).bind(&build.coordinator).bind(limit)
            .fetch_all(pool).await?);
        Ok((count, rows.into_iter().map(Build::try_from).collect::<Result<_>>()?))
    }
}
