//! Starts a browser session with a token.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Query, Request, State};
use axum::http::header::{HeaderValue, ORIGIN, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;

use super::frame::{Frame, Visit};
use super::link;
use super::response::{Answer, html};
use crate::domain::access::{Author, secret};
use crate::farm::actions::random_secret;
use crate::web::action_body::Body;
use crate::web::caller::{
    COOKIE_NAME, LOCAL_COOKIE_NAME, is_local, is_local_name, is_own_page, origin, session, valid,
};
use crate::web::problem::Problem;
use crate::web::{Failure, Shared};

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    frame: Frame,
    back: String,
    is_wrong: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::web) struct Login {
    token: String,
    back: String,
}

pub(in crate::web) async fn page(visit: Visit, Query(Login { back, .. }): Query<Login>) -> Response {
    html(&LoginPage { frame: visit.frame("Log in", ""), back, is_wrong: false })
}

pub(in crate::web) async fn log_in(State(shared): State<Arc<Shared>>, request: Request) -> Answer<Response> {
    use axum::extract::{FromRequest as _, FromRequestParts as _};
    let (mut parts, body) = request.into_parts();
    let Ok(visit) = Visit::from_request_parts(&mut parts, &()).await;
    let (headers, origin) = (parts.headers.clone(), origin(&parts));
    let request = Request::from_parts(parts, body);
    if !is_own_page(&headers) {
        return Err(Problem::new(StatusCode::FORBIDDEN, "a page of another site sent this"));
    }
    let Body(Login { token: word, back }) = Body::from_request(request, &shared).await?;
    let (db, now) = (&shared.web.db, shared.web.clock.now());
    // The secret of a session cannot be used to start another session.
    let Some(token) = valid(db, word.trim(), now).await?.filter(|token| !token.is_session) else {
        let page = LoginPage { frame: visit.frame("Log in", ""), back, is_wrong: true };
        return Ok((StatusCode::FORBIDDEN, html(&page)).into_response());
    };
    let new = random_secret().map_err(|error| Failure::Io(error.into()))?;
    let author = Author { name: token.name.clone(), role: token.role, specs: token.specs.clone(), origin };
    db.begin_session(&token, &secret::hash(&new), &author, now).await?;
    Ok(with_cookie(Redirect::to(link::local(&back)).into_response(), &headers, &new, ""))
}

pub(in crate::web) async fn log_out(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
) -> Answer<Response> {
    if !is_own_page(&headers) {
        return Err(Problem::new(StatusCode::FORBIDDEN, "a page of another site sent this"));
    }
    if let Some(session) = session(&shared.web.db, &headers, shared.web.clock.now()).await? {
        shared.web.db.end_session(session.id).await?;
    }
    Ok(with_cookie(Redirect::to("/").into_response(), &headers, "", "; Max-Age=0"))
}

/// Sets the cookie of a session. Over plain HTTP, browsers only accept it for this machine.
fn with_cookie(mut response: Response, headers: &HeaderMap, secret: &str, end: &str) -> Response {
    // A proxy may send another host than the browser did.
    let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
    let is_local = match origin.and_then(|origin| origin.split_once("://")) {
        Some((scheme, host)) => scheme == "http" && is_local_name(host),
        None => is_local(headers),
    };
    let (name, secure) = if is_local { (LOCAL_COOKIE_NAME, "") } else { (COOKIE_NAME, "; Secure") };
    let cookie = format!("{name}={secret}; Path=/; HttpOnly; SameSite=Lax{secure}{end}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}
