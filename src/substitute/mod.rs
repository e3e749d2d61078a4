//! Asks substitute servers which wanted builds they already have.
//!
//! Three answers are possible: it has it, it has it not, nobody knows. The last one is never taken for
//! the second: a build waits for a server that fails, until its patience is over.

mod keeper;
mod server;
mod verdict;

pub use keeper::LookUp;
pub use server::{Answers, Failure, Server};
pub use verdict::{Verdict, verdict};
