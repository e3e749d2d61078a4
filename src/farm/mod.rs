//! What the steps of one machine, and the machines of one farm, have in common.
//!
//! Imports `domain`, `db`, `clock`; only `pipeline` imports more. Owns the tables `host` and
//! `scheduler_lease` through `db`.

/// Changes that people make: the same from the command line, a page and the API.
pub mod actions;
/// Wakes reconcilers early.
pub mod bell;
/// What all reconcilers of a process share.
pub mod context;
/// Faults of the machine, which no revision causes.
pub mod fault;
/// This machine among the hosts of the farm: heartbeats, the scheduler lease, notifications.
pub mod membership;
/// The reconcilers, made from the configuration.
pub mod pipeline;
/// Runs reconcilers until they are told to stop.
pub mod reconciler;
/// What the service manager is told of this process.
pub mod service_manager;
