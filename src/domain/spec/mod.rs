//! What an admin wrote about a branch.
//!
//! A file is read in two steps: the *written* form keeps positions and leaves everything optional;
//! resolving it either gives a `Spec`, in which every value has been checked and every default
//! applied, or *all* its faults as `Diagnostic`s. `load_directory` does this for all specs of a
//! farm, `parse` for one text.

mod again;
mod build;
mod channel;
mod credentials;
mod crontab;
mod diagnostic;
mod directory;
mod location;
mod name;
mod period;
mod period_error;
mod section;
mod template;
mod verdict;
mod written;

use std::fmt;

pub use again::RetryFailed;
pub use channel::Unintroduced;
pub use credentials::without_credentials;
pub use diagnostic::{Diagnostic, Severity, position, render, sanitize};
pub use directory::{SpecFile, load_directory, load_directory_again, load_file, refuse_equal_names};
pub use location::{BranchError, UrlError, check_branch, check_url, is_inside, is_local};
pub use name::is_name;
pub use period::{Period, interval};
pub use period_error::PeriodError;
use serde::{Deserialize, Serialize};
pub use template::{fits, is_pattern, made, matches};
pub use verdict::Policy;
pub use written::{Checked, parse};

/// One branch specification, checked and complete.
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Unique among the specs of a farm: letters, digits, `.`, `_`, `-`; at most 64 of them.
    pub name: String,
    /// Where code comes from. Names are unique, and so are the pairs of URL and branch.
    pub channels: Vec<Channel>,
    /// Which jobs the revision is asked for.
    pub build: Build,
    /// For which systems, without duplicates; at least one.
    pub systems: Vec<System>,
    /// How often the branches are polled.
    pub period: Period,
    /// 0 (first) to 9 (last), as in Cuirass.
    pub priority: u8,
    /// Whether it is watched and evaluated at all.
    pub active: bool,
    /// What becomes of the builds of the very first evaluation.
    pub first: First,
    /// Whether all commits of a branch are evaluated, one after another, or only the newest.
    #[serde(default)]
    pub every_commit: bool,
    /// Which Guix evaluates, where one of the channels is Guix.
    #[serde(default)]
    pub runtime: Runtime,
    /// When what failed is queued again.
    #[serde(default)]
    pub retry_failed: RetryFailed,
    /// How many builds it gets for each one of another spec of the same priority that has one share.
    #[serde(default = "one")]
    pub share: u32,
    /// How many new builds one evaluation of a system may queue without approval.
    #[serde(default)]
    pub budget: Option<u32>,
    /// Whether other systems wait until the first one is through.
    #[serde(default)]
    pub staged: bool,
    /// Whether what builds need and nobody has wanted is queued as well; else it is the coordinator's task.
    #[serde(default)]
    pub queue_inputs: bool,
    /// Which of its evaluations are kept; all of them, when that is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<Keep>,
    /// What the branch has to do to be ready for the branch of another spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Policy>,
    /// The spec that this one was made from, when that has a pattern as branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
}

fn one() -> u32 {
    1
}

impl Spec {
    /// Whether it has a pattern as branch, so that specs are made from it and nothing else is done.
    pub fn is_template(&self) -> bool {
        self.channels.iter().any(|channel| is_pattern(&channel.branch))
    }

    /// Whether there is something to evaluate.
    pub fn is_evaluated(&self) -> bool {
        self.active && !self.is_template()
    }
}

/// One source of Guix code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// The channel's name. The one called `guix` brings Guix itself.
    pub name: String,
    /// Anything `git` can fetch from.
    pub url: String,
    /// The branch that is watched, or a pattern with `*` for any text.
    pub branch: String,
    /// Patterns of branches that the pattern does not mean.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// When set, exactly this commit is used and the branch is not polled.
    pub commit: Option<String>,
    /// The first commit whose signature counts, and its signer; without, commits are taken as they come.
    pub introduction: Option<Introduction>,
}

/// Where a channel's chain of authenticated commits begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Introduction {
    /// Full commit hash.
    pub commit: String,
    /// `OpenPGP` fingerprint of its signer: 40 upper-case hexadecimal digits, no blanks.
    pub signer: String,
}

/// Which jobs a revision is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// The jobs of `(gnu ci)` to begin with.
    pub subset: Subset,
    /// Whether packages are also built for the processors that `(gnu ci)` tunes them for.
    pub tuned: bool,
    /// Whether the cross builds that `(gnu ci)` has are among the jobs.
    pub cross: bool,
    /// More targets to cross-build for: the packages that are listed, else those that `(gnu ci)`
    /// cross-builds.
    pub cross_targets: Vec<String>,
    /// Packages and manifest entries to leave out, by their names, in which `*` stands for anything.
    pub exclude: Vec<String>,
    /// Whether builds that are asked for while evaluating are made, by this machine's daemon.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub builds_while_evaluating: bool,
}

impl From<Subset> for Build {
    /// All of it, as `(gnu ci)` has it.
    fn from(subset: Subset) -> Self {
        Self {
            subset,
            tuned: true,
            cross: true,
            cross_targets: Vec::new(),
            exclude: Vec::new(),
            builds_while_evaluating: false,
        }
    }
}

/// A subset of all possible jobs, as `(gnu ci)` names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subset {
    /// Every package, hidden ones, replacements, tuned variants and cross builds included.
    All,
    /// What the rest is built with, and its cross builds.
    Core,
    /// Guix itself.
    Guix,
    /// The package `hello`.
    Hello,
    /// Images of Guix System.
    Images,
    /// The tests of Guix System.
    SystemTests,
    /// The tarball with which Guix is installed elsewhere.
    Tarball,
    /// What the procedure `cuirass-jobs` of each of these modules returns; such as `(my ci)`.
    Custom(Vec<String>),
    /// The packages of these channels, by their names.
    Channels(Vec<String>),
    /// Packages by specification, such as `gcc-toolchain@14`.
    Packages(Vec<String>),
    /// The entries of manifest files, by their path inside one of the channels.
    Manifests(Vec<String>),
}

/// Which Guix evaluates a revision that has the channel `guix`; the installed one evaluates others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Runtime {
    /// The revision's own, straight from its files.
    #[default]
    Checkout,
    /// The revision's own, built by the machine's daemon as `guix time-machine` has it built.
    TimeMachine,
}

/// What becomes of the builds of a spec's first evaluation, which has nothing to be compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum First {
    /// They are queued.
    #[default]
    Queue,
    /// They are recorded as known, and not queued.
    Record,
}

/// Which evaluations of a spec are kept, for each system: these, and those that [`crate::domain::retention`]
/// never lets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Keep {
    /// The newest ones, so many; at least one.
    pub newest: usize,
    /// The last one of a day (UTC), for the last so many days that have one.
    pub days: usize,
    /// The last one of a week, which begins with its Monday.
    pub weeks: usize,
    /// The last one of a month.
    pub months: usize,
}

/// A system that Guix builds for, such as `x86_64-linux`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct System(String);

impl System {
    /// Every system that Guix knows.
    pub const KNOWN: [&str; 10] = [
        "x86_64-linux",
        "i686-linux",
        "aarch64-linux",
        "armhf-linux",
        "powerpc64le-linux",
        "riscv64-linux",
        "i586-gnu",
        "x86_64-gnu",
        "mips64el-linux",
        "powerpc-linux",
    ];

    /// The system called `name`, if Guix knows it.
    pub fn new(name: &str) -> Option<Self> {
        Self::KNOWN.contains(&name).then(|| Self(name.to_owned()))
    }

    /// The system that this program was made for.
    pub fn host() -> Self {
        Self(match std::env::consts::ARCH {
            "x86" => "i686-linux".to_owned(),
            "arm" => "armhf-linux".to_owned(),
            "powerpc64" => "powerpc64le-linux".to_owned(),
            arch => format!("{arch}-linux"),
        })
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
