//! Atom feeds (RFC 4287) of verdicts: an entry for each change.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};

use super::clean::Clean;
use super::link;
use crate::clock::{Seconds, rfc3339};
use crate::db;
use crate::view::verdict::Verdict;
use crate::web::Shared;
use crate::web::api::spec_named;
use crate::web::problem::Problem;

/// Most entries of a feed.
const ENTRIES: i64 = 50;

#[derive(Template)]
#[template(path = "feed.xml")]
struct Feed {
    id: String,
    title: Clean,
    href: String,
    updated: String,
    entries: Vec<Entry>,
}

struct Entry {
    id: String,
    title: Clean,
    href: String,
    updated: String,
    summary: Clean,
}

/// The verdicts on all branches.
pub(in crate::web) async fn all(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    let rows = shared.web.db.recent_verdicts(ENTRIES).await?;
    Ok(answer("urn:gorget:branches", "Verdicts on branches", "/branches".to_owned(), &rows))
}

/// The verdicts on one branch.
pub(in crate::web) async fn of_branch(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let stored = spec_named(&shared.web.db, &name).await?;
    let rows = shared.web.db.verdicts_of(stored.id, ENTRIES).await?;
    let id = format!("urn:gorget{}", link::branch(&name).replace('/', ":"));
    Ok(answer(&id, &format!("Verdicts on {name}"), link::branch(&name), &rows))
}

fn answer(id: &str, title: &str, href: String, rows: &[db::Verdict]) -> Response {
    // A feed without entries has never changed.
    let updated = |at: Option<Seconds>| rfc3339(at.unwrap_or(0));
    let feed = Feed {
        id: id.to_owned(),
        title: Clean::line(title),
        href,
        updated: updated(rows.first().map(|row| row.at)),
        entries: rows.iter().map(entry).collect(),
    };
    match feed.render() {
        Ok(text) => ([(CONTENT_TYPE, "application/atom+xml; charset=utf-8")], text).into_response(),
        Err(error) => {
            tracing::error!("a feed cannot be rendered: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn entry(row: &db::Verdict) -> Entry {
    let verdict = Verdict::new(row);
    Entry {
        // The time tells apart the farms whose feeds somebody reads together.
        id: format!("urn:gorget{}:{}:{}", link::branch(&row.spec).replace('/', ":"), row.at, row.id),
        title: Clean::line(&format!("{}: {}", verdict.spec, verdict.word.word())),
        href: link::branch(verdict.spec),
        updated: rfc3339(verdict.since),
        summary: Clean::line(&verdict.sentence()),
    }
}
