//! The pages: the farm in a browser.
//!
//! A page is a function of its URL and of the database, and needs no script. What it shows is what
//! the commands say with `--json`: both are made from `view`. Each page begins with a sentence that
//! answers its question; what is wrong comes first.
//!
//! Names and messages come from evaluated code, repositories and servers. Templates show them as
//! [`clean::Clean`] only, and escape them. The headers let a page load our own style sheet and
//! nothing else, and run nothing.

mod clean;
mod evaluation;
mod farm;
mod figure;
mod frame;
mod help;
mod job;
mod link;
mod overview;
mod queue;
mod response;
mod shape;
mod spec;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use super::Shared;
use crate::domain::plan::route::Routes;

/// What pages and the API show beside the database.
#[derive(Debug, Clone, Default)]
pub struct Pages {
    /// Which coordinators there are.
    pub routes: Routes,
    /// Where this machine keeps logs of builds.
    pub logs: PathBuf,
}

/// The routes of all pages.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/", get(overview::page))
        .route("/specs/{name}", get(spec::page))
        .route("/evaluations/{id}", get(evaluation::page))
        .route("/queue", get(queue::page))
        .route("/jobs", get(job::search))
        .route("/jobs/{spec}/{system}/{job}", get(job::page))
        .route("/farm", get(farm::page))
        .route("/help/states", get(help::page))
        .route("/assets/{file}", get(frame::asset))
}
