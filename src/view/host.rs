use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::Seconds;
use crate::db::{self, EvaluationId};

/// A machine of the farm.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Host<'a> {
    /// The evaluations that it runs.
    pub evaluates: &'a [EvaluationId],
    /// Its last heartbeat.
    pub heartbeat_at: Seconds,
    /// Its name.
    pub host: &'a str,
    /// Whether it should be running but sends no heartbeat.
    #[serde(skip)]
    pub is_silent: bool,
    /// The memory limit of its evaluations, in bytes.
    pub memory: i64,
    /// When it paused because of a fault.
    pub paused_at: Option<Seconds>,
    /// The fault.
    pub paused_reason: Option<&'a str>,
    /// Its roles: `evaluate`, `schedule` or both.
    pub roles: Vec<&'a str>,
    /// Whether it holds the lease of scheduling.
    pub schedules: bool,
    /// When it started.
    pub started_at: Seconds,
    /// When it was stopped.
    pub stopped_at: Option<Seconds>,
    /// The systems that it evaluates; empty means all.
    pub systems: Vec<&'a str>,
    /// How many worker processes evaluate at the same time.
    pub workers: i64,
}

impl<'a> Host<'a> {
    /// The view of a row.
    pub fn new(row: &'a db::Host, now: Seconds) -> Self {
        Self {
            evaluates: &row.evaluates,
            heartbeat_at: row.heartbeat_at,
            host: &row.name,
            is_silent: row.is_silent(now),
            memory: row.memory,
            paused_at: row.paused_at,
            paused_reason: row.paused_reason.as_deref(),
            roles: row.roles.split_whitespace().collect(),
            schedules: row.schedules,
            started_at: row.started_at,
            stopped_at: row.stopped_at,
            systems: row.systems.split_whitespace().collect(),
            workers: row.workers,
        }
    }
}
