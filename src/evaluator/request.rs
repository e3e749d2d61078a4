//! The request for an evaluation, and its limits.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::runtime::Environment;
use crate::domain::revision::Revision;
use crate::domain::spec::{Build, System};
use crate::sandbox;

/// How long after the time limit of an evaluation the sandbox ends. The supervisor ends the
/// processes of the evaluation before that, so the modules stay loaded for other systems.
const SLACK: Duration = Duration::from_secs(30);

/// What to evaluate, for any system, and with what.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// System root that has Guile and Guix: `/`, or a directory.
    pub root: PathBuf,
    /// How Guile finds the modules of the revision.
    pub environment: Environment,
    /// Which jobs to compute.
    #[serde(with = "as_json")]
    pub build: Build,
    /// The channels, in the order in which files are looked for in them.
    pub channels: Vec<Channel>,
    /// Whether the contents of store items are passed on.
    pub keep_contents: bool,
    /// What the evaluation may use.
    pub limits: Limits,
    /// The daemon for builds while evaluating; `None` when they are not allowed.
    pub daemon: Option<Daemon>,
}

/// A real guix-daemon.
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
    /// The system.
    pub system: System,
    /// Jobs that are likely to have changed. They are evaluated first; nothing else depends on
    /// this.
    pub likely: HashSet<String>,
}

/// A channel as evaluated code sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// Where the sandbox shows the channel.
    pub directory: String,
    /// Full commit hash.
    pub commit: String,
}

impl Channel {
    /// The channels in `prepared`, as pairs of name and directory, with their commits in
    /// `revision`.
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
    /// Time for the whole evaluation of a system.
    pub evaluation_time: Duration,
}

impl Limits {
    /// Initial heap of each process, in bytes: half of its share of the memory.
    pub fn heap(&self) -> u64 {
        (self.memory / (self.workers as u64 + 1) / 2).clamp(128 << 20, 2 << 30)
    }

    /// The limits of the sandbox. The supervisor keeps processes within their memory by ending one
    /// at a time. The sandbox's memory limit is higher, and exceeding it ends all processes.
    pub(super) fn sandbox(&self) -> sandbox::Limits {
        // This includes the CPU time of the garbage collector, which runs on several processors.
        let cpu = self.evaluation_time * u32::try_from(self.workers + 1).unwrap_or(u32::MAX) * 4;
        sandbox::Limits {
            processes: 512 + self.workers,
            cpu,
            all_at_once: false,
            ..sandbox::Limits::sandbox(self.memory / 4 * 5, self.evaluation_time + SLACK)
        }
    }
}

/// Writes `Build` as JSON: its format is made for JSON, and leaves out default values.
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
