use std::time::Instant;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use super::route::Route;
use crate::telemetry::counters;

/// Counts a request, under the path of its route.
pub(super) async fn count(State(route): State<Route>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let response = next.run(request).await;
    counters::request(route.method, &route.path, response.status().as_u16(), begun.elapsed());
    response
}
