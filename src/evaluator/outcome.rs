//! What comes of an evaluation.

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

/// Some results.
#[derive(Debug, Default)]
pub struct Batch {
    /// What was added to the store, inputs first.
    pub items: Vec<RecordedItem>,
    /// What became of units.
    pub outcomes: Vec<Outcome>,
    /// Units that have a result now; units without a job count too.
    pub done: usize,
    /// As long as this is there, the items count as waiting to be recorded, and little more is added.
    pub held: Option<Arc<dyn Any + Send + Sync>>,
}

/// What became of a unit.
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
        /// What else is known of it.
        facts: JobMetadata,
    },
    /// It could not be evaluated.
    Error {
        /// The job's name, or the module's or manifest's.
        name: String,
        /// A word: `exception`, `unbound-variable`, `memory`, `time`, `module`, …
        cause: String,
        /// What was said.
        message: String,
    },
    /// A module or script does not load, and no job is missing because of that.
    Warning {
        /// Its name.
        name: String,
        /// As in [`Outcome::Error`].
        cause: String,
        /// What was said.
        message: String,
    },
}

/// The end of an evaluation that went through.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Units of work that there were.
    pub units: usize,
    /// Jobs found.
    pub jobs: usize,
    /// Errors, those of modules included.
    pub errors: usize,
    /// Modules or manifests that did not load: absent jobs may be theirs.
    pub broken_modules: usize,
    /// Other modules and scripts that did not load.
    pub warnings: usize,
    /// Version of the Guix that evaluated.
    pub guix_version: String,
    /// Whether derivations were made by Gorget's faster stand-in for the Guix's own procedures.
    pub faster_derivations: bool,
    /// Milliseconds of loading modules; nothing when they had been loaded for another system.
    pub load_ms: Option<u64>,
    /// Milliseconds of enumerating the units.
    pub enumerate_ms: u64,
    /// Milliseconds of lowering before the workers were forked.
    pub warm_ms: u64,
    /// Milliseconds of lowering by workers.
    pub lower_ms: u64,
    /// Milliseconds of everything.
    pub total_ms: u64,
    /// Largest memory of all evaluating processes together that was seen, in bytes.
    pub peak_memory: u64,
    /// Largest memory of the process that supervises them, in bytes, if that is one of its own.
    pub evaluator_peak_memory: u64,
    /// Milliseconds of CPU that the evaluating processes used, as far as it was seen.
    pub cpu_ms: u64,
    /// Requests that the evaluation store answered.
    pub requests: Requests,
    /// Milliseconds of CPU that it took for that.
    pub store_cpu_ms: u64,
    /// Store items that were added.
    pub store_items: usize,
    /// Their bytes.
    pub store_bytes: usize,
    /// Workers that were forked.
    pub forked: usize,
    /// How many of them there were at a time, at most.
    pub most_workers: usize,
    /// Workers that ended early because little memory was left.
    pub retired: usize,
    /// Workers and parents that died.
    pub deaths: usize,
}

/// A span of time as a summary has it.
pub fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Why there is no result at all.
#[derive(Debug, Clone, Serialize, Deserialize, thiserror::Error)]
pub enum Failure {
    /// The process that supervises the evaluation failed, for no reason that the revision gave.
    #[error("the evaluator failed: {0}")]
    Evaluator(String),
    /// Guix itself does not load, or nothing can be enumerated.
    #[error("the revision cannot be evaluated ({cause}): {message}")]
    Revision {
        /// A word, as in [`Outcome::Error`].
        cause: String,
        /// What was said.
        message: String,
    },
    /// A process that others are forked from ended before everything was done.
    #[error("the evaluating process ended early: {0}")]
    Died(String),
    /// A limit of the whole evaluation was reached.
    #[error("{what} of {limit} reached")]
    Limit {
        /// `time limit`, `memory limit`.
        what: Cow<'static, str>,
        /// The limit, readable.
        limit: String,
    },
    /// A process that others are forked from does nothing, again and again.
    #[error("the evaluating process did nothing for {limit}, and its successors neither")]
    Still {
        /// How long it was waited for.
        limit: String,
    },
    /// The receiver of events has gone.
    #[error("nobody takes the results any more")]
    Abandoned,
    /// The sandbox could not be set up. This is never sent to another process, and must be the last variant: one that
    /// is skipped counts when others are written, and not when they are read.
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
    /// `what` was reached, which is so much.
    pub fn limit(what: &'static str, limit: String) -> Self {
        Self::Limit { what: what.into(), limit }
    }

    /// The same with texts that are not longer than this, in bytes.
    pub(super) fn shortened(self, longest: usize) -> Self {
        let short = |text| shortened(text, longest);
        match self {
            Self::Evaluator(text) => Self::Evaluator(short(text)),
            Self::Revision { cause, message } => {
                Self::Revision { cause: short(cause), message: short(message) }
            }
            Self::Died(text) => Self::Died(short(text)),
            Self::Limit { what, limit } => {
                Self::Limit { what: short(what.into_owned()).into(), limit: short(limit) }
            }
            Self::Still { limit } => Self::Still { limit: short(limit) },
            failure @ (Self::Start(_) | Self::Abandoned) => failure,
        }
    }

    /// Whether the revision is to blame, so that trying again is of no use.
    pub fn is_of_revision(&self) -> bool {
        !matches!(self, Self::Start(_) | Self::Evaluator(_) | Self::Still { .. } | Self::Abandoned)
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
            Failure::Died(text()),
            Failure::limit("time limit", text()),
            Failure::Still { limit: text() },
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
