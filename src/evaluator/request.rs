//! What an evaluation is asked for, and what it may use.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::runtime::Environment;
use crate::domain::revision::Revision;
use crate::domain::spec::{Build, System};
use crate::sandbox;

/// The sandbox ends so long after the time of an evaluation, which ends that one's processes first: the modules stay
/// loaded for other systems.
const SLACK: Duration = Duration::from_secs(30);

/// What to evaluate, whatever the system, and with what.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// System root that has Guile and Guix: `/`, or a directory.
    pub root: PathBuf,
    /// How Guile finds the modules of the revision.
    pub environment: Environment,
    /// Which jobs.
    #[serde(with = "as_json")]
    pub build: Build,
    /// The channels, in the order in which files are looked for in them.
    pub channels: Vec<Channel>,
    /// Whether the contents of store items are passed on.
    pub keep_contents: bool,
    /// What it may use.
    pub limits: Limits,
    /// Who makes the builds that it asks for, where they are made at all.
    pub daemon: Option<Daemon>,
}

/// A real daemon.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Daemon {
    /// Its socket.
    pub socket: PathBuf,
    /// Its store, which evaluations see read-only.
    pub store: PathBuf,
}

/// One system that a request is evaluated for.
#[derive(Debug)]
pub struct Target {
    /// Which.
    pub system: System,
    /// Jobs that are likely to have changed: they come first. This is about order only.
    pub likely: HashSet<String>,
}

/// A channel as evaluated code sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// Where the sandbox shows it.
    pub directory: String,
    /// Full commit hash.
    pub commit: String,
}

impl Channel {
    /// Channels as they were prepared, names and directories, at the commits of `revision`.
    pub fn list(prepared: &[(String, String)], revision: &Revision) -> Vec<Self> {
        let commit = |name: &str| {
            let channel = revision.channels().iter().find(|channel| channel.name == name);
            channel.map(|channel| channel.commit.clone()).unwrap_or_default()
        };
        let channel = |(name, directory): &(String, String)| Self {
            name: name.clone(),
            directory: directory.clone(),
            commit: commit(name),
        };
        prepared.iter().map(channel).collect()
    }
}

/// What an evaluation may use.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Limits {
    /// Processes that lower packages side by side.
    pub workers: usize,
    /// Memory of all processes together, in bytes.
    pub memory: u64,
    /// What may be added to the store for one system, in bytes.
    pub stored: u64,
    /// Time for one unit.
    pub package_time: Duration,
    /// Time for everything.
    pub evaluation_time: Duration,
}

impl Limits {
    /// Bytes of heap that each process begins with: half of its part of the memory.
    pub fn heap(&self) -> u64 {
        (self.memory / (self.workers as u64 + 1) / 2).clamp(128 << 20, 2 << 30)
    }

    /// What the sandbox may use. The supervisor sees to it that processes keep to their memory, and ends
    /// one of them; this is more, and what exceeds it ends them all.
    pub(super) fn sandbox(&self) -> sandbox::Limits {
        // CPU time for the garbage collector, which works on several processors.
        let cpu = self.evaluation_time * u32::try_from(self.workers + 1).unwrap_or(u32::MAX) * 4;
        sandbox::Limits {
            processes: 512 + self.workers,
            cpu,
            all_at_once: false,
            ..sandbox::Limits::sandbox(self.memory / 4 * 5, self.evaluation_time + SLACK)
        }
    }
}

/// Jobs are described for JSON, which leaves out what is usual.
mod as_json {
    use serde::de::Error as _;
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::domain::spec::Build;

    pub(super) fn serialize<S: Serializer>(build: &Build, to: S) -> Result<S::Ok, S::Error> {
        serde_json::to_string(build).map_err(S::Error::custom)?.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Build, D::Error> {
        serde_json::from_str(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}
