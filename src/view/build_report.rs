//! One build: its state and the reason, its life, and what it has to do with other builds.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use crate::db::{self, BuildId, BuildState, Db, EvaluationId, FailedDerivation, Result};
use crate::domain::plan::route::Routes;
use crate::view::build::Build;
use crate::view::explanation::{self, Event};

/// The most jobs that are listed.
const JOBS: i64 = 100;
/// The most other builds that are listed.
const BUILDS: u8 = 50;

/// A build and what is known of it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BuildReport<'a> {
    /// The rule that decided its state, in a sentence.
    pub because: String,
    /// The failed builds that it needs, directly or not.
    pub blocked_by: Vec<OtherBuild<'a>>,
    /// The build.
    pub build: Build<'a>,
    /// What the coordinator reported, in the order of arrival.
    pub events: Vec<Event<'a>>,
    /// The derivations that it failed with.
    pub failed: &'a [FailedDerivation],
    /// The jobs that have or had its outputs, at most 100.
    pub jobs: Vec<JobRef<'a>>,
    /// The log of the last attempt, if it was made on this machine.
    pub log: Option<&'a Path>,
    /// The build that needs it, if no job has its derivation.
    pub needed_by: Option<OtherBuild<'a>>,
    /// The store paths of its outputs.
    pub outputs: Vec<String>,
    /// The rule that decided its state, in a word.
    pub rule: &'static str,
    /// How many builds wait for it, directly or not.
    pub waiting: usize,
    /// The first 50 of these.
    pub waiting_builds: Vec<OtherBuild<'a>>,
    /// The inputs that are not built, at most 50; empty unless it waits.
    pub waits_for: Vec<OtherBuild<'a>>,
}

/// Another build.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OtherBuild<'a> {
    /// The store path of its derivation.
    pub derivation: &'a str,
    /// Its number.
    pub id: BuildId,
    /// The job that wanted it.
    pub job: &'a str,
    /// The spec that wanted it first.
    pub spec: &'a str,
    /// Its state.
    pub state: BuildState,
    /// Its system.
    pub system: &'a str,
}

impl<'a> OtherBuild<'a> {
    /// The view of a row.
    pub fn new(row: &'a db::Build) -> Self {
        let db::Build { derivation, id, job, spec, state, system, .. } = row;
        Self { derivation, id: *id, job, spec, state: *state, system: system.as_str() }
    }
}

/// A job of a spec and a system.
#[derive(Debug, Serialize, JsonSchema)]
pub struct JobRef<'a> {
    /// The first evaluation in which it has this derivation.
    pub first_evaluation: EvaluationId,
    /// Its name.
    pub job: &'a str,
    /// The last evaluation that had it; `None` if the newest has it.
    pub last_evaluation: Option<EvaluationId>,
    /// Its spec.
    pub spec: &'a str,
    /// Its system.
    pub system: &'a str,
}

impl<'a> JobRef<'a> {
    /// The view of a row.
    pub fn new(row: &'a db::JobRecord) -> Self {
        Self {
            first_evaluation: row.first_evaluation,
            job: &row.name,
            last_evaluation: row.last_evaluation,
            spec: &row.spec,
            system: &row.system,
        }
    }
}

/// The rows about a build.
#[derive(Debug)]
pub struct Rows {
    build: db::Build,
    /// The rows that explain the first of the jobs.
    explanation: explanation::Rows,
    /// The jobs that have its outputs; empty if it is an input only.
    jobs: Vec<db::JobRecord>,
    waiting: (usize, Vec<db::Build>),
    waits_for: Vec<db::Build>,
}

impl Rows {
    /// Reads the rows; `None` if there is no such build. `logs` is the directory of logs of builds
    /// on this machine.
    pub async fn load(db: &Db, id: BuildId, routes: &Routes, logs: &Path) -> Result<Option<Self>> {
        let Some(build) = db.build(id).await? else { return Ok(None) };
        let jobs = db.jobs_of_build(id, JOBS).await?;
        let is_its = |job: &&db::JobRecord| {
            job.name == build.job && job.spec == build.spec && job.system == build.system.as_str()
        };
        let own = match jobs.iter().find(is_its).or(jobs.first()) {
            Some(job) => Some(job.clone()),
            None => db.build_as_job(id).await?,
        };
        let Some(own) = own else { return Ok(None) };
        let explanation = explanation::Rows::load(db, own, routes, logs).await?;
        let is_stuck = build.state.is_wanted() || build.state.has_failed();
        let waiting = if is_stuck { db.waiting_for(&build, BUILDS.into()).await? } else { (0, Vec::new()) };
        let waits_for = if build.state.is_waiting() {
            db.missing_inputs(&build, BUILDS.into()).await?
        } else {
            Vec::new()
        };
        Ok(Some(Self { build, explanation, jobs, waiting, waits_for }))
    }
}

impl<'a> BuildReport<'a> {
    /// The view of these rows.
    pub fn new(rows: &'a Rows) -> Self {
        let job = explanation::Job::new(&rows.explanation);
        Self {
            because: job.because,
            blocked_by: rows.explanation.blockers.iter().map(|one| OtherBuild::new(&one.build)).collect(),
            build: Build::new(&rows.build),
            events: job.events,
            failed: job.failed,
            jobs: rows.jobs.iter().map(JobRef::new).collect(),
            log: job.log,
            needed_by: rows.explanation.needed_by.as_ref().map(OtherBuild::new),
            outputs: job.outputs,
            rule: job.rule,
            waiting: rows.waiting.0,
            waiting_builds: rows.waiting.1.iter().map(OtherBuild::new).collect(),
            waits_for: rows.waits_for.iter().map(OtherBuild::new).collect(),
        }
    }
}
