use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::Seconds;
use crate::db::{self, EvaluationId};
use crate::domain::revision::Revision;
use crate::view::sorted;

/// A job interval: the evaluations over which a job has the same derivation.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Span<'a> {
    /// The store path of the derivation.
    pub derivation: &'a str,
    /// The first evaluation of the interval.
    pub first: EvaluationId,
    /// The name of the job.
    pub job: &'a str,
    /// The last evaluation of the interval; `None` if it includes the newest.
    pub last: Option<EvaluationId>,
    /// The number of the set of outputs, which is equal for equal builds.
    pub outputs: i64,
    /// The revision of the first evaluation.
    #[serde(serialize_with = "sorted")]
    pub revision: &'a Revision,
    /// When the first evaluation was complete; `None` while it runs.
    pub since: Option<Seconds>,
    /// The spec.
    pub spec: &'a str,
    /// The system.
    pub system: &'a str,
    /// When the last evaluation was complete.
    pub until: Option<Seconds>,
    /// The version of the package.
    pub version: Option<&'a str>,
}

impl<'a> Span<'a> {
    /// The view of a row.
    pub fn new(row: &'a db::Span) -> Self {
        Self {
            derivation: &row.derivation,
            first: row.first,
            job: &row.job,
            last: row.last,
            outputs: row.outputs,
            revision: &row.revision,
            since: row.since,
            spec: &row.spec,
            system: &row.system,
            until: row.until,
            version: row.version.as_deref(),
        }
    }
}
