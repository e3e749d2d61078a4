//! What several stories need.

pub mod coordinator;
mod databases;
mod farm;
pub mod guix;
pub mod hostile;
pub mod program;
pub mod signed;

pub use databases::{on_both, postgres_database};
pub use farm::*;
