//! Hands wanted builds to a build coordinator, and learns what becomes of them: one directory or
//! file for each kind of coordinator.

mod follow;
mod guix_build_coordinator;
mod guix_daemon;
mod let_go;
mod reconcile;
mod submit;
mod wish;

pub use follow::{Follow, Hearing};
pub use guix_build_coordinator::GuixBuildCoordinator;
pub use guix_daemon::{BuildHere, Site};
pub use let_go::LetGo;
pub use reconcile::Reconcile;
pub use submit::Submit;

use crate::attempt::Attempt;
use crate::clock::Seconds;
use crate::db::{NewEvent, Told};

/// A build that a coordinator is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// Store path of the derivation, `/gnu/store/….drv`.
    pub derivation: String,
    /// The coordinator's own: higher is sooner.
    pub priority: i64,
    /// Keys and values that come back with the build.
    pub tags: Vec<(String, String)>,
    /// Where the derivation, and those that it needs, can be fetched from.
    pub substitute_urls: Vec<String>,
    /// Whether to build even if there is a build for the derivation or its outputs.
    pub again: bool,
}

/// What became of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The coordinator took it.
    Accepted {
        /// Its name for the build.
        reference: String,
    },
    /// It had a build for this derivation or these outputs before. Nothing is wrong with that.
    AlreadyThere {
        /// Its own words.
        reason: String,
    },
    /// It does not want this build, and will not when asked again.
    Refused {
        /// Its own words.
        reason: String,
    },
}

/// A coordinator could not be asked, or did not answer so that one could tell: perhaps it did what
/// was asked, perhaps not. Asking again later does no harm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// What became of the wish to give an attempt up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancellation {
    /// It is given up.
    Canceled,
    /// It had come to its end before.
    Over,
    /// Another build at the coordinator needs it, so it goes on.
    Needed,
    /// The coordinator knows nothing of it.
    Unknown,
}

/// How far an attempt is, as a coordinator answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Its name for the attempt.
    pub reference: String,
    /// How far it came, and when, as far as it says.
    pub steps: Vec<(Attempt, Option<Seconds>)>,
    /// Why it does not go on, if it says.
    pub note: Option<String>,
    /// The tags that it was submitted with, as far as the answer has them.
    pub tags: Vec<(String, String)>,
    /// The name of the agent that began it last, as far as it says.
    pub agent: Option<String>,
}

impl Report {
    /// Whether nothing comes of it any more.
    pub fn is_over(&self) -> bool {
        self.steps.iter().any(|(attempt, _)| attempt.is_over())
    }

    /// Whether somebody gave it up.
    fn is_canceled(&self) -> bool {
        self.steps.iter().any(|(attempt, _)| *attempt == Attempt::Canceled)
    }

    /// The same as events about the build that was asked about.
    fn events(&self, build: &Told) -> Vec<NewEvent> {
        let event = |&(attempt, happened_at)| NewEvent {
            build: build.clone(),
            reference: self.reference.clone(),
            attempt,
            happened_at,
        };
        self.steps.iter().map(event).collect()
    }
}
