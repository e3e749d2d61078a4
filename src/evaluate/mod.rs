//! Evaluates one revision for one system in a sandbox.

/// Which Guix evaluates.
pub mod runtime;
