use std::collections::BTreeSet;

use serde::Serialize;

use crate::db::{self, Db, EvaluationId};
use crate::domain::diff::{self, compare, rebuild_range};
use crate::domain::revision::Revision;
use crate::view::evaluation::JobError;
use crate::view::sorted;

/// Two evaluations compared. The keys are in the order in which a person reads them.
#[derive(Debug, Serialize)]
pub struct Comparison<'a> {
    /// The first.
    pub a: Side<'a>,
    /// The second.
    pub b: Side<'a>,
    /// The jobs that differ.
    pub diff: diff::Diff,
    /// Errors that only the second has.
    pub new_errors: Vec<JobError<'a>>,
    /// Errors that only the first has.
    pub gone_errors: Vec<JobError<'a>>,
    /// What has to be built.
    pub rebuilds: Rebuilds,
}

/// One of the two evaluations.
#[derive(Debug, Serialize)]
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

/// How many builds the second evaluation has whose outputs the first one has not.
#[derive(Debug, Serialize)]
pub struct Rebuilds {
    /// How many.
    pub count: usize,
    /// The range of that, as Guix has used it for its branches.
    pub range: &'static str,
}

/// What the database has of two evaluations that are to be compared.
#[derive(Debug)]
#[expect(missing_docs, reason = "`Comparison` says what the fields become")]
pub struct Rows {
    pub evaluations: [db::Evaluation; 2],
    pub jobs: (Vec<diff::Job>, Vec<diff::Job>),
    pub errors: [Vec<db::JobError>; 2],
}

impl Rows {
    /// Reads them.
    pub async fn load(db: &Db, evaluations: [db::Evaluation; 2]) -> db::Result<Self> {
        let [a, b] = [evaluations[0].id, evaluations[1].id];
        let jobs = db.changed_jobs(a, b).await?;
        let errors = [db.errors(a).await?, db.errors(b).await?];
        Ok(Self { evaluations, jobs, errors })
    }
}

impl<'a> Comparison<'a> {
    /// Compares what [`Rows`] have.
    pub fn of(
        jobs: (Vec<diff::Job>, Vec<diff::Job>),
        evaluations: &'a [db::Evaluation; 2],
        errors: &'a [Vec<db::JobError>; 2],
    ) -> Self {
        Self::new(evaluations.each_ref(), jobs, errors.each_ref().map(Vec::as_slice))
    }

    /// Compares two evaluations by their jobs that differ and their errors.
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
            new_errors: only(failed_second, failed_first),
            gone_errors: only(failed_first, failed_second),
            rebuilds: Rebuilds { count, range },
        }
    }
}

impl<'a> Side<'a> {
    fn new(row: &'a db::Evaluation) -> Self {
        Self { evaluation: row.id, revision: &row.revision, spec: &row.spec, system: row.system.as_str() }
    }
}

/// The errors that are not among others.
fn only<'a>(errors: &'a [db::JobError], others: &[db::JobError]) -> Vec<JobError<'a>> {
    let others: BTreeSet<_> = others.iter().collect();
    errors.iter().filter(|error| !others.contains(error)).map(JobError::new).collect()
}
