//! Asks substitute servers which wanted builds they have.
//!
//! # Guarantees
//!
//! * Three answers are possible: yes, no, unknown. A failing server counts as unknown, never as a
//!   miss.
//! * A build waits for a server that fails, half an hour at most, and is then queued without its
//!   answer. Nothing of a failed answer is kept.
//!
//! A server that answers 403 for an item, but not for `/nix-cache-info`, does not have the item.

mod query;
mod server;
mod verdict;

pub use query::QuerySubstitutes;
pub use server::{Answers, Failure, Server};
pub use verdict::{Verdict, verdict};
