use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{Location, coordinator};
use crate::domain::spec::{System, interval};
use crate::git::PrivateHost;

/// `gorget.toml` as it is written.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Written {
    /// All of it.
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
    pub(super) public_url: Option<PerhapsUrl>,
    pub(super) signing_key: Option<PathBuf>,
    pub(super) events_token: Option<PathBuf>,
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

/// The name of a machine.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct HostName(pub(super) String);

impl TryFrom<String> for HostName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if is_host_name(&text) { Ok(Self(text)) } else { Err(HOST_NAMES) }
    }
}

/// What names of machines are made of.
pub const HOST_NAMES: &str = "the name of a host is made of at most 64 letters, digits, `.`, `-` and `_`";

/// Whether a machine can be called that.
pub fn is_host_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(fits)
}

/// A system that Guix knows.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct KnownSystem(pub(super) System);

impl TryFrom<String> for KnownSystem {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let known =
            || format!("`{text}` is no system that Guix has: write one of {}", System::KNOWN.join(", "));
        System::new(&text).map(Self).ok_or_else(known)
    }
}

/// A number of branches.
#[derive(Deserialize)]
#[serde(try_from = "usize")]
pub(super) struct Branches(pub(super) NonZeroUsize);

impl TryFrom<usize> for Branches {
    type Error = &'static str;

    fn try_from(number: usize) -> Result<Self, Self::Error> {
        let number = NonZeroUsize::new(number).filter(|number| number.get() <= 1000);
        number.map(Self).ok_or("write a number from 1 to 1000")
    }
}

/// A host or a network.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Host(pub(super) PrivateHost);

impl TryFrom<String> for Host {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self)
    }
}

/// A URL of a web server.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Url(pub(super) Location);

impl TryFrom<String> for Url {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match reqwest::Url::parse(&text) {
            Ok(url) if ["http", "https"].contains(&url.scheme()) => Ok(Self(Location::new(text))),
            _ => Err("this is not a URL that begins with `http://` or `https://`"),
        }
    }
}

/// A URL of a web server, or nothing.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct PerhapsUrl(pub(super) Option<Url>);

impl TryFrom<String> for PerhapsUrl {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.is_empty() { Ok(Self(None)) } else { Url::try_from(text).map(|url| Self(Some(url))) }
    }
}

/// A span of time, written `30s`, `5m`, `6h` or `1d`.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Time(pub(super) Duration);

impl TryFrom<String> for Time {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let seconds =
            interval(&text).and_then(|seconds| u64::try_from(seconds).ok()).filter(|seconds| *seconds > 0);
        seconds.map(|seconds| Self(Duration::from_secs(seconds))).ok_or_else(|| {
            format!("`{text}` is not a span of time: write a whole number and s, m, h or d, such as `5m`")
        })
    }
}

/// A number of bytes, written `512M`, `12G` or `1T`, in powers of 1024.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Size(pub(super) u64);

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bytes = [('M', 1 << 20), ('G', 1 << 30), ('T', 1 << 40)].into_iter().find_map(|(unit, size)| {
            let digits =
                text.strip_suffix(unit).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
            digits.parse::<u64>().ok()?.checked_mul(size)
        });
        bytes.filter(|bytes| *bytes > 0).map(Self).ok_or_else(|| {
            format!("`{text}` is not a size: write a whole number and M, G or T, such as `12G`")
        })
    }
}

#[cfg(test)]
impl Written {
    /// Whether nothing was left out; it does not compile when a key is forgotten here.
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
        let Web { listen, public_url, signing_key, events_token } = web;
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
    }
}
