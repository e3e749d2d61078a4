use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::clock::Seconds;
use crate::db::{self, EvaluationId};
use crate::domain::revision::Revision;
use crate::view::sorted;

/// An evaluation.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Evaluation<'a> {
    /// How often it was started.
    pub attempts: i64,
    /// When it was requested.
    pub created_at: Seconds,
    /// Its errors. Only in answers about one evaluation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_list: Option<Vec<JobError<'a>>>,
    /// How many jobs could not be evaluated.
    pub errors: i64,
    /// When it was complete or failed.
    pub finished_at: Option<Seconds>,
    /// The host that runs it, or ran it last.
    pub host: Option<&'a str>,
    /// Its number.
    pub id: EvaluationId,
    /// How many units are done; a unit gives one job or several.
    pub jobs_done: i64,
    /// How many units there are, once that is known.
    pub jobs_total: Option<i64>,
    /// Measurements of it.
    pub metrics: Option<&'a Value>,
    /// How many modules of its Guix have been compiled.
    pub modules_done: i64,
    /// How many modules of its Guix have to be compiled first.
    pub modules_total: i64,
    /// Whether modules failed to load, so that absent jobs are errors.
    pub partial: bool,
    /// Whether it is kept forever.
    pub pinned: bool,
    /// Why it failed.
    pub reason: Option<&'a str>,
    /// The revision that is evaluated.
    #[serde(serialize_with = "sorted")]
    pub revision: &'a Revision,
    /// The spec.
    pub spec: &'a str,
    /// When it was last started.
    pub started_at: Option<Seconds>,
    /// Its state.
    pub state: &'static str,
    /// The system.
    pub system: &'a str,
}

impl<'a> Evaluation<'a> {
    /// The view of a row.
    pub fn new(row: &'a db::Evaluation) -> Self {
        Self {
            attempts: row.attempts,
            created_at: row.created_at,
            error_list: None,
            errors: row.errors,
            finished_at: row.finished_at,
            host: row.host.as_deref(),
            id: row.id,
            jobs_done: row.jobs_done,
            jobs_total: row.jobs_total,
            metrics: row.metrics.as_ref(),
            modules_done: row.modules_done,
            modules_total: row.modules_total,
            partial: row.partial,
            pinned: row.pinned,
            reason: row.reason.as_deref(),
            revision: &row.revision,
            spec: &row.spec,
            started_at: row.started_at,
            state: row.state.word(),
            system: row.system.as_str(),
        }
    }

    /// Adds its errors.
    #[must_use]
    pub fn with_errors(self, errors: &'a [db::JobError]) -> Self {
        Self { error_list: Some(errors.iter().map(JobError::new).collect()), ..self }
    }

    /// Its state in words.
    pub fn progress(&self) -> String {
        let partial = if self.partial { ", modules missing" } else { "" };
        let preparing = if self.is_preparing() { ", compiling modules" } else { "" };
        format!("{}{preparing}{partial}", self.state)
    }

    /// Whether modules of its Guix are still being compiled.
    pub fn is_preparing(&self) -> bool {
        self.finished_at.is_none() && self.jobs_total.is_none() && self.modules_total > self.modules_done
    }

    /// The number of its jobs, if it has ended and that was measured. While it runs, only units are
    /// counted; a unit can have several jobs or none.
    pub fn jobs(&self) -> Option<i64> {
        self.finished_at.and(self.metrics)?.get("jobs")?.as_i64()
    }

    /// How long it has been running, or took.
    pub fn duration(&self, now: Seconds) -> Seconds {
        self.finished_at.unwrap_or(now) - self.started_at.unwrap_or(now)
    }
}

/// A job that could not be evaluated.
#[derive(Debug, Serialize, JsonSchema)]
pub struct JobError<'a> {
    /// The kind of error, one word.
    pub cause: &'a str,
    /// The message of the error.
    pub message: &'a str,
    /// The name of the job, or of the module.
    pub name: &'a str,
}

impl<'a> JobError<'a> {
    /// The view of a row.
    pub fn new(row: &'a db::JobError) -> Self {
        let db::JobError { name, cause, message } = row;
        Self { cause, message, name }
    }
}
