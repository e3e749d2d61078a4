//! Evaluates one revision for one system in a sandbox.

mod book;
mod confine;
#[cfg(fuzzing)]
pub mod fuzzed;
mod keeper;
mod likely;
mod outcome;
mod process;
mod protocol;
mod record;
mod request;
pub mod runtime;
mod supervisor;

pub use keeper::Evaluate;
pub use outcome::{Batch, Event, Failure, Outcome, Summary};
pub use request::{Channel, Limits, Request};
pub use supervisor::run;
