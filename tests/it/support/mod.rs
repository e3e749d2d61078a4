//! What stories are told with.

mod databases;
mod farm;

pub use databases::{on_both, postgres_database};
pub use farm::*;
