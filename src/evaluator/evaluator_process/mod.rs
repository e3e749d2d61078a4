//! The evaluator: a process of its own that supervises the evaluations of one revision.
//!
//! It runs the supervisor and the recording store, and starts the sandbox: everything that talks to
//! untrusted code. It has no secrets: no database, no signing key, no credentials, and only the
//! environment variables that say where programs and temporary files are. One evaluator serves one
//! warm start, one system after the other, and ends with it.
//!
//! The farm trusts nothing that the evaluator reports. It takes the contents of store items and
//! computes everything else anew: store paths from the bytes, what a derivation makes and needs
//! from its text, the outputs of a job from its derivation. A lying evaluator can give its own spec
//! wrong jobs, as evaluated code can, but cannot change anything that other specs share.
//!
//! # Messages
//!
//! Messages go over a socket pair, in the format of `postcard`, each after its length. The farm
//! sends a request once, and then one system at a time. The evaluator sends results in batches, and
//! sends the next batch only when the farm has recorded the last one, so few results wait anywhere.
//! When the farm closes its end, the evaluator ends, and the sandbox with it.
//!
//! The length of messages is bounded, and with it the memory that they take. The time of an
//! evaluation is bounded too.
//!
//! The evaluator neither has a namespace of its own nor is restricted by Landlock, because
//! bubblewrap would not start there. It runs as the farm's user.
//! With `builds-while-evaluating`, it also talks to the real daemon.

mod check;
mod conversation;
mod messages;
mod process;
mod serve;

pub use process::EvaluatorProcess;
pub use serve::serve;

/// The command that the process is started with.
pub const COMMAND: &str = "supervise";
