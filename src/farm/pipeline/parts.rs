//! The parts that reconcilers are made of, from the configuration.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;

use crate::config::{Config, Evaluate, Git};
use crate::evaluator::runtime::{Compiling, Runtimes, TimeMachine};
use crate::evaluator::{Daemon, Limits};
use crate::git::{Authenticator, Checkouts, Limits as GitLimits, Mirrors, PrivateHosts, Resolver};
use crate::guix::signature::AuthorizedKeys;
use crate::steps::substitutes::Server;

/// The mirrors of repositories.
pub fn mirrors(config: &Config) -> Mirrors {
    let Git { poll_time, fetch_time, mirror_size, branches, .. } = config.git;
    let limits =
        GitLimits { poll: poll_time, fetch: fetch_time, size: mirror_size, branches: branches.get() };
    let private = PrivateHosts::new(config.git.private_hosts.iter().cloned());
    Mirrors::new(config.state.join("mirrors"), limits).permitting(private)
}

/// The resolver, which fetches, authenticates and completes revisions.
pub fn resolver(config: &Config) -> Resolver {
    let authenticator = Authenticator::new(&config.guix_root, config.state.join("authentic"));
    Resolver::new(mirrors(config), authenticator)
}

/// The checkouts of commits.
pub fn checkouts(config: &Config) -> Checkouts {
    Checkouts::new(config.state.join("checkouts"))
}

/// The directory of links to the Guixes that the time machine built.
pub fn time_machine(config: &Config) -> PathBuf {
    config.state.join("time-machine")
}

/// The Guixes that evaluate.
pub fn runtimes(config: &Config) -> Runtimes {
    let Evaluate { compiled, time_machine_time, .. } = &config.evaluate;
    let limits = limits(config);
    let compiling = Compiling {
        jobs: limits.workers,
        memory: limits.memory,
        heap: limits.heap(),
        ..Compiling::default()
    };
    let time_machine =
        TimeMachine { directory: time_machine(config), daemon: daemon(config), limit: *time_machine_time };
    Runtimes::new(&config.guix_root, config.state.join("compiled"), *compiled, compiling, time_machine)
}

/// The limits of an evaluation.
pub fn limits(config: &Config) -> Limits {
    Limits {
        workers: config.evaluate.workers.get(),
        memory: config.evaluate.memory,
        stored: config.evaluate.most_stored,
        package_time: config.evaluate.package_time,
        evaluation_time: config.evaluate.evaluation_time,
    }
}

/// The daemon that makes builds for evaluations.
pub fn daemon(config: &Config) -> Daemon {
    Daemon { socket: config.evaluate.daemon_socket.clone(), store: config.evaluate.daemon_store.clone() }
}

/// The directory of the logs of local builds.
pub fn logs(config: &Config) -> PathBuf {
    config.state.join("logs")
}

/// The directory of links to the outputs of local builds.
pub fn roots(config: &Config) -> PathBuf {
    config.state.join("roots")
}

/// The servers that are asked for substitutes.
pub fn substitute_servers(config: &Config) -> anyhow::Result<Vec<Server>> {
    let settings = &config.substitutes;
    if settings.servers.is_empty() {
        return Ok(Vec::new());
    }
    let keys = AuthorizedKeys::load(&settings.acl)
        .context("reading the authorized keys (`acl` in [substitutes])")?;
    let keys = Arc::new(keys);
    let server = |url| Server::new(url, Arc::clone(&keys), settings.at_once.get());
    settings.servers.iter().map(server).collect()
}
