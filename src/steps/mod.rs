//! The reconcilers, in the order in which work flows through them.
//!
//! Each reads one table, does at most one unit of work, writes the next table in one transaction,
//! and wakes the step after it. Steps import the modules that they build on, and never each other.

/// Reads spec files into the database.
pub mod register;

/// Polls remote branches and records pushes.
pub mod watch;

/// Fetches the targets of specs, authenticates them, and requests their evaluation.
pub mod fetch;

/// Evaluates one revision for one system, and records the results.
pub mod evaluate;

/// Turns the jobs of an evaluation into wanted builds, and plans their order.
pub mod schedule;

/// Asks substitute servers which wanted builds they already have, and what they have of evaluations.
pub mod substitutes;

/// Submits wanted builds to a build coordinator, and tracks their state.
pub mod coordinator;

/// Judges whether branches may be merged into their bases.
pub mod verdict;

/// Removes checkouts, mirrors and old rows that nothing needs.
pub mod collect;
