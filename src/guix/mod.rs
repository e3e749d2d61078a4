//! Guix's own formats and protocols.
//!
//! The formats are pure and import only each other. The client of a guix-daemon (`daemon`) and the
//! server that evaluations talk to (`recording_store`) do I/O, and may import what steps build on.
//! This module owns no table.

mod aterm;
pub mod base32;
/// A client of a real guix-daemon.
pub mod daemon;
pub mod derivation;
pub mod edges;
/// A reader for data that people write for Guile.
pub mod guile;
pub mod nar;
pub mod narinfo;
/// A store daemon that only records: it answers an evaluator and keeps what the evaluator adds.
pub mod recording_store;
/// A reader for S-expressions with positions and a depth limit.
pub mod sexp;
/// Signatures on the answers of substitute servers, made and checked as Guix does.
pub mod signature;
pub mod store_path;
