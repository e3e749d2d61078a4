use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;

use crate::db::{self, Db, EvaluationId};
use crate::domain::diff::{self, compare, rebuild_range};
use crate::domain::revision::Revision;
use crate::view::evaluation::JobError;
use crate::view::sorted;

/// Comparisons of two revisions, one for each system.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Comparisons<'a> {
    /// The comparisons.
    pub items: Vec<Comparison<'a>>,
    /// The systems for which only one of the two is evaluated.
    pub only_in_one: Vec<String>,
}

/// A comparison of two evaluations. The keys are in the order in which people read them.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Comparison<'a> {
    /// The first evaluation.
    pub a: Side<'a>,
    /// The second evaluation.
    pub b: Side<'a>,
    /// The jobs that differ.
    pub diff: diff::Diff,
    /// Errors of the second evaluation only.
    pub new_errors: Vec<JobError<'a>>,
    /// Errors of the first evaluation only.
    pub gone_errors: Vec<JobError<'a>>,
    /// The builds that the second evaluation needs in addition.
    pub rebuilds: Rebuilds,
}

/// One of the two evaluations.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Side<'a> {
    /// Its number.
    pub evaluation: EvaluationId,
    /// Its revision.
    #[serde(serialize_with = "sorted")]
    pub revision: &'a Revision,
    /// Its spec.
    pub spec: &'a str,
    /// Its system.
    pub system: &'a str,
}

/// The number of builds of the second evaluation whose outputs the first one lacks.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Rebuilds {
    /// The number of builds.
    pub count: usize,
    /// The range of this number, in the terms that Guix has used for its branches.
    pub range: &'static str,
}

/// The rows of two evaluations, for a comparison.
#[derive(Debug)]
#[expect(missing_docs, reason = "`Comparison` says what the fields become")]
pub struct Rows {
    pub evaluations: [db::Evaluation; 2],
    pub jobs: (Vec<diff::Job>, Vec<diff::Job>),
    pub errors: [Vec<db::JobError>; 2],
}

impl Rows {
    /// Reads the rows.
    pub async fn load(db: &Db, evaluations: [db::Evaluation; 2]) -> db::Result<Self> {
        let [a, b] = [evaluations[0].id, evaluations[1].id];
        let jobs = db.changed_jobs(a, b).await?;
        let errors = [db.errors(a).await?, db.errors(b).await?];
        Ok(Self { evaluations, jobs, errors })
    }
}

impl<'a> Comparison<'a> {
    /// Compares the evaluations of [`Rows`].
    pub fn of(
        jobs: (Vec<diff::Job>, Vec<diff::Job>),
        evaluations: &'a [db::Evaluation; 2],
        errors: &'a [Vec<db::JobError>; 2],
    ) -> Self {
        Self::new(evaluations.each_ref(), jobs, errors.each_ref().map(Vec::as_slice))
    }

    /// Compares two evaluations, given the jobs that differ and the errors.
    pub fn new(
        [a, b]: [&'a db::Evaluation; 2],
        (first, second): (Vec<diff::Job>, Vec<diff::Job>),
        [failed_first, failed_second]: [&'a [db::JobError]; 2],
    ) -> Self {
        let names = |errors: &[db::JobError]| errors.iter().map(|e| e.name.clone()).collect::<BTreeSet<_>>();
        let diff = compare(first, second, &names(failed_first), &names(failed_second));
        let (count, range) = (diff.rebuilds, rebuild_range(diff.rebuilds));
        Self {
            a: Side::new(a),
            b: Side::new(b),
            diff,
            new_errors: errors_not_in(failed_second, failed_first),
            gone_errors: errors_not_in(failed_first, failed_second),
            rebuilds: Rebuilds { count, range },
        }
    }
}

impl<'a> Side<'a> {
    fn new(row: &'a db::Evaluation) -> Self {
        Self { evaluation: row.id, revision: &row.revision, spec: &row.spec, system: row.system.as_str() }
    }
}

/// The errors that are not in `others`.
fn errors_not_in<'a>(errors: &'a [db::JobError], others: &[db::JobError]) -> Vec<JobError<'a>> {
    let others: BTreeSet<_> = others.iter().collect();
    errors.iter().filter(|error| !others.contains(error)).map(JobError::new).collect()
}
