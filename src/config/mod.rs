//! The operator's settings: `gorget.toml`.
//!
//! A file is read in two steps. In the written form every key is optional; resolving fills in
//! defaults that suit this machine. `gorget.toml.example` explains every key.

mod anonymous;
mod coordinator;
mod hook;
mod listen;
mod location;
mod machine;
mod value;
mod written;

use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use anonymous::Anonymous;
pub use coordinator::{Coordinator, Kind, Retries};
pub use hook::{Hook, HookKind};
pub use listen::Listen;
pub use location::Location;
use machine::Machine;
use thiserror::Error;
use written::Written;
pub use written::{HOST_NAMES, is_host_name};

pub use crate::domain::plan::route::DEFAULT;
use crate::domain::plan::route::Routes;
use crate::domain::spec::{System, position, sanitize};
use crate::git::PrivateHost;

/// The default number of concurrent requests to one substitute server.
const AT_ONCE: NonZeroUsize = NonZeroUsize::new(64).unwrap();
/// The default limit on what one evaluation adds to the store, in bytes. All packages of Guix take
/// 425 MB.
const MOST_STORED: u64 = 2 << 30;
/// The default size of the cache of compiled modules, in bytes.
const COMPILED: u64 = 8 << 30;
/// The default limit on the stored size of one spec, in bytes. A year of all of Guix takes a
/// quarter of it.
const STORED: u64 = 20 << 30;

/// The default limit on the mirror of one repository, in bytes. Guix's own takes about 1 GiB.
const MIRROR: u64 = 4 << 30;
/// The default limit on the branches of one repository that patterns match.
const BRANCHES: NonZeroUsize = NonZeroUsize::new(500).unwrap();

/// All settings, with defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The name of this machine in the farm.
    pub host: String,
    /// The state directory, an absolute path.
    pub state: PathBuf,
    /// The database: an absolute path of an `SQLite` file, or a `postgres://` URL.
    pub database: Location,
    /// The directory of spec files, an absolute path.
    pub specs: PathBuf,
    /// The root directory of the system whose Guix evaluates, an absolute path; `/` is this
    /// machine's.
    pub guix_root: PathBuf,
    /// The limits of evaluations.
    pub evaluate: Evaluate,
    /// The limits of Git.
    pub git: Git,
    /// The coordinators. Without one, nothing is built: the queue is the result.
    pub coordinators: Vec<Coordinator>,
    /// Where substitutes come from.
    pub substitutes: Substitutes,
    /// The HTTP server.
    pub web: Web,
    /// The webhooks that forges may send to.
    pub hooks: Vec<Hook>,
}

/// The limits of evaluations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluate {
    /// The systems that this machine evaluates; empty means all.
    pub systems: Vec<System>,
    /// How many worker processes evaluate at the same time.
    pub workers: NonZeroUsize,
    /// Memory of all workers together, in bytes.
    pub memory: u64,
    /// Size of the cache of compiled modules, in bytes.
    pub compiled: u64,
    /// How much one evaluation may add to the store, in bytes.
    pub most_stored: u64,
    /// How much database space the store items of one spec's evaluations may take, in bytes.
    pub stored_per_spec: u64,
    /// Wall clock limit for one package.
    pub package_time: Duration,
    /// Wall clock limit for building a revision's Guix, for specs that ask for it.
    pub time_machine_time: Duration,
    /// Wall clock limit for one evaluation.
    pub evaluation_time: Duration,
    /// The socket of the daemon that builds for evaluations of specs that permit it.
    pub daemon_socket: PathBuf,
    /// The store of that daemon.
    pub daemon_store: PathBuf,
}

/// The limits of Git.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Git {
    /// Time limit for asking a remote for the tips of branches.
    pub poll_time: Duration,
    /// Time limit for a fetch, also the first.
    pub fetch_time: Duration,
    /// Size limit of the mirror of one repository, in bytes.
    pub mirror_size: u64,
    /// How many branches of one repository patterns may match.
    pub branches: NonZeroUsize,
    /// Hosts that are not public, yet may serve channels that no spec names.
    pub private_hosts: Vec<PrivateHost>,
}

/// Which substitutes count as a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Substitutes {
    /// The servers, in the order in which they are asked.
    pub servers: Vec<Location>,
    /// The file of public keys whose signatures count, as `guix archive --authorize` writes it.
    pub acl: PathBuf,
    /// The number of concurrent requests to one server.
    pub at_once: NonZeroUsize,
}

/// The HTTP server of `gorget run`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Web {
    /// Where it listens.
    pub listen: Listen,
    /// The URL under which other machines reach it.
    pub public_url: Option<Location>,
    /// The absolute path of the secret signing key; the public key is next to it.
    pub signing_key: PathBuf,
    /// The absolute path of the file with the token for reporting build events.
    pub events_token: PathBuf,
    /// What a client without a token may see.
    pub anonymous: Anonymous,
}

/// Why the configuration could not be loaded.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A file cannot be read; the error contains its name.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// The text of the file is wrong.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Text {
        /// The path of the file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in characters.
        column: usize,
        /// What is wrong, and how to mend it.
        message: String,
    },
    /// No place is known for the default directories.
    #[error("there is no state directory, because HOME is not set\nhint: set HOME, or give --state DIR")]
    NoHome,
    /// A path is not UTF-8, which databases do not take.
    #[error("{} is not UTF-8\nhint: choose another directory for Gorget's state", .0.display())]
    NotUtf8(PathBuf),
}

impl Config {
    /// The route of each coordinator.
    pub fn routes(&self) -> Routes {
        Routes(self.coordinators.iter().map(|coordinator| coordinator.serves.clone()).collect())
    }

    /// Reads `file`. Without one, reads `gorget.toml` in `/etc/gorget` (as root) or
    /// `~/.config/gorget`, if it exists. A given `state` directory takes precedence over the
    /// file's.
    ///
    /// Relative paths in the file are relative to its directory; only the database's is relative to
    /// the state directory.
    pub fn load(file: Option<&Path>, state: Option<&Path>) -> Result<Self, ConfigError> {
        let machine = Machine::here()?;
        let file = match file {
            Some(file) => Some(std::path::absolute(file)?),
            None => machine
                .config_directory()
                .ok()
                .map(|dir| dir.join("gorget.toml"))
                .filter(|file| file.exists()),
        };
        let mut written = match &file {
            Some(file) => read(file)?,
            None => Written::default(),
        };
        if let Some(state) = state {
            written.state = Some(std::path::absolute(state)?);
        }
        resolve(written, file.as_deref().unwrap_or(Path::new("/")), &machine)
    }
}

fn read(file: &Path) -> Result<Written, ConfigError> {
    let text = fs_err::read_to_string(file)?;
    let written = toml::from_str(&text).map_err(|error| {
        // The `Display` of the error would quote the line, and the line may contain a password.
        fault(file, &text, error.span().map_or(0, |span| span.start), error.message())
    })?;
    Ok(Written { text, ..written })
}

fn fault(file: &Path, text: &str, at: usize, message: &str) -> ConfigError {
    let (line, column) = position(text, at);
    // A hint is a line of its own: only what is within a line is sanitized.
    let message = message.lines().map(sanitize).collect::<Vec<_>>().join("\n");
    ConfigError::Text { path: file.to_owned(), line, column, message }
}

/// Fills in defaults. `file` is the path that `written` was read from.
fn resolve(written: Written, file: &Path, machine: &Machine) -> Result<Config, ConfigError> {
    let base = file.parent().unwrap_or(Path::new("/"));
    let state = match written.state {
        Some(state) => base.join(state),
        None => machine.state_directory()?,
    };
    let specs = match written.specs {
        Some(specs) => base.join(specs),
        None => machine.config_directory()?.join("specs"),
    };
    let database = match written.database {
        Some(database) => database.0,
        None => Location::new("gorget.db"),
    };
    let guix_root = base.join(written.guix_root.unwrap_or_else(|| "/".into()));
    let web = web(written.web, &state);
    let coordinators = coordinator::resolve(written.coordinator, written.coordinators, &web.events_token);
    let wrong = |coordinator::Fault(at, message)| fault(file, &written.text, at, &message);
    let hooks = hook::resolve(written.hooks, &state);
    Ok(Config {
        host: written.host.map_or_else(|| machine.name.clone(), |host| host.0),
        database: database.inside(&state).map_err(ConfigError::NotUtf8)?,
        specs,
        evaluate: evaluate(written.evaluate, base, machine),
        git: git(written.git),
        coordinators: coordinators.map_err(wrong)?,
        hooks: hooks.map_err(wrong)?,
        substitutes: substitutes(written.substitutes, base, &guix_root),
        web,
        guix_root,
        state,
    })
}

fn evaluate(written: written::Evaluate, base: &Path, machine: &Machine) -> Evaluate {
    Evaluate {
        systems: written.systems.unwrap_or_default().into_iter().map(|system| system.0).collect(),
        workers: written.workers.unwrap_or(machine.cores),
        memory: written.memory.map_or(machine.memory / 2, |size| size.0),
        compiled: written.compiled.map_or(COMPILED, |size| size.0),
        most_stored: written.most_stored.map_or(MOST_STORED, |size| size.0),
        stored_per_spec: written.stored_per_spec.map_or(STORED, |size| size.0),
        package_time: written.package_time.map_or(Duration::from_mins(5), |time| time.0),
        time_machine_time: written.time_machine_time.map_or(Duration::from_hours(4), |time| time.0),
        evaluation_time: written.evaluation_time.map_or(Duration::from_hours(6), |time| time.0),
        daemon_socket: base
            .join(written.daemon_socket.unwrap_or_else(|| "/var/guix/daemon-socket/socket".into())),
        daemon_store: base.join(written.daemon_store.unwrap_or_else(|| "/gnu/store".into())),
    }
}

fn git(written: written::Git) -> Git {
    Git {
        poll_time: written.poll_time.map_or(Duration::from_secs(30), |time| time.0),
        fetch_time: written.fetch_time.map_or(Duration::from_mins(30), |time| time.0),
        mirror_size: written.mirror_size.map_or(MIRROR, |size| size.0),
        branches: written.branches.map_or(BRANCHES, |branches| branches.0),
        private_hosts: written.private_hosts.unwrap_or_default().into_iter().map(|host| host.0).collect(),
    }
}

fn substitutes(written: written::Substitutes, base: &Path, guix_root: &Path) -> Substitutes {
    Substitutes {
        servers: written.servers.unwrap_or_default().into_iter().map(|url| url.0).collect(),
        acl: written.acl.map_or_else(|| guix_root.join("etc/guix/acl"), |acl| base.join(acl)),
        at_once: written.at_once.unwrap_or(AT_ONCE),
    }
}

fn web(written: written::Web, state: &Path) -> Web {
    let inside = |file: Option<PathBuf>, name: &str| state.join(file.unwrap_or_else(|| name.into()));
    Web {
        listen: Listen::new(written.listen.as_deref().unwrap_or("gorget.sock"), state),
        public_url: written.public_url.and_then(|url| url.0).map(|url| url.0),
        signing_key: inside(written.signing_key, "signing-key.sec"),
        events_token: inside(written.events_token, "events-token"),
        anonymous: written.anonymous.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
