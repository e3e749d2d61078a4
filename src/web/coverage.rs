//! What substitute servers have, for programs.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Shared;
use super::api::spec_named;
use super::problem::Problem;
use crate::domain::coverage::ANSWER_LIFETIME;
use crate::view::coverage::{Coverage, MissingJob, MissingJobs, Rows};
use crate::view::page::Items;

/// The most jobs of one answer.
const MOST_JOBS: i64 = 500;

type Answer = Result<Response, Problem>;

/// The jobs after a name.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct After {
    /// The jobs after this name.
    after: String,
}

pub(super) async fn all(State(shared): State<Arc<Shared>>) -> Answer {
    let rows = Rows::load(&shared.moment().await?, None, shared.web.clock.now()).await?;
    Ok(Json(&Items { items: Coverage::all(&rows) }).into_response())
}

pub(super) async fn of_spec(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Answer {
    let db = &shared.moment().await?;
    spec_named(db, &name).await?;
    let rows = Rows::load(db, Some(&name), shared.web.clock.now()).await?;
    Ok(Json(&Items { items: Coverage::all(&rows) }).into_response())
}

pub(super) async fn missing(
    State(shared): State<Arc<Shared>>,
    Path((name, system)): Path<(String, String)>,
    Query(After { after }): Query<After>,
) -> Answer {
    let db = &shared.moment().await?;
    spec_named(db, &name).await?;
    let rows = Rows::load(db, Some(&name), shared.web.clock.now()).await?;
    let found = Coverage::all(&rows);
    let one = found.iter().find(|one| one.system == system);
    let Some((one, evaluation)) = one.and_then(|one| Some((one, one.evaluation?))) else {
        return Err(Problem::missing(format!("nothing is known of {name} for {system}")));
    };
    let since = shared.web.clock.now() - ANSWER_LIFETIME;
    let jobs = db.missing_jobs(evaluation, &after, since, MOST_JOBS).await?;
    let items: Vec<MissingJob<'_>> = jobs.iter().map(|row| MissingJob::new(one, row)).collect();
    let next = items.last().filter(|_| i64::try_from(jobs.len()) == Ok(MOST_JOBS)).map(|last| last.job);
    Ok(Json(&MissingJobs { items, next }).into_response())
}
