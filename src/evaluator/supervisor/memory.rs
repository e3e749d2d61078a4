//! One budget of memory for all processes of an evaluation.
//!
//! Shared pages count once. One more worker is forked when what a worker was measured to need fits
//! beside what the others hold and may come to need. When little is left, the largest worker ends
//! after its current units, and another goes on from the parent. When nothing is left, the largest
//! is killed.

use std::time::{Duration, Instant};

use super::super::outcome::Failure;
use super::super::process::{KillTarget, MemoryUsage};
use super::{SILENCE_TIMEOUT, Supervisor, Worker};

/// How often memory is measured exactly while it looks harmless.
const EXACTLY: Duration = Duration::from_secs(15);
/// How often while it might not be.
const OFTEN: Duration = Duration::from_secs(2);

/// An exact measurement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weighed {
    at: Instant,
    /// What all processes held, in bytes.
    used: u64,
    /// What that looked like when shared pages were counted for each holder.
    rough: u64,
}

impl Supervisor<'_> {
    /// Forks workers as long as there is work for more of them, and memory.
    pub(super) async fn fork_missing(&mut self) {
        if self.workers.is_empty() && !self.book.has_suspects() {
            self.alone = false;
        }
        if self.littered && self.workers.is_empty() {
            self.littered = false;
            self.warm.crew.remove_files().await;
        }
        while self.book.has_work() && !self.littered && self.may_fork() {
            let id = self.warm.crew.fork().await;
            let expected = Some(Instant::now() + SILENCE_TIMEOUT);
            self.workers.insert(id, Worker { fresh: true, expected, ..Worker::default() });
            self.summary.forked += 1;
            self.summary.most_workers = self.summary.most_workers.max(self.workers.len());
        }
    }

    /// Whether there may be one more worker. The first may be, whatever it needs.
    fn may_fork(&mut self) -> bool {
        let most = if self.alone { 1 } else { self.lanes };
        if self.workers.len() >= most || self.full.is_some_and(|since| since.elapsed() < OFTEN) {
            return false;
        }
        let fits = self.workers.is_empty() || self.has_room();
        self.full = (!fits).then(Instant::now);
        fits
    }

    /// Whether what one more worker was measured to need fits beside what the others hold and may yet
    /// come to need.
    fn has_room(&mut self) -> bool {
        let (allowed, need) = (self.warm.request.limits.memory, self.warm.need);
        let rough = self.warm.crew.measure();
        if rough + need * (self.workers.len() as u64 + 1) <= allowed {
            return true;
        }
        let census = self.weigh(rough);
        let to_come = |id: &usize| need.saturating_sub(census.own.get(id).copied().unwrap_or(0));
        census.used + self.workers.keys().map(to_come).sum::<u64>() + need <= allowed
    }

    /// Keeps to the budget: a worker that holds most ends after what it was given when little is left,
    /// and at once when nothing is.
    pub(super) fn check_memory(&mut self) -> Result<(), Failure> {
        let allowed = self.warm.request.limits.memory;
        let rough = self.warm.crew.measure();
        self.check_files();
        if !self.is_due(rough, allowed) {
            return Ok(());
        }
        let census = self.weigh(rough);
        if census.used > allowed {
            let limit = || format!("{} MiB", allowed >> 20);
            let victim = census.largest.ok_or_else(|| Failure::limit("memory limit", limit()))?;
            self.kill(victim, "memory");
        } else if census.used > allowed - allowed / 8
            && let Some(KillTarget::Worker(id)) = census.largest
            && census.own.get(&id).is_some_and(|own| *own > allowed / 16)
            && let Some(worker) = self.workers.get_mut(&id)
        {
            worker.retires = true;
        }
        Ok(())
    }

    /// Ends all workers when what belongs to no process is so much that others may come to lack it:
    /// whose it is, cannot be told.
    fn check_files(&mut self) {
        if !self.littered && !self.workers.is_empty() && self.warm.crew.apart() > self.most_apart() {
            self.littered = true;
            for id in self.workers.keys().copied().collect::<Vec<_>>() {
                self.kill(KillTarget::Worker(id), "files");
            }
        }
    }

    /// How much of that there may be, in bytes.
    pub(super) fn most_apart(&self) -> u64 {
        self.warm.request.limits.sandbox().writable / 2
    }

    /// Why the kernel killed a process, where it limits the sandbox's memory.
    pub(super) fn killed_by_kernel(&mut self, signal: i64) -> Option<&'static str> {
        let count = self.warm.crew.out_of_memory();
        let more = count > std::mem::replace(&mut self.out_of_memory, count);
        (more && signal == i64::from(libc::SIGKILL)).then_some("memory")
    }

    /// Whether memory has to be measured exactly, which takes long.
    fn is_due(&self, rough: u64, allowed: u64) -> bool {
        let Some(last) = self.weighed else { return true };
        // It may have grown by so much, and by the pages that are shared no longer.
        let may_be = last.used + rough.saturating_sub(last.rough);
        let age = last.at.elapsed();
        age > EXACTLY || rough > allowed && (age > OFTEN || may_be > allowed / 4 * 3)
    }

    fn weigh(&mut self, rough: u64) -> MemoryUsage {
        let census = self.warm.crew.weigh();
        self.weighed = Some(Weighed { at: Instant::now(), used: census.used, rough });
        self.summary.peak_memory = self.summary.peak_memory.max(census.used);
        // One that was extraordinary is forgotten by and by.
        let most = census.own.values().copied().max().unwrap_or(0);
        self.warm.need = most.max(self.warm.need / 8 * 7);
        census
    }
}
