//! Hands wanted builds to a build coordinator: one file for each kind of coordinator.

mod guix_build_coordinator;
mod submit;

pub use guix_build_coordinator::GuixBuildCoordinator;
pub use submit::Submit;

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
    /// It could not be asked, or did not answer so that one could tell: perhaps it took the build,
    /// perhaps not. Asking again later does no harm.
    Unavailable {
        /// What happened.
        reason: String,
    },
}
