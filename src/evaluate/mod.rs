//! Evaluates one revision for one system in a sandbox.

mod book;
mod keeper;
mod likely;
mod process;
mod protocol;
mod record;
pub mod runtime;
mod supervisor;

pub use keeper::Evaluate;
pub use supervisor::{Batch, Event, Failure, Limits, Outcome, Request, Summary, run};
