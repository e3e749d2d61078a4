use std::collections::HashMap;

use serde::Serialize;

use crate::db::{self, BuildId, EvaluationId, JobRuns};
use crate::domain::failures::Change;
use crate::domain::revision::Revision;
use crate::view::sorted;

/// The jobs of a spec and system that began to fail, still fail or were fixed between two evaluations.
#[derive(Debug, Serialize)]
pub struct Failures<'a> {
    /// Jobs that do not fail any more.
    pub fixed: Vec<FailingJob<'a>>,
    /// The earlier evaluation.
    pub from: Option<EvaluationRef<'a>>,
    /// Jobs that began to fail.
    pub new: Vec<FailingJob<'a>>,
    /// The spec.
    pub spec: &'a str,
    /// Jobs that fail as before.
    pub still: Vec<FailingJob<'a>>,
    /// The system.
    pub system: &'a str,
    /// The later evaluation.
    pub to: EvaluationRef<'a>,
}

/// An evaluation and its revision.
#[derive(Debug, Serialize)]
pub struct EvaluationRef<'a> {
    /// The number of the evaluation.
    pub evaluation: EvaluationId,
    /// Its revision.
    #[serde(serialize_with = "sorted")]
    pub revision: &'a Revision,
}

/// A job that fails, or did.
#[derive(Debug, Serialize)]
pub struct FailingJob<'a> {
    /// The last complete evaluation before the change.
    pub before: Option<EvaluationRef<'a>>,
    /// How many builds wait for it.
    pub blocks: usize,
    /// The store path of its derivation.
    pub derivation: &'a str,
    /// Its name.
    pub job: &'a str,
    /// The first evaluation after the change.
    pub since: EvaluationRef<'a>,
}

/// What the database has of a job that changed.
#[derive(Debug)]
pub struct ChangedJob {
    /// The job.
    pub job: JobRuns,
    /// How it changed.
    pub change: Change,
    /// The last complete evaluation before the change.
    pub before: Option<db::Evaluation>,
    /// The first evaluation after the change.
    pub since: db::Evaluation,
}

impl<'a> Failures<'a> {
    /// Sorts jobs by how they changed; `blocked` has the number of builds that wait for a build.
    pub fn new(
        (from, to): (Option<&'a db::Evaluation>, &'a db::Evaluation),
        jobs: &'a [ChangedJob],
        blocked: &HashMap<BuildId, usize>,
    ) -> Self {
        let mut failures = Self {
            fixed: Vec::new(),
            from: from.map(EvaluationRef::new),
            new: Vec::new(),
            spec: &to.spec,
            still: Vec::new(),
            system: to.system.as_str(),
            to: EvaluationRef::new(to),
        };
        for job in jobs {
            let list = match job.change {
                Change::New { .. } => &mut failures.new,
                Change::Still { .. } => &mut failures.still,
                Change::Fixed { .. } => &mut failures.fixed,
            };
            list.push(FailingJob::new(job, blocked));
        }
        failures
    }
}

impl<'a> EvaluationRef<'a> {
    fn new(row: &'a db::Evaluation) -> Self {
        Self { evaluation: row.id, revision: &row.revision }
    }
}

impl<'a> FailingJob<'a> {
    fn new(row: &'a ChangedJob, blocked: &HashMap<BuildId, usize>) -> Self {
        let ChangedJob { job, before, since, .. } = row;
        Self {
            before: before.as_ref().map(EvaluationRef::new),
            blocks: job.build.and_then(|build| blocked.get(&build)).copied().unwrap_or(0),
            derivation: &job.derivation,
            job: &job.job,
            since: EvaluationRef::new(since),
        }
    }
}
