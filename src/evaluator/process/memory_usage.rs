//! The processes of the sandbox, and the memory that they hold.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::{KillTarget, LOADER, PARENT, ProcessGroup};
use crate::sandbox::Measured;

/// Most rounds of killing unwanted processes, while new ones appear.
const MOST_ROUNDS: usize = 100;

/// Processes that evaluated code started.
#[derive(Debug, Default)]
pub(in super::super) struct ProcessTree {
    /// The descendants of each worker.
    pub(in super::super) of_workers: BTreeMap<usize, Vec<u32>>,
    /// Children of the loader or the parent that are not workers, or not yet.
    pub(in super::super) of_parent: Vec<u32>,
    /// Whether one of `of_parent` is alive. Dead processes hold no memory; the parent has not
    /// waited for them yet.
    pub(in super::super) one_of_parent_lives: bool,
    /// Processes whose parent has ended.
    pub(in super::super) orphans: Vec<u32>,
}

/// The memory of all processes, in bytes. Shared pages are counted once.
#[derive(Debug, Default)]
pub(in super::super) struct MemoryUsage {
    /// What all processes hold together.
    pub(in super::super) used: u64,
    /// The private memory of each worker.
    pub(in super::super) own: BTreeMap<usize, u64>,
    /// The process with the most private memory, except for the loader and the parent.
    pub(in super::super) largest: Option<KillTarget>,
}

impl ProcessGroup {
    /// The worker with this process id.
    fn worker(&self, pid: u32) -> Option<usize> {
        let mut workers = self.members.iter().filter(|(id, _)| **id < LOADER);
        workers.find(|(_, member)| member.pid == Some(pid)).map(|(id, _)| *id)
    }

    /// Finds the processes that evaluated code has started.
    pub(in super::super) fn process_tree(&self) -> ProcessTree {
        let loader_and_parent = [LOADER, PARENT].map(|id| self.pid(id));
        let mut process_tree = ProcessTree::default();
        let mut owners: HashMap<u32, Option<usize>> = HashMap::new();
        for process in self.sandbox.processes_inside() {
            if loader_and_parent.contains(&Some(process.pid))
                || (loader_and_parent[0].is_none() && owners.is_empty())
            {
                owners.insert(process.pid, None);
            } else if let Some(worker) = self.worker(process.pid) {
                owners.insert(process.pid, Some(worker));
            } else if loader_and_parent.contains(&Some(process.parent)) {
                process_tree.of_parent.push(process.pid);
                process_tree.one_of_parent_lives |= process.resident > 0;
            } else if let Some(Some(worker)) = owners.get(&process.parent).copied() {
                owners.insert(process.pid, Some(worker));
                process_tree.of_workers.entry(worker).or_default().push(process.pid);
            } else {
                process_tree.orphans.push(process.pid);
            }
        }
        process_tree
    }

    /// The memory of all processes, in bytes; also records their CPU time. Shared pages count for
    /// each process that has them, so the sum is too high, but fast to compute.
    pub(in super::super) fn measure(&mut self) -> u64 {
        let processes_inside = self.sandbox.processes_inside();
        self.cpu.extend(processes_inside.iter().map(|process| (process.pid, process.cpu_ms)));
        self.sandbox.unaccounted_memory()
            + processes_inside.iter().map(|process| process.resident).sum::<u64>()
    }

    /// Memory that belongs to no process, in bytes: files in `/tmp`, and what sockets can hold.
    pub(in super::super) fn unaccounted_memory(&self) -> u64 {
        self.sandbox.unaccounted_memory()
    }

    /// Removes all files in `/tmp`.
    pub(in super::super) async fn remove_files(&self) {
        self.sandbox.remove_files().await;
    }

    /// How often the kernel has killed a process for lack of memory.
    pub(in super::super) fn out_of_memory(&self) -> u64 {
        self.sandbox.out_of_memory()
    }

    /// Restarts the sandbox's time limits.
    pub(in super::super) fn restart_time_limits(&self) {
        self.sandbox.renew();
    }

    /// Measures memory exactly, which takes long.
    pub(in super::super) fn measure_exactly(&self) -> MemoryUsage {
        let loader_and_parent = [LOADER, PARENT].map(|id| self.pid(id));
        let mut usage = MemoryUsage { used: self.sandbox.unaccounted_memory(), ..MemoryUsage::default() };
        let mut most = 0;
        for process in self.sandbox.processes_inside() {
            let memory = process.memory();
            usage.used += memory.share;
            if loader_and_parent.contains(&Some(process.pid)) {
                continue;
            }
            let worker = self.worker(process.pid);
            usage.own.extend(worker.map(|id| (id, memory.exclusive)));
            if memory.exclusive >= most {
                most = memory.exclusive;
                usage.largest = Some(worker.map_or(KillTarget::Process(process.pid), KillTarget::Worker));
            }
        }
        usage
    }

    /// Kills everything but the loader.
    pub(super) async fn kill_all_but_the_loader(&self) {
        for _ in 0..MOST_ROUNDS {
            let loader = self.pid(LOADER);
            // A process that has ended holds no memory until it is reaped.
            let alive = |process: &Measured| Some(process.pid) != loader && process.resident > 0;
            let others: Vec<Measured> = self.sandbox.processes_inside().into_iter().filter(alive).collect();
            if loader.is_none() || others.is_empty() {
                return;
            }
            for process in others {
                self.kill(KillTarget::Process(process.pid));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
