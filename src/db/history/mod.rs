//! Jobs over time: intervals, metadata and comparisons.
//!
//! Tables: `job_interval`, `job_name`, `job_metadata`, `sequence`.

pub(in crate::db) mod diff;
pub(in crate::db) mod interval;
pub(in crate::db) mod job_metadata;
pub(in crate::db) mod jobs;
pub(in crate::db) mod new_outputs;
pub(in crate::db) mod versions;
