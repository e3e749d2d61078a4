//! Webhooks: `POST /hooks/NAME`, where a forge reports pushes.
//!
//! # Guarantees
//!
//! * Nothing of a body is read before its signature is checked, over the bytes as they came.
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
use axum::body::{Bytes, HttpBody as _, to_bytes};
use axum::extract::{Path as UrlPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::Shared;
use super::caller::origin;
use super::problem::Problem;
use crate::clock::Seconds;
use crate::config::HookKind;
use crate::domain::access::{Author, Role};
use crate::farm::actions::{Actions, ReportedPush};
use signature::Secrets;

/// The largest body, in bytes.
const LARGEST: usize = 5 << 20;
/// How many bodies are read at the same time.
const AT_ONCE: usize = 8;
/// The time limit for receiving a body, and for waiting to be read.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Most deliveries to one webhook in a second.
const MOST_IN_A_SECOND: u32 = 10;

/// A webhook, with its secrets.
#[derive(Debug)]
pub struct Hook {
    /// The name in its address.
    name: String,
    kind: HookKind,
    secrets: Secrets,
    /// The second of the newest delivery, and how many there were in it.
    recent: Mutex<(Seconds, u32)>,
}

impl Hook {
    /// The webhook `name` with the secrets in a file, one in each line.
    pub fn load(name: &str, kind: HookKind, secrets: &Path) -> anyhow::Result<Self> {
        Ok(Self { name: name.to_owned(), kind, secrets: Secrets::load(secrets)?, recent: Mutex::default() })
    }

    /// Counts a delivery; false if there are too many.
    fn admits(&self, now: Seconds) -> bool {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let count = if recent.0 == now { recent.1 + 1 } else { 1 };
        *recent = (now, count);
        count <= MOST_IN_A_SECOND
    }
}

/// Limits how many bodies are read at the same time.
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
    let (head, delivery) = read(&shared, place, request, now).await?;
    let Delivery { id, push } = delivery.inspect_err(|problem| {
        tracing::info!(hook = hook.name, "webhook delivery refused: {}", problem.detail);
    })?;
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
    match actions.report_push((&hook.name, id.as_deref()), &push).await? {
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
    request: Request,
    now: Seconds,
) -> Result<(Parts, Result<Delivery, Problem>), Problem> {
    let too_large = || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 5 MiB");
    if request.body().size_hint().lower() > LARGEST as u64 {
        return Err(too_large());
    }
    let busy = |_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many deliveries are being read");
    let late = |_| Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time");
    let turn = timeout(BODY_TIME, Arc::clone(&shared.hook_bodies.0).acquire_owned()).await.map_err(busy)?;
    let (parts, body) = request.into_parts();
    let body = timeout(BODY_TIME, to_bytes(body, LARGEST)).await.map_err(late)?.map_err(|_| too_large())?;
    let (shared, headers) = (Arc::clone(shared), parts.headers.clone());
    // If the peer disconnects, this still runs to its end, and keeps its permit until then.
    let judged = spawn_blocking(move || {
        let _turn = turn;
        judge(&shared.web.hooks[place], &headers, &body, now)
    });
    Ok((parts, judged.await?))
}

fn judge(hook: &Hook, headers: &HeaderMap, body: &Bytes, now: Seconds) -> Result<Delivery, Problem> {
    let id = signature::check(hook.kind, &hook.secrets, headers, body, now)
        .map_err(|wrong| Problem::new(StatusCode::UNAUTHORIZED, wrong))?;
    let push = payload::read(hook.kind, headers, body).map_err(|error| {
        let hint = "hint: let the forge send JSON (application/json)";
        Problem::new(StatusCode::BAD_REQUEST, format!("cannot read the body: {error}\n{hint}"))
    })?;
    Ok(Delivery { id, push })
}
