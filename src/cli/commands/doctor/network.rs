//! Checks of the servers that the farm has to reach.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::task::JoinSet;

use crate::cli::farm;
use crate::config::{Config, Kind, Location};
use crate::domain::spec::{Spec, is_pattern, without_credentials};
use crate::git::{Mirrors, missing_branch};
use crate::guix::signature::AuthorizedKeys;
use crate::steps::coordinator::GuixBuildCoordinator;
use crate::steps::substitutes::Server;
use crate::view::doctor::Check;

/// The time limit of one check.
const LIMIT: Duration = Duration::from_mins(1);
/// The base name of a store item that no server has.
const NOTHING: &str = "00000000000000000000000000000000-gorget-doctor";
/// The id of a build that no coordinator has.
const NO_BUILD: &str = "00000000-0000-0000-0000-000000000000";

/// A check, and its name in case it gets no answer in time.
type Named = (String, Pin<Box<dyn Future<Output = Check> + Send>>);

/// Runs all checks concurrently. The results are in the order of the flow.
pub(super) async fn checks(config: &Config, specs: &[Spec]) -> Vec<Check> {
    let all = of_remotes(config, specs).chain(of_servers(config)).chain(of_coordinators(config));
    let mut tasks = JoinSet::new();
    for (place, (name, check)) in all.enumerate() {
        tasks.spawn(async move {
            let late =
                format!("no answer within {} s\nhint: is it reachable from this machine?", LIMIT.as_secs());
            let check = tokio::time::timeout(LIMIT, check).await;
            (place, check.unwrap_or_else(|_| Check::fault(name, &late)))
        });
    }
    let mut checks = tasks.join_all().await;
    checks.sort_by_key(|(place, _)| *place);
    checks.into_iter().map(|(_, check)| check).collect()
}

fn of_remotes(config: &Config, specs: &[Spec]) -> impl Iterator<Item = Named> {
    remotes(specs).into_iter().map(|(url, branches)| -> Named {
        let mirrors = farm::resolver(config).mirrors;
        (remote_name(&url), Box::pin(async move { remote(&mirrors, &url, &branches).await }))
    })
}

fn of_servers(config: &Config) -> impl Iterator<Item = Named> {
    config.substitutes.servers.clone().into_iter().map(|server| -> Named {
        let (name, acl) = (format!("substitutes {server}"), config.substitutes.acl.clone());
        let check = async move {
            match AuthorizedKeys::load(&acl) {
                Ok(keys) => substitutes(&server, keys).await,
                // A check of its own reports that error.
                Err(_) => {
                    Check::warning(format!("substitutes {server}"), "not asked: there are no authorized keys")
                }
            }
        };
        (name, Box::pin(check))
    })
}

fn of_coordinators(config: &Config) -> impl Iterator<Item = Named> {
    config.coordinators.clone().into_iter().map(|one| -> Named {
        let (name, socket) =
            (format!("coordinator {}", one.serves.coordinator), config.evaluate.daemon_socket.clone());
        (name.clone(), Box::pin(async move { coordinator(name, one.kind, &socket).await }))
    })
}

/// The repositories that active specs name, with the branches that they name.
fn remotes(specs: &[Spec]) -> BTreeMap<String, BTreeSet<String>> {
    let mut remotes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for channel in specs.iter().filter(|spec| spec.active).flat_map(|spec| &spec.channels) {
        let branches = remotes.entry(channel.url.clone()).or_default();
        if channel.commit.is_none() && !is_pattern(&channel.branch) {
            branches.insert(channel.branch.clone());
        }
    }
    remotes
}

fn remote_name(url: &str) -> String {
    format!("remote {}", without_credentials(url))
}

async fn remote(mirrors: &Mirrors, url: &str, branches: &BTreeSet<String>) -> Check {
    let names: Vec<&str> = branches.iter().map(String::as_str).collect();
    let listing = match mirrors.tips(url, &names).await {
        Ok(listing) => listing,
        Err(error) => return Check::fault(remote_name(url), &error.to_string()),
    };
    let missing = listing.tips.iter().find(|(_, tip)| tip.is_none());
    match missing {
        Some((branch, _)) => {
            let text = missing_branch(url, branch, listing.default.as_deref());
            Check::fault(remote_name(url), &format!("{text}\nhint: set `branch` in the spec"))
        }
        None => Check::ok(remote_name(url), names.join(", ")),
    }
}

async fn substitutes(url: &Location, keys: AuthorizedKeys) -> Check {
    let name = format!("substitutes {url}");
    let server = match Server::new(url, Arc::new(keys), 1) {
        Ok(server) => server,
        Err(error) => return Check::fault(name, &format!("{error:#}")),
    };
    match server.ask(vec![NOTHING.to_owned()]).await.failure {
        None => Check::ok(name, "answers"),
        Some(failure) => Check::fault(
            name,
            &format!("{}\nhint: is that the address of a substitute server?", failure.reason),
        ),
    }
}

async fn coordinator(name: String, kind: Kind, daemon: &std::path::Path) -> Check {
    match kind {
        Kind::None => Check::ok(name, "none: the queue is the result"),
        Kind::GuixDaemon { .. } => match UnixStream::connect(daemon).await {
            Ok(_) => Check::ok(name, format!("guix-daemon at {}", daemon.display())),
            Err(error) => {
                let text = format!(
                    "{}: {error}\nhint: start guix-daemon, or set `daemon-socket` in [evaluate]",
                    daemon.display()
                );
                Check::fault(name, &text)
            }
        },
        Kind::GuixBuildCoordinator { url, .. } => {
            let coordinator = match GuixBuildCoordinator::new(url.as_str()) {
                Ok(coordinator) => coordinator,
                Err(error) => return Check::fault(name, &format!("{error:#}")),
            };
            match coordinator.read(NO_BUILD).await {
                Ok(_) => Check::ok(name, format!("answers at {url}")),
                Err(error) => {
                    Check::fault(name, &format!("{error} ({url})\nhint: is that its client interface?"))
                }
            }
        }
    }
}
