//! View models: one value for each answer of a command, of the API and of a page.
//!
//! A view is a plain struct that is computed from rows by a pure function, so a figure is computed in
//! one place, whoever shows it. `cli` and `web` serialize views, and make text and pages of them.
//! `Rows` are what a view is computed from; where that takes several queries, `Rows::load` makes
//! them.
//!
//! The fields of a view are the keys of its JSON, and are declared in alphabetical order: keys are
//! written in the order of declaration. What `domain` keeps in another order is serialized with
//! `sorted`; an exception says why.
//!
//! Imports `domain`, the row types of `db`, `clock` and the formats of `guix`.

/// Tokens, what people changed, and what they paused.
pub mod access;
/// Builds that await approval.
pub mod approval;
/// Builds, and failed builds that others wait for.
pub mod build;
/// The channels of an evaluation as Guix reads them.
pub mod channels;
/// Spec files that were checked.
pub mod check;
/// Coordinators, and what they have.
pub mod coordinator;
/// Two evaluations compared.
pub mod diff;
/// Whether an installation is as it should be.
pub mod doctor;
/// Evaluations and their errors.
pub mod evaluation;
/// What people call evaluations: a number, a commit, a spec, a branch or a date.
pub mod evaluation_ref;
/// Why a job is queued, or is not.
pub mod explanation;
/// Jobs that began to fail, still fail or were fixed.
pub mod failures;
/// Of which spec and system something is shown.
pub mod filter;
/// What is kept, and what is removed.
pub mod gc;
/// A job or package over time.
pub mod history;
/// The machines of the farm.
pub mod host;
/// What a change to a working tree rebuilds.
pub mod impact;
/// What an evaluation finds, as it is found.
pub mod listing;
/// The state of the farm for Prometheus.
pub mod metrics;
/// Pushes to branches.
pub mod push;
/// The state and the problems of the farm.
pub mod status;
/// What does not work, or waits for a person.
pub mod trouble;
/// Whether branches may be merged into their bases.
pub mod verdict;
/// What is wrong with the database.
pub mod verify;

use serde::ser::Error as _;
use serde::{Serialize, Serializer};

/// Serializes a value with its keys in alphabetical order, at every depth.
fn sorted<T: Serialize, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serde_json::to_value(value).map_err(S::Error::custom)?.serialize(serializer)
}
