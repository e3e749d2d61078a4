//! Submits queued builds to a build coordinator, and reads what became of them: one directory for
//! each kind of coordinator.
//!
//! Two coordinators never wait for each other. `guix_build_coordinator` speaks to the Guix Build
//! Coordinator; its `wire` has all that is assumed about the format. `guix_daemon` builds on this
//! machine, and writes the same events, about attempts called `here-BUILD-NUMBER`.
//!
//! `tests/it/schedules.rs` runs the steps and the adapter through random schedules, and explains
//! what must hold at the end.

mod cancel_orphans;
mod follow;
mod guix_build_coordinator;
mod guix_daemon;
mod poll;
mod request;
mod submit;

pub use cancel_orphans::CancelOrphans;
pub use follow::FollowEvents;
pub use guix_build_coordinator::GuixBuildCoordinator;
pub use guix_daemon::{LocalBuilder, LocalBuilderSettings};
pub use poll::PollBuilds;
pub use submit::Submit;

use crate::clock::Seconds;
use crate::db::{BuildId, BuildRef, NewEvent};
use crate::domain::attempt::Attempt;

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
    /// The 32 characters of the store path of the derivation that is attempted, if it says.
    pub derivation: Option<String>,
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

    /// Whether it was canceled.
    fn is_canceled(&self) -> bool {
        self.steps.iter().any(|(attempt, _)| *attempt == Attempt::Canceled)
    }

    /// The same as events about the build that was asked about.
    fn events(&self, build: BuildId) -> Vec<NewEvent> {
        let build = match &self.derivation {
            Some(hash) => BuildRef::AskedOf(build, hash.clone()),
            None => BuildRef::Asked(build),
        };
        let event = |&(attempt, happened_at)| NewEvent {
            build: build.clone(),
            reference: self.reference.clone(),
            attempt,
            happened_at,
        };
        self.steps.iter().map(event).collect()
    }
}
