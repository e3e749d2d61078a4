//! Pushes to branches, the newest first.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;

use super::clean::Clean;
use super::figure::Time;
use super::frame::{Frame, Visit};
use super::link;
use super::response::{Answer, html};
use crate::clock::Seconds;
use crate::view::push::Push;
use crate::web::Shared;
use crate::web::lists::PushQuery;

#[derive(Template)]
#[template(path = "pushes.html")]
struct PushesPage {
    frame: Frame,
    lede: Clean,
    branch: Clean,
    pushes: Vec<PushRow>,
    json: String,
    older: Option<String>,
}

struct PushRow {
    branch: Clean,
    href: String,
    kind: &'static str,
    before: Clean,
    after: Clean,
    seen: Time,
    url: Clean,
    /// Whether somebody allowed it to lead away from what was evaluated, and the path to do so.
    is_acknowledged: bool,
    acknowledge: String,
}

pub(in crate::web) async fn page(
    State(shared): State<Arc<Shared>>,
    visit: Visit,
    Query(query): Query<PushQuery>,
) -> Answer<Response> {
    let (rows, next) = query.load(&shared.web.db).await?;
    let now = shared.web.clock.now();
    let pushes = rows.iter().map(|row| push_row(&Push::new(row), now)).collect();
    let branch = query.branch.as_str();
    let older = next.map(|next| link::query(&[("branch", branch), ("before", &next.to_string())]));
    let of = if branch.is_empty() { "all branches".to_owned() } else { format!("the branch {branch}") };
    Ok(html(&PushesPage {
        frame: visit.frame("Pushes", "/pushes"),
        lede: Clean::line(&format!("Pushes to {of}, as polls saw them, the newest first.")),
        branch: Clean::line(branch),
        pushes,
        json: format!("/api/v1/pushes{}", link::query(&[("branch", branch)])),
        older: older.map(|query| format!("/pushes{query}")),
    }))
}

fn push_row(push: &Push<'_>, now: Seconds) -> PushRow {
    let commit = |commit: Option<&str>| commit.map_or(Clean::line("–"), Clean::commit);
    PushRow {
        branch: Clean::line(push.branch),
        href: format!("/pushes{}", link::query(&[("branch", push.branch)])),
        kind: push.kind,
        before: commit(push.before),
        after: commit(push.after),
        seen: Time::new(push.seen_at, now),
        url: Clean::line(push.url),
        is_acknowledged: push.acknowledged_at.is_some(),
        acknowledge: format!("/pushes/{}/acknowledge", push.id),
    }
}
