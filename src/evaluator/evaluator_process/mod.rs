//! The evaluator: a process of its own that supervises the evaluations of one revision.
//!
//! It runs the supervisor and the recording store, and starts the sandbox: everything that talks to strangers'
//! code. It has no secret: no database, no signing key, no credentials, no environment but where programs and
//! temporary files are. One evaluator serves one warm start, a system after the other, and ends with it.
//!
//! The farm believes nothing of what it reports. It takes the contents of store items and computes everything
//! else anew: store paths from the bytes, what a derivation makes and needs from its text, the outputs of a job
//! from its derivation. An evaluator that lies can give its own spec wrong jobs, as the code that it evaluates
//! can, but cannot report what changes anything that other specs share.
//!
//! # Messages
//!
//! They go over a pair of sockets, as `postcard` writes them, each after its length. The farm sends a request
//! once, and then a system at a time. The evaluator sends results in batches, and waits until the farm has
//! recorded one before it sends the next, so little waits anywhere. Where the farm's end is closed, the
//! evaluator ends, and the sandbox with it.
//!
//! Messages are bounded, in a way that bounds the memory that they take, and so is the time of an evaluation.
//!
//! It is neither in a namespace of its own nor restricted by Landlock, since bubblewrap does not start there. It
//! runs as the farm's user.
//! With `builds-while-evaluating`, it also talks to the real daemon.

mod check;
mod conversation;
mod farm;
mod messages;
mod serve;

pub use farm::EvaluatorProcess;
pub use serve::serve;

/// The command that the process is started with.
pub const COMMAND: &str = "supervise";
