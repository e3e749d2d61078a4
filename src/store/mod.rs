//! What Guix's store is made of.

mod aterm;
pub mod base32;
pub mod derivation;
pub mod edges;
pub mod nar;
pub mod narinfo;
pub mod path;
