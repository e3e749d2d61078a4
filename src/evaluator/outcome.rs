//! The results of an evaluation.

use std::any::Any;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::job::JobMetadata;
use crate::guix::recording_store::{RecordedItem, Requests};
use crate::guix::sexp::shortened;
use crate::guix::store_path::StorePath;

/// What happens during an evaluation, in order.
#[derive(Debug)]
pub enum Event {
    /// The units of work are known.
    Enumerated {
        /// How many there are.
        units: usize,
    },
    /// Results. The derivations of its jobs are among the items of this batch or an earlier one.
    Batch(Batch),
}

/// Some results, passed on together.
#[derive(Debug, Default)]
pub struct Batch {
    /// The items that were added to the store, inputs first.
    pub items: Vec<RecordedItem>,
    /// The outcomes of units.
    pub outcomes: Vec<Outcome>,
    /// How many units got a result. Units without a job count too.
    pub done: usize,
    /// While this exists, the items count as waiting to be recorded, which limits how many more are
    /// added.
    pub pending_guard: Option<Arc<dyn Any + Send + Sync>>,
}

/// The outcome of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A job.
    Job {
        /// Its name, as `(gnu ci)` has it.
        name: String,
        /// Its derivation.
        derivation: StorePath,
        /// Name and path of each output.
        outputs: Arc<[(String, StorePath)]>,
        /// The other metadata of the job.
        metadata: JobMetadata,
    },
    /// A unit, a module or a manifest could not be evaluated.
    Error {
        /// The job's name, or the module's or manifest's.
        name: String,
        /// A keyword: `exception`, `unbound-variable`, `memory`, `time`, `module`, …
        cause: String,
        /// The error message.
        message: String,
    },
    /// A module or script does not load, and no job is missing because of that.
    Warning {
        /// The name of the module or script.
        name: String,
        /// As in [`Outcome::Error`].
        cause: String,
        /// The error message.
        message: String,
    },
}

/// The measurements of an evaluation.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Number of units.
    pub units: usize,
    /// Jobs found.
    pub jobs: usize,
    /// Errors, those of modules included.
    pub errors: usize,
    /// Modules or manifests that did not load. Jobs may be missing because of them.
    pub broken_modules: usize,
    /// Other modules and scripts that did not load.
    pub warnings: usize,
    /// Version of the Guix that evaluated.
    pub guix_version: String,
    /// Whether derivations were made by Gorget's faster stand-in for the Guix's own procedures.
    pub faster_derivations: bool,
    /// Milliseconds of loading modules; `None` when they had been loaded for another system.
    pub load_ms: Option<u64>,
    /// Milliseconds of enumerating the units.
    pub enumerate_ms: u64,
    /// Milliseconds of lowering before the workers were forked.
    pub warm_ms: u64,
    /// Milliseconds of lowering by workers.
    pub lower_ms: u64,
    /// Milliseconds of everything.
    pub total_ms: u64,
    /// Peak memory of all evaluating processes together, as far as it was measured, in bytes.
    pub peak_memory: u64,
    /// Peak memory of the process that supervises them, in bytes, if it is a separate process.
    pub evaluator_peak_memory: u64,
    /// Milliseconds of CPU that the evaluating processes used, as far as it was measured.
    pub cpu_ms: u64,
    /// Requests that the evaluation store answered.
    pub requests: Requests,
    /// Milliseconds of CPU that the store used for these requests.
    pub store_cpu_ms: u64,
    /// Store items that were added.
    pub store_items: usize,
    /// Bytes of these store items.
    pub store_bytes: usize,
    /// Workers that were forked.
    pub forked: usize,
    /// Most workers at a time.
    pub most_workers: usize,
    /// Workers that ended early because little memory was left.
    pub retired: usize,
    /// Workers and parents that died.
    pub deaths: usize,
}

/// A duration in whole milliseconds, as a summary has it.
pub fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Why an evaluation has no result.
#[derive(Debug, Clone, Serialize, Deserialize, thiserror::Error)]
pub enum Failure {
    /// The process that supervises the evaluation failed, for a reason other than the revision.
    #[error("the evaluator failed: {0}")]
    Evaluator(String),
    /// Guix itself does not load, or nothing can be enumerated.
    #[error("the revision cannot be evaluated ({cause}): {message}")]
    Revision {
        /// A keyword, as in [`Outcome::Error`].
        cause: String,
        /// The error message.
        message: String,
    },
    /// The loader, the parent or the evaluator ended before the evaluation was complete.
    #[error("the evaluating process ended early: {0}")]
    ProcessEnded(String),
    /// A limit of the whole evaluation was reached.
    #[error("{what} of {limit} reached")]
    Limit {
        /// Which limit, such as `time limit` or `memory limit`.
        what: Cow<'static, str>,
        /// The limit, readable.
        limit: String,
    },
    /// The loader or the parent did nothing, and neither did its replacements.
    #[error("the evaluating process made no progress for {limit}, nor did its replacements")]
    Idle {
        /// How long Gorget waited for it.
        limit: String,
    },
    /// The receiver of events has gone.
    #[error("the receiver of the results is gone")]
    Abandoned,
    /// The sandbox could not be set up. This variant is never sent to another process, and must be
    /// the last one: a skipped variant counts when variants are numbered for writing, but not for
    /// reading.
    #[error("cannot start the evaluation: {0}")]
    #[serde(skip)]
    Start(Arc<std::io::Error>),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Start(Arc::new(error))
    }
}

impl Failure {
    /// The failure for reaching the limit called `what`, whose value is `limit`.
    pub fn limit(what: &'static str, limit: String) -> Self {
        Self::Limit { what: what.into(), limit }
    }

    /// The same failure with its texts cut to `longest` bytes.
    pub(super) fn shortened(self, longest: usize) -> Self {
        let short = |text| shortened(text, longest);
        match self {
            Self::Evaluator(text) => Self::Evaluator(short(text)),
            Self::Revision { cause, message } => {
                Self::Revision { cause: short(cause), message: short(message) }
            }
            Self::ProcessEnded(text) => Self::ProcessEnded(short(text)),
            Self::Limit { what, limit } => {
                Self::Limit { what: short(what.into_owned()).into(), limit: short(limit) }
            }
            Self::Idle { limit } => Self::Idle { limit: short(limit) },
            failure @ (Self::Start(_) | Self::Abandoned) => failure,
        }
    }

    /// Whether the revision is the cause, so that a retry is useless.
    pub fn is_of_revision(&self) -> bool {
        !matches!(self, Self::Start(_) | Self::Evaluator(_) | Self::Idle { .. } | Self::Abandoned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_the_same_after_it_was_sent_to_another_process() {
        let text = || "text".to_owned();
        for failure in [
            Failure::Evaluator(text()),
            Failure::Revision { cause: text(), message: text() },
            Failure::ProcessEnded(text()),
            Failure::limit("time limit", text()),
            Failure::Idle { limit: text() },
            Failure::Abandoned,
        ] {
            let sent = postcard::to_stdvec(&failure).unwrap();
            let told: Failure = postcard::from_bytes(&sent).unwrap();
            assert_eq!(format!("{told:?}"), format!("{failure:?}"));
        }
        let start = Failure::from(std::io::Error::other("text"));
        postcard::to_stdvec(&start).unwrap_err();
    }
}
