//! The API: the output of commands with `--json`, over HTTP, for programs.
//!
//! If a command shows the same, both serialize one view, so the two cannot differ. Errors are
//! problem details (RFC 9457).

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use schemars::JsonSchema;
use serde::Deserialize;

use super::problem::Problem;
use super::query_filters::{QueryFilters, of_state};
use super::{Pages, Shared};
use crate::db::{self, Db, EvaluationId};
use crate::view::access::{AuditEntry, Pause, Token};
use crate::view::build::{Blocker, Build, Queue};
use crate::view::channels::channel_file;
use crate::view::diff::{self, Comparison, Comparisons};
use crate::view::evaluation::Evaluation;
use crate::view::evaluation_ref::{NoPair, pairs};
use crate::view::explanation::{self, Found};
use crate::view::failures::{self, Failures};
use crate::view::filter::Filter;
use crate::view::history::Span;
use crate::view::page::{Items, Page};
use crate::view::status::{Rows, Status};
use crate::view::trouble;
use crate::view::verdict::Verdict;

/// How many evaluations `/status` lists.
const LISTED: i64 = 12;
/// The most builds of one state that `/queue` lists; `complete` says whether these are all.
const MOST_BUILDS: u16 = 500;

/// The most evaluations, or entries of the audit log, of one answer.
const MOST_ENTRIES: i64 = 500;
/// Most verdicts on one branch.
const MOST_VERDICTS: i64 = 500;
/// The most derivations of a job in its history.
const MOST_SPANS: i64 = 500;

type Answer = Result<Response, Problem>;

pub(super) async fn status(State(shared): State<Arc<Shared>>, Query(filters): Query<QueryFilters>) -> Answer {
    let now = shared.web.clock.now();
    let db = &shared.moment().await?;
    let filter = filters.filter(db).await??;
    let rows = Rows::load(db, shared.routes(), &filter, LISTED, now).await?;
    Ok(Json(&Status::new(&rows, now)).into_response())
}

pub(super) async fn all_trouble(State(shared): State<Arc<Shared>>) -> Answer {
    let now = shared.web.clock.now();
    let db = &shared.moment().await?;
    let rows = Rows::load(db, shared.routes(), &Filter::default(), 0, now).await?;
    let newest = db.newest_evaluations().await?;
    Ok(Json(&trouble::list(&rows, &Status::new(&rows, now), &newest, now)).into_response())
}

pub(super) async fn evaluation(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Answer {
    // No evaluation has the number 0.
    let number = EvaluationId(id.parse().unwrap_or(0));
    let db = &shared.moment().await?;
    let Some(row) = db.evaluation(number).await? else {
        return Err(Problem::missing(format!("there is no evaluation {id}")));
    };
    let errors = db.errors(row.id).await?;
    Ok(Json(&Evaluation::new(&row).with_errors(&errors)).into_response())
}

pub(super) async fn queue(State(shared): State<Arc<Shared>>, Query(filters): Query<QueryFilters>) -> Answer {
    let db = &shared.moment().await?;
    let filter = filters.filter(db).await??;
    let (mut rows, mut complete) = (Vec::new(), true);
    for state in filters.states()? {
        let builds = db.queue(&of_state(&filter, state), i64::from(MOST_BUILDS) + 1).await?;
        complete &= builds.len() <= usize::from(MOST_BUILDS);
        rows.extend(builds.into_iter().take(usize::from(MOST_BUILDS)));
    }
    let blockers = db.blockers().await?;
    let builds: Vec<Build<'_>> = rows.iter().map(|row| Build::new(row).blocked(&blockers)).collect();
    Ok(Json(&Queue { complete, items: builds }).into_response())
}

pub(super) async fn blockers(
    State(shared): State<Arc<Shared>>,
    Query(filters): Query<QueryFilters>,
) -> Answer {
    let db = &shared.moment().await?;
    let filter = filters.filter(db).await??;
    let mut rows = db.blockers().await?;
    rows.retain(|row| filter.admits(&row.build.spec, row.build.system.as_str()));
    let blockers: Vec<Blocker<'_>> = rows.iter().map(Blocker::new).collect();
    Ok(Json(&Items { items: blockers }).into_response())
}

pub(super) async fn jobs(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Query(filters): Query<QueryFilters>,
) -> Answer {
    let db = &shared.moment().await?;
    let filter = filters.filter(db).await??;
    let found = match Found::load(db, &name, &filter).await? {
        Ok(found) => found,
        Err(near) => {
            let problem = Problem::missing(format!("no evaluation has a job called {name}"));
            return Err(Problem { near, ..problem });
        }
    };
    let Pages { routes, logs } = shared.pages();
    let rows = explanation::Rows::load_all(db, found.jobs, &routes, &logs).await?;
    Ok(Json(&explanation::Answer::new(&rows, &found.errors)).into_response())
}

pub(super) async fn pauses(State(shared): State<Arc<Shared>>) -> Answer {
    let rows = shared.web.db.pauses().await?;
    let pauses: Vec<Pause<'_>> = rows.iter().map(Pause::new).collect();
    Ok(Json(&Items { items: pauses }).into_response())
}

pub(super) async fn tokens(State(shared): State<Arc<Shared>>) -> Answer {
    let (rows, now) = (shared.web.db.tokens().await?, shared.web.clock.now());
    let tokens: Vec<Token<'_>> = rows.iter().map(|row| Token::new(row, now)).collect();
    Ok(Json(&Items { items: tokens }).into_response())
}

/// The requested part of a long list: entries before a number, up to a limit.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct Older {
    /// The entries before this number.
    pub(super) before: Option<i64>,
    /// At most so many entries: 50 if it is not given, and at most 500.
    limit: Option<i64>,
}

pub(super) async fn audit(State(shared): State<Arc<Shared>>, Query(filters): Query<Older>) -> Answer {
    let limit = filters.limit.unwrap_or(50).clamp(1, MOST_ENTRIES);
    let rows = shared.web.db.audit(filters.before, limit).await?;
    let entries: Vec<AuditEntry<'_>> = rows.iter().map(AuditEntry::new).collect();
    // A full page is probably not the last one.
    let next = entries.last().filter(|_| i64::try_from(entries.len()) == Ok(limit)).map(|last| last.id);
    Ok(Json(&Page { items: entries, next_before: next }).into_response())
}

/// Compares the two evaluations in the path, each in a form that `gorget diff` takes.
pub(super) async fn compare(
    State(shared): State<Arc<Shared>>,
    Path(range): Path<String>,
    Query(filters): Query<QueryFilters>,
) -> Answer {
    let db = &shared.moment().await?;
    let (pairs, alone) = pairs_of(db, &range, &filters).await?;
    let mut all = Vec::new();
    for pair in pairs {
        all.push(diff::Rows::load(db, pair).await?);
    }
    let items: Vec<_> = all
        .iter_mut()
        .map(|rows| Comparison::of(std::mem::take(&mut rows.jobs), &rows.evaluations, &rows.errors))
        .collect();
    Ok(Json(&Comparisons { items, only_in_one: alone }).into_response())
}

/// The pairs of evaluations that a path such as `master..rust-team` names.
pub(super) async fn pairs_of(
    db: &Db,
    range: &str,
    filters: &QueryFilters,
) -> Result<(Vec<[db::Evaluation; 2]>, Vec<String>), Problem> {
    let Some((a, b)) = range.split_once("..") else {
        return Err(Problem::missing("two evaluations are compared as A..B"));
    };
    let spec = Some(filters.spec.as_str()).filter(|spec| !spec.is_empty());
    match pairs(db, [a, b], spec).await {
        Ok(found) => Ok(found),
        Err(NoPair::Wrong(text)) => Err(Problem::missing(text)),
        Err(NoPair::Db(error)) => Err(error.into()),
    }
}

pub(super) async fn history(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Query(filters): Query<QueryFilters>,
) -> Answer {
    let db = &shared.moment().await?;
    let filter = filters.filter(db).await??;
    let rows = db.history(&name, filter.spec.as_deref(), MOST_SPANS).await?;
    if rows.is_empty() {
        let near = db.jobs_like(&name, 5).await?;
        let problem = Problem::missing(format!("no evaluation has a package or job {name}"));
        return Err(Problem { near, ..problem });
    }
    let spans: Vec<Span<'_>> = rows.iter().map(Span::new).collect();
    Ok(Json(&Items { items: spans }).into_response())
}

/// The spec that a path names.
pub(super) async fn spec_named(db: &Db, name: &str) -> Result<db::StoredSpec, Problem> {
    let found = db.specs().await?.into_iter().find(|stored| stored.spec.name == name);
    found.ok_or_else(|| Problem::missing(format!("there is no spec {name}")))
}

pub(super) async fn failures(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Query(filters): Query<QueryFilters>,
) -> Answer {
    let db = &shared.moment().await?;
    let spec = &spec_named(db, &name).await?;
    let filter = filters.filter(db).await??;
    let mut all = Vec::new();
    for system in spec.spec.systems.iter().filter(|system| filter.admits(&name, system.as_str())) {
        all.extend(failures::Rows::load(db, spec, system, None).await?);
    }
    let items: Vec<Failures<'_>> = all.iter().map(Failures::of).collect();
    Ok(Json(&Items { items }).into_response())
}

pub(super) async fn verdicts(State(shared): State<Arc<Shared>>) -> Answer {
    let rows = shared.web.db.current_verdicts().await?;
    let items: Vec<Verdict<'_>> = rows.iter().map(Verdict::new).collect();
    Ok(Json(&Items { items }).into_response())
}

/// The verdicts on one branch, the newest first.
pub(super) async fn verdicts_of(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Answer {
    let db = &shared.moment().await?;
    let stored = spec_named(db, &name).await?;
    let rows = db.verdicts_of(stored.id, MOST_VERDICTS).await?;
    let items: Vec<Verdict<'_>> = rows.iter().map(Verdict::new).collect();
    Ok(Json(&Items { items }).into_response())
}

/// A channel file for `guix time-machine -C`.
pub(super) async fn channels(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Answer {
    let number = EvaluationId(id.parse().unwrap_or(0));
    let Some(row) = shared.web.db.evaluation(number).await? else {
        return Err(Problem::missing(format!("there is no evaluation {id}")));
    };
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], channel_file(&row)).into_response())
}

/// The newest evaluations, or those before `before`.
pub(super) async fn evaluations(
    State(shared): State<Arc<Shared>>,
    Query(filters): Query<QueryFilters>,
    Query(older): Query<Older>,
) -> Answer {
    let db = &shared.moment().await?;
    let filter = filters.filter(db).await??;
    let limit = older.limit.unwrap_or(50).clamp(1, MOST_ENTRIES);
    let before = older.before.map(EvaluationId);
    let rows = db.evaluations_before(filter.spec.as_deref(), filter.system.as_ref(), before, limit).await?;
    let items: Vec<Evaluation<'_>> = rows.iter().map(Evaluation::new).collect();
    let next = rows.last().filter(|_| i64::try_from(rows.len()) == Ok(limit)).map(|last| last.id);
    Ok(Json(&Page { items, next_before: next }).into_response())
}
