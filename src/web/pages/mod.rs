//! The pages: the farm in a browser.
//!
//! A page is a function of its URL and of the database, and needs no script: one of ours makes the
//! same request again when something happened, and shows what came. What it shows is what
//! the commands say with `--json`: both are made from `view`. Each page begins with a sentence that
//! answers its question; what is wrong comes first.
//!
//! Names and messages come from evaluated code, repositories and servers. Templates show them as
//! [`clean::Clean`] only, and escape them. The headers let a page load our own style sheet and
//! nothing else, and run nothing.

pub(super) mod admin;
mod clean;
pub(super) mod compare;
mod difference;
pub(super) mod evaluation;
pub(super) mod farm;
mod figure;
mod frame;
pub(super) mod help;
pub(super) mod job;
mod link;
pub(super) mod login;
pub(super) mod overview;
pub(super) mod queue;
mod response;
mod shape;
pub(super) mod spec;
pub(super) mod verdict;

use std::path::PathBuf;

pub(super) use frame::asset;
pub(super) use response::as_page;

use crate::domain::plan::route::Routes;

/// What pages and the API show beside the database.
#[derive(Debug, Clone, Default)]
pub struct Pages {
    /// Which coordinators there are.
    pub routes: Routes,
    /// Where this machine keeps logs of builds.
    pub logs: PathBuf,
}
