//! Compiles modules in the sandbox.
//!
//! One Guile loads the modules and forks a child to compile each module as soon as it is loaded,
//! those that import least first. So all processors have work although loading takes only one.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::budget::Budget;
use super::channel::CHANNELS;
use super::compiling::{Compiling, Job, written};
use super::link_tree::LinkTree;
use super::result_server::{CompileResult, ResultServer, StoreResult};
use super::{Cache, Environment, InstalledGuix, RuntimeError};
use crate::sandbox::{Finished, Limits};

/// When at most this many files cannot be compiled together, each is tried alone. Of more files,
/// only those that Guile's message names are, because each of many would load the same changed
/// modules from source again.
const FEW: usize = 16;

/// Least memory for compiling one module, in bytes.
const LEAST_MEMORY: u64 = 2 << 30;

/// A module that did not compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompileFailure {
    /// Its file: `gnu/packages/base.scm`.
    pub module: String,
    /// Guile's message. It is untrusted text.
    pub message: String,
}

/// The outcome of a job.
enum Outcome {
    Compiled,
    Failed(String),
    /// There is no result, perhaps because a module could not be loaded, for this reason.
    Unloaded(String),
    /// There is no result, for this reason.
    Nothing(String),
}

/// Compiles modules. There is one for each set of channels that a sandbox sees.
#[derive(Clone)]
pub(super) struct Compiler {
    pub(super) host: InstalledGuix,
    /// What the sandbox sees.
    pub(super) environment: Environment,
    /// Where results go.
    pub(super) cache: Cache,
    pub(super) link_tree: Arc<LinkTree>,
    pub(super) compiling: Compiling,
    /// The disk space for results, shared with other compilers for the same revision.
    pub(super) budget: Arc<Budget>,
    /// When to stop.
    pub(super) end: Instant,
}

impl Compiler {
    /// Compiles `jobs` into the cache and the link tree, where the environment finds them, and returns
    /// those that failed.
    ///
    /// Several jobs are compiled by children of one Guile, which has loaded all their modules
    /// before. Otherwise changed modules that import each other would be expanded again for each
    /// job, and modules in an import cycle could be compiled before the macros of the others are
    /// known. When one of the modules cannot be loaded, the jobs are tried alone. A sandbox hands
    /// its results over a socket, and only requested results are taken: untrusted code can spoil
    /// the results of its own sandbox, and nothing else. So modules share a sandbox only if they
    /// may import the same channels.
    pub(super) async fn compile(&self, jobs: &[Job]) -> Result<Vec<CompileFailure>, RuntimeError> {
        let mut outcomes: HashMap<&str, Outcome> = HashMap::new();
        if jobs.len() > 1 {
            let together = self.run(jobs).await?;
            outcomes.extend(jobs.iter().map(|job| job.path.as_str()).zip(together));
        }
        let few = jobs.len() <= FEW;
        let left: Vec<&Job> = jobs
            .iter()
            .filter(|_| !self.budget.is_spent())
            .filter(|job| match outcomes.get(job.path.as_str()) {
                Some(Outcome::Compiled) => false,
                Some(Outcome::Unloaded(message)) => few || message.contains(&job.path),
                _ => true,
            })
            .collect();
        outcomes.extend(self.alone(&left).await?);
        self.failures(jobs, outcomes)
    }

    /// Compiles each of `jobs` in a sandbox of its own.
    async fn alone<'a>(&self, jobs: &[&'a Job]) -> Result<Vec<(&'a str, Outcome)>, RuntimeError> {
        let Compiling { jobs: at_once, memory, .. } = self.compiling;
        let at_once = at_once.min(usize::try_from(memory / LEAST_MEMORY).unwrap_or(1)).max(1);
        let each = Compiling { jobs: 1, memory: memory / at_once as u64, ..self.compiling.clone() };
        let each = Self { compiling: each, ..self.clone() };
        let slots = Arc::new(Semaphore::new(at_once));
        let mut running = JoinSet::new();
        for (number, job) in jobs.iter().enumerate() {
            let (each, slots, job) = (each.clone(), slots.clone(), [(*job).clone()]);
            running.spawn(async move {
                let _slot = slots.acquire_owned().await;
                let is_spent = each.budget.is_spent();
                (number, if is_spent { Ok(vec![each.no_room()]) } else { each.run(&job).await })
            });
        }
        let mut outcomes = Vec::new();
        while let Some(done) = running.join_next().await {
            let (number, outcome) = done.map_err(io::Error::other)?;
            outcomes.extend(outcome?.pop().map(|outcome| (jobs[number].path.as_str(), outcome)));
        }
        Ok(outcomes)
    }

    /// The jobs that failed. The cache remembers failures that would recur.
    fn failures(
        &self,
        jobs: &[Job],
        mut outcomes: HashMap<&str, Outcome>,
    ) -> Result<Vec<CompileFailure>, RuntimeError> {
        let mut failures = Vec::new();
        for job in jobs {
            let message = match outcomes.remove(job.path.as_str()) {
                Some(Outcome::Compiled) => continue,
                Some(Outcome::Failed(message)) => {
                    if self.budget.take_file(message.len()) {
                        self.cache.add_failure(&job.keys.failure, &message)?;
                    }
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
    async fn run(&self, jobs: &[Job]) -> io::Result<Vec<Outcome>> {
        let work = self.cache.work("compile-")?;
        let [script, request, results] =
            ["compile.scm", "request", "results"].map(|name| work.path().join(name));
        let code = concat!(include_str!("compile.scm"), include_str!("gexps.scm"), "(compile-all)\n");
        fs_err::write(&script, code)?;
        fs_err::write(&request, written(jobs, &self.compiling))?;
        let most = jobs.iter().map(Job::most_compiled).collect();
        let store_result = self.storing(jobs);
        let progress = &self.compiling.progress;
        let result_server =
            ResultServer::listen(&results, work.path(), most, &self.budget, progress, store_result)?;
        let left = self.end.saturating_duration_since(Instant::now());
        let mut process = self
            .environment
            .confine_compiler(&self.host.root, limits(&self.compiling, left))
            // Rare garbage collections save half of the time.
            .env("GC_INITIAL_HEAP_SIZE", self.compiling.heap.to_string())
            .env("GC_FREE_SPACE_DIVISOR", "1")
            .args(["--no-auto-compile", "/gorget/compile.scm", "/gorget/request"])
            .readable(script, "/gorget/compile.scm")
            .readable(request, "/gorget/request")
            .readable(results, "/gorget/results")
            .spawn()?;
        let finished = process.finish(left).await?;
        let mut given = result_server.end().await;
        if let Some(fault) = given.fault.take() {
            return Err(fault);
        }
        let outcomes = jobs.iter().enumerate().map(|(number, job)| {
            let result = given.of.get(&number);
            self.outcome(job, result, given.unloaded.as_ref(), &finished)
        });
        outcomes.collect()
    }

    /// A function that adds compiled modules to the cache.
    fn storing(&self, jobs: &[Job]) -> StoreResult {
        let (cache, keys) = (self.cache.clone(), jobs.iter().map(|job| job.keys.own).collect::<Vec<_>>());
        Arc::new(move |number, file| cache.add(&keys[number], file))
    }

    /// The outcome of `job` in a sandbox, from the results that it handed over.
    fn outcome(
        &self,
        job: &Job,
        result: Option<&CompileResult>,
        unloaded: Option<&String>,
        finished: &Finished,
    ) -> io::Result<Outcome> {
        let presentable = |message: &String| message.replace(&format!("{CHANNELS}/guix/"), "");
        let key = &job.keys.own;
        Ok(match (result, unloaded) {
            (Some(CompileResult::Compiled), _)
                if self.link_tree.take(job.channel, &job.path, &self.cache, key)? =>
            {
                Outcome::Compiled
            }
            (Some(CompileResult::Failed(message)), _) => Outcome::Failed(presentable(message)),
            _ if self.budget.is_spent() => self.no_room(),
            _ if finished.exceeded.is_some() => {
                Outcome::Unloaded(format!("the compiler was stopped: {}", finished.reason()))
            }
            (_, Some(message)) => Outcome::Unloaded(presentable(message)),
            _ => Outcome::Nothing(format!("the compiler ended without a result: {}", finished.reason())),
        })
    }

    /// The outcome of a job when the budget is spent. It may be compiled for the next revision.
    fn no_room(&self) -> Outcome {
        let most = self.compiling.budget() >> 20;
        Outcome::Nothing(format!("what is compiled for this revision takes more than {most} MiB"))
    }
}

/// The limits of a sandbox that compiles.
fn limits(compiling: &Compiling, wall: Duration) -> Limits {
    // The garbage collector works on several processors.
    let cpu = wall * u32::try_from(compiling.jobs + 1).unwrap_or(u32::MAX) * 4;
    // One process loads. Each batch that is compiled or waits has one, and another for its current
    // module.
    let processes = 64 + 4 * compiling.jobs;
    let limits = Limits::sandbox(compiling.memory, wall);
    Limits { processes, cpu, writable: 512 << 20, ..limits }
}
