//! View models: one value for each answer of a command, of the API or of a page.
//!
//! A view is a plain struct that a pure function computes from rows. So a figure is computed in one
//! place, and shown in several. `cli` and `web` serialize views, and make text and pages of them. A
//! view is computed from its `Rows`; if these take several queries, `Rows::load` makes them.
//!
//! The fields of a view are the keys of its JSON. They are declared in alphabetical order, because
//! keys are written in the order of declaration. Types of `domain` with another order are
//! serialized with `sorted`; each exception has its reason.
//!
//! This module imports `domain`, the row types of `db`, `clock` and the formats of `guix`.

/// Tokens, the audit log, and pauses.
pub mod access;
/// Builds that await approval.
pub mod approval;
/// Builds, and failed builds that other builds wait for.
pub mod build;
/// One build, its life, and what it has to do with other builds.
pub mod build_report;
/// The channel file of an evaluation.
pub mod channels;
/// Checked spec files.
pub mod check;
/// Coordinators and their builds.
pub mod coordinator;
/// How much substitute servers have.
pub mod coverage;
/// The objects of Cuirass's API.
pub mod cuirass;
/// One derivation, and the jobs and builds that have it.
pub mod derivation;
/// Comparisons of two evaluations.
pub mod diff;
/// Checks of an installation.
pub mod doctor;
/// The errors of an evaluation, a part at a time.
pub mod errors;
/// Evaluations and their errors.
pub mod evaluation;
/// Names of evaluations: a number, a commit, a spec, a branch or a date.
pub mod evaluation_ref;
/// Why a job is queued or not.
pub mod explanation;
/// Jobs that started to fail, still fail or were fixed.
pub mod failures;
/// Selects what is shown by spec and system.
pub mod filter;
/// Evaluations that are kept, and the result of a sweep.
pub mod gc;
/// A job or package over time.
pub mod history;
/// The machines of the farm.
pub mod host;
/// Which rebuilds a change to a working tree causes.
pub mod impact;
/// The results of an evaluation while it runs.
pub mod listing;
/// The state of the farm for Prometheus.
pub mod metrics;
/// A package or job over specs and systems.
pub mod package;
/// Lists, and parts of long ones.
pub mod page;
/// Pushes to branches.
pub mod push;
/// The specs, and how each stands.
pub mod spec;
/// The state and the problems of the farm.
pub mod status;
/// Problems, and decisions that a person has to make.
pub mod trouble;
/// Whether branches may be merged into their bases.
pub mod verdict;
/// Inconsistencies of the database.
pub mod verify;

use serde::ser::Error as _;
use serde::{Serialize, Serializer};

/// Serializes a value with its keys in alphabetical order, at every depth.
fn sorted<T: Serialize, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serde_json::to_value(value).map_err(S::Error::custom)?.serialize(serializer)
}
