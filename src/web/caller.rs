//! Who sends a request, and whether the sender is permitted to.
//!
//! # Guarantees
//!
//! * A request is only handled if its sender has the role of the route.
//! * Another site cannot use the session of a logged-in browser to change anything: a request with
//!   a cookie that changes something has to come from our own pages.
//! * A cookie that is no longer valid is ignored; a token that is not valid is refused.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::Shared;
use super::problem::Problem;
use super::slots::Connection;
use crate::clock::Seconds;
use crate::db::{Db, Token};
use crate::domain::access::{Author, Role, secret};

/// The name of the cookie over HTTPS, where browsers keep it from other hosts of the domain.
pub(super) const COOKIE_NAME: &str = "__Host-gorget";
/// The name of the cookie over plain HTTP, which is for this machine only.
pub(super) const LOCAL_COOKIE_NAME: &str = "gorget";

/// The sender of a request.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// The sender's name, role and origin.
    pub(super) author: Author,
    /// The token that authenticates the sender; `None` if the sender is anonymous.
    pub(super) token: Option<Token>,
}

/// The credentials in a request.
enum Credentials {
    Token(String),
    Cookie(String),
}

/// Handles a request only if its sender has the needed role.
pub(super) async fn authorize(
    State((shared, needed)): State<(Arc<Shared>, Role)>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    match caller(&shared, needed, &parts).await {
        Ok(caller) => {
            parts.extensions.insert(caller.clone());
            let mut response = next.run(Request::from_parts(parts, body)).await;
            response.extensions_mut().insert(caller);
            response
        }
        Err(problem) => problem.into_response(),
    }
}

async fn caller(shared: &Shared, needed: Role, request: &Parts) -> Result<Caller, Problem> {
    let (headers, now) = (&request.headers, shared.web.clock.now());
    let (credentials, origin) = (credentials(headers), origin(request));
    let is_cookie = matches!(credentials, Some(Credentials::Cookie(_)));
    let token = match &credentials {
        None => None,
        Some(Credentials::Token(secret) | Credentials::Cookie(secret)) => {
            valid(&shared.web.db, secret, now).await?.filter(|token| token.is_session == is_cookie)
        }
    };
    let Some(token) = token else {
        let has_token = matches!(credentials, Some(Credentials::Token(_)));
        return anonymous(shared.web.anonymous && !has_token, needed, origin);
    };
    let author = Author { name: token.name.clone(), role: token.role, specs: token.specs.clone(), origin };
    if !is_safe(&request.method) && (is_foreign(headers) || is_cookie && !is_own_page(headers)) {
        let detail = "a page of another site sent this\nhint: send it from a page of Gorget, or with a token";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    if author.role < needed {
        let subject = format!("{} {}", request.method, request.uri.path());
        shared.web.db.record_denial(&author, &subject, now).await?;
        let (has, needs) = (author.role.word(), needed.word());
        let detail = format!("{} has the role {has}; this takes {needs}", author.name);
        return Err(Problem::new(StatusCode::FORBIDDEN, detail).needs(needed));
    }
    note_use(&shared.web.db, &token, now);
    Ok(Caller { author, token: Some(token) })
}

/// An anonymous caller, if anonymous reading is permitted and the request needs no more than that.
fn anonymous(may_read: bool, needed: Role, origin: String) -> Result<Caller, Problem> {
    if needed > Role::Read || !may_read {
        let hint = "hint: `gorget token create` creates one";
        let detail = format!("this takes a valid token with the role {}\n{hint}", needed.word());
        return Err(Problem::new(StatusCode::UNAUTHORIZED, detail).needs(needed));
    }
    let author = Author { name: "anonymous".to_owned(), role: Role::Read, specs: Vec::new(), origin };
    Ok(Caller { author, token: None })
}

/// Records that a token was used, without delaying the request.
fn note_use(db: &Db, token: &Token, now: Seconds) {
    let (db, token) = (db.clone(), token.clone());
    tokio::spawn(async move {
        if let Err(error) = db.note_use(&token, now).await {
            tracing::warn!("the use of a token cannot be recorded: {error}");
        }
    });
}

/// The token with this secret, if it is valid.
pub(super) async fn valid(db: &Db, word: &str, now: Seconds) -> Result<Option<Token>, Problem> {
    if !secret::is_secret(word) {
        return Ok(None);
    }
    Ok(db.token(&secret::hash(word)).await?.filter(|token| token.is_valid(now)))
}

/// The session that the cookie of a request belongs to.
pub(super) async fn session(db: &Db, headers: &HeaderMap, now: Seconds) -> Result<Option<Token>, Problem> {
    match credentials(headers) {
        Some(Credentials::Cookie(secret)) => {
            Ok(valid(db, &secret, now).await?.filter(|token| token.is_session))
        }
        _ => Ok(None),
    }
}

/// Finds the credentials. A token in a header takes precedence over a cookie.
fn credentials(headers: &HeaderMap) -> Option<Credentials> {
    if let Some(value) = headers.get(AUTHORIZATION) {
        // An unreadable header counts as a token that is not valid.
        return Some(Credentials::Token(value.to_str().ok().and_then(header_token).unwrap_or_default()));
    }
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let pairs: Vec<(&str, &str)> = pairs.collect();
    let named = |wanted: &str| pairs.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
    // Other hosts of a domain can set a cookie without the prefix; a local host has no such
    // neighbors.
    let local = || named(LOCAL_COOKIE_NAME).filter(|_| is_local(headers));
    named(COOKIE_NAME).or_else(local).map(|value| Credentials::Cookie(value.to_owned()))
}

/// Whether a request is addressed to this machine, by a name that means this machine everywhere.
pub(super) fn is_local(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    is_local_name(host)
}

/// Whether a host, with or without a port, means the local machine on every machine.
pub(super) fn is_local_name(host: &str) -> bool {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let name = host.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(host, |(name, _)| name);
    ["localhost", "127.0.0.1", "[::1]"].contains(&name)
}

/// The token in `Bearer TOKEN`, or in the password of `Basic` with any user.
fn header_token(value: &str) -> Option<String> {
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    let text = data_encoding::BASE64.decode(rest.trim().as_bytes()).ok()?;
    let text = String::from_utf8(text).ok()?;
    let (_, password) = text.split_once(':').filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    Some(password.to_owned())
}

/// Whether requests with this method change nothing.
fn is_safe(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
}

/// Whether the browser says that a page of another site sent the request. Browsers also send the
/// password of HTTP Basic automatically.
fn is_foreign(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").and_then(|value| value.to_str().ok());
    site.is_some_and(|site| !["same-origin", "none"].contains(&site))
}

/// Whether the browser says that one of our own pages sent the request.
pub(super) fn is_own_page(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return site == "same-origin";
    }
    let host = text(HOST.as_str());
    let origin = text(ORIGIN.as_str()).and_then(|origin| origin.split_once("://"));
    host.is_some_and(|host| origin.is_some_and(|(_, origin)| origin == host))
}

/// The origin of a request: the address of the client. Behind a proxy on this machine, it is the
/// address that the proxy reports.
pub(super) fn origin(request: &Parts) -> String {
    if let Some(address) = request.extensions.get::<Arc<Connection>>().and_then(|one| one.address()) {
        return address.to_string();
    }
    // A proxy appends to the list, or adds another header; the client's own values come before.
    let forwarded = request.headers.get_all("x-forwarded-for").iter().next_back();
    let last = forwarded
        .and_then(|value| value.to_str().ok())
        .and_then(|list| list.rsplit(',').next()?.trim().parse::<IpAddr>().ok());
    last.map_or_else(|| "this machine".to_owned(), |address| address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn found(pairs: &[(&'static str, &str)]) -> Option<(bool, String)> {
        credentials(&headers(pairs)).map(|credentials| match credentials {
            Credentials::Token(secret) => (false, secret),
            Credentials::Cookie(secret) => (true, secret),
        })
    }

    #[test]
    fn a_token_is_in_a_header_or_a_cookie() {
        let token = |text: &str| Some((false, text.to_owned()));
        assert_eq!(found(&[]), None);
        assert_eq!(found(&[("authorization", "bearer  abc ")]), token("abc"));
        assert_eq!(found(&[("authorization", "Basic YWRhOmE6Yg==")]), token("a:b"));
        for wrong in ["Basic !", "Basic YWRh", "Digest abc", "abc", ""] {
            assert_eq!(found(&[("authorization", wrong), ("cookie", "gorget=x")]), token(""), "{wrong}");
        }
        let here = ("host", "localhost:8080");
        assert_eq!(found(&[here, ("cookie", "a=b; gorget=x; c")]), Some((true, "x".to_owned())));
        assert_eq!(found(&[("host", "ci.example.org"), ("cookie", "gorget=x")]), None);
        let both = ("cookie", "gorget=x; __Host-gorget=y");
        assert_eq!(found(&[here, both]), Some((true, "y".to_owned())));
        assert_eq!(found(&[("cookie", "__Host-gorget=y")]), Some((true, "y".to_owned())));
        assert_eq!(found(&[here, ("cookie", "xgorget=y")]), None);
    }

    #[test]
    fn a_browser_says_which_page_sends() {
        let host = ("host", "ci.example.org");
        for (pairs, expected) in [
            (vec![host], false),
            (vec![host, ("origin", "https://ci.example.org")], true),
            (vec![host, ("origin", "https://evil.example.org")], false),
            (vec![host, ("origin", "null")], false),
            (vec![host, ("sec-fetch-site", "same-origin")], true),
            (vec![host, ("sec-fetch-site", "cross-site"), ("origin", "https://ci.example.org")], false),
            (vec![host, ("sec-fetch-site", "none")], false),
            (vec![host, ("sec-fetch-site", "same-site")], false),
        ] {
            assert_eq!(is_own_page(&headers(&pairs)), expected, "{pairs:?}");
        }
    }
}
