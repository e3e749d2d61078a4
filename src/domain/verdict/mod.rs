//! Whether a branch may be merged: the jobs whose outputs it changes, compared with its base.
//!
//! # Guarantees
//!
//! * A verdict is `ready` only if no reason says otherwise, and whatever is not known is a reason.
//!   Only a share of unbuilt jobs that the spec permits, none of which is in a set, is not.
//! * What the base does not build either is no regression.
//!
//! # Design
//!
//! `classify` compares one job of base and branch, `reasons` makes reasons of what is known of all
//! systems, and the word of a verdict is that of its worst reason. A *cause* is a failed build, and
//! the jobs that do not build for its sake; a job that waits for a failed input counts there, not
//! for itself.

mod classify;
mod reasons;
mod waiver;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use classify::{Class, Outcome, classify};
pub use reasons::{Block, ChangedJob, Compared, SystemInput, SystemState, VerdictInput, reasons};
pub use waiver::{WAIVABLE, Waiver};

/// What becomes of a branch, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// The branch has to change.
    MustChange,
    /// A person has to do something.
    NeedsAction,
    /// It cannot be judged.
    Unknown,
    /// It is not known yet, and will be.
    Waiting,
    /// It may be merged.
    Ready,
}

impl Word {
    /// All of them, the worst first.
    pub const ALL: [Self; 5] =
        [Self::MustChange, Self::NeedsAction, Self::Unknown, Self::Waiting, Self::Ready];

    /// The word itself.
    pub fn word(self) -> &'static str {
        match self {
            Self::MustChange => "must-change",
            Self::NeedsAction => "needs-action",
            Self::Unknown => "unknown",
            Self::Waiting => "waiting",
            Self::Ready => "ready",
        }
    }
}

/// Why a verdict is what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// What kind of reason, in a word.
    pub code: String,
    /// How many jobs it is about; 0 if it is about none.
    pub count: usize,
    /// The system that it is about; none if it is about the spec.
    pub system: Option<String>,
    /// A sentence for people.
    pub text: String,
    /// What follows from it.
    pub word: Word,
}

/// A failed build, and the jobs of a branch that do not build because of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cause {
    /// What was said when it failed.
    pub answer: Option<String>,
    /// The number of the build.
    pub build: i64,
    /// How many jobs of each class do not build because of it.
    pub classes: BTreeMap<Class, usize>,
    /// The job that was built, or the one that wanted it.
    pub job: String,
    /// Some of the jobs that wait for it.
    pub jobs: Vec<String>,
    /// The spec that wanted it first.
    pub spec: String,
}

/// A branch and its base for one system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SystemReport {
    /// The evaluation of the base.
    pub base: Option<i64>,
    /// The revision of that, short.
    pub base_revision: Option<String>,
    /// What keeps jobs from being built, what keeps most of them first.
    pub causes: Vec<Cause>,
    /// How many jobs there are of each class.
    pub classes: BTreeMap<Class, usize>,
    /// The evaluation of the branch.
    pub evaluation: Option<i64>,
    /// Some jobs of each class that people look at.
    pub jobs: BTreeMap<Class, Vec<String>>,
    /// Whether the branch has to do well on it.
    pub required: bool,
    /// The revision of the branch, short.
    pub revision: Option<String>,
    /// Which system.
    pub system: String,
}

/// The verdict on a branch, and what led to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// The spec of the base.
    pub base: String,
    /// Why, the worst first.
    pub reasons: Vec<Reason>,
    /// The spec of the branch.
    pub spec: String,
    /// Each system.
    pub systems: Vec<SystemReport>,
    /// The verdict.
    pub word: Word,
}

/// The word of the worst reason.
pub fn word(reasons: &[Reason]) -> Word {
    reasons.iter().map(|reason| reason.word).min().unwrap_or(Word::Ready)
}
