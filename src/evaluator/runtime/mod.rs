//! Which Guix evaluates.
//!
//! Three ways of running a revision, with one result: an [`Environment`], in which Guile finds Guix.
//! `host` is the installed Guix with other channels behind it. [`checkout`] is the revision's own
//! Guix, straight from a checkout, with compiled modules from the installed Guix and a [`Cache`].
//! [`TimeMachine`] has the revision's own Guix built by a real daemon, as `guix time-machine` does.
//!
//! # When is a compiled module the compiled form of a source file?
//!
//! Taking a wrong one gives wrong derivations, so the key of a compiled module covers everything
//! that compiling can see. At level 1, which Guix uses for packages, Guile takes nothing from
//! other modules into a compiled file but what *macros* put there, and what a name *is*: a macro, a
//! primitive of Guile, or a variable. Variables are looked up when the module is loaded. So the key
//! has, beside Guile's version and build, the level, the path and the source:
//!
//! * for each symbol of the source that may be a macro of a module it reaches by imports: the
//!   *digest* of that macro, which covers its form and all macros the form mentions, and so on. For
//!   macros that run code while they expand, also the procedures they mention, and so on;
//! * for each symbol that is a name of Guile or of a macro: the modules that define or export it;
//! * what modules that it reaches do when they are loaded (`set!`, `read-hash-extend`);
//! * the whole text of modules that cannot be followed (`#:renamer`, `import`, `include` with the text of
//!   the included file).
//!
//! A module that includes what is not in a layer, or is nested as no real one is, has no key, nor has what
//! imports it: these are loaded from source. Channels whose modules take more than `sources` and `effort`
//! allow are refused. All of that is read by a process of its own, the source reader (`source_reader`).
//!
//! Everything in doubt counts: names in forms with an unknown head, names that such a form may
//! make out of other names, symbols in comments behind `#;`, local variables named like macros.
//! That costs a compilation too many now and then.
//!
//! Guix's own build compiles everything else at levels 2 and 3, where Guile copies procedures
//! across modules and notes where variables come from. So modules of the installed Guix are taken
//! only if also the text of all that they reach, packages excepted, and the homes of all their
//! symbols are equal. What we compile ourselves leaves these optimizations out, and the first key
//! suffices.
//!
//! What could deceive the key: expansion code that calls a value of another package module, or
//! that reads a file; a macro with a name that is computed from something else than the first
//! name in the form that defines it; a module that assembles the names of its imports at run time;
//! code that redefines `define` and its kind through a macro it does not name. Guix has none.
//!
//! For the packages of a Guix alone, only what they and the evaluator's own code reach by imports is
//! compiled ([`Scope`]): a change to a service, or to one of Guix's own tests, delays no package. What
//! is imported all the same, by a name made at run time, is loaded from source, with the same result.
//!
//! A file that does not compile is remembered under a key of its own, in which everything it
//! reaches takes part: what is wrong may be elsewhere.
//!
//! # Who can forge one?
//!
//! All that holds for honest code. While a module is compiled, code of what it imports runs, and
//! any code in a sandbox can hand over whatever it likes for each module that is compiled there. So
//! a sandbox sees only the channels that its modules import from, and what it makes is kept for
//! exactly these:
//!
//! * Guix and the libraries with it are compared, and Guix's modules compiled, where no other
//!   channel is seen. Neither their keys nor what they are compiled to depend on other channels, as
//!   in Guix itself, which builds its own modules before it looks at another channel. A module that
//!   imports something that only another channel has does not compile, and is loaded from source.
//! * The other channels are compared where all are seen, which says whose files each of them
//!   reaches by imports and includes: the channels that it *sees*, Guix and itself among them. Its
//!   modules are then compared once more, and compiled, where only these are seen. Channels share a
//!   sandbox if they see the same ones.
//!
//! The [`Cache`] keeps apart what was made where different channels were seen, by their names, URLs
//! and introductions. So a channel can forge modules of those that import from it, for as long as
//! they do, and no others. By a file with the name of one of another channel's modules it can have
//! itself imported, but nothing that is made then is used when the file is gone.

mod beneath;
mod budget;
mod cache;
mod channel;
mod checkout;
mod compile;
mod compiled_worker;
mod compiler;
mod compiling;
mod definers;
mod digest;
mod effort;
mod farm;
#[cfg(fuzzing)]
pub mod fuzzed;
mod handover;
mod hash;
mod includes;
mod index;
mod installed;
mod key;
mod layer;
mod makers;
mod min_version;
mod plan;
mod progress;
mod reach;
mod reader;
mod runtimes;
mod search;
mod source_reader;
mod sources;
mod time_machine;
mod visible;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::sandbox::{Confined, Limits};

use farm::Farm;

pub use cache::Cache;
pub use channel::Source;
pub use checkout::checkout;
pub use compile::CompileFailure;
pub use compiling::{Compiling, Scope};
pub use installed::{InstalledGuix, installed_environment};
pub use progress::CompileProgress;
pub use runtimes::{Prepared, Runtimes};
pub use source_reader::{COMMAND as READ_SOURCES, serve as read_sources};
pub use sources::SourcesError;
pub use time_machine::TimeMachine;

/// Why there is no Guix to evaluate with.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// No `guix` program.
    #[error("there is no guix below {}\nhint: install Guix, or set the Guix root to a system that has it", .root.display())]
    NoGuix {
        /// The system root that was searched.
        root: PathBuf,
    },
    /// It does not answer.
    #[error("the Guix below {} cannot be used: {reason}\nhint: it takes Guix 1.2.0 or later; try `guix repl`", .root.display())]
    Probe {
        /// Its system root.
        root: PathBuf,
        /// What it said instead.
        reason: String,
    },
    /// It was made before all that the evaluator needs.
    #[error(
        "the Guix {whose} is too old: its {file} has no `{name}`\nhint: Gorget works with Guix 1.2.0, of November 2020, and later"
    )]
    TooOld {
        /// Where it is, in words.
        whose: String,
        /// A file that it lacks, or that lacks a name.
        file: String,
        /// The name.
        name: String,
    },
    /// A channel's name would lead elsewhere.
    #[error("the channel name {name:?} cannot be a file name")]
    ChannelName {
        /// The name.
        name: String,
    },
    /// A channel's modules are not in its repository.
    #[error(
        "the channel {channel} has no directory {directory:?} that Guile can load modules from\nhint: `directory` in its .guix-channel names a directory of its own repository, without a colon"
    )]
    NoModules {
        /// The channel's name.
        channel: String,
        /// What its description says.
        directory: String,
    },
    /// None of the channels is Guix.
    #[error("no channel is called `guix`\nhint: add it, or use the runtime `host`")]
    NoGuixChannel,
    /// The channel `guix` is something else.
    #[error("the channel `guix` has no {missing}")]
    NotGuix {
        /// The file that every Guix has.
        missing: String,
    },
    /// Nobody builds.
    #[error(
        "the daemon at {} cannot be reached: {error}\nhint: start guix-daemon, or say in gorget.toml where it is: `daemon-socket` in [evaluate]",
        socket.display()
    )]
    NoDaemon {
        /// Its socket.
        socket: PathBuf,
        /// What is wrong.
        error: io::Error,
    },
    /// The revision's Guix does not build.
    #[error("Guix at commit {commit} cannot be built: {reason}\nhint: all that was printed is in {}", log.display())]
    NotBuilt {
        /// Which.
        commit: String,
        /// What went wrong.
        reason: String,
        /// A file.
        log: PathBuf,
    },
    /// A channel's modules are not as they may be.
    #[error(transparent)]
    Sources(#[from] SourcesError),
    /// A file or directory.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl RuntimeError {
    /// Whether the channels are to blame, so that trying again is of no use.
    pub fn is_of_revision(&self) -> bool {
        matches!(
            self,
            Self::TooOld { .. }
                | Self::NotGuix { .. }
                | Self::NotBuilt { .. }
                | Self::ChannelName { .. }
                | Self::Sources(SourcesError::Refused { .. })
                | Self::NoModules { .. }
        )
    }
}

/// Where the modules of an environment come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Compiled modules of the installed Guix.
    pub installed: usize,
    /// Compiled modules that were in the cache.
    pub cached: usize,
    /// Compiled modules made for this revision.
    pub compiled: usize,
    /// Modules that are loaded from source: the installed Guix has them uncompiled, too, or no package needs them.
    pub source: usize,
}

/// What Guile needs in a sandbox to be a revision's Guix.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Environment {
    /// The `guile` program inside the sandbox.
    pub program: PathBuf,
    /// What to show read-only: paths here and inside.
    pub binds: Vec<(PathBuf, PathBuf)>,
    /// Where its Guix is compiled, as Guix's own build has it: Guile looks there for what modules include. It does
    /// not run there: derivations of images depend on the directory.
    directory: Option<PathBuf>,
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// What did not compile: its module will be loaded from source, or fail when it is needed.
    #[serde(skip)]
    pub failures: Vec<CompileFailure>,
    /// Where its modules come from.
    #[serde(skip)]
    pub counts: Counts,
    /// The links to compiled modules, which last as long as this.
    #[serde(skip)]
    _farm: Option<Arc<Farm>>,
}

impl Environment {
    /// The same for compiling its Guix.
    fn confine_compiler(&self, root: impl Into<PathBuf>, limits: Limits) -> Confined {
        let guile = self.confine(root, limits);
        match &self.directory {
            Some(directory) => guile.directory(directory),
            None => guile,
        }
    }

    /// Describes a run of its Guile below the system root `root`.
    pub fn confine(&self, root: impl Into<PathBuf>, limits: Limits) -> Confined {
        let guile = Confined::new(root, &self.program, limits);
        let guile = self.env.iter().fold(guile, |guile, (name, value)| guile.env(name, value));
        self.binds.iter().fold(guile, |guile, (here, inside)| guile.readable(here, inside))
    }
}

/// A search path as Guile reads it.
fn search_path(directories: &[PathBuf]) -> String {
    directories.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(":")
}
