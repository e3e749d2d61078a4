//! What several stories need.

pub mod coordinator;
pub mod daemon;
mod databases;
mod farm;
pub mod guix;
pub mod hostile;
pub mod oracle;
pub mod program;
pub mod signed;

pub use databases::{on_both, on_both_at, postgres_database, write_down};
pub use farm::*;
