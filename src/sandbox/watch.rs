//! Enforces the limits of a running program.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::cgroup::Cgroup;
use super::limits::{Exceeded, Limits};
use super::measure::{Measured, measure_tree};
use super::unaccounted_memory;

/// How often a program is measured.
const PERIOD: Duration = Duration::from_millis(100);
/// How often memory is measured exactly while that is needed. An exact measurement is slow.
const EXACT_PERIOD: Duration = Duration::from_secs(1);

/// A handle of the thread that watches a program. Dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Watch {
    shared: Arc<Shared>,
    _end: Sender<()>,
}

#[derive(Debug)]
struct Shared {
    limits: Limits,
    pid: u32,
    cgroup: Option<Cgroup>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When the count of time started, and the CPU time that had been used by then.
    since: (Instant, u64),
    cpu_ms: u64,
    exceeded: Option<Exceeded>,
}

impl Watch {
    /// Watches the process `pid` and everything that it starts. `is_confined`: it is a sandbox.
    pub(super) fn start(
        pid: u32,
        limits: Limits,
        cgroup: Option<Cgroup>,
        is_confined: bool,
    ) -> std::io::Result<Self> {
        let state = Mutex::new(State { since: (Instant::now(), 0), cpu_ms: 0, exceeded: None });
        let shared = Arc::new(Shared { limits, pid, cgroup, state });
        let (end, ended) = channel();
        let watched = Arc::clone(&shared);
        thread::Builder::new().name("watch".to_owned()).spawn(move || watched.watch(&ended, is_confined))?;
        Ok(Self { shared, _end: end })
    }

    /// The limit for which the program was killed.
    pub(super) fn exceeded(&self) -> Option<Exceeded> {
        self.shared.state().exceeded
    }

    /// Records that the program is killed because its time is over.
    pub(super) fn out_of_time(&self, limit: Duration) {
        self.shared.state().exceeded.get_or_insert(Exceeded::Wall(limit));
    }

    /// Restarts the count of time.
    pub(super) fn renew(&self) {
        let mut state = self.shared.state();
        state.since = (Instant::now(), state.cpu_ms);
    }

    /// The id of the first process, which is also that of its process group.
    pub(super) fn pid(&self) -> u32 {
        self.shared.pid
    }

    pub(super) fn cgroup(&self) -> Option<&Cgroup> {
        self.shared.cgroup.as_ref()
    }

    /// Kills the whole process tree.
    pub(super) fn kill(&self) {
        self.shared.kill();
    }
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kill(&self) {
        if let Some(cgroup) = &self.cgroup {
            cgroup.kill();
        }
        if let Some(group) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    fn watch(&self, ended: &Receiver<()>, is_confined: bool) {
        let mut exact = None;
        while ended.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
            if let Some(exceeded) = self.check_limits(&mut exact, is_confined) {
                self.state().exceeded.get_or_insert(exceeded);
                self.kill();
                return;
            }
        }
    }

    /// A limit that is exceeded now.
    fn check_limits(&self, exact: &mut Option<Exact>, is_confined: bool) -> Option<Exceeded> {
        let tree = measure_tree(self.pid);
        let limits = &self.limits;
        let cpu_ms = tree.iter().map(|process| process.cpu_ms + process.reaped_cpu_ms).sum::<u64>();
        let (since, before) = {
            let mut state = self.state();
            state.cpu_ms = state.cpu_ms.max(cpu_ms);
            state.since
        };
        if since.elapsed() > limits.wall {
            return Some(Exceeded::Wall(limits.wall));
        }
        if Duration::from_millis(cpu_ms.saturating_sub(before)) > limits.cpu {
            return Some(Exceeded::Cpu(limits.cpu));
        }
        if tree.len() > limits.processes {
            return Some(Exceeded::Processes(limits.processes));
        }
        if tree.iter().map(|process| process.threads).sum::<usize>() > limits.threads() {
            return Some(Exceeded::Threads(limits.threads()));
        }
        let used = match &self.cgroup {
            Some(cgroup) if !limits.all_at_once => cgroup.memory().unwrap_or(0),
            // The kernel limits memory.
            Some(cgroup) if cgroup.out_of_memory() == Some(0) => 0,
            Some(_) => u64::MAX,
            None => self.memory(&tree, exact, is_confined),
        };
        (used > limits.memory).then_some(Exceeded::Memory(limits.memory))
    }

    /// The memory of the whole tree, in bytes. May be too low if it is certainly below the limit.
    fn memory(&self, tree: &[Measured], exact: &mut Option<Exact>, is_confined: bool) -> u64 {
        // The first process of a sandbox, bubblewrap, is outside the sandbox.
        let inside = tree.get(1).filter(|_| is_confined);
        let unaccounted = inside
            .and_then(|process| unaccounted_memory::bytes(process.pid, self.limits.writable))
            .unwrap_or(0);
        let rough = unaccounted + tree.iter().map(Measured::unreclaimable).sum::<u64>();
        if rough <= self.limits.memory {
            return rough;
        }
        if let Some(last) = exact.as_ref() {
            // Memory can have grown by this much since the exact measurement.
            let at_most = last.used + rough.saturating_sub(last.rough);
            if at_most <= self.limits.memory && last.at.elapsed() < EXACT_PERIOD * 15
                || last.at.elapsed() < EXACT_PERIOD && at_most <= self.limits.memory / 4 * 5
            {
                return last.used;
            }
        }
        let used = unaccounted + tree.iter().map(|process| process.memory().unreclaimable).sum::<u64>();
        *exact = Some(Exact { at: Instant::now(), used, rough });
        used
    }
}

/// An exact measurement of memory.
#[derive(Debug)]
struct Exact {
    at: Instant,
    used: u64,
    /// The same memory when shared pages count in full for each process.
    rough: u64,
}
