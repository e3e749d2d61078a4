//! Evaluates one revision for one system in a sandbox.

mod book;
mod process;
mod protocol;
pub mod runtime;
mod supervisor;

pub use supervisor::{Batch, Event, Failure, Limits, Outcome, Request, Summary, run};
