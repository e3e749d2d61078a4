//! Gorget: the part of a Guix build farm above the builders.
//!
//! It watches Git branches, evaluates each new revision with Guix in a sandbox, works out which
//! derivations are new, and queues exactly those at a build coordinator. The rooms below stand in
//! the order in which work flows through them; `ARCHITECTURE.md` is the map.

// Words of the domain: pure, no I/O.
/// How far attempts at builds are, and what follows for the build.
pub mod attempt;
/// Two evaluations of one spec and system compared.
pub mod diff;
/// Which jobs began to fail, still do, and do no more.
pub mod failures;
/// A reader for data as people write them for Guile.
pub mod guile;
/// What is known of a job beside its derivation.
pub mod job;
/// What to submit next, in which order.
pub mod plan;
/// Which evaluations of a spec are kept.
pub mod retention;
/// The set of channel commits that is evaluated together.
pub mod revision;
/// A reader for S-expressions with positions and a depth limit.
pub mod sexp;
/// What an admin wrote about a branch: read from TOML with positions, resolved into a [`spec::Spec`].
pub mod spec;
/// What Guix's store is made of: paths, base32, NARs, derivations.
pub mod store;

// Keepers, in flow order.
/// Removes checkouts that nothing needs any more.
pub mod collect;
/// Hands wanted builds to a build coordinator.
pub mod coordinator;
/// Evaluates one revision for one system in a sandbox.
pub mod evaluate;
/// Fetches what specs want evaluated, has it authenticated, and asks for its evaluation.
pub mod fetch;
/// Reads spec files into the database.
pub mod register;
/// Turns the jobs of an evaluation into builds that are wanted.
pub mod schedule;
/// Asks substitute servers which wanted builds they already have.
pub mod substitute;
/// Looks at remote branches and records pushes.
pub mod watch;

// What they stand on.
/// Wakes keepers early.
pub mod bell;
/// Repositories that code comes from: looking, mirrors, authenticity, what they need, checkouts.
pub mod channel;
/// The only place that reads the time.
pub mod clock;
/// `gorget.toml`.
pub mod config;
/// Runs the keepers until told to stop.
pub mod daemon;
/// The only place with SQL.
pub mod db;
/// A store daemon that only records: it answers an evaluator and keeps what that adds.
pub mod eval_store;
/// What is the machine's fault, and no revision's.
pub mod fault;
/// A client of a real guix-daemon.
pub mod guix_daemon;
/// This machine among those of the farm: signs of life, who schedules, who wakes it.
pub mod host;
/// The only place that starts processes.
pub mod sandbox;
/// Signatures on what substitute servers say, as Guix makes and checks them.
pub mod signing;
/// Logs.
pub mod telemetry;

// What people see.
/// One file per command.
pub mod cli;
/// What is served over HTTP: derivations as substitutes, and a place for a coordinator's events.
pub mod web;
