use std::collections::HashMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::db::{self, BuildId, Db, Evaluation, EvaluationId, JobResults, StoredSpec};
use crate::domain::failures::{Change, compare_results};
use crate::domain::revision::Revision;
use crate::domain::spec::System;
use crate::view::sorted;

/// The jobs of a spec and system that started to fail, still fail or were fixed between two
/// evaluations.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Failures<'a> {
    /// Jobs that no longer fail.
    pub fixed: Vec<FailingJob<'a>>,
    /// The earlier evaluation.
    pub from: Option<EvaluationRef<'a>>,
    /// Jobs that started to fail.
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
#[derive(Debug, Serialize, JsonSchema)]
pub struct EvaluationRef<'a> {
    /// The number of the evaluation.
    pub evaluation: EvaluationId,
    /// Its revision.
    #[serde(serialize_with = "sorted")]
    pub revision: &'a Revision,
}

/// A job that fails or failed.
#[derive(Debug, Serialize, JsonSchema)]
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

/// The rows of a job that changed.
#[derive(Debug)]
pub struct ChangedJob {
    /// The job.
    pub job: JobResults,
    /// How it changed.
    pub change: Change,
    /// The last complete evaluation before the change.
    pub before: Option<db::Evaluation>,
    /// The first evaluation after the change.
    pub since: db::Evaluation,
}

/// The rows about the failures of a spec and system.
#[derive(Debug)]
pub struct Rows {
    /// The evaluation to compare with.
    from: Option<Evaluation>,
    /// The newest complete evaluation.
    to: Evaluation,
    jobs: Vec<ChangedJob>,
    /// How many builds wait for each build.
    blocked: HashMap<BuildId, usize>,
}

impl Rows {
    /// Reads the rows; `None` if no evaluation is complete. Compares with the complete evaluation
    /// before the newest, unless `since` is given.
    pub async fn load(
        db: &Db,
        spec: &StoredSpec,
        system: &System,
        since: Option<EvaluationId>,
    ) -> db::Result<Option<Self>> {
        let Some((from, to)) = evaluations(db, spec, system, since).await? else { return Ok(None) };
        let jobs = changed(db, spec, from.as_ref(), &to).await?;
        let blockers = db.blockers().await?;
        let blocked = blockers.iter().map(|blocker| (blocker.build.id, blocker.blocked.len())).collect();
        Ok(Some(Self { from, to, jobs, blocked }))
    }
}

/// The evaluation to compare with and the newest complete one; `None` if no evaluation is complete.
async fn evaluations(
    db: &Db,
    spec: &StoredSpec,
    system: &System,
    since: Option<EvaluationId>,
) -> db::Result<Option<(Option<Evaluation>, Evaluation)>> {
    let newest = db.complete_evaluations(spec.id, system, None, 2).await?;
    let Some(&to) = newest.first() else { return Ok(None) };
    let from = match since.or_else(|| newest.get(1).copied()) {
        Some(id) => db.evaluation(id).await?,
        None => None,
    };
    Ok(db.evaluation(to).await?.map(|to| (from, to)))
}

/// The jobs that fail or failed, with their changes.
async fn changed(
    db: &Db,
    spec: &StoredSpec,
    from: Option<&Evaluation>,
    to: &Evaluation,
) -> db::Result<Vec<ChangedJob>> {
    let mut changed = Vec::new();
    for job in db.failing_jobs(spec.id, &to.system).await? {
        let Some(change) = compare_results(&job.ranges, from.map_or(0, |from| from.id.0), to.id.0) else {
            continue;
        };
        let (Change::New { since } | Change::Still { since } | Change::Fixed { since }) = change;
        let before = EvaluationId(since - 1);
        let before = db.complete_evaluations(spec.id, &to.system, Some(before), 1).await?;
        let before = match before.first() {
            Some(id) => db.evaluation(*id).await?,
            None => None,
        };
        let Some(since) = db.evaluation(EvaluationId(since)).await? else { continue };
        changed.push(ChangedJob { job, change, before, since });
    }
    Ok(changed)
}

impl<'a> Failures<'a> {
    /// The view of these rows.
    pub fn of(rows: &'a Rows) -> Self {
        Self::new((rows.from.as_ref(), &rows.to), &rows.jobs, &rows.blocked)
    }

    /// Sorts jobs by their change; `blocked` has the number of builds that wait for each build.
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
