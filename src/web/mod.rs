//! What `gorget run` serves over HTTP: pages, an API, derivations as substitutes, and a place for a
//! coordinator's events.
//!
//! Whoever can reach it may fetch derivations. Pages and the API take a token, but for reading where
//! `anonymous` in the configuration permits that; `routes` says which role. A coordinator has a token
//! of its own.
//!
//! Everything that a peer can use up is limited: connections, time, the memory of large answers and of bodies.

mod action;
mod api;
mod asked;
mod caller;
mod connections;
mod derivations;
mod events;
mod finish;
mod given;
mod health;
mod listener;
mod live;
mod memory;
mod paced;
mod pages;
mod problem;
mod rate;
mod route;
mod routes;
mod slots;
mod token;

use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use rustix::process::{Resource, getrlimit};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use events::EventSource;
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
    /// What pages and the API show beside the database.
    pub pages: Pages,
    /// Whether pages and the API show anything to whoever has no token.
    pub anonymous: bool,
    /// Whom to wake when somebody changed something.
    pub bells: Bells,
}

impl Web {
    /// Serves a database without a key, to nobody without a token.
    pub fn new(db: Db, clock: Clock) -> Self {
        let (pages, bells) = (Pages::default(), Bells::default());
        Self { db, clock, key: None, tellers: Vec::new(), pages, anonymous: false, bells }
    }
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
    live: live::Live,
    /// What programs can ask for.
    api: Vec<Route>,
}

impl Shared {
    fn pages(&self) -> Pages {
        self.web.pages.clone()
    }

    fn routes(&self) -> Routes {
        self.pages().routes
    }

    /// The database as it is now, for an answer that is put together from several questions.
    async fn moment(&self) -> db::Result<Db> {
        self.web.db.at_one_moment().await
    }
}

/// Answers requests until `stop` is cancelled, and then those that are under way, for some seconds.
pub async fn serve(listener: Listener, web: Web, stop: CancellationToken) -> anyhow::Result<()> {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let slots = Slots::new(Limits::of_files(files));
    let shared = Arc::new(Shared {
        web,
        slots: Arc::clone(&slots),
        memory: memory::Memory::default(),
        bodies: events::BodyBudget::default(),
        page_turns: Semaphore::new(PAGES_AT_ONCE),
        live: live::Live::new(stop.clone()),
        api: routes().into_iter().filter(|route| [Kind::Api, Kind::Stream].contains(&route.kind)).collect(),
    });
    let router = routes::router(&shared).with_state(Arc::clone(&shared));
    let follow = shared.live.follow(&shared.web.db);
    tokio::join!(follow, connections::serve(listener, router, slots, stop));
    Ok(())
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
    #[error(transparent)]
    Io(#[from] std::io::Error),
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
