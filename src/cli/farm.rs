//! What `run` and `evaluate` are put together from.

use crate::channel::{Authenticator, Checkouts, Limits as GitLimits, Mirrors, Resolver};
use crate::config::Config;
use crate::evaluate::Limits;
use crate::evaluate::runtime::Runtimes;

/// Where repositories are mirrored.
pub(super) fn mirrors(config: &Config) -> Mirrors {
    let limits = GitLimits { look: config.git.look_time, fetch: config.git.fetch_time };
    Mirrors::new(config.state.join("mirrors"), limits)
}

/// Who finds out what belongs to a revision.
pub(super) fn resolver(config: &Config) -> Resolver {
    let authenticator = Authenticator::new(&config.guix_root, config.state.join("authentic"));
    Resolver { mirrors: mirrors(config), authenticator }
}

/// Where commits are checked out.
pub(super) fn checkouts(config: &Config) -> Checkouts {
    Checkouts::new(config.state.join("checkouts"))
}

/// Which Guix runs.
pub(super) fn runtimes(config: &Config) -> Runtimes {
    Runtimes::new(&config.guix_root, config.state.join("compiled"), config.evaluate.workers.get())
}

/// What an evaluation may use.
pub(super) fn limits(config: &Config) -> Limits {
    Limits {
        workers: config.evaluate.workers.get(),
        memory: config.evaluate.memory,
        package_time: config.evaluate.package_time,
        evaluation_time: config.evaluate.evaluation_time,
    }
}
