//! Explains why a job is queued or not: the rows about it, and the view of them.

mod load;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::Seconds;
use crate::db::{self, EvaluationId, EvaluationState, FailedDerivation};
use crate::domain::explanation::{
    BuildInput, Cause, Coordinator, ExplanationInput, Origin, Paused, Reference, explain,
};
use crate::domain::spec::RetryFailed;
use crate::view::build::Build;

pub use load::{Found, log};

/// How many of the next builds are named.
pub const NAMED: i64 = 3;

/// Why the jobs of one name are queued or not.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Answer<'a> {
    /// The jobs that could not be evaluated.
    pub errors: Vec<Error<'a>>,
    /// The jobs that were evaluated.
    pub jobs: Vec<Job<'a>>,
}

impl<'a> Answer<'a> {
    /// The view of jobs, and of errors of jobs with the same name.
    pub fn new(jobs: &'a [Rows], errors: &'a [db::FormerError]) -> Self {
        Self { errors: errors.iter().map(Error::new).collect(), jobs: jobs.iter().map(Job::new).collect() }
    }
}

/// A job that could not be evaluated.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Error<'a> {
    /// The kind of error, one word.
    pub cause: &'a str,
    /// The evaluation.
    pub evaluation: EvaluationId,
    /// The message of the error.
    pub message: &'a str,
    /// The spec of the evaluation.
    pub spec: &'a str,
    /// The system of the evaluation.
    pub system: &'a str,
}

impl<'a> Error<'a> {
    /// The view of a row.
    pub fn new(row: &'a db::FormerError) -> Self {
        let db::FormerError { spec, system, evaluation_id, cause, message } = row;
        Self { cause, evaluation: *evaluation_id, message, spec, system }
    }
}

/// A job, and why it is queued or not.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Job<'a> {
    /// The builds that come before its build, while its build waits.
    pub ahead: Option<Ahead<'a>>,
    /// The rule that decided, in a sentence.
    pub because: String,
    /// The failed builds that its build needs.
    pub blocked_by: Vec<Blocker<'a>>,
    /// How many builds wait for its build, if that failed.
    pub blocks: usize,
    /// The build of its outputs.
    pub build: Option<Build<'a>>,
    /// The store path of its derivation.
    pub derivation: &'a str,
    /// What the coordinator reported about the build.
    pub events: Vec<Event<'a>>,
    /// The derivations of failed builds of its outputs.
    pub failed: &'a [FailedDerivation],
    /// The first evaluation in which it has this derivation.
    pub first_evaluation: EvaluationId,
    /// Its name.
    pub job: &'a str,
    /// The last evaluation that had it; `None` if the newest has it.
    pub last_evaluation: Option<EvaluationId>,
    /// The log of the last attempt, if it was made on this machine.
    pub log: Option<&'a Path>,
    /// The job that needs it, if the derivation is not a job itself.
    pub needed_by: Option<&'a str>,
    /// The store paths of its outputs.
    pub outputs: Vec<String>,
    /// The rule that decided, in a word.
    pub rule: &'static str,
    /// The other job for which the build was first wanted.
    pub shared: Option<String>,
    /// Its spec.
    pub spec: &'a str,
    /// Its system.
    pub system: &'a str,
}

/// The builds that a coordinator gets before this one.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Ahead<'a> {
    /// The number of these builds.
    pub count: i64,
    /// The jobs of the first few.
    pub next: Vec<&'a str>,
}

/// A failed build that the job's build needs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Blocker<'a> {
    /// How many builds wait for it.
    pub blocks: usize,
    /// The store path of its derivation.
    pub derivation: &'a str,
    /// The job that wanted it.
    pub job: &'a str,
}

/// An event that a coordinator reported about a build.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Event<'a> {
    /// The state of the attempt.
    pub attempt: &'static str,
    /// The derivation that was attempted, by the hash in its store path.
    pub derivation: Option<&'a str>,
    /// When it happened, if the coordinator said.
    pub happened_at: Option<Seconds>,
    /// When the report was received.
    pub received_at: Seconds,
    /// The coordinator's id of the attempt.
    pub reference: &'a str,
}

/// The rows about a job.
#[derive(Debug)]
pub struct Rows {
    /// The job.
    pub job: db::JobRecord,
    /// The build of its outputs.
    pub build: Option<db::Build>,
    /// The build that needs it, if the derivation is not a job itself.
    pub needed_by: Option<db::Build>,
    /// When failed builds of its spec are queued again.
    pub retry_failed: RetryFailed,
    /// How many builds come before its build, while its build waits, and the next few of them.
    pub ahead: Option<(i64, Vec<db::Build>)>,
    /// What the coordinator reported about the build.
    pub events: Vec<db::BuildEvent>,
    /// The derivations of failed builds of its outputs.
    pub failed: Vec<FailedDerivation>,
    /// The failed builds that its build needs.
    pub blockers: Vec<db::Blocker>,
    /// How many builds wait for its build, if that failed.
    pub blocks: usize,
    /// Whether the coordinator that may have the build is no longer in the configuration.
    pub is_gone: bool,
    /// The pause that keeps its build from being submitted.
    pub pause: Option<db::Pause>,
    /// The log of the last attempt, if it was made on this machine.
    pub log: Option<PathBuf>,
}

impl<'a> Job<'a> {
    /// The view of a job's rows.
    pub fn new(rows: &'a Rows) -> Self {
        let (job, explanation) = (&rows.job, explain(&rows.explanation_input()));
        let ahead = rows.ahead.as_ref().map(|(count, next)| Ahead {
            count: *count,
            next: next.iter().map(|build| build.job.as_str()).collect(),
        });
        let outputs = job.outputs.lines().filter_map(|line| line.split_once(' '));
        Self {
            ahead,
            because: explanation.to_string(),
            blocked_by: rows.blockers.iter().map(Blocker::new).collect(),
            blocks: rows.blocks,
            build: rows.build.as_ref().map(Build::new),
            derivation: &job.derivation,
            events: rows.events.iter().map(Event::new).collect(),
            failed: &rows.failed,
            first_evaluation: job.first_evaluation,
            job: &job.name,
            last_evaluation: job.last_evaluation,
            log: rows.log.as_deref(),
            needed_by: rows.needed_by.as_ref().map(|build| build.job.as_str()),
            outputs: outputs.map(|(_, path)| format!("/gnu/store/{path}")).collect(),
            rule: explanation.rule(),
            shared: rows.shared(),
            spec: &job.spec,
            system: &job.system,
        }
    }

    /// The derivations of other jobs among the failed builds of its outputs.
    pub fn failed_others(&self) -> impl Iterator<Item = &'a FailedDerivation> {
        self.failed.iter().filter(|failed| failed.derivation != self.derivation)
    }
}

impl Rows {
    fn explanation_input(&self) -> ExplanationInput<'_> {
        let job = &self.job;
        ExplanationInput {
            spec: &job.spec,
            retry_failed: self.retry_failed,
            evaluation: job.first_evaluation.0,
            evaluation_failed: job.first_state == EvaluationState::Failed,
            is_current: job.last_evaluation.is_none(),
            build: self.build.as_ref().map(|build| self.build_input(build)),
        }
    }

    fn build_input<'a>(&'a self, build: &'a db::Build) -> BuildInput<'a> {
        let cause = self.blockers.first().map(|blocker| &blocker.build);
        BuildInput {
            state: build.state,
            origin: Origin { evaluation: build.evaluation.0, spec: &build.spec, revision: &build.revision },
            coordinator: Coordinator(build.coordinator.as_deref()),
            is_gone: self.is_gone,
            paused: self.pause.as_ref().map(|pause| Paused {
                kind: &pause.kind,
                name: &pause.name,
                author: &pause.author,
            }),
            in_doubt: build.in_doubt,
            is_unwanted: build.unwanted_at.is_some(),
            has_failed: self.failed.iter().any(|failed| failed.derivation == self.job.derivation),
            reference: Reference(build.reference.as_deref()),
            answer: build.answer.as_deref(),
            cause: cause.map(|cause| Cause { job: &cause.job, spec: &cause.spec, state: cause.state }),
        }
    }

    /// The other job for which the build was first wanted, if there is one.
    fn shared(&self) -> Option<String> {
        let build = self.build.as_ref()?;
        let db::Build { job, spec, derivation, .. } = build;
        if *derivation != self.job.derivation {
            return Some(format!("the same outputs are built by {derivation}, for {job} of {spec}"));
        }
        (*job != self.job.name || *spec != self.job.spec)
            .then(|| format!("it is the same build as {job} of {spec}"))
    }
}

impl<'a> Blocker<'a> {
    fn new(row: &'a db::Blocker) -> Self {
        Self { blocks: row.blocked.len(), derivation: &row.build.derivation, job: &row.build.job }
    }
}

impl<'a> Event<'a> {
    fn new(row: &'a db::BuildEvent) -> Self {
        Self {
            attempt: row.attempt.word(),
            derivation: row.derivation.as_deref(),
            happened_at: row.happened_at,
            received_at: row.received_at,
            reference: &row.reference,
        }
    }
}
