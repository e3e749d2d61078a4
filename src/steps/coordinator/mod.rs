//! Submits queued builds to a build coordinator and tracks their state. There is one directory for
//! each kind of coordinator.
//!
//! Coordinators never wait for each other. `guix_build_coordinator` talks to the Guix Build
//! Coordinator; its `wire` has everything that is assumed about the format. `guix_daemon` builds on
//! this machine, and writes the same events, about attempts called `here-BUILD-NUMBER`.
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

/// A request to a coordinator to build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// Store path of the derivation, `/gnu/store/….drv`.
    pub derivation: String,
    /// The coordinator's priority: higher is sooner.
    pub priority: i64,
    /// Keys and values that the coordinator returns with the build.
    pub tags: Vec<(String, String)>,
    /// Servers that the derivation, and those that it needs, can be fetched from.
    pub substitute_urls: Vec<String>,
    /// Whether to build even if the coordinator has a build for the derivation or its outputs.
    pub again: bool,
}

/// The outcome of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The coordinator accepted the build.
    Accepted {
        /// The coordinator's id of the build.
        reference: String,
    },
    /// The coordinator already had a build for this derivation or these outputs. This is not an
    /// error.
    AlreadyThere {
        /// The message of the coordinator.
        reason: String,
    },
    /// The coordinator rejects this build, and will reject it again.
    Refused {
        /// The message of the coordinator.
        reason: String,
    },
}

/// A coordinator could not be reached, or gave no clear answer: it may or may not have done what
/// was asked. Asking again later does no harm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// The outcome of a cancellation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancellation {
    /// The attempt is canceled.
    Canceled,
    /// The attempt had already ended.
    Over,
    /// Another build at the coordinator needs the attempt, so it continues.
    Needed,
    /// The coordinator does not know the attempt.
    Unknown,
}

/// The state of an attempt, as a coordinator reports it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The coordinator's id of the attempt.
    pub reference: String,
    /// The states that it has reached, and when, if known.
    pub steps: Vec<(Attempt, Option<Seconds>)>,
    /// Why it does not proceed, if known.
    pub note: Option<String>,
    /// The hash part of the store path of its derivation, 32 characters, if known.
    pub derivation: Option<String>,
    /// The tags that it was submitted with, if the answer has them.
    pub tags: Vec<(String, String)>,
    /// The id of the agent that started it last, if known.
    pub agent: Option<String>,
}

impl Report {
    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        self.steps.iter().any(|(attempt, _)| attempt.is_over())
    }

    /// Whether it was canceled.
    fn is_canceled(&self) -> bool {
        self.steps.iter().any(|(attempt, _)| *attempt == Attempt::Canceled)
    }

    /// Converts it to events of `build`, which the coordinator was asked about.
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
