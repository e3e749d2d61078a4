//! What `gorget run` serves over HTTP: pages, an API, derivations as substitutes, and a place for a
//! coordinator's events. Whoever can reach it may read, pages and the API only if `anonymous` in the
//! configuration says so; only the events take a token.
//!
//! Everything that a peer can use up is limited: connections, time, the memory of large answers and of bodies.

mod api;
mod asked;
mod connections;
mod derivations;
mod events;
mod finish;
mod listener;
mod memory;
mod paced;
mod pages;
mod rate;
mod slots;
mod token;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rustix::process::{Resource, getrlimit};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use events::EventSource;
pub use listener::Listener;
pub use pages::Pages;
pub use token::Token;

use crate::clock::Clock;
use crate::db::{self, Db};
use crate::domain::plan::route::Routes;
use crate::guix::signature::{SigningError, SigningKey};
use crate::guix::store_path::StorePath;
use slots::{Limits, Slots};

/// How many pages, and answers of the API, are made at the same time. SQLite has four connections that read.
const PAGES_AT_ONCE: usize = 2;

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
    pub tellers: Vec<EventSource>,
    /// What pages and the API show beside the database; without it, there are none.
    pub pages: Option<Pages>,
}

/// What all requests share.
#[derive(Debug)]
struct Shared {
    web: Web,
    slots: Arc<Slots>,
    memory: memory::Memory,
    bodies: events::BodyBudget,
    /// Permission to make a page, or an answer of the API.
    page_turns: Semaphore,
}

impl Shared {
    fn pages(&self) -> Pages {
        self.web.pages.clone().unwrap_or_default()
    }

    fn routes(&self) -> Routes {
        self.pages().routes
    }
}

/// Answers requests until `stop` is cancelled, and then those that are under way, for some seconds.
pub async fn serve(listener: Listener, web: Web, stop: CancellationToken) -> anyhow::Result<()> {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let slots = Slots::new(Limits::of_files(files));
    let router = router(web, Arc::clone(&slots));
    connections::serve(listener, router, slots, stop).await;
    Ok(())
}

fn router(web: Web, slots: Arc<Slots>) -> Router {
    let shared = Arc::new(Shared {
        web,
        slots,
        memory: memory::Memory::default(),
        bodies: events::BodyBudget::default(),
        page_turns: Semaphore::new(PAGES_AT_ONCE),
    });
    let mut read = Router::new();
    if shared.web.pages.is_some() {
        read = pages::routes().merge(api::routes());
        read = read.layer(axum::middleware::from_fn_with_state(Arc::clone(&shared), finish::finish));
    }
    Router::new()
        .route("/nix-cache-info", get(derivations::cache_info))
        .route("/{file}", get(derivations::narinfo))
        .route("/nar/{item}", get(derivations::nar))
        .merge(events::routes())
        .merge(read)
        .with_state(shared)
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("there is nothing")]
    NotFound,
    #[error("too many large store items are being served")]
    Busy,
    #[error(
        "store item corrupt: the contents of {0} have another hash\nhint: `gorget verify` finds all that are"
    )]
    Corrupt(StorePath),
    #[error("store item corrupt: {0} cannot be unpacked: {1}\nhint: `gorget verify` finds all that are")]
    Unreadable(StorePath, std::io::Error),
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
        if matches!(self, Self::Busy) {
            let headers = [(RETRY_AFTER, "10")];
            return (StatusCode::SERVICE_UNAVAILABLE, headers, "too much is being served\n").into_response();
        }
        tracing::error!("a request failed: {:#}", anyhow::Error::from(self));
        (StatusCode::INTERNAL_SERVER_ERROR, "the farm failed; its log says why\n").into_response()
    }
}
