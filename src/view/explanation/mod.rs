//! Why a job is queued, or is not: what the database has of it, and the view of that.

mod load;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::clock::Seconds;
use crate::db::{self, EvaluationId, EvaluationState, FailedDerivation};
use crate::domain::explanation::{BuildFacts, Cause, Coordinator, Facts, Origin, Paused, Reference, explain};
use crate::domain::spec::RetryFailed;
use crate::view::build::Build;

pub use load::Found;

/// How many of the builds that come first are named.
pub const NAMED: i64 = 3;

/// Why jobs of one name are queued, or are not.
#[derive(Debug, Serialize)]
pub struct Answer<'a> {
    /// Those that could not be evaluated.
    pub errors: Vec<Error<'a>>,
    /// Those that were evaluated.
    pub jobs: Vec<Job<'a>>,
}

impl<'a> Answer<'a> {
    /// The view of jobs, and of errors of jobs called so.
    pub fn new(jobs: &'a [Rows], errors: &'a [db::FormerError]) -> Self {
        Self { errors: errors.iter().map(Error::new).collect(), jobs: jobs.iter().map(Job::new).collect() }
    }
}

/// A job that could not be evaluated.
#[derive(Debug, Serialize)]
pub struct Error<'a> {
    /// The kind of error, one word.
    pub cause: &'a str,
    /// The evaluation.
    pub evaluation: EvaluationId,
    /// What was said.
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

/// A job, and why it is queued or is not.
#[derive(Debug, Serialize)]
pub struct Job<'a> {
    /// The builds that come before its build, while that waits.
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
    /// What the coordinator told of the build.
    pub events: Vec<Event<'a>>,
    /// The derivations with which its outputs could not be built.
    pub failed: &'a [FailedDerivation],
    /// The evaluation since which it has its derivation.
    pub first_evaluation: EvaluationId,
    /// Its name.
    pub job: &'a str,
    /// The last evaluation that had it, if the newest has not.
    pub last_evaluation: Option<EvaluationId>,
    /// The log of the last attempt, if this machine made it.
    pub log: Option<&'a Path>,
    /// The job that needs it, when it is no job itself.
    pub needed_by: Option<&'a str>,
    /// The store paths of its outputs.
    pub outputs: Vec<String>,
    /// The rule that decided, in a word.
    pub rule: &'static str,
    /// Which other job the build is for as well.
    pub shared: Option<String>,
    /// Its spec.
    pub spec: &'a str,
    /// Its system.
    pub system: &'a str,
}

/// The builds that a coordinator gets before another one.
#[derive(Debug, Serialize)]
pub struct Ahead<'a> {
    /// How many.
    pub count: i64,
    /// The jobs of the first few.
    pub next: Vec<&'a str>,
}

/// A failed build that the job's build needs.
#[derive(Debug, Serialize)]
pub struct Blocker<'a> {
    /// How many builds wait for it.
    pub blocks: usize,
    /// The store path of its derivation.
    pub derivation: &'a str,
    /// The job that wanted it.
    pub job: &'a str,
}

/// What a coordinator told of a build.
#[derive(Debug, Serialize)]
pub struct Event<'a> {
    /// The state of the attempt.
    pub attempt: &'static str,
    /// The derivation that was attempted, by the hash in its store path.
    pub derivation: Option<&'a str>,
    /// When it happened, as far as the coordinator told.
    pub happened_at: Option<Seconds>,
    /// When the coordinator told.
    pub received_at: Seconds,
    /// The coordinator's name for the attempt.
    pub reference: &'a str,
}

/// What the database has of a job.
#[derive(Debug)]
pub struct Rows {
    /// The job.
    pub job: db::JobRecord,
    /// The build of its outputs.
    pub build: Option<db::Build>,
    /// The build that needs it, when it is no job itself.
    pub needed_by: Option<db::Build>,
    /// When its spec has failed builds queued again.
    pub retry_failed: RetryFailed,
    /// How many builds come before its build, while that waits, and the next few.
    pub ahead: Option<(i64, Vec<db::Build>)>,
    /// What the coordinator told of the build.
    pub events: Vec<db::BuildEvent>,
    /// The derivations with which its outputs could not be built.
    pub failed: Vec<FailedDerivation>,
    /// The failed builds that its build needs.
    pub blockers: Vec<db::Blocker>,
    /// How many builds wait for its build, if that failed.
    pub blocks: usize,
    /// Whether the coordinator that may have the build is not in the configuration any more.
    pub is_gone: bool,
    /// What keeps its build from being submitted.
    pub pause: Option<db::Pause>,
    /// The log of the last attempt, if this machine made it.
    pub log: Option<PathBuf>,
}

impl<'a> Job<'a> {
    /// The view of a job's rows.
    pub fn new(rows: &'a Rows) -> Self {
        let (job, explanation) = (&rows.job, explain(&rows.facts()));
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

    /// The derivations of other jobs with which its outputs could not be built.
    pub fn failed_others(&self) -> impl Iterator<Item = &'a FailedDerivation> {
        self.failed.iter().filter(|failed| failed.derivation != self.derivation)
    }
}

impl Rows {
    fn facts(&self) -> Facts<'_> {
        let job = &self.job;
        Facts {
            spec: &job.spec,
            retry_failed: self.retry_failed,
            evaluation: job.first_evaluation.0,
            evaluation_failed: job.first_state == EvaluationState::Failed,
            is_current: job.last_evaluation.is_none(),
            build: self.build.as_ref().map(|build| self.build_facts(build)),
        }
    }

    fn build_facts<'a>(&'a self, build: &'a db::Build) -> BuildFacts<'a> {
        let cause = self.blockers.first().map(|blocker| &blocker.build);
        BuildFacts {
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

    /// Which other job the build was first wanted for, if it was.
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
