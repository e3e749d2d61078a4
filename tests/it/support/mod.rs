//! What several stories need.

pub mod coordinator;
pub mod daemon;
mod databases;
mod dice;
pub mod disk;
mod farm;
pub mod guix;
pub mod hostile;
pub mod oracle;
mod port;
pub mod program;
pub mod real;
pub mod repl;
pub mod siege;
pub mod signed;
pub mod site;

pub use databases::{Cluster, Wiper, on_both, on_both_at, own, postgres_database, write_down};
pub use dice::Dice;
pub use farm::*;
pub use port::Port;
