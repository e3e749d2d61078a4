//! Compiles modules in the sandbox.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::channel::CHANNELS;
use super::farm::Farm;
use super::handover::{Given, Handover};
use super::key::Keys;
use super::{Cache, Environment, Host, RuntimeError};
use crate::sandbox::Limits;

/// One file may take so much processor time, in seconds.
const FILE_SECONDS: u64 = 900;

/// When so few files cannot be compiled together, each is tried alone; when more, only those that
/// Guile's message names. Each of many would load the same changed modules from source again.
const FEW: usize = 16;

/// The least memory to compile one module with, in bytes.
const LEAST_MEMORY: u64 = 2 << 30;

/// How to compile.
#[derive(Debug, Clone)]
pub struct Compiling {
    /// How many processes side by side.
    pub jobs: usize,
    /// When to stop: what is not compiled then is loaded from source.
    pub limit: Duration,
    /// The memory of all processes together, in bytes.
    pub memory: u64,
    /// Bytes of heap that each process begins with.
    pub heap: u64,
}

impl Default for Compiling {
    fn default() -> Self {
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        Self { jobs, limit: Duration::from_hours(1), memory: 8 << 30, heap: 128 << 20 }
    }
}

/// A module that did not compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompileFailure {
    /// Its file: `gnu/packages/base.scm`.
    pub module: String,
    /// What Guile said; a stranger's text.
    pub message: String,
}

/// A module to compile.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its file.
    pub path: String,
    /// The file inside the sandbox.
    pub source: PathBuf,
    /// The optimization level.
    pub level: u8,
    /// Its keys.
    pub keys: Keys,
}

/// What became of a job.
enum Outcome {
    Compiled,
    Failed(String),
    /// It left nothing, perhaps because this module could not be loaded.
    Unloaded(String),
    /// It left nothing, for this reason.
    Nothing(String),
}

/// Compiles `jobs` into the cache and `farm`, where `environment` finds them, and returns those that failed.
///
/// Several are compiled by children of one Guile, which has loaded all of them before: changed
/// modules that import each other would otherwise be expanded again for each, and modules that
/// import each other in a circle could be compiled before the macros of the other are known. When one of
/// them cannot be loaded, they are tried alone. A sandbox hands its results over a socket, and only those
/// that were asked for are taken: strange code can spoil the results of its own sandbox, hence
/// those of its own domain, and nothing else.
pub(super) async fn compile(
    host: &Host,
    environment: &Environment,
    cache: &Cache,
    farm: &Arc<Farm>,
    jobs: &[Job],
    compiling: &Compiling,
) -> Result<Vec<CompileFailure>, RuntimeError> {
    let end = Instant::now() + compiling.limit;
    let mut outcomes: HashMap<&str, Outcome> = HashMap::new();
    if jobs.len() > 1 {
        let together = run(host, environment, cache, farm, jobs, compiling, end).await?;
        outcomes.extend(jobs.iter().map(|job| job.path.as_str()).zip(together));
    }
    let few = jobs.len() <= FEW;
    let left: Vec<&Job> = jobs
        .iter()
        .filter(|job| match outcomes.get(job.path.as_str()) {
            Some(Outcome::Compiled) => false,
            Some(Outcome::Unloaded(message)) => few || message.contains(&job.path),
            _ => true,
        })
        .collect();
    let at_once = compiling.jobs.min(usize::try_from(compiling.memory / LEAST_MEMORY).unwrap_or(1)).max(1);
    let each = Compiling { jobs: 1, memory: compiling.memory / at_once as u64, ..compiling.clone() };
    let slots = Arc::new(Semaphore::new(at_once));
    let mut alone = JoinSet::new();
    for (number, job) in left.iter().enumerate() {
        let (host, environment) = (host.clone(), environment.clone());
        let (cache, farm) = (cache.clone(), farm.clone());
        let (slots, compiling) = (slots.clone(), each.clone());
        let job = [(*job).clone()];
        alone.spawn(async move {
            let _slot = slots.acquire_owned().await;
            let outcome = run(&host, &environment, &cache, &farm, &job, &compiling, end).await;
            (number, outcome)
        });
    }
    while let Some(done) = alone.join_next().await {
        let (number, outcome) = done.map_err(io::Error::other)?;
        outcomes.extend(outcome?.pop().map(|outcome| (left[number].path.as_str(), outcome)));
    }
    let mut failures = Vec::new();
    for job in jobs {
        let message = match outcomes.remove(job.path.as_str()) {
            Some(Outcome::Compiled) => continue,
            Some(Outcome::Failed(message)) => {
                cache.add_failure(&job.keys.failure, &message)?;
                message
            }
            Some(Outcome::Unloaded(reason) | Outcome::Nothing(reason)) => reason,
            None => "it was not compiled".to_owned(),
        };
        failures.push(CompileFailure { module: job.path.clone(), message });
    }
    Ok(failures)
}

/// Compiles `jobs` in one sandbox.
async fn run(
    host: &Host,
    environment: &Environment,
    cache: &Cache,
    farm: &Farm,
    jobs: &[Job],
    compiling: &Compiling,
    end: Instant,
) -> io::Result<Vec<Outcome>> {
    let work = cache.work("compile-")?;
    let [script, request, results] = ["compile.scm", "request", "results"].map(|name| work.path().join(name));
    fs_err::write(
        &script,
        concat!(include_str!("compile.scm"), include_str!("gexps.scm"), "(compile-all)\n"),
    )?;
    fs_err::write(&request, written(jobs, compiling))?;
    let handover = Handover::listen(&results, work.path(), jobs.len())?;
    let left = end.saturating_duration_since(Instant::now());
    let mut process = environment
        .confine(&host.root, limits(jobs.len(), compiling, left))
        // Collecting garbage seldom saves half of the time.
        .env("GC_INITIAL_HEAP_SIZE", compiling.heap.to_string())
        .env("GC_FREE_SPACE_DIVISOR", "1")
        .args(["--no-auto-compile", "/gorget/compile.scm", "/gorget/request"])
        .readable(script, "/gorget/compile.scm")
        .readable(request, "/gorget/request")
        .readable(results, "/gorget/results")
        .spawn()?;
    let finished = process.finish(left).await?;
    let given = handover.end().await;
    let presentable = |message: &String| message.replace(&format!("{CHANNELS}/guix/"), "");
    let mut outcomes = Vec::new();
    for (number, job) in jobs.iter().enumerate() {
        let (key, result) = (&job.keys.own, given.of.get(&number));
        let outcome = match (result, &given.unloaded) {
            (Some(Given::Compiled(file)), _)
                if cache.add(key, file)? && farm.take(&job.path, cache, key)? =>
            {
                Outcome::Compiled
            }
            (Some(Given::Failed(message)), _) => Outcome::Failed(presentable(message)),
            (_, Some(message)) => Outcome::Unloaded(presentable(message)),
            _ => Outcome::Nothing(format!("the compiler ended without a result: {}", finished.reason())),
        };
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// What one sandbox may use that compiles `jobs` modules.
fn limits(jobs: usize, compiling: &Compiling, wall: Duration) -> Limits {
    // The garbage collector works on several processors.
    let cpu = wall * u32::try_from(compiling.jobs + 1).unwrap_or(u32::MAX) * 4;
    // Every 16 modules a process goes on, and the one before stays; some have to be loaded again.
    let processes = 64 + 2 * compiling.jobs + jobs / 4;
    let limits = Limits::sandbox(compiling.memory, wall);
    Limits { processes, cpu, writable: 512 << 20, ..limits }
}

/// The request that `compile.scm` reads.
fn written(jobs: &[Job], compiling: &Compiling) -> String {
    let mut text = "((".to_owned();
    for (number, job) in jobs.iter().enumerate() {
        let (path, source) = (quoted(&job.path), quoted(&job.source.display().to_string()));
        let _ = write!(text, "(\"{number}\" {path} {source} {}) ", job.level);
    }
    let _ = write!(text, ") {} {FILE_SECONDS})", compiling.jobs.max(1));
    text
}

/// `text` as Scheme reads a string.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
