//! Specs, revisions, jobs and plans: pure functions and values, no I/O, no tokio.
//!
//! Imports nothing but itself and the formats of `guix`. Owns no table.

/// Who may do what, and what was done by whom.
pub mod access;
/// The attempts to build something, and what follows from them for the build.
pub mod attempt;
/// How far a build is.
pub mod build;
/// How many derivations depend on others.
pub mod dependents;
/// Two evaluations of one spec and system compared.
pub mod diff;
/// Why a job is queued, or is not.
pub mod explanation;
/// Which jobs began to fail, still fail, and fail no more.
pub mod failures;
/// What is known of a job beside its derivation.
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
