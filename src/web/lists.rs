//! Long lists, a part at a time: specs, pushes, and the errors of an evaluation.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Shared;
use super::action::number;
use super::problem::Problem;
use crate::db::{self, Db, EvaluationId, PushId};
use crate::view::errors::{self, Errors};
use crate::view::page::Page;
use crate::view::push::Push;
use crate::view::spec::{self, Specs};

/// The entries of an answer if the request does not say how many.
const USUAL: usize = 50;
/// The most entries of one answer.
const MOST: usize = 500;

type Answer = Result<Response, Problem>;

/// The most entries that a request may have, if it asks for `limit`.
fn within(limit: Option<usize>) -> usize {
    limit.unwrap_or(USUAL).clamp(1, MOST)
}

/// The requested part of the list of specs.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct SpecQuery {
    /// A part of the name.
    pub(super) q: String,
    /// The specs after this name.
    pub(super) after: String,
    /// At most so many entries: 50 if it is not given, and at most 500.
    limit: Option<usize>,
}

pub(super) async fn specs(State(shared): State<Arc<Shared>>, Query(query): Query<SpecQuery>) -> Answer {
    let db = &shared.moment().await?;
    let rows = spec::Rows::load(db, &query.q, &query.after, within(query.limit)).await?;
    Ok(Json(&Specs::new(&rows)).into_response())
}

/// The requested part of the list of pushes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct PushQuery {
    /// The name of a branch.
    pub(super) branch: String,
    /// The pushes before this number.
    before: Option<i64>,
    /// At most so many entries: 50 if it is not given, and at most 500.
    limit: Option<usize>,
}

impl PushQuery {
    /// The pushes, and the number of the last if more may follow.
    pub(super) async fn load(&self, db: &Db) -> db::Result<(Vec<db::Push>, Option<PushId>)> {
        let limit = within(self.limit);
        let wanted = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        let branch = Some(self.branch.as_str()).filter(|branch| !branch.is_empty());
        let mut rows = db.pushes_before(branch, self.before.map(PushId), wanted).await?;
        let is_cut = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| is_cut).map(|last| last.id);
        Ok((rows, next))
    }
}

pub(super) async fn pushes(State(shared): State<Arc<Shared>>, Query(query): Query<PushQuery>) -> Answer {
    let (rows, next_before) = query.load(&shared.web.db).await?;
    let items: Vec<Push<'_>> = rows.iter().map(Push::new).collect();
    Ok(Json(&Page { items, next_before }).into_response())
}

/// The requested part of the errors of an evaluation.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct ErrorQuery {
    /// Only errors of this cause.
    pub(super) cause: String,
    /// The errors after this place: the `next_after` of the last answer.
    after: Option<i64>,
    /// At most so many entries: 50 if it is not given, and at most 500.
    limit: Option<usize>,
}

impl ErrorQuery {
    /// The evaluation with the number in a path, and the requested errors of it.
    pub(super) async fn load(&self, db: &Db, id: &str) -> Result<(db::Evaluation, errors::Rows), Problem> {
        let Some(evaluation) = db.evaluation(EvaluationId(number(id))).await? else {
            return Err(Problem::missing(format!("there is no evaluation {id}")));
        };
        let cause = Some(self.cause.as_str()).filter(|cause| !cause.is_empty());
        let rows = errors::Rows::load(db, evaluation.id, cause, self.after, within(self.limit)).await?;
        let changed =
            || Problem::missing("the list of errors has changed\nhint: begin again, without `after`");
        Ok((evaluation, rows.ok_or_else(changed)?))
    }
}

pub(super) async fn errors(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Query(query): Query<ErrorQuery>,
) -> Answer {
    let (_, rows) = query.load(&shared.moment().await?, &id).await?;
    Ok(Json(&Errors::new(&rows)).into_response())
}
