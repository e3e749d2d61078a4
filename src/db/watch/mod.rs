//! Specs, branches, pushes and mirrors.
//!
//! Tables: `spec`, `branch`, `push`, `mirror`, `blocked_spec`, `hook_delivery`.

pub(in crate::db) mod blocked_spec;
pub(in crate::db) mod branch;
pub(in crate::db) mod forget;
pub(in crate::db) mod hook;
pub(in crate::db) mod mirror;
pub(in crate::db) mod push;
pub(in crate::db) mod spec;
