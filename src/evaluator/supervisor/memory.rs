//! One budget of memory for all processes of an evaluation.
//!
//! Shared pages count once. A worker is forked when the memory that a worker was measured to need
//! fits beside what the others hold and may yet need. When little memory is left, the largest
//! worker ends after its current units, and a new one is forked from the parent. When none is left,
//! the largest process is killed.

use std::time::{Duration, Instant};

use super::super::outcome::Failure;
use super::super::process::{KillTarget, MemoryUsage};
use super::{SILENCE_TIMEOUT, Supervisor, Worker};

/// Interval of exact measurements while memory use looks harmless.
const EXACT_PERIOD: Duration = Duration::from_secs(15);
/// Interval of exact measurements while memory use might not be harmless.
const OFTEN: Duration = Duration::from_secs(2);

/// An exact measurement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weighed {
    at: Instant,
    /// What all processes held, in bytes.
    used: u64,
    /// The rough measurement at the same time, which counts shared pages for each process.
    rough: u64,
}

impl Supervisor<'_> {
    /// Forks workers while there is work and memory for more of them.
    pub(super) async fn fork_missing(&mut self) {
        if self.workers.is_empty() && !self.queue.has_suspects() {
            self.alone = false;
        }
        if self.files_must_go && self.workers.is_empty() {
            self.files_must_go = false;
            self.warm.processes.remove_files().await;
        }
        while self.queue.has_work() && !self.files_must_go && self.may_fork() {
            let id = self.warm.processes.fork().await;
            let expected = Some(Instant::now() + SILENCE_TIMEOUT);
            self.workers.insert(id, Worker { fresh: true, expected, ..Worker::default() });
            self.summary.forked += 1;
            self.summary.most_workers = self.summary.most_workers.max(self.workers.len());
        }
    }

    /// Whether one more worker may be forked. The first always may, whatever it needs.
    fn may_fork(&mut self) -> bool {
        let most = if self.alone { 1 } else { self.lanes };
        if self.workers.len() >= most || self.full.is_some_and(|since| since.elapsed() < OFTEN) {
            return false;
        }
        let matches_pattern = self.workers.is_empty() || self.has_room();
        self.full = (!matches_pattern).then(Instant::now);
        matches_pattern
    }

    /// Whether the memory that one more worker was measured to need fits beside what the others
    /// hold and may yet need.
    fn has_room(&mut self) -> bool {
        let (allowed, need) = (self.warm.request.limits.memory, self.warm.need);
        let rough = self.warm.processes.measure();
        if rough + need * (self.workers.len() as u64 + 1) <= allowed {
            return true;
        }
        let usage = self.measure_exactly(rough);
        let to_come = |id: &usize| need.saturating_sub(usage.own.get(id).copied().unwrap_or(0));
        usage.used + self.workers.keys().map(to_come).sum::<u64>() + need <= allowed
    }

    /// Enforces the budget: when little memory is left, the largest worker ends after the units
    /// that it was given; when none is left, the largest process is killed at once.
    pub(super) fn check_memory(&mut self) -> Result<(), Failure> {
        let allowed = self.warm.request.limits.memory;
        let rough = self.warm.processes.measure();
        self.check_files();
        if !self.is_due(rough, allowed) {
            return Ok(());
        }
        let usage = self.measure_exactly(rough);
        if usage.used > allowed {
            let limit = || format!("{} MiB", allowed >> 20);
            let victim = usage.largest.ok_or_else(|| Failure::limit("memory limit", limit()))?;
            self.kill(victim, "memory");
        } else if usage.used > allowed - allowed / 8
            && let Some(KillTarget::Worker(id)) = usage.largest
            && usage.own.get(&id).is_some_and(|own| *own > allowed / 16)
            && let Some(worker) = self.workers.get_mut(&id)
        {
            worker.retires = true;
        }
        Ok(())
    }

    /// Kills all workers when memory that belongs to no process takes so much that others may lack
    /// it: nobody can tell which worker it is from.
    fn check_files(&mut self) {
        if !self.files_must_go
            && !self.workers.is_empty()
            && self.warm.processes.unaccounted_memory() > self.most_unaccounted()
        {
            self.files_must_go = true;
            for id in self.workers.keys().copied().collect::<Vec<_>>() {
                self.kill(KillTarget::Worker(id), "files");
            }
        }
    }

    /// How much memory may belong to no process, in bytes.
    pub(super) fn most_unaccounted(&self) -> u64 {
        self.warm.request.limits.sandbox().writable / 2
    }

    /// `memory` if the kernel killed a process for lack of memory, where it limits the sandbox's
    /// memory.
    pub(super) fn killed_by_kernel(&mut self, signal: i64) -> Option<&'static str> {
        let count = self.warm.processes.out_of_memory();
        let more = count > std::mem::replace(&mut self.out_of_memory, count);
        (more && signal == i64::from(libc::SIGKILL)).then_some("memory")
    }

    /// Whether memory has to be measured exactly, which takes long.
    fn is_due(&self, rough: u64, allowed: u64) -> bool {
        let Some(last) = self.weighed else { return true };
        // Memory may have grown by this much, and by pages that are no longer shared.
        let may_be = last.used + rough.saturating_sub(last.rough);
        let age = last.at.elapsed();
        age > EXACT_PERIOD || rough > allowed && (age > OFTEN || may_be > allowed / 4 * 3)
    }

    fn measure_exactly(&mut self, rough: u64) -> MemoryUsage {
        let usage = self.warm.processes.measure_exactly();
        self.weighed = Some(Weighed { at: Instant::now(), used: usage.used, rough });
        self.summary.peak_memory = self.summary.peak_memory.max(usage.used);
        // An exceptionally large need is forgotten gradually.
        let most = usage.own.values().copied().max().unwrap_or(0);
        self.warm.need = most.max(self.warm.need / 8 * 7);
        usage
    }
}
