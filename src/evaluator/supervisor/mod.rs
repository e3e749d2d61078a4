//! Runs the evaluation for one system: makes the loader fork a parent and the parent fork workers,
//! gives the workers units, and enforces the limits.
//!
//! The death of a worker affects only the unit that it had in flight. The death of the parent only
//! costs the time to fork another. A worker must report progress in time once it has work, and the
//! loader and the parent must answer each question in time: a process that does nothing is killed.
//! A parent or loader that dies is replaced, and units that have results keep them.
//!
//! Everything that the processes send is checked: a job's derivation must have been added to the
//! evaluation's own store, and a unit can be finished only by the worker that holds it.

mod limits;
mod loading;
mod memory;
mod messages;
mod names;
mod parent;
mod results;

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use memory::Weighed;
use names::Names;
pub(super) use parent::MOST_UNITS;
use results::Unfinished;
pub(super) use results::{LONGEST_MESSAGE, LONGEST_METADATA, LONGEST_NAME, MOST_JOBS};

use super::outcome::{Batch, Event, Failure, Summary, milliseconds};
use super::request::Target;
use super::warm::WarmStart;
use super::work_queue::WorkQueue;

/// How often limits are checked and results are passed on.
const TICK: Duration = Duration::from_millis(500);
/// The evaluation fails when more workers than this, in a row, die before they begin a unit.
const MOST_DIED_BEFORE_WORK: usize = 8;
/// How long a worker may take to connect.
const SILENCE_TIMEOUT: Duration = Duration::from_mins(1);
/// How long the loader and the parent may take to answer a question, or may be idle while they
/// should compute.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// Most modules that may fail to load. Beyond this, something is wrong with all of them.
const MOST_BROKEN: usize = 20_000;
/// How often a loader or parent that does nothing, or a parent that dies, is replaced.
const MOST_GIVEN_UP: usize = 3;

impl WarmStart {
    /// Evaluates for one system, and sends events to `events` until it returns. Even a failed
    /// evaluation leaves nothing that could disturb the next one.
    pub async fn evaluate(
        &mut self,
        wanted: Target,
        events: &mpsc::Sender<Event>,
    ) -> Result<Summary, Failure> {
        let limit = self.request.limits.evaluation_time;
        self.processes.restart_time_limits();
        let mut supervisor = Supervisor::new(self, wanted, events);
        let result = tokio::time::timeout(limit, supervisor.evaluate()).await;
        let result = result.unwrap_or_else(|_| Err(supervisor.out_of_time(limit)));
        let summary = supervisor.summary();
        if let Err(error) = supervisor.clean_up().await {
            // It is cleared again before the next evaluation begins.
            tracing::warn!("cannot clean up after an evaluation: {error}");
        }
        self.measured = summary.clone();
        result.map(|()| summary)
    }
}

struct Supervisor<'a> {
    warm: &'a mut WarmStart,
    wanted: Target,
    events: &'a mpsc::Sender<Event>,
    /// Process id of the parent inside the sandbox, for the loader to reap.
    parent_pid: Option<usize>,
    /// Most workers at a time.
    lanes: usize,
    labels: Vec<String>,
    names: Names,
    /// Units that most others need.
    popular: Vec<usize>,
    queue: WorkQueue,
    batch: Batch,
    /// Approximate size of the batch's outcomes, in bytes.
    batch_bytes: usize,
    /// Size of all errors so far, in bytes.
    error_bytes: usize,
    summary: Summary,
    workers: BTreeMap<usize, Worker>,
    unfinished: BTreeMap<usize, Unfinished>,
    /// Only one worker at a time may run, because it is unclear which of several caused a death.
    alone: bool,
    /// How many workers in a row died before they began a unit.
    died_before_work: usize,
    /// How many parents and loaders were given up.
    given_up: usize,
    /// The last exact measurement of memory.
    weighed: Option<Weighed>,
    /// When limits were last checked while the loader or the parent computes.
    checked: Instant,
    /// When there was last no room for one more worker.
    full: Option<Instant>,
    /// Files that packages left must be removed before another worker begins.
    files_must_go: bool,
    /// How many processes the kernel had killed for lack of memory when that was last checked.
    out_of_memory: u64,
    /// CPU milliseconds that earlier evaluations had used.
    cpu_before: u64,
    /// When results were last passed on.
    flushed: Instant,
    started: Instant,
}

/// A worker as the supervisor sees it.
#[derive(Debug, Default)]
struct Worker {
    /// Its process id inside the sandbox, for the parent to reap.
    inner_pid: usize,
    /// When it must have connected. After that it counts as dead.
    expected: Option<Instant>,
    /// How far its end was handled.
    end: End,
    /// It has not been given units yet.
    fresh: bool,
    /// It has begun a unit.
    begun: bool,
    /// When it was last given units or sent a message. Its next message is due in time from then.
    since: Option<Instant>,
    /// Why it was killed, if it was.
    killed: Option<&'static str>,
    /// It holds so much memory that it is to end after the units that it was given.
    retires: bool,
}

/// How far the end of a worker was handled.
#[derive(Debug, Default, PartialEq, Eq)]
enum End {
    /// It is alive, as far as is known.
    #[default]
    Open,
    /// It is gone. The parent is asked how it ended once the parent has said which process it is.
    Disconnected,
    /// The parent was asked how it ended.
    Asked,
}

impl<'a> Supervisor<'a> {
    fn new(warm: &'a mut WarmStart, wanted: Target, events: &'a mpsc::Sender<Event>) -> Self {
        Self {
            lanes: warm.request.limits.workers,
            cpu_before: warm.processes.cpu_ms(),
            out_of_memory: warm.processes.out_of_memory(),
            warm,
            wanted,
            events,
            parent_pid: None,
            labels: Vec::new(),
            names: Names::default(),
            popular: Vec::new(),
            queue: WorkQueue::new(&[], 1, |_| false),
            batch: Batch::default(),
            batch_bytes: 0,
            error_bytes: 0,
            summary: Summary::default(),
            workers: BTreeMap::new(),
            unfinished: BTreeMap::new(),
            alone: false,
            died_before_work: 0,
            given_up: 0,
            weighed: None,
            checked: Instant::now(),
            full: None,
            files_must_go: false,
            flushed: Instant::now(),
            started: Instant::now(),
        }
    }

    async fn evaluate(&mut self) -> Result<(), Failure> {
        self.load().await?;
        self.warm.processes.reset(&self.warm.request).await?;
        self.enumerate().await?;
        if !self.warm_up().await? {
            // A unit that does not end, or kills its process, must not be lowered in the parent.
            // Begin again without lowering anything there.
            self.begin_again().await?;
        }
        let started = Instant::now();
        self.lower().await?;
        self.summary.lower_ms = milliseconds(started.elapsed());
        self.flush().await
    }

    /// Ends what is left of the evaluation.
    async fn clean_up(&mut self) -> io::Result<()> {
        self.warm.processes.reset(&self.warm.request).await?;
        if let Some(pid) = self.parent_pid {
            self.warm.processes.reap_parent(pid).await;
        }
        Ok(())
    }

    fn out_of_time(&self, limit: Duration) -> Failure {
        let building = self.warm.processes.store().building();
        let building = building.map_or_else(String::new, |what| format!(", while {what} was built,"));
        Failure::limit("time limit", format!("{limit:?}{building}"))
    }

    async fn lower(&mut self) -> Result<(), Failure> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while self.queue.open() > 0 {
            crate::farm::reconciler::progress();
            self.fork_missing().await;
            tokio::select! {
                event = self.warm.processes.next_event() => self.handle(event).await?,
                _ = tick.tick() => {
                    self.check_limits().await?;
                    if self.warm.processes.waiting_time() > self.idle_timeout() {
                        let failure = self.idle_failure();
                        self.replace_parent(failure).await?;
                    }
                    if self.flushed.elapsed() > self.pause() {
                        self.flush().await?;
                    }
                }
            }
            if self.is_full() {
                self.flush().await?;
            }
        }
        self.weighed = None;
        self.check_memory()
    }

    fn summary(&mut self) -> Summary {
        let store = self.warm.processes.store();
        let (items, bytes) = store.totals();
        Summary {
            total_ms: milliseconds(self.started.elapsed()),
            cpu_ms: self.warm.processes.cpu_ms() - self.cpu_before,
            requests: store.requests(),
            store_cpu_ms: milliseconds(store.cpu()),
            store_items: items,
            store_bytes: bytes,
            ..self.summary.clone()
        }
    }
}
