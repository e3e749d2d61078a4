//! Receives build events from coordinators, in the format of the Guix Data Service: `POST
//! /build-server/ID/build-events?token=TOKEN` with `{"items": [{"type": "build", "build_id": …,
//! "derivation": …, "event": …, "timestamp": …}]}`. ID identifies the coordinator; builds are
//! identified by their derivations.
//!
//! The token is checked before the body is read.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Bytes, HttpBody as _};
use axum::extract::{DefaultBodyLimit, FromRequest as _, Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::{Shared, Token};
use crate::db::{BuildRef, NewEvent};
use crate::domain::attempt::Attempt;
use crate::domain::spec::sanitize;
use crate::guix::store_path::StorePath;

/// The largest body, in bytes: some thousand events. A coordinator sends each event in its own
/// request.
const LARGEST: usize = 1 << 20;
/// The most events in one request.
const MOST_ITEMS: usize = 10_000;
/// How many bodies are read and parsed at the same time.
const AT_ONCE: usize = 8;
/// The time limit for receiving a body, and for waiting to be read.
const BODY_TIME: Duration = Duration::from_secs(10);
/// The longest name of a build that is accepted, in bytes.
const LONGEST_NAME: usize = 200;

/// A coordinator that may report events.
#[derive(Debug)]
pub struct EventSource {
    /// Its name.
    pub coordinator: String,
    /// The id in its URL; `None` if it may use any id that no other coordinator has.
    pub id: Option<i64>,
    /// The token that it has to send.
    pub token: Token,
    /// Whether a failure is ignored here, because the coordinator first has to be asked which agent
    /// it was.
    pub asks_about_failures: bool,
}

/// Limits how many bodies are read at the same time.
#[derive(Debug)]
pub(super) struct BodyBudget(Arc<Semaphore>);

impl Default for BodyBudget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

pub(super) fn receiving() -> MethodRouter<Arc<Shared>> {
    post(receive).layer(DefaultBodyLimit::max(LARGEST))
}

/// An answer that reports an error.
fn wrong(code: StatusCode, what: &str) -> Response {
    (code, Json(json!({ "error": what }))).into_response()
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<i64>,
    Query(query): Query<HashMap<String, String>>,
    request: Request,
) -> Response {
    let web = &shared.web;
    let Some(token) = query.get("token") else {
        return wrong(StatusCode::BAD_REQUEST, "no token provided");
    };
    let own = web.event_sources.iter().find(|source| source.id == Some(id));
    let source = own.or_else(|| web.event_sources.iter().find(|source| source.id.is_none()));
    let Some(source) = source.filter(|source| source.token.is(token)) else {
        return wrong(StatusCode::FORBIDDEN, "error");
    };
    let mut events = match read_body(&shared, request).await {
        Ok(events) => events,
        Err(answer) => return answer,
    };
    events.retain(|event| event.attempt != Attempt::Failed || !source.asks_about_failures);
    match web.db.record_events(&source.coordinator, &events, web.clock.now()).await {
        Ok(noted) => {
            tracing::debug!(
                coordinator = source.coordinator,
                events = events.len(),
                new = noted.new,
                builds = noted.changed,
                "build states updated"
            );
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => {
            tracing::error!("events of builds cannot be recorded: {:#}", anyhow::Error::from(error));
            wrong(StatusCode::INTERNAL_SERVER_ERROR, "could not process events")
        }
    }
}

/// Reads the body of a request with a valid token.
async fn read_body(shared: &Shared, request: Request) -> Result<Vec<NewEvent>, Response> {
    let late = |_| wrong(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time");
    let busy = |_| wrong(StatusCode::SERVICE_UNAVAILABLE, "too many requests are being read");
    if request.body().size_hint().lower() > LARGEST as u64 {
        let fault = format!("the body is larger than {LARGEST} bytes: send fewer items at a time");
        return Err(wrong(StatusCode::PAYLOAD_TOO_LARGE, &fault));
    }
    let turn = timeout(BODY_TIME, Arc::clone(&shared.bodies.0).acquire_owned()).await;
    let turn = turn.map_err(busy)?;
    let body = timeout(BODY_TIME, Bytes::from_request(request, &())).await.map_err(late)?;
    let body = body.map_err(|refusal| wrong(refusal.status(), &refusal.body_text()))?;
    // If the peer disconnects, parsing still runs to its end, and keeps its permit until then.
    let reading = move || {
        let _turn = turn;
        read(&body)
    };
    let read = spawn_blocking(reading).await;
    let failed = |_| wrong(StatusCode::INTERNAL_SERVER_ERROR, "could not process events");
    read.map_err(failed)?.map_err(|fault| wrong(StatusCode::BAD_REQUEST, &fault))
}

/// Reads all events or none: after an error, the request is sent again as a whole.
fn read(body: &[u8]) -> Result<Vec<NewEvent>, String> {
    let json: Value = serde_json::from_slice(body).map_err(|_| "could not parse body as JSON".to_owned())?;
    let items = json.get("items").and_then(Value::as_array).ok_or("missing items key")?;
    if items.is_empty() {
        return Err("no items to process".to_owned());
    }
    if items.len() > MOST_ITEMS {
        return Err(format!("more than {MOST_ITEMS} items"));
    }
    let mut ignored = 0;
    let mut example = String::new();
    let mut events = Vec::with_capacity(items.len());
    for (number, item) in items.iter().enumerate() {
        let fault = |what: &str| format!("item {number}: {what}");
        let word = |name: &str| item.get(name).and_then(Value::as_str);
        if word("type") != Some("build") {
            (ignored, example) = (ignored + 1, format!("item {number} is not about a build"));
            continue;
        }
        let event = word("event").ok_or_else(|| fault("no event"))?;
        let Some(attempt) = Attempt::of_word(event) else {
            let event: String = event.chars().take(LONGEST_NAME).collect();
            (ignored, example) = (ignored + 1, format!("unknown event `{}`", sanitize(&event)));
            continue;
        };
        let derivation = word("derivation").ok_or_else(|| fault("no derivation"))?;
        let path = StorePath::parse(derivation.as_bytes()).map_err(|error| fault(&error.to_string()))?;
        let name = item.get("build_id").and_then(name).ok_or_else(|| fault("no build_id"))?;
        let happened_at = item.get("timestamp").and_then(seconds);
        let build = BuildRef::Derivation(path.hash_text());
        events.push(NewEvent { build, reference: name, attempt, happened_at });
    }
    if ignored > 0 {
        tracing::warn!(ignored, "events ignored, for example: {example}");
    }
    Ok(events)
}

/// The name of a build: a string, or a number.
fn name(value: &Value) -> Option<String> {
    let name = value
        .as_str()
        .map_or_else(|| value.as_i64().map(|number| number.to_string()), |text| Some(text.into()));
    name.filter(|name| !name.is_empty() && name.len() <= LONGEST_NAME && !name.contains(char::is_control))
}

/// Seconds since 1970; `None` if the number is not plausible.
#[expect(clippy::cast_possible_truncation, reason = "the fraction of a second is not kept")]
fn seconds(value: &Value) -> Option<i64> {
    let sensible = |number: &f64| (0.0..1e11).contains(number);
    value.as_f64().filter(sensible).map(|number| number as i64)
}
