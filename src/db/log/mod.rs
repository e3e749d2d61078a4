//! The event log and the audit log.
//!
//! Tables: `event_log`, `audit`.

pub(in crate::db) mod audit;
pub(in crate::db) mod event_log;
