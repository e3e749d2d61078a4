//! Which Guix evaluates.
//!
//! Three ways of running a revision, with one result: an [`Environment`], in which Guile finds Guix.
//! `host` is the installed Guix with other channels behind it. [`checkout`] is the revision's own
//! Guix, straight from a checkout, with compiled modules from the installed Guix and a [`Cache`].
//! [`TimeMachine`] has the revision's own Guix built by a real daemon, as `guix time-machine` does.
//!
//! # When is a compiled module the compiled form of a source file?
//!
//! A wrong compiled module gives wrong derivations, so the key of a compiled module covers
//! everything that compiling can see. At level 1, which Guix uses for packages, Guile takes only
//! two things from other modules into a compiled file: what *macros* put there, and what a name
//! *is*: a macro, a primitive of Guile, or a variable. Variables are looked up when the module is
//! loaded. So the key has, beside Guile's version and build, the level, the path and the source:
//!
//! * for each symbol of the source that may be a macro of a module it reaches by imports: the
//!   *digest* of that macro, which covers its form and all macros the form mentions, and so on. For
//!   macros that run code while they expand, also the procedures they mention, and so on;
//! * for each symbol that is a name of Guile or of a macro: the modules that define or export it;
//! * what modules that it reaches do when they are loaded (`set!`, `read-hash-extend`);
//! * the whole text of modules that cannot be followed (`#:renamer`, `import`, `include` with the text of
//!   the included file).
//!
//! A module has no key if it includes a file that is not in a layer, or is nested more deeply than
//! any real module, or imports a module without a key. Modules without a key are loaded from
//! source. Channels whose modules exceed the limits of `sources` and `key_limits` are refused. A
//! separate process, the source reader (`source_reader`), reads all of this.
//!
//! Everything in doubt counts: names in forms with an unknown head, names that such a form may make
//! out of other names, symbols in comments behind `#;`, local variables named like macros. This
//! causes an unnecessary compilation now and then.
//!
//! Guix's own build compiles everything else at levels 2 and 3, where Guile copies procedures
//! across modules and notes where variables come from. So a module of the installed Guix is used
//! only if the text of all modules that it reaches, except packages, and the homes of all its
//! symbols are equal, too. Modules that Gorget compiles leave these optimizations out, so the first
//! key suffices for them.
//!
//! These could deceive the key: expansion code that calls a value of another package module, or
//! that reads a file; a macro with a name that is computed from something else than the first name
//! in the form that defines it; a module that assembles the names of its imports at run time; code
//! that redefines `define` and the like through a macro that it does not name. Guix has none of
//! them.
//!
//! For the packages of Guix alone, only modules that they and the evaluator's own code reach by
//! imports are compiled ([`Scope`]), so a change to a service, or to one of Guix's own tests,
//! delays no package. A module that is imported by a name made at run time is loaded from source,
//! with the same result.
//!
//! The failure of a file to compile is remembered under a separate key, which covers everything
//! that the file reaches, because the error may be elsewhere.
//!
//! # Who can forge a compiled module?
//!
//! All this holds for honest code. While a module is compiled, code of its imports runs, and any
//! code in a sandbox can hand over any result for each module that is compiled there. So a sandbox
//! sees only the channels that its modules import from, and its results are kept for exactly these
//! channels:
//!
//! * Guix and the libraries with it are compared, and Guix's modules compiled, where no other
//!   channel is seen. Neither their keys nor their compiled forms depend on other channels, as in
//!   Guix itself, which builds its own modules before it looks at another channel. A module that
//!   imports something that only another channel has does not compile, and is loaded from source.
//! * The other channels are compared where all channels are seen. This shows whose files each
//!   channel reaches by imports and includes: the channels that it *sees*, including Guix and
//!   itself. Its modules are then compared once more, and compiled, where only these channels are
//!   seen. Channels share a sandbox if they see the same ones.
//!
//! The [`Cache`] separates results by the names, URLs and introductions of the channels that were
//! seen. So a channel can forge only modules of channels that import from it, and only for as long
//! as they do. With a file that has the name of another channel's module, a channel can get itself
//! imported, but nothing that is compiled then is used once the file is gone.

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
#[cfg(fuzzing)]
pub mod fuzzed;
mod hash;
mod includes;
mod index;
mod installed;
mod key;
mod key_limits;
mod layer;
mod layer_reader;
mod link_tree;
mod makers;
mod min_version;
mod plan;
mod progress;
mod reach;
mod reader;
mod result_server;
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

use link_tree::LinkTree;

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
    /// The Guix does not answer as it should.
    #[error("the Guix below {} cannot be used: {reason}\nhint: it takes Guix 1.2.0 or later; try `guix repl`", .root.display())]
    Probe {
        /// Its system root.
        root: PathBuf,
        /// What it answered instead.
        reason: String,
    },
    /// The Guix is too old: it lacks something that the evaluator needs.
    #[error(
        "the Guix {whose} is too old: its {file} has no `{name}`\nhint: Gorget works with Guix 1.2.0, of November 2020, and later"
    )]
    TooOld {
        /// Which Guix this is, in words.
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
        /// The directory that its description names.
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
    /// The daemon does not answer.
    #[error(
        "the daemon at {} cannot be reached: {error}\nhint: start guix-daemon, or say in gorget.toml where it is: `daemon-socket` in [evaluate]",
        socket.display()
    )]
    NoDaemon {
        /// Its socket.
        socket: PathBuf,
        /// Why it cannot be reached.
        error: io::Error,
    },
    /// The revision's Guix does not build.
    #[error("Guix at commit {commit} cannot be built: {reason}\nhint: all that was printed is in {}", log.display())]
    NotBuilt {
        /// The commit of the channel `guix`.
        commit: String,
        /// What went wrong.
        reason: String,
        /// The file with the log of the build.
        log: PathBuf,
    },
    /// The modules of a channel break a rule, or a limit.
    #[error(transparent)]
    Sources(#[from] SourcesError),
    /// An error with a file or directory.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl RuntimeError {
    /// Whether the channels are the cause, so that a retry is useless.
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
    /// Modules that are loaded from source: the installed Guix has no compiled form of them either,
    /// or no package needs them.
    pub source: usize,
}

/// What Guile needs in a sandbox to be a revision's Guix.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Environment {
    /// The `guile` program inside the sandbox.
    pub program: PathBuf,
    /// What to show read-only: paths here and inside.
    pub binds: Vec<(PathBuf, PathBuf)>,
    /// The working directory for compiling its Guix, as in Guix's own build: Guile looks there for
    /// included files. Evaluations do not run there, because derivations of images depend on the
    /// directory.
    directory: Option<PathBuf>,
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// Modules that did not compile. They will be loaded from source, or fail when they are needed.
    #[serde(skip)]
    pub failures: Vec<CompileFailure>,
    /// Where its modules come from.
    #[serde(skip)]
    pub counts: Counts,
    /// The links to compiled modules, which last as long as this.
    #[serde(skip)]
    _link_tree: Option<Arc<LinkTree>>,
}

impl Environment {
    /// Like `confine`, but for compiling its Guix.
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
