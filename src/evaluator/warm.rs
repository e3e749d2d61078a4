//! A loader with the modules of one revision, kept from one system to the next.
//!
//! The host keeps it until it claims an evaluation of another revision, spec or subset. So all
//! systems of a revision are evaluated from one start of Guix.

use std::sync::Arc;

use super::outcome::{Failure, Summary};
use super::process::ProcessGroup;
use super::protocol::Uses;
use super::request::{Limits, Request};

/// How much memory a worker is assumed to need until one was measured, in bytes.
const FIRST_NEED: u64 = 256 << 20;

/// A warm start: evaluates a revision for one system after the other, and loads its modules once.
///
/// A failure for one system, whatever it is, does not affect the others.
#[derive(Debug)]
pub struct WarmStart {
    pub(super) request: Request,
    pub(super) processes: ProcessGroup,
    /// Whether the loader of `processes` was ever told to load.
    pub(super) begun: bool,
    /// The result of loading the modules; `None` while they are not loaded.
    pub(super) loaded: Option<Result<Loaded, Failure>>,
    /// How much memory of its own a worker was measured to need, in bytes.
    pub(super) need: u64,
    /// The measurements of the last evaluation, whether it succeeded or not.
    pub(super) measured: Summary,
}

/// What the loader reported when it had loaded the modules.
#[derive(Debug, Clone, Default)]
pub(super) struct Loaded {
    pub(super) guix_version: String,
    /// Whether derivations are made by Gorget's faster stand-in.
    pub(super) faster_derivations: bool,
    /// Name, cause and message of each module that did not load.
    pub(super) broken: Vec<[String; 3]>,
    /// The same for modules that have none of the jobs.
    pub(super) warnings: Vec<[String; 3]>,
    /// What each package uses; empty when only some packages are evaluated.
    pub(super) uses: Arc<[Uses]>,
}

impl WarmStart {
    /// Starts Guile. Nothing is loaded before the first evaluation.
    pub fn start(request: Request) -> Result<Self, Failure> {
        let processes = ProcessGroup::start(&request)?;
        Ok(Self {
            request,
            processes,
            begun: false,
            loaded: None,
            need: FIRST_NEED,
            measured: Summary::default(),
        })
    }

    /// Sets what the next evaluation may use.
    pub fn set_limits(&mut self, limits: Limits) {
        self.request.limits = limits;
    }

    /// The measurements of the last evaluation, whether it succeeded or not.
    pub fn measured(&self) -> &Summary {
        &self.measured
    }
}
