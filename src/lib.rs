//! Gorget: the part of a Guix build farm above the builders.
//!
//! It watches Git branches, evaluates each new revision with Guix in a sandbox, works out which
//! derivations are new, and queues exactly those at a build coordinator. `ARCHITECTURE.md` is the
//! map; the page of each module says what lives there and what it may import.

/// One file per command.
pub mod cli;
/// The only place that reads the time.
pub mod clock;
/// `gorget.toml`.
pub mod config;
/// The only place with SQL.
pub mod db;
/// Specs, revisions, jobs and plans: pure, no I/O.
pub mod domain;
/// One evaluation of a revision in a sandbox.
pub mod evaluator;
/// What all steps share, on one host and across the hosts of a farm.
pub mod farm;
/// Channels' repositories: listing, mirrors, authentication, dependencies, checkouts.
pub mod git;
/// Guix's own formats and protocols.
pub mod guix;
/// The only place that starts processes.
pub mod sandbox;
/// The reconcilers, in the order in which work flows through them.
pub mod steps;
/// Logs.
pub mod telemetry;
/// View models: one value for each answer, computed from rows.
pub mod view;
/// The HTTP server: store items as substitutes, and events of coordinators.
pub mod web;
