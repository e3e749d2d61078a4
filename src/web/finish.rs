//! What all pages and all answers of the API have in common: their turn, their headers, and that they
//! are sent only when they have changed.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, IF_NONE_MATCH, REFERRER_POLICY, RETRY_AFTER, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use super::Shared;

/// Largest page, in bytes.
const LARGEST: usize = 8 << 20;
/// How long a request waits for its turn.
const TURN: Duration = Duration::from_secs(10);
/// What a page may load and do: our own style sheet, script and pictures, requests and forms that lead here.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
     trusted-types gorget";
const HEADERS: [(HeaderName, &str); 5] = [
    (VARY, "authorization, cookie"),
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// Lets a limited number of requests be worked on, adds what all answers have, and says when nothing has changed.
pub(super) async fn finish(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    // No name has a null character, and PostgreSQL takes no text that has one.
    if request.uri().to_string().contains("%00") {
        return (StatusCode::BAD_REQUEST, "a name has no null character\n").into_response();
    }
    let known = request.headers().get(IF_NONE_MATCH).cloned();
    let turn = timeout(TURN, shared.page_turns.acquire()).await;
    let Ok(Ok(_turn)) = turn else {
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "10")], "too many pages are being made\n")
            .into_response();
    };
    let (mut head, body) = next.run(request).await.into_parts();
    add_headers(&mut head.headers);
    let Ok(bytes) = to_bytes(body, LARGEST).await else {
        return (StatusCode::INTERNAL_SERVER_ERROR, "this page is too large\n").into_response();
    };
    if head.status == StatusCode::OK {
        let tag = format!("\"{}\"", data_encoding::HEXLOWER.encode(&Sha256::digest(&bytes)[..16]));
        if known.is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
            head.status = StatusCode::NOT_MODIFIED;
            return Response::from_parts(head, Body::empty());
        }
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            head.headers.insert(ETAG, tag);
        }
    }
    Response::from_parts(head, Body::from(bytes))
}

fn add_headers(headers: &mut HeaderMap) {
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
}
