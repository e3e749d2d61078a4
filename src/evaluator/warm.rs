//! A loader with the modules of one revision, kept from one system to the next.
//!
//! The host keeps it until it claims an evaluation of another revision, spec or subset. So all
//! systems of a revision are evaluated from one start of Guix.

use std::sync::Arc;

use super::outcome::{Failure, Summary};
use super::process::ProcessGroup;
use super::protocol::Uses;
use super::request::{Limits, Request};

/// What a worker is taken to need until one was measured, in bytes.
const FIRST_NEED: u64 = 256 << 20;

/// A warm start: evaluates a revision for one system after the other, and loads its modules once.
///
/// What goes wrong with one system, whatever that is, leaves the others whole.
#[derive(Debug)]
pub struct Warm {
    pub(super) request: Request,
    pub(super) crew: ProcessGroup,
    /// Whether the crew's loader was ever told to load.
    pub(super) begun: bool,
    /// What came of loading the modules; nothing while they are not loaded.
    pub(super) loaded: Option<Result<Loaded, Failure>>,
    /// What a worker was seen to need for itself, in bytes.
    pub(super) need: u64,
    /// What was measured of the last evaluation, whatever came of it.
    pub(super) measured: Summary,
}

/// The modules are loaded.
#[derive(Debug, Clone, Default)]
pub(super) struct Loaded {
    pub(super) guix_version: String,
    /// Whether derivations are made by Gorget's faster stand-in.
    pub(super) faster_derivations: bool,
    /// Name, cause and message of each module that is not.
    pub(super) broken: Vec<[String; 3]>,
    /// The same of modules that have none of the jobs.
    pub(super) warnings: Vec<[String; 3]>,
    /// What each package uses; nothing where only some are evaluated.
    pub(super) uses: Arc<[Uses]>,
}

impl Warm {
    /// Starts Guile; nothing is loaded before there is something to evaluate.
    pub fn start(request: Request) -> Result<Self, Failure> {
        let crew = ProcessGroup::start(&request)?;
        Ok(Self { request, crew, begun: false, loaded: None, need: FIRST_NEED, measured: Summary::default() })
    }

    /// Sets what the next evaluation may use.
    pub fn set_limits(&mut self, limits: Limits) {
        self.request.limits = limits;
    }

    /// What was measured of the last evaluation, whatever came of it.
    pub fn measured(&self) -> &Summary {
        &self.measured
    }
}
