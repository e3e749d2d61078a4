//! What `gorget run` serves over HTTP: derivations as substitutes, and a place for a coordinator's
//! events. Whoever can reach it may read; only the events take a token.

mod derivations;
mod events;
mod listener;
mod token;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio_util::sync::CancellationToken;

pub use events::Teller;
pub use listener::Listener;
pub use token::Token;

use crate::clock::Clock;
use crate::db::{self, Db};
use crate::signing::{SigningError, SigningKey};

/// What requests are answered from.
#[derive(Debug)]
pub struct Web {
    /// Where everything stands.
    pub db: Db,
    /// What time it is.
    pub clock: Clock,
    /// What signs; without it, what is served has no signature.
    pub key: Option<SigningKey>,
    /// Who may tell of builds.
    pub tellers: Vec<Teller>,
}

/// Answers requests until `stop` is cancelled, and then those that are under way.
pub async fn serve(listener: Listener, web: Web, stop: CancellationToken) -> anyhow::Result<()> {
    let router = router(web);
    let stopped = stop.cancelled_owned();
    match listener {
        Listener::Socket(listener) => axum::serve(listener, router).with_graceful_shutdown(stopped).await?,
        Listener::Address(listener) => axum::serve(listener, router).with_graceful_shutdown(stopped).await?,
    }
    Ok(())
}

fn router(web: Web) -> Router {
    Router::new()
        .route("/nix-cache-info", get(derivations::cache_info))
        .route("/{file}", get(derivations::narinfo))
        .route("/nar/{item}", get(derivations::nar))
        .merge(events::routes())
        .with_state(Arc::new(web))
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("there is nothing")]
    NotFound,
    #[error(transparent)]
    Db(#[from] db::Error),
    #[error(transparent)]
    Signing(#[from] SigningError),
    #[error("a task ended early")]
    Task(#[from] tokio::task::JoinError),
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        if matches!(self, Self::NotFound) {
            return (StatusCode::NOT_FOUND, [(CACHE_CONTROL, "max-age=60")], "there is nothing here\n")
                .into_response();
        }
        tracing::error!("a request failed: {:#}", anyhow::Error::from(self));
        (StatusCode::INTERNAL_SERVER_ERROR, "the farm failed; its log says why\n").into_response()
    }
}
