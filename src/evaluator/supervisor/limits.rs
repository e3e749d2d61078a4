//! The limits of units, and what happens when a unit exceeds them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::super::outcome::Failure;
use super::super::process::KillTarget;
use super::{Supervisor, Worker};

/// Most processes beside the workers. If there are more, the workers that started them are killed.
const MOST_PROCESSES: usize = 256;
/// How long the processes of a fork bomb are killed one by one. Thousands need a while to die on a
/// busy machine.
const FORK_BOMB_TIMEOUT: Duration = Duration::from_secs(30);

impl Supervisor<'_> {
    pub(super) fn kill(&mut self, victim: KillTarget, why: &'static str) {
        if let KillTarget::Worker(id) = victim
            && let Some(worker) = self.workers.get_mut(&id)
        {
            worker.killed.get_or_insert(why);
        }
        self.warm.processes.kill(victim);
    }

    /// Kills a worker and reaps it, even if another process still has its connection open.
    pub(super) async fn kill_and_reap(&mut self, id: usize, why: &'static str) {
        self.kill(KillTarget::Worker(id), why);
        self.reap(id).await;
    }

    pub(super) async fn check_limits(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        let late = self.warm.request.limits.package_time;
        if self.warm.processes.store().building().is_some() {
            // A worker that waits for a build is not to blame. The other workers get the same time.
            self.workers
                .values_mut()
                .filter_map(|worker| worker.since.as_mut())
                .for_each(|since| *since = now);
        }
        let of = |is: &dyn Fn(&Worker) -> bool| -> Vec<usize> {
            self.workers.iter().filter(|(_, worker)| is(worker)).map(|(id, _)| *id).collect()
        };
        let overdue = of(&|worker| worker.since.is_some_and(|since| now - since > late));
        let never = self.one_died_before_work();
        let missing = of(&|worker| {
            worker.expected.is_some_and(|expected| now > expected || (never && worker.inner_pid != 0))
        });
        for id in overdue {
            self.kill_and_reap(id, "time").await;
        }
        for id in missing {
            self.reap(id).await;
        }
        if let Err(failure) = self.check_processes().await {
            // The processes start others faster than they are killed. The sandbox is restarted
            // instead, because the kernel ends it as a whole.
            self.warm.loaded = None;
            self.replace_parent(failure).await?;
        }
        self.check_memory()
    }

    /// Whether a forked worker died before it could connect: one is still expected, and the parent
    /// has no living child that is unknown.
    fn one_died_before_work(&self) -> bool {
        let expected = |worker: &Worker| worker.expected.is_some() && worker.inner_pid != 0;
        self.workers.values().any(expected) && !self.warm.processes.process_tree().one_of_parent_lives
    }

    /// Ends fork bombs: kills each worker that has too many processes, all its descendants, and all
    /// processes whose parent has ended.
    pub(super) async fn check_processes(&mut self) -> Result<(), Failure> {
        let mut culprits = BTreeSet::new();
        let started = Instant::now();
        while started.elapsed() < FORK_BOMB_TIMEOUT {
            crate::farm::reconciler::progress();
            let process_tree = self.warm.processes.process_tree();
            let below: usize = process_tree.of_workers.values().map(Vec::len).sum();
            if below + process_tree.orphans.len() + process_tree.of_parent.len() <= MOST_PROCESSES {
                for id in culprits {
                    self.kill_and_reap(id, "processes").await;
                }
                return Ok(());
            }
            let most = MOST_PROCESSES / 4;
            let bombs = process_tree.of_workers.into_iter().filter(|(_, below)| below.len() > most);
            let mut victims = process_tree.orphans;
            for (id, below) in bombs {
                culprits.insert(id);
                self.kill(KillTarget::Worker(id), "processes");
                victims.extend(below);
            }
            if process_tree.of_parent.len() > most {
                victims.extend(process_tree.of_parent);
            }
            for pid in victims {
                self.warm.processes.kill(KillTarget::Process(pid));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(Failure::limit("process limit", MOST_PROCESSES.to_string()))
    }

    pub(super) fn cause_of_death(
        &self,
        killed: Option<&'static str>,
        code: i64,
        signal: i64,
    ) -> (&'static str, String) {
        let limits = &self.warm.request.limits;
        match killed {
            Some("time") => ("time", format!("not done after {:?}", limits.package_time)),
            Some("memory") => {
                ("memory", format!("the evaluation needs more than its {} MiB", limits.memory >> 20))
            }
            Some("files") => (
                "memory",
                format!(
                    "files in /tmp and sockets take more than {} MiB, which all packages share",
                    self.most_unaccounted() >> 20
                ),
            ),
            Some("processes") => ("processes", format!("it started more than {MOST_PROCESSES} processes")),
            Some("protocol") => ("protocol", "it sent messages that only the evaluator may send".to_owned()),
            Some("jobs") => ("jobs", "it has too many jobs".to_owned()),
            _ if signal != 0 => ("signal", format!("the process was killed by signal {signal}")),
            _ => ("exit", format!("the process ended with exit code {code}")),
        }
    }
}
