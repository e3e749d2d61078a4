//! The HTTP server of `gorget run`: pages, an API, derivations as substitutes, and an endpoint for
//! events of coordinators.
//!
//! Every client that can reach the server may fetch derivations. Pages and the API need a token,
//! except for reading if `anonymous` in the configuration permits that; `routes` has the role for
//! each route. A coordinator has a token of its own.
//!
//! Every resource that a peer can use up is limited: connections, time, and the memory of large
//! answers and of bodies.

mod action;
mod action_body;
mod api;
mod builds;
mod caller;
mod connections;
mod count;
mod coverage;
mod cuirass;
mod derivations;
mod entry;
mod events;
mod finish;
mod health;
mod hooks;
mod listener;
mod lists;
mod live;
mod memory;
mod openapi;
mod paced;
mod packages;
mod pages;
mod problem;
mod query_filters;
mod rate;
mod route;
mod routes;
mod slots;
mod token;
mod waivers;

use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use rustix::process::{Resource, getrlimit};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use events::EventSource;
pub use hooks::Hook;
pub use listener::Listener;
pub use pages::Pages;
pub use route::{Kind, Route};
pub use routes::routes;
pub use token::Token;

use crate::clock::Clock;
use crate::db::{self, Db};
use crate::domain::plan::route::Routes;
use crate::farm::bell::Bells;
use crate::guix::signature::{SigningError, SigningKey};
use crate::guix::store_path::StorePath;
use slots::{Limits, Slots};

/// How many pages and answers of the API are made at the same time. SQLite has four connections
/// that read.
const PAGES_AT_ONCE: usize = 2;

/// The data and settings of the server.
#[derive(Debug)]
pub struct Web {
    /// The database.
    pub db: Db,
    /// The clock.
    pub clock: Clock,
    /// The signing key; without one, narinfos have no signature.
    pub key: Option<SigningKey>,
    /// The coordinators that may report events.
    pub event_sources: Vec<EventSource>,
    /// The webhooks that forges may send to.
    pub hooks: Vec<Hook>,
    /// Settings of pages and the API.
    pub pages: Pages,
    /// Whether a client without a token may read pages and the API.
    pub anonymous: bool,
    /// The bells to ring after a change.
    pub bells: Bells,
}

impl Web {
    /// Serves `db` without a signing key, and without anonymous reading.
    pub fn new(db: Db, clock: Clock) -> Self {
        let (pages, bells) = (Pages::default(), Bells::default());
        let (event_sources, hooks) = (Vec::new(), Vec::new());
        Self { db, clock, key: None, event_sources, hooks, pages, anonymous: false, bells }
    }
}

/// The state that all requests share.
#[derive(Debug)]
struct Shared {
    web: Web,
    slots: Arc<Slots>,
    memory: memory::Memory,
    bodies: events::BodyBudget,
    hook_bodies: hooks::HookBudget,
    /// Limits how many pages and answers of the API are made at the same time.
    page_turns: Semaphore,
    live: live::Live,
    /// The routes for programs.
    api: Vec<Route>,
}

impl Shared {
    fn pages(&self) -> Pages {
        self.web.pages.clone()
    }

    fn routes(&self) -> Routes {
        self.pages().routes
    }

    /// A snapshot of the database, for an answer that needs several queries.
    async fn moment(&self) -> db::Result<Db> {
        self.web.db.snapshot_view().await
    }
}

/// Serves requests until `stop` is canceled, and then the running ones for some seconds.
pub async fn serve(listener: Listener, web: Web, stop: CancellationToken) -> anyhow::Result<()> {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let slots = Slots::new(Limits::of_files(files));
    let shared = Arc::new(Shared {
        web,
        slots: Arc::clone(&slots),
        memory: memory::Memory::default(),
        bodies: events::BodyBudget::default(),
        hook_bodies: hooks::HookBudget::default(),
        page_turns: Semaphore::new(PAGES_AT_ONCE),
        live: live::Live::new(stop.clone()),
        api: routes().into_iter().filter(|route| [Kind::Api, Kind::Stream].contains(&route.kind)).collect(),
    });
    let router = routes::router(&shared).with_state(Arc::clone(&shared));
    let follow = shared.live.follow(&shared.web.db);
    tokio::join!(follow, connections::serve(listener, router, slots, stop));
    Ok(())
}

/// Why a request fails.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("not found")]
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
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("a task ended early")]
    Task(#[from] tokio::task::JoinError),
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        if matches!(self, Self::NotFound) {
            return (StatusCode::NOT_FOUND, [(CACHE_CONTROL, "max-age=60")], "not found\n").into_response();
        }
        if matches!(self, Self::Busy) {
            let headers = [(RETRY_AFTER, "10")];
            return (StatusCode::SERVICE_UNAVAILABLE, headers, "too many requests for large items\n")
                .into_response();
        }
        tracing::error!("a request failed: {:#}", anyhow::Error::from(self));
        (StatusCode::INTERNAL_SERVER_ERROR, "the farm failed; its log says why\n").into_response()
    }
}
