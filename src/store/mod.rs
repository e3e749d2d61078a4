//! What Guix's store is made of.

/// The inputs of a derivation, as a few bytes.
pub mod edges;
