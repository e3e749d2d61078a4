//! Health checks for supervisors and monitors: whether this process serves, whether it is ready,
//! and metrics of the farm and of this process.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use tokio::time::timeout;

use super::Shared;
use super::problem::Problem;
use crate::telemetry::counters;
use crate::view::filter::Filter;
use crate::view::metrics::{self, MetricRows};
use crate::view::status::Rows;

/// The time limit for the database to answer.
const LIMIT: Duration = Duration::from_secs(5);
/// The content type of the metrics.
const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers as long as this process serves.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// Checks that the database answers and that a host schedules.
pub(super) async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    let refuse = |text: String| (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    let now = shared.web.clock.now();
    match timeout(LIMIT, shared.web.db.hosts()).await {
        Err(_) => refuse(format!("the database does not answer within {} s\n", LIMIT.as_secs())),
        // Anybody may send this request, so the details are only logged.
        Ok(Err(error)) => {
            tracing::warn!("not ready: {error}");
            refuse("the database fails\n".to_owned())
        }
        Ok(Ok(hosts)) if hosts.iter().any(|host| host.schedules && !host.is_silent(now)) => {
            "ready\n".into_response()
        }
        Ok(Ok(_)) => refuse("no host schedules\n".to_owned()),
    }
}

/// Metrics of the farm.
pub(super) async fn metrics(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    let (db, now) = (&shared.moment().await?, shared.web.clock.now());
    let rows = Rows::load(db, shared.routes(), &Filter::default(), 0, now).await?;
    let metric_rows = MetricRows::load(db).await?;
    let mut registry = metrics::registry();
    counters::register(&mut registry);
    let Ok(text) = metrics::text(registry, &rows, &metric_rows, now) else {
        return Ok(StatusCode::INTERNAL_SERVER_ERROR.into_response());
    };
    Ok(([(CONTENT_TYPE, FORMAT)], text).into_response())
}
