//! What all reconcilers of a process share.

use std::collections::BTreeSet;

use crate::clock::Clock;
use crate::db::Db;
use crate::farm::bell::Bells;

/// The database, the clock, the bells, the mode and the name of the host. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Context {
    /// The database of the farm.
    pub db: Db,
    /// The clock of the farm.
    pub clock: Clock,
    /// The bells of all reconcilers of this process.
    pub bells: Bells,
    /// Whether the reconcilers stop after one pass.
    pub mode: Mode,
    /// The name of this host in the farm.
    pub host: String,
}

impl Context {
    /// A context with bells of its own.
    pub fn new(db: Db, clock: Clock, mode: Mode, host: impl Into<String>) -> Self {
        Self { db, clock, bells: Bells::default(), mode, host: host.into() }
    }
}

/// Whether reconcilers go on or stop after one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Reconcilers run until they are stopped, and do each thing when it is due.
    Continuous,
    /// Reconcilers do each thing once, whether it is due or not: `gorget run --once`.
    Once,
}

impl Mode {
    /// Whether each thing is done once.
    pub fn is_once(self) -> bool {
        self == Self::Once
    }
}

/// Which things to do now, by name.
#[derive(Debug)]
pub struct DueTracker {
    /// The names of the things that were done; `None` unless each thing is done once.
    done: Option<BTreeSet<String>>,
}

impl DueTracker {
    /// Starts with nothing done.
    pub fn new(mode: Mode) -> Self {
        Self { done: mode.is_once().then(BTreeSet::new) }
    }

    /// Whether to do `what` now. `due` decides, unless each thing is done once.
    pub fn is_due(&self, what: &str, due: bool) -> bool {
        self.done.as_ref().map_or(due, |done| !done.contains(what))
    }

    /// Notes that `what` was done.
    pub fn done(&mut self, what: &str) {
        if let Some(done) = &mut self.done {
            done.insert(what.to_owned());
        }
    }
}
