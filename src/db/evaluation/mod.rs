//! Evaluations: requests, leases, and recording of the results.
//!
//! Tables: `evaluation`, `evaluation_error`, `revision`.

pub(in crate::db) mod batch;
pub(in crate::db) mod describe;
pub(in crate::db) mod errors;
pub(in crate::db) mod evaluations;
pub(in crate::db) mod finish;
pub(in crate::db) mod lease;
pub(in crate::db) mod record;
pub(in crate::db) mod request;
pub(in crate::db) mod retry;
pub(in crate::db) mod task;
