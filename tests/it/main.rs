//! Stories, each in a file of its own, in one crate.

mod spec;
