//! What all pages and all answers of the API share: a limit on concurrency, headers, entity tags.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    REFERRER_POLICY, RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use super::Shared;
use super::problem::Problem;

/// The largest page, in bytes.
const LARGEST: usize = 8 << 20;
/// The largest body of a request that changes something, in bytes.
const LARGEST_BODY: usize = 64 << 10;
/// The time limit for receiving a body.
const BODY_TIME: Duration = Duration::from_secs(10);
/// How long a request waits to be handled.
const TURN: Duration = Duration::from_secs(10);
/// What a page may load and do: our own style sheet, script and pictures, and requests and forms
/// that lead to this server.
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

/// Limits concurrent requests, adds the common headers, and answers "not modified" if nothing has
/// changed. The body is read before that, so a peer that sends it slowly blocks nobody.
///
/// Every error of the API is a problem, whichever layer it comes from.
pub(super) async fn finish(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let is_api = request.uri().path().starts_with("/api/v1/");
    let response = finished(&shared, request, next).await;
    let is_error = response.status().is_client_error() || response.status().is_server_error();
    let is_problem = response.extensions().get::<Problem>().is_some();
    if is_api && is_error && !is_problem { as_problem(response).await } else { response }
}

/// Makes a problem of an answer with a text.
async fn as_problem(response: Response) -> Response {
    let (head, body) = response.into_parts();
    let text = to_bytes(body, LARGEST_BODY).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let detail = match text.trim() {
        "" => head.status.canonical_reason().unwrap_or_default(),
        text => text,
    };
    let mut response = Problem::new(head.status, detail).into_response();
    for (name, value) in
        head.headers.iter().filter(|(name, _)| ![CONTENT_TYPE, CONTENT_LENGTH].contains(name))
    {
        response.headers_mut().insert(name, value.clone());
    }
    response
}

async fn finished(shared: &Shared, request: Request, next: Next) -> Response {
    // No name contains a null character, and PostgreSQL does not accept text with one.
    if request.uri().to_string().contains("%00") {
        return (StatusCode::BAD_REQUEST, "a name cannot have a null character\n").into_response();
    }
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    let known = request.headers().get(IF_NONE_MATCH).filter(|_| is_read).cloned();
    let request = match with_body(request, is_read).await {
        Ok(request) => request,
        Err(refusal) => return refusal,
    };
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
    if head.status == StatusCode::OK && is_read {
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

/// Reads the body of a request, which has to arrive in time.
async fn with_body(request: Request, is_read: bool) -> Result<Request, Response> {
    if is_read {
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    match timeout(BODY_TIME, to_bytes(body, LARGEST_BODY)).await {
        Ok(Ok(bytes)) => Ok(Request::from_parts(parts, Body::from(bytes))),
        Ok(Err(_)) => Err((StatusCode::PAYLOAD_TOO_LARGE, "the body is too large\n").into_response()),
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time\n").into_response()),
    }
}

/// Adds the headers of pages to the answer for a file that pages load.
pub(super) async fn finish_asset(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    add_headers(response.headers_mut());
    response
}

fn add_headers(headers: &mut HeaderMap) {
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
}
