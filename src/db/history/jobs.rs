use crate::db::complete::Complete;
use crate::db::history::interval::path;
use crate::db::history::job_metadata::MetadataRow;
use crate::db::{Db, EvaluationId, Result};
use crate::domain::job::JobMetadata;

/// A job of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Job {
    /// The name of the job.
    pub name: String,
    /// Store path of the derivation.
    pub derivation: String,
    /// Number of the set of outputs. Builds with the same outputs share it.
    pub outputs: i64,
    /// The job's metadata. The line is that of the first evaluation that had the job in this form.
    pub metadata: JobMetadata,
}

#[derive(sqlx::FromRow)]
struct Row {
    name: String,
    derivation: String,
    outputs: i64,
    line: Option<i64>,
    #[sqlx(flatten)]
    metadata: MetadataRow,
}

/// A job that could not be evaluated, or a module that could not be loaded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, sqlx::FromRow)]
pub struct JobError {
    /// The job, or a module's name in parentheses.
    pub name: String,
    /// The kind of error, one word.
    pub cause: String,
    /// The message of the error.
    pub message: String,
}

impl Db {
    /// All jobs of a complete evaluation, sorted.
    pub async fn jobs(&self, evaluation: EvaluationId) -> Result<Vec<Job>> {
        // If several jobs of one name have the same derivation, the metadata of the first are used.
        let sql = sql!(
            "with its as (select name_id, derivation_id, min(metadata_id) as metadata_id, min(line) as line from
               (select name_id, derivation_id, metadata_id, line from job_interval where sequence_id = $1
                  and last_evaluation is null and first_evaluation <= $2
                union all
                select name_id, derivation_id, metadata_id, line from job_interval where sequence_id = $1
                  and on_path($3) and last_evaluation >= $2 and first_evaluation <= $2) as at_it
               group by name_id, derivation_id)
             select n.name, derivation_path(d) as derivation, d.output_set_id as outputs, its.line,
               f.package, f.version, f.file, f.target, f.channel, f.max_silent_time, f.timeout, f.hidden,
               f.replacement, f.substitutable
             from its join job_name n on n.id = its.name_id join derivation d on d.id = its.derivation_id
               left join job_metadata f on f.id = its.metadata_id"
        );
        let at = Complete::find(self, evaluation).await?;
        let rows: Vec<Row> = each!(&self.readers, pool, sql =>
            sqlx::query_as(sql).bind(at.sequence).bind(at.id).bind(path(at.id)).fetch_all(pool).await?);
        let job = |Row { name, derivation, outputs, line, metadata }| Job {
            name,
            derivation,
            outputs,
            metadata: MetadataRow::metadata(metadata, line),
        };
        let mut jobs: Vec<Job> = rows.into_iter().map(job).collect();
        jobs.sort_unstable();
        Ok(jobs)
    }

    /// The errors of an evaluation, sorted. The evaluation need not be complete.
    pub async fn errors(&self, evaluation: EvaluationId) -> Result<Vec<JobError>> {
        const SQL: &str = "select name, cause, message from evaluation_error where evaluation_id = $1";
        let mut errors: Vec<JobError> =
            each!(&self.readers, pool => sqlx::query_as(SQL).bind(evaluation).fetch_all(pool).await?);
        errors.sort_unstable();
        Ok(errors)
    }
}
