//! The API: what commands say with `--json`, over HTTP, for programs.
//!
//! Where a command shows the same, both serialize one view, so the two cannot differ. Errors are problem
//! details (RFC 9457).

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use super::asked::{Asked, Unknown, of_state};
use super::{Failure, Pages, Shared};
use crate::db::EvaluationId;
use crate::view::build::{Blocker, Build};
use crate::view::evaluation::Evaluation;
use crate::view::explanation::{self, Found};
use crate::view::filter::Filter;
use crate::view::push::Push;
use crate::view::status::{Rows, Status};
use crate::view::trouble;

/// What can be asked for, and what that is.
pub(super) const RESOURCES: [(&str, &str); 7] = [
    ("/api/v1/status", "what `gorget status --json` says; takes `spec` and `system`"),
    ("/api/v1/trouble", "what does not work or waits for a person, worst first"),
    ("/api/v1/evaluations/{id}", "one evaluation with its errors"),
    (
        "/api/v1/queue",
        "up to 500 builds of each state in the order of submission; takes `spec`, `system` and `state`",
    ),
    ("/api/v1/blockers", "failed builds that others wait for; takes `spec` and `system`"),
    ("/api/v1/jobs/{name}", "why jobs of a name are queued or are not; takes `spec` and `system`"),
    ("/api/v1/pushes", "the newest pushes to branches"),
];

/// How many evaluations `/status` has, and pushes `/pushes`.
const LISTED: i64 = 12;
/// How many builds of one state `/queue` has at most; `complete` says whether these are all.
const MOST_BUILDS: u16 = 500;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route(RESOURCES[0].0, get(status))
        .route(RESOURCES[1].0, get(all_trouble))
        .route(RESOURCES[2].0, get(evaluation))
        .route(RESOURCES[3].0, get(queue))
        .route(RESOURCES[4].0, get(blockers))
        .route(RESOURCES[5].0, get(jobs))
        .route(RESOURCES[6].0, get(pushes))
}

/// Why there is no answer.
enum Problem {
    NotFound { detail: String, near: Vec<String> },
    Failed(Failure),
}

impl<E: Into<Failure>> From<E> for Problem {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Unknown> for Problem {
    fn from(Unknown(detail): Unknown) -> Self {
        Self::NotFound { detail, near: Vec::new() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (detail, near) = match self {
            Self::NotFound { detail, near } => (detail, near),
            Self::Failed(failure) => return failure.into_response(),
        };
        let body = json!({ "title": "not found", "status": 404, "detail": detail, "near": near });
        let kind = [(CONTENT_TYPE, "application/problem+json")];
        (StatusCode::NOT_FOUND, kind, body.to_string()).into_response()
    }
}

type Answer = Result<Response, Problem>;

async fn status(State(shared): State<Arc<Shared>>, Query(asked): Query<Asked>) -> Answer {
    let now = shared.web.clock.now();
    let filter = asked.filter(&shared.web.db).await??;
    let rows = Rows::load(&shared.web.db, shared.routes(), &filter, LISTED, now).await?;
    Ok(Json(&Status::new(&rows, now)).into_response())
}

async fn all_trouble(State(shared): State<Arc<Shared>>) -> Answer {
    let now = shared.web.clock.now();
    let rows = Rows::load(&shared.web.db, shared.routes(), &Filter::default(), 0, now).await?;
    let newest = shared.web.db.newest_evaluations().await?;
    Ok(Json(&trouble::list(&rows, &Status::new(&rows, now), &newest, now)).into_response())
}

async fn evaluation(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Answer {
    // No evaluation has the number 0.
    let number = EvaluationId(id.parse().unwrap_or(0));
    let Some(row) = shared.web.db.evaluation(number).await? else {
        return Err(Problem::NotFound { detail: format!("there is no evaluation {id}"), near: Vec::new() });
    };
    let errors = shared.web.db.errors(row.id).await?;
    Ok(Json(&Evaluation::new(&row).with_errors(&errors)).into_response())
}

async fn queue(State(shared): State<Arc<Shared>>, Query(asked): Query<Asked>) -> Answer {
    let db = &shared.web.db;
    let filter = asked.filter(db).await??;
    let (mut rows, mut complete) = (Vec::new(), true);
    for state in asked.states()? {
        let builds = db.queue(&of_state(&filter, state), i64::from(MOST_BUILDS) + 1).await?;
        complete &= builds.len() <= usize::from(MOST_BUILDS);
        rows.extend(builds.into_iter().take(usize::from(MOST_BUILDS)));
    }
    let blockers = db.blockers().await?;
    let builds: Vec<Build<'_>> = rows.iter().map(|row| Build::new(row).blocked(&blockers)).collect();
    Ok(Json(&json!({ "complete": complete, "items": builds })).into_response())
}

async fn blockers(State(shared): State<Arc<Shared>>, Query(asked): Query<Asked>) -> Answer {
    let filter = asked.filter(&shared.web.db).await??;
    let mut rows = shared.web.db.blockers().await?;
    rows.retain(|row| filter.admits(&row.build.spec, row.build.system.as_str()));
    let blockers: Vec<Blocker<'_>> = rows.iter().map(Blocker::new).collect();
    Ok(Json(&json!({ "items": blockers })).into_response())
}

async fn jobs(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Answer {
    let filter = asked.filter(&shared.web.db).await??;
    let found = match Found::load(&shared.web.db, &name, &filter).await? {
        Ok(found) => found,
        Err(near) => {
            return Err(Problem::NotFound { detail: format!("no evaluation has a job called {name}"), near });
        }
    };
    let Pages { routes, logs } = shared.pages();
    let rows = explanation::Rows::load_all(&shared.web.db, found.jobs, &routes, &logs).await?;
    Ok(Json(&explanation::Answer::new(&rows, &found.errors)).into_response())
}

async fn pushes(State(shared): State<Arc<Shared>>) -> Answer {
    let rows = shared.web.db.all_pushes(LISTED).await?;
    let pushes: Vec<Push<'_>> = rows.iter().map(Push::new).collect();
    Ok(Json(&json!({ "items": pushes })).into_response())
}
