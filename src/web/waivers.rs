//! Waivers: what does not count against a branch, because somebody answers for it.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse as _, Response};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::Shared;
use super::action::{Answer, number};
use super::action_body::{ActionBody, Body};
use super::caller::Caller;
use super::problem::Problem;
use crate::farm::actions::WantedWaiver;
use crate::view::page::Items;
use crate::view::verdict::Waiver;

/// The body of a request for a waiver. A form has only texts.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WaiverBody {
    /// The code of the reason that is waived.
    reason: String,
    /// A pattern of names of jobs.
    job: String,
    /// Only for this system.
    system: String,
    /// Why it is waived.
    why: String,
    /// For how many days.
    days: Value,
    /// The page to redirect to.
    #[schemars(skip)]
    back: String,
}

pub(super) async fn list(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    let rows = shared.web.db.waivers(shared.web.clock.now()).await?;
    let items: Vec<Waiver<'_>> = rows.iter().map(Waiver::new).collect();
    Ok(Json(&Items { items }).into_response())
}

pub(super) async fn create(
    State(farm): State<Arc<Shared>>,
    Extension(by): Extension<Caller>,
    Path(name): Path<String>,
    Body(body): Body<WaiverBody>,
) -> Answer {
    let days = match &body.days {
        Value::String(text) => text.parse().ok(),
        other => other.as_i64(),
    };
    let wanted = WantedWaiver {
        reason: &body.reason,
        job: &body.job,
        system: ActionBody::word(&body.system),
        why: &body.why,
        days: days.unwrap_or(0),
    };
    let text = farm.actions(&by).waive(&name, &wanted).await?;
    Ok(farm.done(text, ActionBody { back: body.back, ..ActionBody::default() }))
}

pub(super) async fn end(
    State(farm): State<Arc<Shared>>,
    Extension(by): Extension<Caller>,
    Path(id): Path<String>,
    Body(given): Body<ActionBody>,
) -> Answer {
    Ok(farm.done(farm.actions(&by).end_waiver(number(&id)).await?, given))
}
