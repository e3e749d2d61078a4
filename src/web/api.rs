//! The API: what commands say with `--json`, over HTTP, for programs.
//!
//! Where a command shows the same, both serialize one view, so the two cannot differ. Errors are problem
//! details (RFC 9457).

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::json;

use super::asked::{Asked, of_state};
use super::problem::Problem;
use super::{Pages, Shared};
use crate::db::EvaluationId;
use crate::view::access::{AuditEntry, Pause, Token};
use crate::view::build::{Blocker, Build};
use crate::view::evaluation::Evaluation;
use crate::view::explanation::{self, Found};
use crate::view::filter::Filter;
use crate::view::push::Push;
use crate::view::status::{Rows, Status};
use crate::view::trouble;

/// How many evaluations `/status` has, and pushes `/pushes`.
const LISTED: i64 = 12;
/// How many builds of one state `/queue` has at most; `complete` says whether these are all.
const MOST_BUILDS: u16 = 500;

/// Most audit entries of one answer.
const MOST_ENTRIES: i64 = 500;

type Answer = Result<Response, Problem>;

pub(super) async fn status(State(shared): State<Arc<Shared>>, Query(asked): Query<Asked>) -> Answer {
    let now = shared.web.clock.now();
    let filter = asked.filter(&shared.web.db).await??;
    let rows = Rows::load(&shared.web.db, shared.routes(), &filter, LISTED, now).await?;
    Ok(Json(&Status::new(&rows, now)).into_response())
}

pub(super) async fn all_trouble(State(shared): State<Arc<Shared>>) -> Answer {
    let now = shared.web.clock.now();
    let rows = Rows::load(&shared.web.db, shared.routes(), &Filter::default(), 0, now).await?;
    let newest = shared.web.db.newest_evaluations().await?;
    Ok(Json(&trouble::list(&rows, &Status::new(&rows, now), &newest, now)).into_response())
}

pub(super) async fn evaluation(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Answer {
    // No evaluation has the number 0.
    let number = EvaluationId(id.parse().unwrap_or(0));
    let Some(row) = shared.web.db.evaluation(number).await? else {
        return Err(Problem::missing(format!("there is no evaluation {id}")));
    };
    let errors = shared.web.db.errors(row.id).await?;
    Ok(Json(&Evaluation::new(&row).with_errors(&errors)).into_response())
}

pub(super) async fn queue(State(shared): State<Arc<Shared>>, Query(asked): Query<Asked>) -> Answer {
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

pub(super) async fn blockers(State(shared): State<Arc<Shared>>, Query(asked): Query<Asked>) -> Answer {
    let filter = asked.filter(&shared.web.db).await??;
    let mut rows = shared.web.db.blockers().await?;
    rows.retain(|row| filter.admits(&row.build.spec, row.build.system.as_str()));
    let blockers: Vec<Blocker<'_>> = rows.iter().map(Blocker::new).collect();
    Ok(Json(&json!({ "items": blockers })).into_response())
}

pub(super) async fn jobs(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Answer {
    let filter = asked.filter(&shared.web.db).await??;
    let found = match Found::load(&shared.web.db, &name, &filter).await? {
        Ok(found) => found,
        Err(near) => {
            let problem = Problem::missing(format!("no evaluation has a job called {name}"));
            return Err(Problem { near, ..problem });
        }
    };
    let Pages { routes, logs } = shared.pages();
    let rows = explanation::Rows::load_all(&shared.web.db, found.jobs, &routes, &logs).await?;
    Ok(Json(&explanation::Answer::new(&rows, &found.errors)).into_response())
}

pub(super) async fn pushes(State(shared): State<Arc<Shared>>) -> Answer {
    let rows = shared.web.db.all_pushes(LISTED).await?;
    let pushes: Vec<Push<'_>> = rows.iter().map(Push::new).collect();
    Ok(Json(&json!({ "items": pushes })).into_response())
}

pub(super) async fn pauses(State(shared): State<Arc<Shared>>) -> Answer {
    let rows = shared.web.db.pauses().await?;
    let pauses: Vec<Pause<'_>> = rows.iter().map(Pause::new).collect();
    Ok(Json(&json!({ "items": pauses })).into_response())
}

pub(super) async fn tokens(State(shared): State<Arc<Shared>>) -> Answer {
    let (rows, now) = (shared.web.db.tokens().await?, shared.web.clock.now());
    let tokens: Vec<Token<'_>> = rows.iter().map(|row| Token::new(row, now)).collect();
    Ok(Json(&json!({ "items": tokens })).into_response())
}

/// Which audit entries are asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Older {
    pub(super) before: Option<i64>,
    limit: Option<i64>,
}

pub(super) async fn audit(State(shared): State<Arc<Shared>>, Query(asked): Query<Older>) -> Answer {
    let limit = asked.limit.unwrap_or(50).clamp(1, MOST_ENTRIES);
    let rows = shared.web.db.audit(asked.before, limit).await?;
    let entries: Vec<AuditEntry<'_>> = rows.iter().map(AuditEntry::new).collect();
    // A full page may not be the last one.
    let next = entries.last().filter(|_| i64::try_from(entries.len()) == Ok(limit)).map(|last| last.id);
    Ok(Json(&json!({ "items": entries, "next_before": next })).into_response())
}
