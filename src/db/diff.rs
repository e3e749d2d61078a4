use super::evaluation::Complete;
use super::facts::{FactsRow, facts_columns};
use super::{Db, EvaluationId, Result};
use crate::job::Facts;

/// A job of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Job {
    /// Its name.
    pub name: String,
    /// Store path of its derivation.
    pub derivation: String,
    /// Names the set of its outputs: equal keys, equal builds.
    pub outputs: String,
    /// What else is known of it; the line is that of the first evaluation that had the job so.
    pub facts: Facts,
}

#[derive(sqlx::FromRow)]
struct Row {
    name: String,
    derivation: String,
    outputs: String,
    line: Option<i64>,
    #[sqlx(flatten)]
    facts: FactsRow,
}

fn sorted(rows: Vec<Row>) -> Vec<Job> {
    let job = |Row { name, derivation, outputs, line, facts }| {
        let facts = FactsRow::facts(facts, line);
        Job { name, derivation, outputs, facts }
    };
    let mut jobs: Vec<Job> = rows.into_iter().map(job).collect();
    jobs.sort_unstable();
    jobs
}

/// Reads a [`Row`] for each of the jobs `its`.
macro_rules! rows_of {
    ($its:literal) => {
        concat!(
            "select its.name, ",
            derivation_path!(),
            " as derivation, o.key as outputs, its.line, ",
            facts_columns!(),
            " from ",
            $its,
            " join derivation d on d.id = its.derivation_id join output_set o on o.id = d.output_set_id
              left join job_facts f on f.id = its.facts_id"
        )
    };
}

/// A job that could not be evaluated, or a module that could not be loaded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, sqlx::FromRow)]
pub struct JobError {
    /// The job, or a module's name in parentheses.
    pub name: String,
    /// Which kind of mishap, one word.
    pub cause: String,
    /// What was said.
    pub message: String,
}

/// Name, derivation and facts of the jobs of the evaluation `$id` of the spec `$spec` for `$system`.
/// Where several of one name have one derivation, the first one's facts stand for all.
macro_rules! jobs_at {
    ($spec:literal, $system:literal, $id:literal) => {
        concat!(
            "select name, derivation_id, min(facts_id) as facts_id, min(line) as line from
             (select name, derivation_id, facts_id, line from job where spec_id = ",
            $spec,
            " and system = ",
            $system,
            "   and last_evaluation is null and first_evaluation <= ",
            $id,
            " union all
              select name, derivation_id, facts_id, line from job where spec_id = ",
            $spec,
            " and system = ",
            $system,
            "   and last_evaluation >= ",
            $id,
            " and first_evaluation <= ",
            $id,
            ") as at_it group by name, derivation_id"
        )
    };
}

impl Db {
    /// All jobs of a complete evaluation, sorted.
    pub async fn jobs(&self, evaluation: EvaluationId) -> Result<Vec<Job>> {
        const SQL: &str = concat!("with its as (", jobs_at!("$1", "$2", "$3"), ") ", rows_of!("its"));
        let at = Complete::find(self, evaluation).await?;
        Ok(sorted(each!(&self.readers, pool =>
            sqlx::query_as(SQL).bind(at.spec).bind(&at.system).bind(at.id).fetch_all(pool).await?)))
    }

    /// The jobs that only the first, and those that only the second of two complete evaluations
    /// has, each sorted; a job with another derivation is in both. The evaluations may be of
    /// different specs or systems.
    pub async fn changed_jobs(&self, a: EvaluationId, b: EvaluationId) -> Result<(Vec<Job>, Vec<Job>)> {
        let (a, b) = (Complete::find(self, a).await?, Complete::find(self, b).await?);
        Ok((self.jobs_only_in(&a, &b).await?, self.jobs_only_in(&b, &a).await?))
    }

    async fn jobs_only_in(&self, at: &Complete, other: &Complete) -> Result<Vec<Job>> {
        const SQL: &str = concat!(
            "with all_its as (", jobs_at!("$1", "$2", "$3"), "), others as (", jobs_at!("$4", "$5", "$6"), "),
               differing as (select name, derivation_id from all_its except select name, derivation_id from others) ",
            rows_of!("(select all_its.* from all_its join differing using (name, derivation_id)) as its")
        );
        Ok(sorted(each!(&self.readers, pool => sqlx::query_as(SQL)
            .bind(at.spec).bind(&at.system).bind(at.id).bind(other.spec).bind(&other.system).bind(other.id)
            .fetch_all(pool).await?)))
    }

    /// What went wrong in an evaluation, sorted. It need not be complete.
    pub async fn errors(&self, evaluation: EvaluationId) -> Result<Vec<JobError>> {
        const SQL: &str = "select name, cause, message from evaluation_error where evaluation_id = $1";
        let mut errors: Vec<JobError> =
            each!(&self.readers, pool => sqlx::query_as(SQL).bind(evaluation).fetch_all(pool).await?);
        errors.sort_unstable();
        Ok(errors)
    }
}
