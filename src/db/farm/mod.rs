//! The hosts of a farm, and how they wake each other.
//!
//! Tables: `host`, `scheduler_lease`, `term`, `pause`.

#[macro_use]
pub(in crate::db) mod pause;
pub(in crate::db) mod host;
pub(in crate::db) mod notify;
pub(in crate::db) mod term;
