//! Specs, revisions, jobs and plans: pure functions and values, no I/O, no tokio.
//!
//! Imports nothing but itself and the formats of `guix`. Owns no table.

/// Permissions, and the actions that the audit log records.
pub mod access;
/// Attempts at a build, and what they mean for the build.
pub mod attempt;
/// The states of a build.
pub mod build;
/// How much of an evaluation substitute servers have.
pub mod coverage;
/// Counts of derivations that depend on others.
pub mod dependents;
/// Comparison of two evaluations of one spec and system.
pub mod diff;
/// Why a job is queued, or is not.
pub mod explanation;
/// Which jobs began to fail, still fail, and fail no more.
pub mod failures;
/// The metadata of a job.
pub mod job;
/// What to submit next, in which order.
pub mod plan;
/// Which evaluations of a spec are kept.
pub mod retention;
/// The set of channel commits that is evaluated together.
pub mod revision;
/// What an admin wrote about a branch: read from TOML with positions, resolved into a [`spec::Spec`].
pub mod spec;
/// Whether a branch may be merged into its base.
pub mod verdict;
