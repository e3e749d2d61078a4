//! Asks substitute servers which wanted builds they have.
//!
//! # Guarantees
//!
//! * There are three possible answers: yes, no, unknown. A failing server counts as unknown, never
//!   as a miss.
//! * A build waits for a failing server, half an hour at most, and is then queued without its
//!   answer. Nothing from a failed answer is kept.
//!
//! If a server answers 403 for an item, but not for `/nix-cache-info`, it does not have the item.

mod ask;
mod availability;
mod coverage;
mod query;
mod server;

pub use availability::{Availability, availability};
pub use coverage::MeasureCoverage;
pub use query::QuerySubstitutes;
pub use server::{Answers, Failure, Server};
