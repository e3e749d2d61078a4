use std::collections::{BTreeSet, HashSet};

use serde_json::Value;

use super::evaluation::Complete;
use super::facts::{FactsRow, facts_columns};
use super::interval::{on_path, path};
use super::{Db, EvaluationId, Result, rows, stored};
use crate::diff;
use crate::job::Facts;

/// A job of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Job {
    /// Its name.
    pub name: String,
    /// Store path of its derivation.
    pub derivation: String,
    /// Names the set of its outputs: equal numbers, equal builds.
    pub outputs: i64,
    /// What else is known of it; the line is that of the first evaluation that had the job so.
    pub facts: Facts,
}

#[derive(sqlx::FromRow)]
struct Row {
    name: String,
    derivation: String,
    outputs: i64,
    line: Option<i64>,
    #[sqlx(flatten)]
    facts: FactsRow,
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

/// Reads a [`Row`] for each job of the evaluation $2 of the sequence $1, whose path is $3. Where several
/// of one name have one derivation, the first one's facts stand for all.
macro_rules! jobs {
    ($database:ident) => {
        concat!(
            "with its as (select name_id, derivation_id, min(facts_id) as facts_id, min(line) as line from
               (select name_id, derivation_id, facts_id, line from span where sequence_id = $1
                  and last_evaluation is null and first_evaluation <= $2
                union all
                select name_id, derivation_id, facts_id, line from span where sequence_id = $1 and ",
            on_path!($database "$3"),
            "     and last_evaluation >= $2 and first_evaluation <= $2) as at_it
               group by name_id, derivation_id)
             select n.name, ",
            derivation_path!(),
            " as derivation, d.output_set_id as outputs, its.line, ",
            facts_columns!(),
            " from its join job_name n on n.id = its.name_id join derivation d on d.id = its.derivation_id
               left join job_facts f on f.id = its.facts_id"
        )
    };
}

/// Joins names, derivations and facts to the intervals `its`, one by one: PostgreSQL takes them for more than they are,
/// since systems begin with different evaluations, and would read all derivations.
macro_rules! of_intervals {
    (sqlite) => {
        "from its join job_name n on n.id = its.name_id join derivation d on d.id = its.derivation_id
           left join job_facts f on f.id = its.facts_id"
    };
    (postgres) => {
        "from its cross join lateral (select * from job_name where id = its.name_id limit 1) n
           cross join lateral (select * from derivation where id = its.derivation_id limit 1) d
           left join lateral (select * from job_facts where id = its.facts_id limit 1) f on true"
    };
}

/// Reads an [`Only`] for each job of the evaluation $2 of the sequence $1, whose path is $3. When the evaluation $5 of
/// the sequence $4 is of the same sequence, what contains both is passed over, and not even looked at: of what contains
/// the one, that is what goes on to the other. They come as one text, which takes less time than as many rows.
macro_rules! jobs_only_in {
    ($database:ident, $array:literal, $all:literal) => {
        concat!(
            "with its as (
               select name_id, derivation_id, facts_id from span where sequence_id = $1
                 and last_evaluation is null and first_evaluation <= $2
                 and first_evaluation > case when $1 = $4 then $5 else 0 end
               union all
               select name_id, derivation_id, facts_id from span where sequence_id = $1 and ",
            on_path!($database "$3"),
            "    and last_evaluation >= $2 and first_evaluation <= $2
                 and last_evaluation < case when $1 = $4 and $5 >= $2 then $5 else 9223372036854775807 end
                 and first_evaluation > case when $1 = $4 and $5 < $2 then $5 else 0 end)
             select cast(coalesce(",
            $all,
            "(",
            $array,
            "(n.id, d.id, d.output_set_id, n.name, ",
            derivation_path!(),
            ", f.version)), '[]') as text) ",
            of_intervals!($database)
        )
    };
}

/// Reads a [`Common`] for each job that all evaluations from $2 to $3 of the sequence $1 have; the path of $2 is $4.
macro_rules! jobs_in_both {
    ($database:ident, $array:literal, $all:literal) => {
        concat!(
            "with its as (
               select name_id, derivation_id from span where sequence_id = $1
                 and last_evaluation is null and first_evaluation <= $2
               union all
               select name_id, derivation_id from span where sequence_id = $1 and ",
            on_path!($database "$4"),
            "    and last_evaluation >= $3 and first_evaluation <= $2)
             select cast(coalesce(",
            $all,
            "(",
            $array,
            "(its.name_id, d.id, d.output_set_id)), '[]') as text)
             from its join derivation d on d.id = its.derivation_id"
        )
    };
}

/// Reads a [`Common`] for each of those jobs with one of the sets of outputs $4. `+ 0` keeps SQLite from reading all jobs
/// of the sequence for each.
macro_rules! jobs_in_both_with {
    ($outputs:literal, $array:literal, $all:literal) => {
        concat!(
            "select cast(coalesce(",
            $all,
            "(",
            $array,
            "(s.name_id, d.id, d.output_set_id)), '[]') as text)
             from ",
            $outputs,
            " cross join derivation d join span s on s.derivation_id = d.id
             where d.output_set_id = wanted.value and s.sequence_id + 0 = $1 and s.first_evaluation <= $2
               and (s.last_evaluation is null or s.last_evaluation >= $3)"
        )
    };
}

/// Up to so many sets of outputs are looked for one by one.
const FEW: usize = 16_000;

/// A job that an interval of one evaluation has which does not contain the other: numbers of its name, its derivation
/// and its outputs; its name, its derivation, the version of its package.
type Only = (i64, i64, i64, String, String, Option<String>);
/// A job that both have: numbers of its name, its derivation and its outputs.
type Common = (i64, i64, i64);

impl Db {
    /// All jobs of a complete evaluation, sorted.
    pub async fn jobs(&self, evaluation: EvaluationId) -> Result<Vec<Job>> {
        let at = Complete::find(self, evaluation).await?;
        let rows: Vec<Row> = each!(&self.readers, pool, sql: jobs!(sqlite), jobs!(postgres) =>
            sqlx::query_as(sql).bind(at.sequence).bind(at.id).bind(path(at.id)).fetch_all(pool).await?);
        let job = |Row { name, derivation, outputs, line, facts }| Job {
            name,
            derivation,
            outputs,
            facts: FactsRow::facts(facts, line),
        };
        let mut jobs: Vec<Job> = rows.into_iter().map(job).collect();
        jobs.sort_unstable();
        Ok(jobs)
    }

    /// The jobs that only the first, and those that only the second of two complete evaluations
    /// has, each sorted; a job with another derivation is in both. The evaluations may be of
    /// different specs or systems.
    pub async fn changed_jobs(
        &self,
        a: EvaluationId,
        b: EvaluationId,
    ) -> Result<(Vec<diff::Job>, Vec<diff::Job>)> {
        let (a, b) = (Complete::find(self, a).await?, Complete::find(self, b).await?);
        // Both go to their ends: a connection that is let go in the middle of an answer is of no use any more.
        let (only_a, only_b) = tokio::join!(self.jobs_only_in(&a, &b), self.jobs_only_in(&b, &a));
        let (only_a, only_b) = (only_a?, only_b?);
        let outputs: BTreeSet<i64> =
            only_a.iter().chain(&only_b).map(|(_, _, outputs, ..)| *outputs).collect();
        let both = self.jobs_in_both(&a, &b, &outputs).await?;
        let (in_a, in_b) = (Has::new(&only_a, &both), Has::new(&only_b, &both));
        Ok((missing(only_a, &in_b), missing(only_b, &in_a)))
    }

    async fn jobs_only_in(&self, at: &Complete, other: &Complete) -> Result<Vec<Only>> {
        let text: String = each!(&self.readers, pool, sql:
            jobs_only_in!(sqlite, "json_array", "json_group_array"),
            jobs_only_in!(postgres, "json_build_array", "json_agg")
            => sqlx::query_scalar(sql).bind(at.sequence).bind(at.id).bind(path(at.id)).bind(other.sequence)
                .bind(other.id).fetch_one(pool).await?);
        stored(&text, || format!("the jobs of evaluation {}", at.id))
    }

    /// The jobs that both evaluations have; if these are few, only those with such sets of outputs.
    async fn jobs_in_both(&self, a: &Complete, b: &Complete, outputs: &BTreeSet<i64>) -> Result<Vec<Common>> {
        if a.sequence != b.sequence {
            return Ok(Vec::new());
        }
        let (first, last) = (a.id.min(b.id), a.id.max(b.id));
        let text: String = if outputs.len() <= FEW {
            let outputs = rows(outputs.iter().copied().map(Value::from));
            each!(&self.readers, pool, sql:
                jobs_in_both_with!("json_each($4) as wanted", "json_array", "json_group_array"),
                jobs_in_both_with!("(select value::bigint from json_array_elements_text($4::json)) as wanted",
                    "json_build_array", "json_agg")
                => sqlx::query_scalar(sql).bind(a.sequence).bind(first).bind(last).bind(outputs)
                    .fetch_one(pool).await?)
        } else {
            each!(&self.readers, pool, sql:
                jobs_in_both!(sqlite, "json_array", "json_group_array"),
                jobs_in_both!(postgres, "json_build_array", "json_agg")
                => sqlx::query_scalar(sql).bind(a.sequence).bind(first).bind(last).bind(path(first))
                    .fetch_one(pool).await?)
        };
        stored(&text, || format!("the jobs of evaluations {first} and {last}"))
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

/// What an evaluation has: its jobs, by the numbers of their names and derivations, and the outputs of those.
struct Has {
    jobs: HashSet<(i64, i64)>,
    outputs: HashSet<i64>,
}

impl Has {
    fn new(only: &[Only], both: &[Common]) -> Self {
        let only = only.iter().map(|(name, derivation, outputs, ..)| (*name, *derivation, *outputs));
        let mut has = Self { jobs: HashSet::new(), outputs: HashSet::new() };
        for (name, derivation, outputs) in only.chain(both.iter().copied()) {
            has.jobs.insert((name, derivation));
            has.outputs.insert(outputs);
        }
        has
    }
}

/// Those of the jobs that the other evaluation has not, sorted. Of several with one name and derivation, the largest
/// version stands for all.
fn missing(jobs: Vec<Only>, other: &Has) -> Vec<diff::Job> {
    let jobs = jobs.into_iter().filter(|(name, derivation, ..)| !other.jobs.contains(&(*name, *derivation)));
    let mut jobs: Vec<diff::Job> = jobs
        .map(|(_, _, outputs, name, derivation, version)| {
            let version = version.filter(|version| !version.is_empty());
            diff::Job { name, derivation, outputs, version, had: other.outputs.contains(&outputs) }
        })
        .collect();
    jobs.sort_unstable();
    jobs.dedup_by(|larger, kept| {
        let same = larger.name == kept.name && larger.derivation == kept.derivation;
        if same {
            kept.version = larger.version.take();
        }
        same
    });
    jobs
}
