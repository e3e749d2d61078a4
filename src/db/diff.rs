use serde_json::Value;

use super::evaluation::Complete;
use super::interval::{on_path, path};
use super::words::Words;
use super::{Db, Error, EvaluationId, Result, rows, stored};
use crate::diff;

/// Numbers of all rows found, as one text, which takes less time than as many rows. PostgreSQL takes longer for JSON than
/// for texts.
macro_rules! numbers {
    (sqlite $expression:expr) => {
        concat!("json_group_array(", $expression, ")")
    };
    (postgres $expression:expr) => {
        concat!("concat('[', string_agg(coalesce(cast(", $expression, " as text), 'null'), ','), ']')")
    };
}

/// Texts of all rows found, as one.
macro_rules! texts {
    (sqlite $expression:expr) => {
        concat!("json_group_array(", $expression, ")")
    };
    (postgres $expression:expr) => {
        concat!("cast(coalesce(json_agg(", $expression, "), '[]') as text)")
    };
}

/// Joins derivations to the intervals `its`, one by one: PostgreSQL takes these for more than they are, since systems
/// begin with different evaluations, and would read all derivations (`offset 0` keeps it from that). SQLite would write
/// the intervals down first.
macro_rules! with_derivations {
    (sqlite) => {
        " from its cross join derivation d on d.id = its.derivation_id"
    };
    (postgres) => {
        " from its cross join lateral (select * from derivation where id = its.derivation_id offset 0) d"
    };
}

/// Reads [`Only`], in columns, for each job of the evaluation $2 of the sequence $1, whose path is $3. When the
/// evaluation $5 of the sequence $4 is of the same sequence, what contains both is passed over, and not even looked at:
/// of what contains the one, that is what goes on to the other.
macro_rules! jobs_only_in {
    ($database:ident) => {
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
             select ",
            numbers!($database "its.name_id"),
            ", ",
            numbers!($database "its.facts_id"),
            ", ",
            numbers!($database "d.id"),
            ", ",
            numbers!($database "d.output_set_id"),
            ", ",
            texts!($database derivation_path!()),
            with_derivations!($database)
        )
    };
}

/// The columns of [`Common`].
macro_rules! common {
    ($database:ident) => {
        concat!(
            numbers!($database "its.name_id"),
            ", ",
            numbers!($database "d.id"),
            ", ",
            numbers!($database "d.output_set_id")
        )
    };
}

/// Reads [`Common`], in columns, for each job that all evaluations from $2 to $3 of the sequence $1 have; the path of $2
/// is $4.
macro_rules! jobs_in_both {
    ($database:ident) => {
        concat!(
            "with its as (
               select name_id, derivation_id from span where sequence_id = $1
                 and last_evaluation is null and first_evaluation <= $2
               union all
               select name_id, derivation_id from span where sequence_id = $1 and ",
            on_path!($database "$4"),
            "    and last_evaluation >= $3 and first_evaluation <= $2)
             select ",
            common!($database),
            with_derivations!($database)
        )
    };
}

/// Reads [`Common`], in columns, for each of those jobs with one of the sets of outputs $4. `+ 0` keeps SQLite from
/// reading all jobs of the sequence for each.
macro_rules! jobs_in_both_with {
    ($database:ident, $outputs:literal) => {
        concat!(
            "select ",
            common!($database),
            " from ",
            $outputs,
            " cross join derivation d join span its on its.derivation_id = d.id
             where d.output_set_id = wanted.value and its.sequence_id + 0 = $1 and its.first_evaluation <= $2
               and (its.last_evaluation is null or its.last_evaluation >= $3)"
        )
    };
}

/// Up to so many sets of outputs are looked for one by one.
const FEW: usize = 16_000;

/// A job that an interval of one evaluation has which does not contain the other.
struct Only {
    /// Number of its name.
    name: i64,
    /// Number of what else is known of it.
    facts: Option<i64>,
    /// Number of its derivation.
    derivation: i64,
    /// Number of the outputs of that.
    outputs: i64,
    /// Store path of the derivation.
    path: String,
}

/// A job that both have: numbers of its name, its derivation and its outputs.
type Common = (i64, i64, i64);

impl Db {
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
        let (mut only_a, mut only_b) = (only_a?, only_b?);
        let outputs = sorted(only_a.iter().chain(&only_b).map(|job| job.outputs));
        let both = self.jobs_in_both(&a, &b, &outputs).await?;
        let (in_a, in_b) = (Has::new(&only_a, &both), Has::new(&only_b, &both));
        only_a.retain(|job| in_b.jobs.binary_search(&(job.name, job.derivation)).is_err());
        only_b.retain(|job| in_a.jobs.binary_search(&(job.name, job.derivation)).is_err());
        let readable = self.readable(only_a.iter().chain(&only_b)).await?;
        Ok((readable.jobs(only_a, &in_b)?, readable.jobs(only_b, &in_a)?))
    }

    async fn jobs_only_in(&self, at: &Complete, other: &Complete) -> Result<Vec<Only>> {
        let columns: [String; 5] = each!(&self.readers, pool, sql:
            jobs_only_in!(sqlite), jobs_only_in!(postgres) =>
            sqlx::query_as(sql).bind(at.sequence).bind(at.id).bind(path(at.id)).bind(other.sequence)
                .bind(other.id).fetch_one(pool).await.map(|(a, b, c, d, e)| [a, b, c, d, e])?);
        let what = || format!("the jobs of evaluation {}", at.id);
        let [names, facts, derivations, outputs, paths] = &columns;
        let names: Vec<i64> = stored(names, what)?;
        let facts: Vec<Option<i64>> = stored(facts, what)?;
        let derivations: Vec<i64> = stored(derivations, what)?;
        let outputs: Vec<i64> = stored(outputs, what)?;
        let paths: Vec<String> = stored(paths, what)?;
        let rows = names.into_iter().zip(facts).zip(derivations.into_iter().zip(outputs)).zip(paths);
        let only =
            |(((name, facts), (derivation, outputs)), path)| Only { name, facts, derivation, outputs, path };
        Ok(rows.map(only).collect())
    }

    /// The jobs that both evaluations have; if these are few, only those with such sets of outputs.
    async fn jobs_in_both(&self, a: &Complete, b: &Complete, outputs: &[i64]) -> Result<Vec<Common>> {
        if a.sequence != b.sequence {
            return Ok(Vec::new());
        }
        let (first, last) = (a.id.min(b.id), a.id.max(b.id));
        let columns: (String, String, String) = if outputs.len() <= FEW {
            let outputs = rows(outputs.iter().copied().map(Value::from));
            each!(&self.readers, pool, sql:
                jobs_in_both_with!(sqlite, "json_each($4) as wanted"),
                jobs_in_both_with!(postgres, "(select value::bigint from json_array_elements_text($4::json)) as wanted")
                => sqlx::query_as(sql).bind(a.sequence).bind(first).bind(last).bind(outputs)
                    .fetch_one(pool).await?)
        } else {
            each!(&self.readers, pool, sql: jobs_in_both!(sqlite), jobs_in_both!(postgres)
                => sqlx::query_as(sql).bind(a.sequence).bind(first).bind(last).bind(path(first))
                    .fetch_one(pool).await?)
        };
        let what = || format!("the jobs of evaluations {first} and {last}");
        let names: Vec<i64> = stored(&columns.0, what)?;
        let derivations: Vec<i64> = stored(&columns.1, what)?;
        let outputs: Vec<i64> = stored(&columns.2, what)?;
        let rows = names.into_iter().zip(derivations).zip(outputs);
        Ok(rows.map(|((name, derivation), outputs)| (name, derivation, outputs)).collect())
    }

    /// What these jobs are called, and the versions of their packages. Both evaluations have most of them in common.
    async fn readable(&self, jobs: impl Iterator<Item = &Only> + Clone) -> Result<Readable> {
        let names = self.job_names(sorted(jobs.clone().map(|job| job.name)));
        let versions = self.versions(sorted(jobs.filter_map(|job| job.facts)));
        let (names, versions) = tokio::join!(names, versions);
        let (names, versions) = (names?, versions?);
        Ok(Readable { ranks: names.ranks(), names, versions })
    }
}

/// What an evaluation has: its jobs, by the numbers of their names and derivations, and the outputs of those; sorted.
struct Has {
    jobs: Vec<(i64, i64)>,
    outputs: Vec<i64>,
}

impl Has {
    fn new(only: &[Only], both: &[Common]) -> Self {
        let only = only.iter().map(|job| (job.name, job.derivation, job.outputs));
        let all = only.chain(both.iter().copied());
        Self {
            jobs: sorted(all.clone().map(|(name, derivation, _)| (name, derivation))),
            outputs: sorted(all.map(|(.., outputs)| outputs)),
        }
    }
}

struct Readable {
    names: Words,
    /// For each of the names, its place in their order.
    ranks: Vec<usize>,
    versions: Words,
}

impl Readable {
    /// The jobs as people know them, sorted. Of several with one name and derivation, the largest version stands for
    /// all.
    fn jobs(&self, jobs: Vec<Only>, other: &Has) -> Result<Vec<diff::Job>> {
        let mut ranked = Vec::with_capacity(jobs.len());
        for job in jobs {
            let (place, name) = self.names.get(job.name).ok_or_else(|| Error::Damaged {
                what: format!("the job with the derivation {}", job.path),
                reason: format!("its name, number {}, is not there", job.name),
            })?;
            let version = job.facts.and_then(|facts| Some(self.versions.get(facts)?.1));
            ranked.push((self.ranks[place], name, version.filter(|version| !version.is_empty()), job));
        }
        ranked.sort_unstable_by(|a, b| (a.0, &a.3.path, b.2).cmp(&(b.0, &b.3.path, a.2)));
        ranked.dedup_by(|a, b| (a.0, a.3.derivation) == (b.0, b.3.derivation));
        let readable = |(_, name, version, job): (usize, &str, Option<&str>, Only)| diff::Job {
            name: name.to_owned(),
            derivation: job.path,
            outputs: job.outputs,
            version: version.map(str::to_owned),
            had: other.outputs.binary_search(&job.outputs).is_ok(),
        };
        Ok(ranked.into_iter().map(readable).collect())
    }
}

fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.collect();
    items.sort_unstable();
    items.dedup();
    items
}
