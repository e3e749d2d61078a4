//! Finds the jobs that differ between two evaluations.

use std::panic::resume_unwind;

use serde_json::Value;

use crate::db::complete::Complete;
use crate::db::history::interval::path;
use crate::db::{Db, Error, EvaluationId, Result, rows, stored};
use crate::domain::diff;

#[macro_use]
mod sql;

/// Most sets of outputs that are looked up one by one.
const FEW: usize = 16_000;

/// A job of an interval that contains one evaluation and not the other.
struct Only {
    /// The numbers of the job.
    common: Common,
    name: String,
    version: Option<String>,
    /// Store path of the derivation.
    path: String,
}

/// A job in numbers: its name, its derivation and its outputs.
type Common = (i64, i64, i64);

/// The jobs and outputs of an evaluation, sorted for lookups.
struct Has {
    /// Numbers of the names and derivations of its jobs.
    jobs: Vec<(i64, i64)>,
    /// Numbers of the outputs of those.
    outputs: Vec<i64>,
}

/// The data of one of the two evaluations.
struct Side {
    /// Sorted by name and path.
    only: Vec<Only>,
    has: Has,
}

impl Db {
    /// The jobs that only the first, and those that only the second of two complete evaluations
    /// has, each sorted. A job with another derivation is in both lists. The evaluations may be of
    /// different specs or systems.
    pub async fn changed_jobs(
        &self,
        a: EvaluationId,
        b: EvaluationId,
    ) -> Result<(Vec<diff::Job>, Vec<diff::Job>)> {
        let (a, b) = (Complete::find(self, a).await?, Complete::find(self, b).await?);
        // The two sides run in separate tasks, on two processors.
        let [in_a, in_b] = [(a, b), (b, a)].map(|(at, other)| {
            let db = self.clone();
            tokio::spawn(async move { db.side(&at, &other).await })
        });
        let [in_a, in_b] = [in_a.await, in_b.await]
            .map(|side| side.unwrap_or_else(|error| resume_unwind(error.into_panic())));
        let (in_a, in_b) = (in_a?, in_b?);
        let both = self.jobs_in_both(&a, &b, [&in_a, &in_b]).await?;
        Ok((changed(in_a.only, [&in_b.has, &both]), changed(in_b.only, [&in_a.has, &both])))
    }

    async fn side(&self, at: &Complete, other: &Complete) -> Result<Side> {
        let sql = [sql!(jobs_only_in!(sqlite))[0], sql!(jobs_only_in!(postgres))[1]];
        let columns: ([String; 3], [String; 3]) = each!(&self.readers, pool, sql =>
            sqlx::query_as(sql).bind(at.sequence).bind(at.id).bind(path(at.id)).bind(other.sequence)
                .bind(other.id).fetch_one(pool).await.map(|(a, b, c, d, e, f)| ([a, b, c], [d, e, f]))?);
        let (numbers, [names, versions, derivations]) = columns;
        let what = || format!("the jobs of evaluation {}", at.id);
        let numbers = commons(&numbers, what)?;
        let names: Vec<Option<String>> = stored(&names, what)?;
        let versions: Vec<Option<String>> = stored(&versions, what)?;
        let derivations: Vec<&str> = derivations.split_terminator('/').collect();
        let damaged = |reason: &str| Error::Damaged { what: what(), reason: reason.to_owned() };
        if derivations.len() != numbers.len() {
            return Err(damaged("a derivation's name has a slash"));
        }
        let words = names.into_iter().zip(versions).zip(derivations);
        let read = |(common, ((name, version), derivation))| Only::read(common, name, version, derivation);
        let only: Option<Vec<Only>> = numbers.into_iter().zip(words).map(read).collect();
        let mut only = only.ok_or_else(|| damaged("one has no name, or its derivation has no hash"))?;
        let has = Has::of(only.iter().map(|job| job.common));
        only.sort_unstable_by(|a, b| (&a.name, &a.path, &b.version).cmp(&(&b.name, &b.path, &a.version)));
        // Of several jobs with the same name and derivation, the one with the largest version is
        // kept.
        only.dedup_by_key(|job| (job.common.0, job.common.1));
        Ok(Side { only, has })
    }

    /// The jobs of intervals that contain both evaluations. If there are few outputs to look for,
    /// only the jobs that have one of them.
    async fn jobs_in_both(&self, a: &Complete, b: &Complete, sides: [&Side; 2]) -> Result<Has> {
        if a.sequence != b.sequence {
            return Ok(Has::of([].into_iter()));
        }
        let (first, last) = (a.id.min(b.id), a.id.max(b.id));
        let outputs = sorted(sides.iter().flat_map(|side| &side.has.outputs).copied());
        let columns = if outputs.len() <= FEW {
            let outputs = rows(outputs.into_iter().map(Value::from));
            let sql = [
                jobs_in_both_with!(sqlite, "json_each($4) as wanted"),
                jobs_in_both_with!(
                    postgres,
                    "(select value::bigint from json_array_elements_text($4::json)) as wanted"
                ),
            ];
            each!(&self.readers, pool, sql => sqlx::query_as(sql).bind(a.sequence).bind(first).bind(last).bind(outputs)
                    .fetch_one(pool).await.map(|(a, b, c)| [a, b, c])?)
        } else {
            let sql = [sql!(jobs_in_both!(sqlite))[0], sql!(jobs_in_both!(postgres))[1]];
            each!(&self.readers, pool, sql => sqlx::query_as(sql).bind(a.sequence).bind(first).bind(last).bind(path(first))
                    .fetch_one(pool).await.map(|(a, b, c)| [a, b, c])?)
        };
        let both = commons(&columns, || format!("the jobs of evaluations {first} and {last}"))?;
        Ok(Has::of(both.into_iter()))
    }
}

impl Only {
    /// Builds a job from the values read; `None` where one is missing.
    fn read(common: Common, name: Option<String>, version: Option<String>, derivation: &str) -> Option<Self> {
        let (hash, derivation) = derivation.split_at_checked(32)?;
        let version = version.filter(|version| !version.is_empty());
        Some(Self { common, name: name?, version, path: format!("/gnu/store/{hash}-{derivation}.drv") })
    }
}

impl Has {
    fn of(jobs: impl Iterator<Item = Common> + Clone) -> Self {
        Self {
            jobs: sorted(jobs.clone().map(|(name, derivation, _)| (name, derivation))),
            outputs: sorted(jobs.map(|(.., outputs)| outputs)),
        }
    }
}

/// Those jobs that the other evaluation does not have; `other` is all that it has.
fn changed(only: Vec<Only>, other: [&Has; 2]) -> Vec<diff::Job> {
    let changed = |Only { common: (number, derivation, outputs), name, version, path }| {
        let has_job = |has: &&Has| has.jobs.binary_search(&(number, derivation)).is_ok();
        let other_has_outputs = || other.iter().any(|has| has.outputs.binary_search(&outputs).is_ok());
        (!other.iter().any(has_job)).then(|| diff::Job {
            name,
            derivation: path,
            outputs,
            version,
            other_has_outputs: other_has_outputs(),
        })
    };
    only.into_iter().filter_map(changed).collect()
}

/// Turns columns into rows.
fn commons(columns: &[String; 3], what: impl Fn() -> String) -> Result<Vec<Common>> {
    let [names, derivations, outputs] = columns.each_ref().map(|column| stored::<Vec<i64>>(column, &what));
    let rows = names?.into_iter().zip(derivations?).zip(outputs?);
    Ok(rows.map(|((name, derivation), outputs)| (name, derivation, outputs)).collect())
}

fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.collect();
    items.sort_unstable();
    items.dedup();
    items
}
