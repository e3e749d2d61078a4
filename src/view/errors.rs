use schemars::JsonSchema;
use serde::Serialize;

use crate::db::{self, EvaluationId};
use crate::view::evaluation::JobError;

/// A part of the errors of an evaluation, by name.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Errors<'a> {
    /// All causes of errors of the evaluation, the most frequent first.
    pub causes: Vec<Cause<'a>>,
    /// The evaluation.
    pub evaluation: EvaluationId,
    /// The errors.
    pub items: Vec<JobError<'a>>,
    /// The list goes on with this as `after`; `None` at its end.
    pub next_after: Option<i64>,
}

/// How many errors have a cause.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Cause<'a> {
    /// The kind of error, one word.
    pub cause: &'a str,
    /// How many errors have it.
    pub count: i64,
}

/// The rows of a part of the errors of an evaluation.
#[derive(Debug)]
pub struct Rows {
    causes: Vec<(String, i64)>,
    evaluation: EvaluationId,
    errors: Vec<(i64, db::JobError)>,
    is_cut: bool,
}

impl Rows {
    /// Reads at most `limit` errors, of one cause or of all; `None` if the list has no place
    /// `after`.
    pub async fn load(
        db: &db::Db,
        evaluation: EvaluationId,
        cause: Option<&str>,
        after: Option<i64>,
        limit: usize,
    ) -> db::Result<Option<Self>> {
        let wanted = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        let Some(mut errors) = db.errors_after(evaluation, cause, after, wanted).await? else {
            return Ok(None);
        };
        let is_cut = errors.len() > limit;
        errors.truncate(limit);
        let causes = db.error_causes(evaluation).await?;
        Ok(Some(Self { causes, evaluation, errors, is_cut }))
    }
}

impl<'a> Errors<'a> {
    /// The view of these rows.
    pub fn new(rows: &'a Rows) -> Self {
        let cause = |(cause, count): &'a (String, i64)| Cause { cause, count: *count };
        Self {
            causes: rows.causes.iter().map(cause).collect(),
            evaluation: rows.evaluation,
            items: rows.errors.iter().map(|(_, error)| JobError::new(error)).collect(),
            next_after: rows.errors.last().filter(|_| rows.is_cut).map(|(id, _)| *id),
        }
    }
}
