//! What `run` and `evaluate` are put together from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;

use crate::clock::Clock;
use crate::config::{Config, DEFAULT, Evaluate, Git, Kind};
use crate::db::Db;
use crate::evaluator::runtime::{Compiling, Runtimes, TimeMachine};
use crate::evaluator::{Daemon, Limits};
use crate::git::{Authenticator, Checkouts, Limits as GitLimits, Mirrors, PrivateHosts, Resolver};
use crate::guix::signature::{AuthorizedKeys, SigningKey};
use crate::steps::substitutes::Server;
use crate::web::{EventSource, Token, Web};

/// Where repositories are mirrored.
pub(super) fn mirrors(config: &Config) -> Mirrors {
    let Git { poll_time, fetch_time, mirror_size, branches, .. } = config.git;
    let limits =
        GitLimits { poll: poll_time, fetch: fetch_time, size: mirror_size, branches: branches.get() };
    let private = PrivateHosts::new(config.git.private_hosts.iter().cloned());
    Mirrors::new(config.state.join("mirrors"), limits).permitting(private)
}

/// Who finds out what belongs to a revision.
pub(super) fn resolver(config: &Config) -> Resolver {
    let authenticator = Authenticator::new(&config.guix_root, config.state.join("authentic"));
    Resolver::new(mirrors(config), authenticator)
}

/// Where commits are checked out.
pub(super) fn checkouts(config: &Config) -> Checkouts {
    Checkouts::new(config.state.join("checkouts"))
}

/// Where it is noted which Guixes were built.
pub(super) fn time_machine(config: &Config) -> PathBuf {
    config.state.join("time-machine")
}

/// Which Guix runs.
pub(super) fn runtimes(config: &Config) -> Runtimes {
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

/// What an evaluation may use.
pub(super) fn limits(config: &Config) -> Limits {
    Limits {
        workers: config.evaluate.workers.get(),
        memory: config.evaluate.memory,
        stored: config.evaluate.most_stored,
        package_time: config.evaluate.package_time,
        evaluation_time: config.evaluate.evaluation_time,
    }
}

/// Who makes builds while evaluating.
pub(super) fn daemon(config: &Config) -> Daemon {
    Daemon { socket: config.evaluate.daemon_socket.clone(), store: config.evaluate.daemon_store.clone() }
}

/// Where the logs of builds are that this machine makes.
pub(super) fn logs(config: &Config) -> PathBuf {
    config.state.join("logs")
}

/// Where the links are to what this machine built.
pub(super) fn roots(config: &Config) -> PathBuf {
    config.state.join("roots")
}

/// Who is asked for substitutes.
pub(super) fn substitute_servers(config: &Config) -> anyhow::Result<Vec<Server>> {
    let settings = &config.substitutes;
    if settings.servers.is_empty() {
        return Ok(Vec::new());
    }
    let keys = AuthorizedKeys::load(&settings.acl)
        .context("reading whose substitutes count (`acl` in [substitutes])")?;
    let keys = Arc::new(keys);
    let server = |url| Server::new(url, Arc::clone(&keys), settings.at_once.get());
    settings.servers.iter().map(server).collect()
}

/// What requests are answered from.
pub(super) fn web(config: &Config, db: &Db) -> anyhow::Result<Web> {
    let file = &config.web.signing_key;
    let key = if file.exists() {
        Some(SigningKey::load(file)?)
    } else {
        tracing::warn!(
            "there is no key in {}, so derivations are served without a signature; `gorget key generate` makes one",
            file.display()
        );
        None
    };
    Ok(Web { db: db.clone(), clock: Clock::System, key, tellers: tellers(config)? })
}

/// Who may tell of builds: coordinators, and, where there are none, whoever works on the queue.
fn tellers(config: &Config) -> anyhow::Result<Vec<EventSource>> {
    let default = |token: &Path| -> anyhow::Result<EventSource> {
        let (coordinator, token) = (DEFAULT.to_owned(), Token::load(token)?);
        Ok(EventSource { coordinator, id: None, token, asks_about_failures: false })
    };
    if config.coordinators.is_empty() {
        return Ok(vec![default(&config.web.events_token)?]);
    }
    let mut tellers = Vec::new();
    for coordinator in &config.coordinators {
        let (name, id) = (&coordinator.serves.coordinator, coordinator.events_id);
        let Some(file) = &coordinator.events_token else { continue };
        let asks_about_failures = matches!(&coordinator.kind,
            Kind::GuixBuildCoordinator { retries, .. } if !retries.emulating.is_empty());
        if name == DEFAULT {
            tellers.push(EventSource { asks_about_failures, ..default(file)? });
        } else {
            let (coordinator, token) = (name.clone(), Token::load(file)?);
            tellers.push(EventSource { coordinator, id, token, asks_about_failures });
        }
    }
    Ok(tellers)
}
