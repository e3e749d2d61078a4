//! What people type. One file per command.

pub mod check;

/// How a command ended; the number is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// As it should.
    Done = 0,
    /// What it was given is at fault.
    Input = 1,
    /// Gorget or the machine is at fault.
    Ours = 2,
}
