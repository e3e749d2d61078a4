//! Evaluates a revision in a sandbox, for one system after the other.

mod book;
mod confine;
#[cfg(fuzzing)]
pub mod fuzzed;
mod keeper;
mod likely;
mod machine;
mod outcome;
mod pause;
mod process;
mod protocol;
mod record;
mod request;
pub mod runtime;
mod shares;
mod supervisor;
mod warm;

pub use keeper::Evaluate;
pub use machine::check_guix;
pub use outcome::{Batch, Event, Failure, Outcome, Summary};
pub use request::{Channel, Daemon, Limits, Request, Wanted};
use runtime::RuntimeError;
pub use warm::Warm;
