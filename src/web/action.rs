//! The actions of pages and the API. An action is the same for both; only the answer differs: the
//! API says what was done, a page redirects to the page with the button.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::Shared;
use super::action_body::{ActionBody, Body};
use super::caller::Caller;
use super::problem::Problem;
use crate::clock::Seconds;
use crate::db::{BuildId, EvaluationId, NewToken, Pausable, PushId, TokenId};
use crate::domain::access::Role;
use crate::farm::actions::{Actions, Which};
use crate::view::access::CreatedToken;
use crate::view::approval::Approved;
use crate::view::page;

pub(super) type Answer = Result<Done, Problem>;
type Farm = State<Arc<Shared>>;
type By = Extension<Caller>;

/// The result of an action.
#[derive(Debug, Clone)]
pub(super) struct Done {
    /// What was done, in a sentence.
    text: String,
    /// The page to redirect to.
    pub(super) back: String,
}

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        let mut response = Json(page::Done { done: self.text.clone() }).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl Shared {
    pub(super) fn actions<'a>(&'a self, caller: &'a Caller) -> Actions<'a> {
        Actions { db: &self.web.db, author: &caller.author, now: self.web.clock.now() }
    }

    /// The result of an action. Wakes the reconcilers that may have work now.
    pub(super) fn done(&self, text: String, given: ActionBody) -> Done {
        let bells = &self.web.bells;
        for bell in [&bells.watch, &bells.fetch, &bells.evaluate, &bells.schedule, &bells.submit] {
            bell.ring();
        }
        Done { text, back: given.back }
    }
}

/// The number in a path; 0, which nothing has as its number, if it is not one.
pub(super) fn number(text: &str) -> i64 {
    text.parse().unwrap_or(0)
}

pub(super) async fn poll_all(State(farm): Farm, Extension(by): By, Body(given): Body<ActionBody>) -> Answer {
    Ok(farm.done(farm.actions(&by).poll(None).await?, given))
}

pub(super) async fn poll(
    State(farm): Farm,
    Extension(by): By,
    Path(spec): Path<String>,
    Body(given): Body<ActionBody>,
) -> Answer {
    Ok(farm.done(farm.actions(&by).poll(Some(&spec)).await?, given))
}

pub(super) async fn approve_spec(
    State(farm): Farm,
    Extension(by): By,
    Path(name): Path<String>,
    Body(given): Body<ActionBody>,
) -> Answer {
    approve(&farm, &by, Which::Spec(&name), given).await
}

pub(super) async fn approve_evaluation(
    State(farm): Farm,
    Extension(by): By,
    Path(id): Path<String>,
    Body(given): Body<ActionBody>,
) -> Answer {
    approve(&farm, &by, Which::Evaluation(EvaluationId(number(&id))), given).await
}

async fn approve(farm: &Shared, by: &Caller, which: Which<'_>, given: ActionBody) -> Answer {
    let approved = farm.actions(by).approve(which, ActionBody::word(&given.system)).await?;
    let lines = approved.iter().map(Approved::new).map(|Approved { count, evaluation, spec, system }| {
        format!("approved builds of evaluation {evaluation} ({spec}, {system}): {count}")
    });
    let text = lines.collect::<Vec<_>>().join("; ");
    Ok(farm.done(text, given))
}

pub(super) async fn retry(
    State(farm): Farm,
    Extension(by): By,
    Path(id): Path<String>,
    Body(given): Body<ActionBody>,
) -> Answer {
    Ok(farm.done(farm.actions(&by).retry(EvaluationId(number(&id))).await?, given))
}

pub(super) async fn retry_build(
    State(farm): Farm,
    Extension(by): By,
    Path(id): Path<String>,
    Body(given): Body<ActionBody>,
) -> Answer {
    Ok(farm.done(farm.actions(&by).retry_build(BuildId(number(&id))).await?, given))
}

pub(super) async fn pin(
    State(farm): Farm,
    Extension(by): By,
    Path(id): Path<String>,
    Body(given): Body<ActionBody>,
) -> Answer {
    Ok(farm.done(farm.actions(&by).pin(EvaluationId(number(&id)), true).await?, given))
}

pub(super) async fn unpin(
    State(farm): Farm,
    Extension(by): By,
    Path(id): Path<String>,
    Body(given): Body<ActionBody>,
) -> Answer {
    Ok(farm.done(farm.actions(&by).pin(EvaluationId(number(&id)), false).await?, given))
}

pub(super) async fn acknowledge(
    State(farm): Farm,
    Extension(by): By,
    Path(id): Path<String>,
    Body(given): Body<ActionBody>,
) -> Answer {
    Ok(farm.done(farm.actions(&by).acknowledge(PushId(number(&id))).await?, given))
}

pub(super) async fn reassign(
    State(farm): Farm,
    Extension(by): By,
    Path(name): Path<String>,
    Body(given): Body<ActionBody>,
) -> Answer {
    Ok(farm.done(farm.actions(&by).reassign(&name, &farm.routes()).await?, given))
}

/// What a path such as `/pauses/spec/master` refers to.
fn pausable(kind: &str, name: &str) -> Result<Pausable, Problem> {
    let unknown =
        || Problem::missing(format!("no {kind} can be paused\nhint: {} can", Pausable::KINDS.join(", ")));
    Pausable::new(kind, name).ok_or_else(unknown)
}

pub(super) async fn pause(
    State(farm): Farm,
    Extension(by): By,
    Path((kind, name)): Path<(String, String)>,
    Body(given): Body<ActionBody>,
) -> Answer {
    let text = farm.actions(&by).pause(&pausable(&kind, &name)?, &given.reason).await?;
    Ok(farm.done(text, given))
}

pub(super) async fn resume(
    State(farm): Farm,
    Extension(by): By,
    Path((kind, name)): Path<(String, String)>,
    Body(given): Body<ActionBody>,
) -> Answer {
    Ok(farm.done(farm.actions(&by).resume(&pausable(&kind, &name)?).await?, given))
}

/// The body of a request for a token. A form has only texts, and all patterns in one text,
/// separated by blanks.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Wanted {
    /// What the token is for.
    pub(super) name: String,
    /// What it permits: `read`, `trigger`, `operate` or `admin`.
    role: String,
    /// Patterns of the specs that it may change; empty for all.
    specs: Value,
    /// For how many days it is valid; for ever if this is not given.
    days: Value,
}

impl Wanted {
    fn read(self, now: Seconds) -> Result<NewToken, Problem> {
        const DAY: i64 = 24 * 60 * 60;
        let wrong = |text: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, text);
        let role: Role = self.role.parse().map_err(wrong)?;
        let days = match &self.days {
            Value::Null => None,
            Value::String(text) if text.is_empty() => None,
            Value::String(text) => Some(text.parse().ok()),
            other => Some(other.as_i64()),
        };
        let in_range = |days: Option<i64>| {
            let days = days.filter(|days| (1..=3650).contains(days));
            days.ok_or_else(|| wrong("the days are a number from 1 to 3650".to_owned()))
        };
        let expires_at = days.map(in_range).transpose()?.map(|days| now + DAY * days);
        let specs = match self.specs {
            Value::Null => Vec::new(),
            Value::String(text) => text.split_whitespace().map(ToOwned::to_owned).collect(),
            other => serde_json::from_value(other).map_err(|_| wrong("the specs are patterns".to_owned()))?,
        };
        Ok(NewToken { name: self.name, role, specs, expires_at })
    }
}

/// Creates a token; returns its number and its secret.
pub(super) async fn new_token(
    farm: &Shared,
    by: &Caller,
    wanted: Wanted,
) -> Result<(TokenId, String), Problem> {
    let actions = farm.actions(by);
    let new = wanted.read(actions.now)?;
    Ok(actions.create_token(&new).await?)
}

pub(super) async fn create_token(
    State(farm): Farm,
    Extension(by): By,
    Body(wanted): Body<Wanted>,
) -> Result<Response, Problem> {
    let (id, token) = new_token(&farm, &by, wanted).await?;
    let answer = Json(CreatedToken { id, token });
    Ok((StatusCode::CREATED, [(CACHE_CONTROL, "no-store")], answer).into_response())
}

pub(super) async fn revoke_token(
    State(farm): Farm,
    Extension(by): By,
    Path(id): Path<String>,
    Body(given): Body<ActionBody>,
) -> Answer {
    Ok(farm.done(farm.actions(&by).revoke_token(TokenId(number(&id))).await?, given))
}
