//! What an evaluation is asked for, and what it may use.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use super::runtime::Environment;
use crate::spec::{Build, System};

/// What to evaluate, and with what.
#[derive(Debug)]
pub struct Request {
    /// System root that has Guile and Guix: `/`, or a directory.
    pub root: PathBuf,
    /// How Guile finds the modules of the revision.
    pub environment: Environment,
    /// Which jobs.
    pub build: Build,
    /// For which system.
    pub system: System,
    /// Directories of the channels as the sandbox shows them.
    pub channels: Vec<String>,
    /// Jobs that are likely to have changed: they come first. This is about order only.
    pub likely: HashSet<String>,
    /// Whether the contents of store items are passed on.
    pub keep_contents: bool,
    /// What it may use.
    pub limits: Limits,
}

/// What an evaluation may use.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Processes that lower packages side by side.
    pub workers: usize,
    /// Memory of all processes together, in bytes.
    pub memory: u64,
    /// Time for one unit.
    pub package_time: Duration,
    /// Time for everything.
    pub evaluation_time: Duration,
}
