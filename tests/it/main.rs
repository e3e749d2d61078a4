//! Stories, each in a file of its own, in one crate.

mod coordinator;
mod spec;
mod support;
