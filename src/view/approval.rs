use schemars::JsonSchema;
use serde::Serialize;

use crate::db::{self, EvaluationId};

/// Builds of one evaluation that await approval.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AwaitingApproval<'a> {
    /// How many builds.
    pub count: i64,
    /// The evaluation that wants them.
    pub evaluation: EvaluationId,
    /// Why they await approval.
    pub reason: &'a str,
    /// The spec of the evaluation.
    pub spec: &'a str,
    /// The system of the evaluation.
    pub system: &'a str,
}

impl<'a> AwaitingApproval<'a> {
    /// The view of a row.
    pub fn new(row: &'a db::AwaitingApproval) -> Self {
        let db::AwaitingApproval { evaluation, spec, system, count, reason } = row;
        Self { count: *count, evaluation: *evaluation, reason, spec, system }
    }
}

/// Builds of one evaluation that were approved.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Approved<'a> {
    /// How many builds.
    pub count: i64,
    /// The evaluation that wants them.
    pub evaluation: EvaluationId,
    /// The spec of the evaluation.
    pub spec: &'a str,
    /// The system of the evaluation.
    pub system: &'a str,
}

impl<'a> Approved<'a> {
    /// The view of a row that awaited approval until now.
    pub fn new(row: &'a db::AwaitingApproval) -> Self {
        let db::AwaitingApproval { evaluation, spec, system, count, .. } = row;
        Self { count: *count, evaluation: *evaluation, spec, system }
    }
}
