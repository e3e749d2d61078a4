use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde::Deserialize;

use super::value::{Branches, Host, KnownSystem, OptionalUrl, Size, Time, Url};
use super::{Anonymous, Location, coordinator, hook};

/// `gorget.toml` as the file has it.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Written {
    /// The whole text of the file.
    #[serde(skip)]
    pub(super) text: String,
    pub(super) host: Option<HostName>,
    pub(super) state: Option<PathBuf>,
    pub(super) database: Option<Database>,
    pub(super) specs: Option<PathBuf>,
    pub(super) guix_root: Option<PathBuf>,
    pub(super) evaluate: Evaluate,
    pub(super) git: Git,
    pub(super) coordinator: coordinator::Written,
    pub(super) coordinators: coordinator::Named,
    pub(super) substitutes: Substitutes,
    pub(super) web: Web,
    pub(super) hooks: hook::Named,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Evaluate {
    pub(super) systems: Option<Vec<KnownSystem>>,
    pub(super) workers: Option<NonZeroUsize>,
    pub(super) memory: Option<Size>,
    pub(super) compiled: Option<Size>,
    pub(super) most_stored: Option<Size>,
    pub(super) stored_per_spec: Option<Size>,
    pub(super) package_time: Option<Time>,
    pub(super) time_machine_time: Option<Time>,
    pub(super) evaluation_time: Option<Time>,
    pub(super) daemon_socket: Option<PathBuf>,
    pub(super) daemon_store: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Git {
    pub(super) poll_time: Option<Time>,
    pub(super) fetch_time: Option<Time>,
    pub(super) mirror_size: Option<Size>,
    pub(super) branches: Option<Branches>,
    pub(super) private_hosts: Option<Vec<Host>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Substitutes {
    pub(super) servers: Option<Vec<Url>>,
    pub(super) acl: Option<PathBuf>,
    pub(super) at_once: Option<NonZeroUsize>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Web {
    pub(super) listen: Option<String>,
    pub(super) public_url: Option<OptionalUrl>,
    pub(super) signing_key: Option<PathBuf>,
    pub(super) events_token: Option<PathBuf>,
    pub(super) anonymous: Option<Anonymous>,
}

/// A path or a `postgres:` URL.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Database(pub(super) Location);

impl TryFrom<String> for Database {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.split_once("://") {
            Some(("postgres" | "postgresql", _)) => Ok(Self(Location::new(text))),
            None if !text.is_empty() => Ok(Self(Location::new(text))),
            _ => Err("a database is the path of an SQLite file or `postgres://USER@HOST/NAME`"),
        }
    }
}

/// The name of a host.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct HostName(pub(super) String);

impl TryFrom<String> for HostName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if is_host_name(&text) { Ok(Self(text)) } else { Err(HOST_NAMES) }
    }
}

/// The rule for names of hosts.
pub const HOST_NAMES: &str = "the name of a host is made of at most 64 letters, digits, `.`, `-` and `_`";

/// Whether `text` is a valid name of a host.
pub fn is_host_name(text: &str) -> bool {
    let matches_pattern = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(matches_pattern)
}

#[cfg(test)]
impl Written {
    /// Whether every key is set. Does not compile when a new key is missing here.
    #[expect(clippy::too_many_lines, reason = "one line for each key")]
    pub(super) fn is_complete(&self) -> bool {
        let Self {
            text: _,
            host,
            state,
            database,
            specs,
            guix_root,
            evaluate,
            git,
            coordinator,
            coordinators: _,
            substitutes,
            web,
            hooks: _,
        } = self;
        let Evaluate {
            systems,
            workers,
            memory,
            compiled,
            most_stored,
            stored_per_spec,
            package_time,
            time_machine_time,
            evaluation_time,
            daemon_socket,
            daemon_store,
        } = evaluate;
        let Git { poll_time, fetch_time, mirror_size, branches, private_hosts } = git;
        let coordinator::Written {
            kind,
            specs: served_specs,
            systems: served_systems,
            url,
            substitute_urls,
            at_once: builds_at_once,
            log_size,
            events_id,
            retry_tags,
            emulating_agents,
        } = coordinator;
        let Substitutes { servers, acl, at_once } = substitutes;
        let Web { listen, public_url, signing_key, events_token, anonymous } = web;
        let top =
            host.is_some() && state.is_some() && database.is_some() && specs.is_some() && guix_root.is_some();
        let limits = systems.is_some()
            && workers.is_some()
            && memory.is_some()
            && compiled.is_some()
            && most_stored.is_some()
            && stored_per_spec.is_some()
            && package_time.is_some()
            && time_machine_time.is_some()
            && evaluation_time.is_some();
        let daemon = daemon_socket.is_some() && daemon_store.is_some();
        let times = poll_time.is_some() && fetch_time.is_some() && private_hosts.is_some();
        let remotes = mirror_size.is_some() && branches.is_some();
        let others = kind.is_some() && url.is_some() && substitute_urls.is_some() && events_id.is_some();
        let served = served_specs.is_some() && served_systems.is_some();
        let retries = retry_tags.is_some() && emulating_agents.is_some();
        let substitutes = servers.is_some() && acl.is_some() && at_once.is_some();
        let files = signing_key.is_some() && events_token.is_some();
        let builds = builds_at_once.is_some() && log_size.is_some();
        top && limits
            && builds
            && daemon
            && times
            && remotes
            && others
            && served
            && retries
            && substitutes
            && files
            && listen.is_some()
            && public_url.is_some()
            && anonymous.is_some()
    }
}
