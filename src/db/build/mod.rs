//! Builds: what is wanted, where it is made, and what came of it.
//!
//! Tables: `build`, `build_event`, `failed_derivation`, `plan`, `substitute_answer`, `substitute_server`.

#[macro_use]
pub(in crate::db) mod failed;
#[macro_use]
pub(in crate::db) mod builds;
#[macro_use]
pub(in crate::db) mod guard;
pub(in crate::db) mod blockers;
pub(in crate::db) mod event;
pub(in crate::db) mod explain;
pub(in crate::db) mod failures;
pub(in crate::db) mod free;
pub(in crate::db) mod gc_roots;
pub(in crate::db) mod graph;
pub(in crate::db) mod inputs;
pub(in crate::db) mod leave;
pub(in crate::db) mod live;
pub(in crate::db) mod others;
pub(in crate::db) mod outbox;
pub(in crate::db) mod route;
pub(in crate::db) mod snapshot;
pub(in crate::db) mod substitutes;
pub(in crate::db) mod timeouts;
pub(in crate::db) mod transition;
pub(in crate::db) mod wanted;
