//! The pages: the farm in a browser.
//!
//! A page depends only on its URL and the database, and works without scripts. Our one script
//! repeats the request when something has happened, and updates the page. Pages show the same as
//! commands with `--json`: both are made from `view`. Each page starts with a sentence that answers
//! its question; problems come first.
//!
//! Names and messages come from evaluated code, repositories and servers. Templates show them only
//! as [`clean::Clean`], and escape them. The headers let a page load only our own style sheet,
//! script and pictures.

pub(super) mod admin;
pub(super) mod build;
pub(super) mod builds;
mod chart;
mod clean;
pub(super) mod compare;
pub(super) mod coverage;
pub(super) mod derivation;
mod difference;
pub(super) mod errors;
pub(super) mod evaluation;
pub(super) mod farm;
pub(super) mod feed;
mod figure;
mod frame;
pub(super) mod help;
pub(super) mod job;
mod link;
pub(super) mod login;
pub(super) mod overview;
pub(super) mod package;
pub(super) mod pushes;
pub(super) mod queue;
mod response;
mod shape;
pub(super) mod spec;
pub(super) mod specs;
pub(super) mod verdict;

use std::path::PathBuf;

pub(super) use frame::asset;
pub(super) use link::{build as build_page, evaluation as evaluation_page, query, spec as spec_page};
pub(super) use response::as_page;

use crate::domain::plan::route::Routes;

/// Settings of pages and the API.
#[derive(Debug, Clone, Default)]
pub struct Pages {
    /// The configured coordinators.
    pub routes: Routes,
    /// The directory of logs of builds on this machine.
    pub logs: PathBuf,
}
