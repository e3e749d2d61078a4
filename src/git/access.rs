//! Which repositories git may contact, and with which of the operator's credentials.
//!
//! # Guarantees
//!
//! * The operator chose the repositories that a spec names. So keys, credential helpers and Git's
//!   configuration apply to them. Such a server may redirect the first request, and git follows
//!   with the credentials of the new place, as it does everywhere: repositories move.
//! * A stranger chose the repositories that only another channel names. If Gorget could read more
//!   than the stranger, the stranger would see it in what is evaluated and served. So such a
//!   channel is fetched as anybody on the Internet could fetch it.
//!
//! # Design
//!
//! For such a channel, git gets no `HOME` (so no `.netrc` and no SSH agent), no global or system
//! configuration (so no `insteadOf`, credential helper, extra header or cookie), no askpass and no
//! Kerberos ticket. It follows no redirect, nor the `http-alternates` of a plain web server, which
//! git treats alike. A URL has a plain host and a path: no user, query or fragment, no unusual
//! spelling of an address. It may have any port, because only the address counts.
//!
//! The name is resolved once, all its addresses must be public, and git gets the addresses that
//! were checked: by `http.curloptResolve`, or, for `git://`, in the URL, with the name in
//! `GIT_OVERRIDE_VIRTUAL_HOST`. So changing the address of a name afterwards has no effect.
//!
//! Over SSH, access is only controlled by our key. So such a channel must be next to the one that
//! names it: same host, account and directory, because on a forge one account has the repositories
//! of many owners. A directory of this machine must belong to the same user as that of the channel
//! that names it. `private-hosts` permits more.
//!
//! Mirrors of such channels are kept apart from mirrors of the same URL that were filled with
//! credentials, because what is in a mirror is read without the network. A failure to fetch such a
//! channel does not delay specs that name the same URL.
//!
//! Proxies still apply, with the credentials in their URLs, which go only to the proxy: on some
//! networks there is no other way out. A proxy resolves names itself, so it must refuse private
//! addresses itself; names that resolve here are checked here.

use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use tokio::sync::OnceCell;

use super::address::{PrivateHosts, is_host_name, is_public};
use super::program::git;
use super::remote::{RemoteError, presentable};
use crate::sandbox::Tool;

/// The variables of Gorget's environment that git does not get for a stranger's repository.
const REMOVED_VARIABLES: [&str; 3] = ["HOME", "USER", "SSH_AUTH_SOCK"];
/// How many addresses of a host are tried at most.
const MOST_ADDRESSES: usize = 8;
/// An address where nothing answers. It stands in for a name that only a proxy can resolve.
const UNREACHABLE_ADDRESS: &str = "255.255.255.255";

/// Who chose the repository that is contacted.
#[derive(Debug, Clone)]
pub(super) enum Access {
    /// The operator.
    Operator,
    /// A stranger. These hosts are permitted besides public addresses.
    Stranger(PrivateHosts),
}

/// A run of git that lacks its command, and the URL to give to git.
pub(super) struct Contact {
    pub(super) git: Tool,
    pub(super) url: String,
}

impl Access {
    /// Prepares a run of git on the repository at `directory` that contacts `url`.
    pub(super) async fn contact(
        &self,
        directory: &Path,
        url: &str,
        limit: Duration,
    ) -> Result<Contact, RemoteError> {
        let Self::Stranger(private) = self else {
            return Ok(Contact { git: git(directory), url: url.to_owned() });
        };
        let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
        let git = anonymous(git(directory));
        if !matches!(scheme, "http" | "https" | "git") {
            let scheme = if url.starts_with('/') || scheme == "file" { "file" } else { "ssh" };
            return Ok(Contact { git: git.env("GIT_ALLOW_PROTOCOL", scheme), url: url.to_owned() });
        }
        let git = git.env("GIT_ALLOW_PROTOCOL", scheme);
        let place = Place::read(url).map_err(|reason| forbidden(url, reason))?;
        let addresses = place.addresses(url, private, limit).await?;
        if scheme == "git" {
            let first = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
            let Some(address) = first else { return Err(unknown_host(url, &place)) };
            // The server gets the name from the URL, not the address.
            let git = git.env("GIT_OVERRIDE_VIRTUAL_HOST", place.authority);
            let url = format!("git://{}:{}{}", literal(*address), place.port, place.path);
            return Ok(Contact { git, url });
        }
        if place.host.parse::<IpAddr>().is_ok() {
            return Ok(Contact { git, url: url.to_owned() });
        }
        if !can_pin().await? {
            return Err(forbidden(url, "this needs git 2.37 or later, which accepts the address of a host"));
        }
        let pinned: Vec<String> = addresses.iter().map(|address| literal(*address)).collect();
        let pinned = if pinned.is_empty() { UNREACHABLE_ADDRESS.to_owned() } else { pinned.join(",") };
        let pin = format!("http.curloptResolve={}:{}:{pinned}", place.host, place.port);
        Ok(Contact { git: git.arg("-c").arg(pin), url: url.to_owned() })
    }
}

/// Whether this machine's git knows `http.curloptResolve`. Older versions ignore unknown settings.
async fn can_pin() -> Result<bool, RemoteError> {
    static KNOWN: OnceCell<bool> = OnceCell::const_new();
    let ask = async || {
        let finished = Tool::new("git").arg("--version").spawn()?.finish(Duration::from_secs(10)).await?;
        Ok(is_new_enough(&String::from_utf8_lossy(&finished.stdout)))
    };
    KNOWN.get_or_try_init(ask).await.copied()
}

fn is_new_enough(version: &str) -> bool {
    let number = version.split(' ').nth(2).unwrap_or_default();
    let mut parts = number.split('.').map(|part| part.trim().parse::<u32>().unwrap_or(0));
    (parts.next(), parts.next()) >= (Some(2), Some(37))
}

/// Takes all of the operator's credentials and configuration from git.
fn anonymous(git: Tool) -> Tool {
    let settings = [
        "http.followRedirects=false",
        "credential.helper=",
        // Without this, git would use a Kerberos ticket of this account.
        "http.emptyAuth=false",
        "http.delegation=none",
    ];
    git.without(&REMOVED_VARIABLES)
        .args(settings.iter().flat_map(|setting| ["-c", setting]))
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_ATTR_NOSYSTEM", "1")
        .env("GIT_ASKPASS", "false")
        // No file can exist below this path: no .netrc, no .config. Without HOME, curl would ask
        // the system for the home directory.
        .env("HOME", "/dev/null")
        .env("XDG_CONFIG_HOME", "/dev/null")
        .env("KRB5CCNAME", "FILE:/dev/null")
}

/// Checks whether the channel at `by` may have the channel at `url` fetched, as far as their URLs
/// tell.
pub(super) fn check_may_fetch(by: &str, url: &str) -> Result<(), RemoteError> {
    let allowed = match url.split_once("://") {
        Some(("http" | "https" | "git", _)) => Place::read(url).map(drop),
        Some(("file", path)) => local(by, path),
        None if url.starts_with('/') => local(by, url),
        _ => match (Account::read(by), Account::read(url)) {
            (Some(by), Some(place)) if by == place => Ok(()),
            _ => {
                Err("over SSH, a channel may only need channels beside it: same host, account and directory")
            }
        },
    };
    allowed.map_err(|reason| forbidden(url, reason))
}

/// A channel in a directory of this machine may bring another one that belongs to the same user.
fn local(by: &str, path: &str) -> Result<(), &'static str> {
    let owner = |path: &str| std::fs::metadata(path).ok().map(|found| found.uid());
    let by = by.strip_prefix("file://").unwrap_or(by);
    if !by.starts_with('/') || path.contains('%') {
        return Err("only a channel on this machine may need one on this machine");
    }
    match (owner(by), owner(path)) {
        (Some(by), Some(other)) if by == other => Ok(()),
        _ => Err("a channel on this machine may only need one of the same user"),
    }
}

fn forbidden(url: &str, reason: impl Into<String>) -> RemoteError {
    RemoteError::Forbidden { url: presentable(url), reason: reason.into() }
}

fn unknown_host(url: &str, place: &Place<'_>) -> RemoteError {
    let reason = format!("the host {} has no address", place.host);
    RemoteError::Unreachable { url: presentable(url), reason }
}

fn literal(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// A URL of a web server or a `git daemon`, in a form that all programs parse alike.
#[derive(Debug)]
struct Place<'a> {
    authority: &'a str,
    /// The host, without brackets.
    host: &'a str,
    port: u16,
    path: &'a str,
}

impl<'a> Place<'a> {
    fn read(url: &'a str) -> Result<Self, &'static str> {
        const NO_HOST: &str = "its host is neither a plain name nor a plain address";
        let (scheme, rest) = url.split_once("://").ok_or(NO_HOST)?;
        let (authority, path) = rest.split_at(rest.find('/').ok_or("it has no path")?);
        if path.contains(['?', '#', '\\']) || path.chars().any(|char| char.is_control() || char == ' ') {
            return Err("only a path may follow its host");
        }
        let end = if authority.starts_with('[') { authority.find(']').ok_or(NO_HOST)? + 1 } else { 0 };
        let (host, port) = match authority[end..].split_once(':') {
            Some((rest, port)) => (&authority[..end + rest.len()], Some(port)),
            None => (authority, None),
        };
        let digits =
            |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse().ok()).flatten();
        let port = match (port, scheme) {
            (Some(port), _) => digits(port).filter(|port| *port > 0).ok_or("its port is not a number")?,
            (None, "https") => 443,
            (None, "http") => 80,
            (None, _) => 9418,
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let plain = match bare {
            Some(bare) => bare.parse::<Ipv6Addr>().is_ok(),
            None => host.parse::<std::net::Ipv4Addr>().is_ok() || is_host_name(host),
        };
        if plain { Ok(Self { authority, host: bare.unwrap_or(host), port, path }) } else { Err(NO_HOST) }
    }

    /// The addresses of the host, after checking that each may be contacted; empty if only a proxy
    /// may be able to resolve it.
    async fn addresses(
        &self,
        url: &str,
        private: &PrivateHosts,
        limit: Duration,
    ) -> Result<Vec<IpAddr>, RemoteError> {
        let found = tokio::time::timeout(limit, tokio::net::lookup_host((self.host, self.port))).await;
        let found = found.map_err(|_| RemoteError::TimedOut { url: presentable(url), limit })?;
        let found: Vec<IpAddr> = match found {
            Ok(found) => found.map(|address| address.ip()).collect(),
            Err(_) if has_proxy() => Vec::new(),
            Err(_) => return Err(unknown_host(url, self)),
        };
        let permitted = |address: &IpAddr| is_public(*address) || private.has_address(*address);
        let named = private.has_name(self.host);
        if let Some(address) = found.iter().find(|address| !named && !permitted(address)) {
            return Err(forbidden(url, format!("{address} is not a public address")));
        }
        let mut addresses = found;
        addresses.dedup();
        addresses.truncate(MOST_ADDRESSES);
        Ok(addresses)
    }
}

fn has_proxy() -> bool {
    let names = ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"];
    names.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// What access by SSH key depends on. On a forge, one account has the repositories of many owners,
/// and only their directories differ.
#[derive(Debug, PartialEq, Eq)]
struct Account<'a> {
    user: Option<&'a str>,
    host: String,
    port: &'a str,
    directory: &'a str,
}

impl<'a> Account<'a> {
    fn read(url: &'a str) -> Option<Self> {
        let (authority, path) = match url.split_once("://") {
            Some(("ssh", rest)) => rest.split_at(rest.find('/')?),
            Some(_) => return None,
            None if url.starts_with(['/', '[']) => return None,
            None => url.split_once(':')?,
        };
        let (user, host) =
            authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        // Only the `ssh://` form can have a port.
        let (host, port) = host.split_once(':').unwrap_or((host, "22"));
        let path = path.trim_matches('/');
        let odd = host.is_empty()
            || path.split('/').any(|part| matches!(part, "" | "." | ".."))
            || path.contains(['%', '~']);
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        (!odd).then(|| Self { user, host: host.to_ascii_lowercase(), port, directory })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_programs_could_read_in_two_ways_is_refused() {
        let good = [
            ("https://git.example.org/a/b.git", "git.example.org", 443),
            ("http://git.example.org:8080/%20x", "git.example.org", 8080),
            ("git://git.example.org/x", "git.example.org", 9418),
            ("https://[2606:4700::1111]:444/x", "2606:4700::1111", 444),
            ("http://1.1.1.1/x", "1.1.1.1", 80),
        ];
        for (url, host, port) in good {
            let place = Place::read(url).unwrap();
            assert_eq!((place.host, place.port), (host, port), "{url}");
        }
        for url in [
            "http://x/a?b",
            "http://x/a#b",
            "http://x?a/b",
            "http://x#@y/b",
            "http://me@x/a",
            "http://x\\@y/a",
            "http://x:/a",
            "http://x:0/a",
            "http://x:99999/a",
            "http://x:+80/a",
            "http://x:80:80/a",
            "http://[::1/a",
            "http://[::1]x/a",
            "http://::1/a",
            "http://2130706433/a",
            "http://127.1/a",
            "http://0x7f.0.0.1/a",
            "http://017700000001/a",
            "http://127.0.0.1./a",
            "http://x%2ey/a",
            "http://[fe80::1%25lo]/a",
            "http://é/a",
            "http://x",
            "https:///a",
        ] {
            assert!(Place::read(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_git_that_cannot_be_told_addresses_is_known_by_its_version() {
        for (version, expected) in [
            ("git version 2.47.3\n", true),
            ("git version 2.37", true),
            ("git version 3.0.0", true),
            ("git version 2.36.9", false),
            ("git version 1.99", false),
            ("", false),
        ] {
            assert_eq!(is_new_enough(version), expected, "{version}");
        }
    }

    #[test]
    fn over_ssh_a_channel_brings_only_its_neighbours() {
        let table = [
            ("git@forge:team/a.git", "git@forge:team/b.git", true),
            ("git@forge:team/a.git", "ssh://git@FORGE/team/b.git", true),
            ("ssh://git@forge:22/team/a", "git@forge:team/b", true),
            ("git@forge:team/a.git", "git@forge:other/b.git", false),
            ("git@forge:team/a.git", "git@forge:team/../other/b.git", false),
            ("git@forge:team/a.git", "git@forge:team/x/b.git", false),
            ("git@forge:team/a.git", "git@other:team/b.git", false),
            ("git@forge:team/a.git", "root@forge:team/b.git", false),
            ("git@forge:team/a.git", "forge:team/b.git", false),
            ("ssh://git@forge:2222/team/a", "ssh://git@forge/team/b", false),
            ("https://forge/team/a.git", "git@forge:team/b.git", false),
            ("/srv/team/a.git", "git@forge:team/b.git", false),
            ("git@forge:team/a.git", "/srv/team/b.git", false),
        ];
        for (by, url, expected) in table {
            assert_eq!(check_may_fetch(by, url).is_ok(), expected, "{by} {url}");
        }
    }

    #[test]
    fn on_this_machine_a_channel_brings_only_what_belongs_to_the_same_user() {
        let mine = tempfile::tempdir().unwrap();
        let theirs = tempfile::tempdir().unwrap();
        let [by, url] = [&mine, &theirs].map(|directory| directory.path().to_str().unwrap());
        check_may_fetch(by, url).unwrap();
        check_may_fetch(&format!("file://{by}"), &format!("file://{url}")).unwrap();
        assert!(check_may_fetch("https://x/y", url).is_err());
        assert!(check_may_fetch(by, "/nowhere/at/all").is_err());
        let nobody = rustix::process::Uid::from_raw(65534);
        if rustix::fs::chown(theirs.path(), Some(nobody), None).is_ok() {
            assert!(check_may_fetch(by, url).is_err());
        }
    }
}
