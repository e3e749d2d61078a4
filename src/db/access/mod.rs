//! The tokens that let people and programs in.
//!
//! Tables: `token`.

pub(in crate::db) mod token;
