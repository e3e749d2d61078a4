//! The request to `compile.scm`, in the form that it reads.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::CompileProgress;
use super::cache::MAX_COMPILED;
use super::key::Keys;
use crate::domain::spec::{Build, Subset};
use crate::sandbox::THIS_PROGRAM;

/// Which modules of Guix are compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// All of them.
    #[default]
    All,
    /// Only those that packages and their evaluation need. Others are loaded from source, should
    /// anything import them after all.
    Packages,
}

impl Scope {
    /// The scope that the evaluation of these jobs of these channels needs. What a manifest, a
    /// custom module or another channel imports is not known in advance.
    pub fn of(build: &Build, channels: usize) -> Self {
        match build.subset {
            Subset::All | Subset::Core | Subset::Hello | Subset::Packages(_) if channels == 1 => {
                Self::Packages
            }
            _ => Self::All,
        }
    }
}

/// How to compile.
#[derive(Debug, Clone)]
pub struct Compiling {
    /// How many processes run at a time.
    pub jobs: usize,
    /// Time limit. Modules that are not compiled by then are loaded from source.
    pub limit: Duration,
    /// The memory of all processes together, in bytes.
    pub memory: u64,
    /// Initial heap of each process, in bytes.
    pub heap: u64,
    /// Size limit of the cache, in bytes.
    pub cache: u64,
    /// Which modules of Guix are compiled.
    pub scope: Scope,
    /// Gorget's own program, which is started to read sources: see
    /// [`read_sources`](super::read_sources).
    pub program: PathBuf,
    /// The progress of compiling.
    pub progress: Arc<CompileProgress>,
}

impl Compiling {
    /// Most bytes of modules that are compiled for one revision. All of Guix takes a third of the
    /// largest budget.
    pub(super) fn budget(&self) -> u64 {
        (self.cache / 4).min(1 << 30)
    }
}

impl Default for Compiling {
    fn default() -> Self {
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            jobs,
            limit: Duration::from_hours(1),
            memory: 8 << 30,
            heap: 128 << 20,
            cache: 8 << 30,
            scope: Scope::default(),
            program: THIS_PROGRAM.into(),
            progress: Arc::default(),
        }
    }
}

/// A module to compile.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its file.
    pub path: String,
    /// The number of its channel.
    pub channel: usize,
    /// The file inside the sandbox.
    pub source: PathBuf,
    /// The optimization level.
    pub level: u8,
    /// Its keys.
    pub keys: Keys,
}

impl Job {
    /// Largest compiled form of this module, in bytes. In Guix, no file of more than a few lines
    /// becomes 70 times as large as its source.
    pub(super) fn most_compiled(&self) -> u64 {
        self.keys.bytes.saturating_mul(128).saturating_add(1 << 20).min(MAX_COMPILED)
    }
}

/// CPU time limit for one file, in seconds.
const FILE_SECONDS: u64 = 900;

/// The request that `compile.scm` reads.
pub(super) fn written(jobs: &[Job], compiling: &Compiling) -> String {
    let mut text = "((".to_owned();
    for (number, job) in jobs.iter().enumerate() {
        let (path, source) = (quoted(&job.path), quoted(&job.source.display().to_string()));
        let _ = write!(text, "(\"{number}\" {path} {source} {}) ", job.level);
    }
    let _ = write!(text, ") {} {FILE_SECONDS})", compiling.jobs.max(1));
    text
}

/// `text` as a Scheme string.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
