//! Builds: lists of them, and one of them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::action::{self, number};
use super::action_body::{ActionBody, Body};
use super::caller::Caller;
use super::problem::Problem;
use super::query_filters::{QueryFilters, Unknown};
use super::{Pages, Shared};
use crate::db::{self, BuildFilter, BuildId, BuildPlace, BuildState, Db};
use crate::domain::spec::System;
use crate::view::build::Build;
use crate::view::build_report::{BuildReport, Rows};
use crate::view::page::Page;

/// The most builds of one answer.
const MOST_BUILDS: i64 = 500;

/// The filters of a list of builds that other lists do not have, and the part that is requested.
/// Forms send an empty value for a filter that is not set.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct BuildQuery {
    /// Jobs whose names begin with this.
    pub(super) name: String,
    /// `true` for builds that failed perhaps because of the machine.
    pub(super) disturbed: String,
    /// The builds after this place: the `next_before` of the last answer.
    before: String,
    /// At most so many builds: 50 if it is not given, and at most 500.
    limit: Option<i64>,
}

impl BuildQuery {
    /// The builds that these and the common filters select. Only a failed build can have been
    /// disturbed.
    pub(super) async fn filter(
        &self,
        common: &QueryFilters,
        db: &Db,
    ) -> db::Result<Result<BuildFilter, Unknown>> {
        let filter = match common.filter(db).await? {
            Ok(filter) => filter,
            Err(unknown) => return Ok(Err(unknown)),
        };
        let is_disturbed = match is_true(&self.disturbed) {
            Ok(is_disturbed) => is_disturbed,
            Err(unknown) => return Ok(Err(unknown)),
        };
        let state = match common.state() {
            Ok(state) => state.or(is_disturbed.then_some(BuildState::Failed)),
            Err(unknown) => return Ok(Err(unknown)),
        };
        let name = Some(self.name.clone()).filter(|name| !name.is_empty());
        Ok(Ok(BuildFilter { spec: filter.spec, system: filter.system, state, name, is_disturbed }))
    }

    /// The builds of the list come after this place.
    pub(super) fn place(&self) -> Result<Option<BuildPlace>, Problem> {
        if self.before.is_empty() {
            return Ok(None);
        }
        self.before.parse().map(Some).map_err(Problem::missing)
    }
}

pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Query(common): Query<QueryFilters>,
    Query(query): Query<BuildQuery>,
) -> Result<Response, Problem> {
    let db = &shared.moment().await?;
    let filter = query.filter(&common, db).await??;
    let limit = query.limit.unwrap_or(50).clamp(1, MOST_BUILDS);
    let rows = db.builds(&filter, query.place()?, limit).await?;
    let next = rows.last().filter(|_| i64::try_from(rows.len()) == Ok(limit)).map(BuildPlace::of);
    let items: Vec<Build<'_>> = rows.iter().map(Build::new).collect();
    Ok(Json(&Page { items, next_before: next.map(|place| place.to_string()) }).into_response())
}

pub(super) async fn one(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let rows = rows(&shared, &id).await?;
    Ok(Json(&BuildReport::new(&rows)).into_response())
}

/// The rows about the build with the number in a path.
pub(super) async fn rows(shared: &Shared, id: &str) -> Result<Rows, Problem> {
    let db = &shared.moment().await?;
    let Pages { routes, logs } = shared.pages();
    let rows = Rows::load(db, BuildId(number(id)), &routes, &logs).await?;
    rows.ok_or_else(|| Problem::missing(format!("there is no build {id}")))
}

/// Reads the value of `disturbed`.
fn is_true(word: &str) -> Result<bool, Unknown> {
    match word {
        "" | "false" => Ok(false),
        "true" => Ok(true),
        other => Err(Unknown(format!("`disturbed` is true or false, not {other}"))),
    }
}

/// The body of a request to queue failed builds once more. A form has only texts.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RetryBody {
    /// Only builds that this spec wanted first.
    spec: String,
    /// Only builds for this system.
    system: String,
    /// Only builds in this state.
    state: String,
    /// Only builds of jobs whose names begin with this.
    name: String,
    /// Whether only builds that failed perhaps because of the machine are meant.
    disturbed: Value,
    /// The page to redirect to.
    #[schemars(skip)]
    back: String,
}

/// Queues failed builds once more: those that the filters in the body select.
pub(super) async fn retry(
    State(farm): State<Arc<Shared>>,
    Extension(by): Extension<Caller>,
    Body(body): Body<RetryBody>,
) -> action::Answer {
    let RetryBody { spec, system, state, name, disturbed, back } = body;
    let system = match ActionBody::word(&system) {
        None => None,
        Some(name) => {
            Some(System::new(name).ok_or_else(|| Problem::missing(format!("Guix has no system {name}")))?)
        }
    };
    let state = QueryFilters { state, ..QueryFilters::default() }.state()?;
    let filter = BuildFilter {
        spec: ActionBody::word(&spec).map(ToOwned::to_owned),
        system,
        state,
        name: ActionBody::word(&name).map(ToOwned::to_owned),
        is_disturbed: match &disturbed {
            Value::Null | Value::Bool(false) => false,
            Value::Bool(true) => true,
            Value::String(word) => is_true(word)?,
            other => return Err(Unknown(format!("`disturbed` is true or false, not {other}")).into()),
        },
    };
    let text = farm.actions(&by).retry_builds(&filter).await?;
    Ok(farm.done(text, ActionBody { back, ..ActionBody::default() }))
}
