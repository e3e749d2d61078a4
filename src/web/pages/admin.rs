//! Pages for admins: tokens, and the audit log.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Extension, Query, State};
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse as _, Response};

use super::clean::Clean;
use super::figure::Time;
use super::frame::{Frame, Visit};
use super::response::{Answer, html};
use crate::clock::Seconds;
use crate::domain::access::Role;
use crate::view::access::{AuditEntry, Token};
use crate::web::Shared;
use crate::web::action::{Wanted, new_token};
use crate::web::action_body::Body;
use crate::web::api::Older;
use crate::web::caller::Caller;

/// How many entries of the audit log a page lists.
const ENTRIES: i64 = 100;

#[derive(Template)]
#[template(path = "tokens.html")]
struct TokensPage {
    frame: Frame,
    /// The name and the secret of a token that was just created.
    made: Option<(Clean, String)>,
    roles: [&'static str; 4],
    tokens: Vec<TokenRow>,
}

struct TokenRow {
    id: String,
    name: Clean,
    role: &'static str,
    specs: Clean,
    made_by: Clean,
    made: Time,
    used: Option<Time>,
    expires: Option<Time>,
    state: &'static str,
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    frame: Frame,
    entries: Vec<EntryRow>,
    older: Option<i64>,
}

struct EntryRow {
    at: Time,
    author: Clean,
    role: Clean,
    origin: Clean,
    action: Clean,
    subject: Clean,
}

pub(in crate::web) async fn tokens(State(shared): State<Arc<Shared>>, visit: Visit) -> Answer<Response> {
    show(&shared, &visit, None).await
}

/// Creates a token, and shows its secret only this once.
pub(in crate::web) async fn create(
    State(shared): State<Arc<Shared>>,
    Extension(by): Extension<Caller>,
    visit: Visit,
    Body(wanted): Body<Wanted>,
) -> Answer<Response> {
    let name = Clean::line(&wanted.name);
    let (_, secret) = new_token(&shared, &by, wanted).await?;
    let page = show(&shared, &visit, Some((name, secret))).await?;
    Ok(([(CACHE_CONTROL, "no-store")], page).into_response())
}

async fn show(shared: &Shared, visit: &Visit, made: Option<(Clean, String)>) -> Answer<Response> {
    let (rows, now) = (shared.web.db.tokens().await?, shared.web.clock.now());
    Ok(html(&TokensPage {
        frame: visit.frame("Tokens", "/admin/tokens"),
        made,
        roles: Role::ALL.map(Role::word),
        tokens: rows.iter().map(|row| token_row(&Token::new(row, now), now)).collect(),
    }))
}

fn token_row(token: &Token<'_>, now: Seconds) -> TokenRow {
    TokenRow {
        id: token.id.to_string(),
        name: Clean::line(token.name),
        role: token.role.word(),
        specs: Clean::line(&if token.specs.is_empty() { "all".to_owned() } else { token.specs.join(" ") }),
        made_by: Clean::line(token.made_by),
        made: Time::new(token.made_at, now),
        used: token.used_at.map(|at| Time::new(at, now)),
        expires: token.expires_at.map(|at| Time::new(at, now)),
        state: token.state,
    }
}

pub(in crate::web) async fn audit(
    State(shared): State<Arc<Shared>>,
    visit: Visit,
    Query(Older { before, .. }): Query<Older>,
) -> Answer<Response> {
    let (rows, now) = (shared.web.db.audit(before, ENTRIES).await?, shared.web.clock.now());
    let entries = rows.iter().map(AuditEntry::new).map(|entry| EntryRow {
        at: Time::new(entry.at, now),
        author: Clean::line(entry.author),
        role: Clean::line(entry.role),
        origin: Clean::line(entry.origin),
        action: Clean::line(entry.action),
        subject: Clean::line(entry.subject),
    });
    Ok(html(&AuditPage {
        frame: visit.frame("Audit log", "/admin/audit"),
        entries: entries.collect(),
        older: rows.last().filter(|_| i64::try_from(rows.len()) == Ok(ENTRIES)).map(|last| last.id),
    }))
}
