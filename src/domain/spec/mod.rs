//! Specs, as admins write them.
//!
//! A file is read in two steps. The *written* form keeps positions and leaves everything optional.
//! Resolving it gives either a `Spec`, in which every value has been checked and every default
//! applied, or *all* its faults as `Diagnostic`s. `load_directory` does this for all specs of a
//! farm, `parse` for one text.

mod build;
mod channel;
mod credentials;
mod crontab;
mod diagnostic;
mod directory;
mod location;
mod name;
mod parse;
mod period;
mod period_error;
mod retry_failed;
mod section;
mod template;
mod verdict;

use std::fmt;

pub use channel::{GUIX_URL, MissingIntroduction, guix_introduction, is_guix_url};
pub use credentials::without_credentials;
pub use diagnostic::{Diagnostic, Severity, position, render, sanitize};
pub use directory::{SpecFile, load_directory, load_directory_again, load_file, refuse_equal_names};
pub use location::{BranchError, UrlError, check_branch, check_url, is_inside, is_local};
pub use name::is_name;
pub use parse::{Checked, parse};
pub use period::{Period, interval};
pub use period_error::PeriodError;
pub use retry_failed::RetryFailed;
use serde::{Deserialize, Serialize};
pub use template::{is_pattern, matches_pattern, specs_from_template, watches_branch};
pub use verdict::Policy;

/// One spec, checked and complete.
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Unique among the specs of a farm: letters, digits, `.`, `_`, `-`; at most 64 of them.
    pub name: String,
    /// The sources of code. Names are unique, and so are the pairs of URL and branch.
    pub channels: Vec<Channel>,
    /// The jobs to compute.
    pub build: Build,
    /// The systems to compute them for, without duplicates; at least one.
    pub systems: Vec<System>,
    /// How often the branches are polled.
    pub period: Period,
    /// From 0 (first) to 9 (last), as in Cuirass.
    pub priority: u8,
    /// Whether the spec is watched and evaluated at all.
    pub active: bool,
    /// What to do with the builds of the very first evaluation.
    pub first: FirstEvaluation,
    /// Whether all commits of a branch are evaluated, one after another, or only the newest.
    #[serde(default)]
    pub every_commit: bool,
    /// Which Guix evaluates, if one of the channels is Guix.
    #[serde(default)]
    pub runtime: Runtime,
    /// When failed builds are queued again.
    #[serde(default)]
    pub retry_failed: RetryFailed,
    /// Builds of this spec for each build of another spec of the same priority that has one share.
    #[serde(default = "one")]
    pub share: u32,
    /// How many new builds one evaluation of a system may queue without approval.
    #[serde(default)]
    pub budget: Option<u32>,
    /// Whether the other systems wait until the first one is done.
    #[serde(default)]
    pub staged: bool,
    /// Whether inputs that no job has wanted are queued as well; otherwise the coordinator builds
    /// them.
    #[serde(default)]
    pub queue_inputs: bool,
    /// The evaluations to keep; `None` keeps all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<Keep>,
    /// What the branch has to do to be ready for the branch of another spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Policy>,
    /// The template that this spec was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
}

fn one() -> u32 {
    1
}

impl Spec {
    /// Whether it is a template: one of its branches is a pattern. Specs are made from a template,
    /// and nothing else is done with it.
    pub fn is_template(&self) -> bool {
        self.channels.iter().any(|channel| is_pattern(&channel.branch))
    }

    /// Whether the spec is evaluated: it is active and no template.
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
    /// Patterns of branches to leave out, although `branch` matches them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// When set, exactly this commit is used and the branch is not polled.
    pub commit: Option<String>,
    /// The first commit whose signature counts, and its signer. Without it, commits are not
    /// authenticated.
    pub introduction: Option<Introduction>,
}

/// The start of a channel's chain of authenticated commits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Introduction {
    /// Full commit hash.
    pub commit: String,
    /// `OpenPGP` fingerprint of its signer: 40 upper-case hexadecimal digits, no blanks.
    pub signer: String,
}

/// The jobs to compute for a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// The subset of the jobs of `(gnu ci)` to start from.
    pub subset: Subset,
    /// Whether packages are also built for the processors that `(gnu ci)` tunes them for.
    pub tuned: bool,
    /// Whether the cross builds of `(gnu ci)` are among the jobs.
    pub cross: bool,
    /// More targets to cross-build for: the listed packages if `build` lists packages, otherwise
    /// those that `(gnu ci)` cross-builds.
    pub cross_targets: Vec<String>,
    /// Packages and manifest entries to leave out, by name; `*` stands for any text.
    pub exclude: Vec<String>,
    /// Whether this machine's daemon makes builds that an evaluation asks for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub builds_while_evaluating: bool,
}

impl From<Subset> for Build {
    /// All jobs of the subset, as in `(gnu ci)`.
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
    /// Every package, including hidden ones, replacements, tuned variants and cross builds.
    All,
    /// The packages that the rest is built with, and their cross builds.
    Core,
    /// Guix itself.
    Guix,
    /// The package `hello`.
    Hello,
    /// Images of Guix System.
    Images,
    /// The tests of Guix System.
    SystemTests,
    /// The tarball for installing Guix on other distributions.
    Tarball,
    /// The jobs that the procedure `cuirass-jobs` of each of these modules, such as `(my ci)`,
    /// returns.
    Custom(Vec<String>),
    /// The packages of these channels, by name.
    Channels(Vec<String>),
    /// Packages by specification, such as `gcc-toolchain@14`.
    Packages(Vec<String>),
    /// The entries of manifest files, each by its path inside one of the channels.
    Manifests(Vec<String>),
}

/// Which Guix evaluates a revision that has the channel `guix`. The installed one evaluates any
/// other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Runtime {
    /// The revision's own, run directly from its checkout.
    #[default]
    Checkout,
    /// The revision's own, built by the machine's daemon as `guix time-machine` does.
    TimeMachine,
}

/// What to do with the builds of a spec's first evaluation, which has no earlier one to compare
/// with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FirstEvaluation {
    /// Queue them.
    #[default]
    Queue,
    /// Record them as known, without queueing them.
    Record,
}

/// How many evaluations of a spec are kept for each system. Those that [`crate::domain::retention`]
/// never removes are kept as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Keep {
    /// The number of the newest evaluations to keep; at least one.
    pub newest: usize,
    /// The number of days (UTC) of which the last evaluation is kept, counting only days with one.
    pub days: usize,
    /// The same for weeks, which begin on Monday.
    pub weeks: usize,
    /// The same for months.
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

    /// The system that this program was compiled for.
    pub fn host() -> Self {
        Self(match std::env::consts::ARCH {
            "x86" => "i686-linux".to_owned(),
            "arm" => "armhf-linux".to_owned(),
            "powerpc64" => "powerpc64le-linux".to_owned(),
            arch => format!("{arch}-linux"),
        })
    }

    /// The name of the system.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
