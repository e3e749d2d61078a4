//! What several stories need.

mod answers;
pub mod chromium;
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
pub mod target;

pub use answers::{Answers, LATEST};
pub use databases::{Cluster, Wiper, on_both, on_both_at, own, postgres_database, write_down};
pub use dice::Dice;
pub use farm::*;
pub use port::Port;

/// A run of a program that limits itself, or has none: what tests start is not a stranger's.
pub fn unlimited(program: impl Into<std::path::PathBuf>) -> gorget::sandbox::Tool {
    let tool = gorget::sandbox::Limits::tool();
    gorget::sandbox::Tool::new(program).limits(gorget::sandbox::Limits {
        memory: u64::MAX,
        processes: 1 << 20,
        cpu: tool.cpu * 100,
        descriptors: u64::MAX,
        file_size: u64::MAX,
        ..tool
    })
}
