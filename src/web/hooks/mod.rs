//! Webhooks: `POST /hooks/NAME`, where a forge reports pushes.
//!
//! # Guarantees
//!
//! * Nothing of a body is read before its signature is checked, over the bytes as they came.
//! * Without the header of a signature, no body is received. Small bodies wait for no other ones, so
//!   whoever sends large ones slowly keeps no push out.
//! * A report only says which branch to poll, and only branches that specs name are polled. What the
//!   branch is at comes from the repository. So a forged or lost report changes no result.
//! * A sender without a secret learns nothing. One with a secret learns of a repository only
//!   whether a spec names it.
//!
//! # Design
//!
//! A delivery is known by the id that the forge gave it. Where neither id nor time is signed,
//! whoever has overheard a delivery can repeat it under another id, and causes a poll by that.

mod payload;
mod signature;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::body::{Body, BodyDataStream, HttpBody as _};
use axum::extract::{Path as UrlPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::Shared;
use super::caller::origin;
use super::problem::Problem;
use crate::clock::Seconds;
use crate::config::HookKind;
use crate::domain::access::{Author, Role};
use crate::farm::actions::{Actions, Refusal, ReportedPush};
use signature::Secrets;

/// The largest body, in bytes.
const LARGEST: usize = 5 << 20;
/// The largest body that is received without a turn, in bytes: larger ones are rare.
const SMALL: usize = 256 << 10;
/// How many larger bodies are received at the same time.
const AT_ONCE: usize = 8;
/// The time limits for receiving a body up to `SMALL`, for waiting for a turn, and for the rest.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Most deliveries to one webhook in a second.
const MOST_IN_A_SECOND: u32 = 10;
/// How long, after a refused delivery was logged, no other one to the same webhook is.
const QUIET: Seconds = 60;

/// A webhook, with its secrets.
#[derive(Debug)]
pub struct Hook {
    /// The name in its address.
    name: String,
    kind: HookKind,
    secrets: Secrets,
    /// The second of the newest delivery, and how many there were in it.
    recent: Mutex<(Seconds, u32)>,
    /// When a refused delivery was logged.
    logged_at: Mutex<Option<Seconds>>,
}

impl Hook {
    /// The webhook `name` with the secrets in a file, one in each line.
    pub fn load(name: &str, kind: HookKind, secrets: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            kind,
            secrets: Secrets::load(kind, secrets)?,
            recent: Mutex::default(),
            logged_at: Mutex::default(),
        })
    }

    /// Logs why a delivery is refused, unless another one was logged in the last minute: anybody can
    /// send such deliveries.
    fn log_refusal(&self, problem: &Problem, now: Seconds) {
        let mut logged_at = self.logged_at.lock().unwrap_or_else(PoisonError::into_inner);
        if logged_at.is_none_or(|at| now.abs_diff(at) >= QUIET.unsigned_abs()) {
            *logged_at = Some(now);
            tracing::info!(hook = self.name, "webhook delivery refused: {}", problem.detail);
        }
    }

    /// Counts a delivery; false if there are too many.
    fn admits(&self, now: Seconds) -> bool {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let count = if recent.0 == now { recent.1 + 1 } else { 1 };
        *recent = (now, count);
        count <= MOST_IN_A_SECOND
    }
}

/// Limits how many large bodies are received at the same time.
#[derive(Debug)]
pub(super) struct HookBudget(Arc<Semaphore>);

impl Default for HookBudget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

/// What a delivery that is signed says.
struct Delivery {
    /// The sender's id for it.
    id: Option<String>,
    /// The push that it reports; `None` if it is about something else.
    push: Option<ReportedPush>,
}

pub(super) async fn receive(
    State(shared): State<Arc<Shared>>,
    UrlPath(name): UrlPath<String>,
    request: Request,
) -> Result<Response, Problem> {
    let Some(place) = shared.web.hooks.iter().position(|hook| hook.name == name) else {
        return Err(Problem::missing("there is no such webhook"));
    };
    let (hook, now) = (&shared.web.hooks[place], shared.web.clock.now());
    let (head, body) = request.into_parts();
    let delivery = read(&shared, place, (&head, body), now).await;
    let Delivery { id, push } = delivery.inspect_err(|problem| hook.log_refusal(problem, now))?;
    if !hook.admits(now) {
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many deliveries in one second"));
    }
    let Some(push) = push else { return Ok(StatusCode::NO_CONTENT.into_response()) };
    let author = Author {
        name: format!("hook:{}", hook.name),
        role: Role::Trigger,
        specs: Vec::new(),
        origin: origin(&head),
    };
    let actions = Actions { db: &shared.web.db, author: &author, now };
    let reported = actions.report_push((&hook.name, id.as_deref()), &push).await;
    if let Err(Refusal::Missing(reason)) = &reported {
        let urls = push.urls.join(" or ");
        tracing::info!(hook = hook.name, "webhook delivery refused: {reason}: {urls}");
    }
    match reported? {
        None => Ok((StatusCode::OK, Json(json!({ "done": "this was delivered before" }))).into_response()),
        Some(number) => {
            shared.web.bells.watch.ring();
            Ok((StatusCode::ACCEPTED, Json(json!({ "delivery": number }))).into_response())
        }
    }
}

/// Receives the body of a delivery, checks its signature and reads it.
async fn read(
    shared: &Arc<Shared>,
    place: usize,
    (head, body): (&Parts, Body),
    now: Seconds,
) -> Result<Delivery, Problem> {
    if !signature::is_signed_at_all(shared.web.hooks[place].kind, &head.headers) {
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "the delivery is not signed"));
    }
    if body.size_hint().lower() > LARGEST as u64 {
        return Err(too_large());
    }
    let (body, turn) = receive_body(shared, body).await?;
    let (shared, headers) = (Arc::clone(shared), head.headers.clone());
    // If the peer disconnects, this still runs to its end, and keeps its permit until then.
    let judged = spawn_blocking(move || {
        let _turn = turn;
        judge(&shared.web.hooks[place], &headers, &body, now)
    });
    judged.await?
}

fn too_large() -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 5 MiB")
}

/// Receives a body. A large one takes a turn.
async fn receive_body(
    shared: &Shared,
    body: Body,
) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), Problem> {
    let busy = |_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many deliveries are being read");
    let late = |_| Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time");
    let (mut body, mut bytes) = (body.into_data_stream(), Vec::new());
    timeout(BODY_TIME, receive_until(&mut body, &mut bytes, SMALL)).await.map_err(late)??;
    if bytes.len() <= SMALL {
        return Ok((bytes, None));
    }
    let turn = timeout(BODY_TIME, Arc::clone(&shared.hook_bodies.0).acquire_owned()).await.map_err(busy)?;
    timeout(BODY_TIME, receive_until(&mut body, &mut bytes, LARGEST)).await.map_err(late)??;
    if bytes.len() > LARGEST { Err(too_large()) } else { Ok((bytes, turn.ok())) }
}

/// Receives a body until its end, or until there is more of it than `most`.
async fn receive_until(body: &mut BodyDataStream, bytes: &mut Vec<u8>, most: usize) -> Result<(), Problem> {
    while bytes.len() <= most
        && let Some(part) = body.next().await
    {
        let broken = |_| Problem::new(StatusCode::BAD_REQUEST, "the body is incomplete");
        bytes.extend_from_slice(&part.map_err(broken)?);
    }
    Ok(())
}

fn judge(hook: &Hook, headers: &HeaderMap, body: &[u8], now: Seconds) -> Result<Delivery, Problem> {
    let id = signature::check(hook.kind, &hook.secrets, headers, body, now)
        .map_err(|wrong| Problem::new(StatusCode::UNAUTHORIZED, wrong))?;
    let push = payload::read(hook.kind, headers, body).map_err(|error| {
        let hint = "hint: let the forge send JSON (application/json)";
        Problem::new(StatusCode::BAD_REQUEST, format!("cannot read the body: {error}\n{hint}"))
    })?;
    Ok(Delivery { id, push })
}
