//! What happened, and what people changed.
//!
//! Tables: `event_log`, `audit`.

pub(in crate::db) mod audit;
pub(in crate::db) mod event_log;
