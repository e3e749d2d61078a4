//! Runs one evaluation: starts the parent process in its sandbox, has it fork workers, hands them
//! units, and keeps to the limits. What kills a worker costs the one unit that it had in flight.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::book::{Blame, Book};
use super::process::{Crew, Heard, PARENT, Victim};
use super::protocol::{self, Message};
use super::runtime::Environment;
use crate::eval_store::Recorded;
use crate::spec::{Build, System};
use crate::store::path::StorePath;

/// How often limits are checked and results are passed on.
const TICK: Duration = Duration::from_millis(500);
/// More workers in a row than this that die before they begin anything, and the evaluation fails.
const MOST_STILLBORN: usize = 8;
/// How often memory is measured exactly while it looks harmless.
const EXACTLY: Duration = Duration::from_secs(5);
/// How long a worker may take to connect.
const PATIENCE: Duration = Duration::from_mins(1);
/// How many units, spread over the list, are lowered before forking: they pull in what everything
/// needs, so that no worker has to do it again.
const WARM_UNITS: usize = 48;
/// How many of the units that are likely to have changed are lowered before forking as well: most
/// commits change few, and they should not wait for the sample.
const MOST_LIKELY: usize = 200;
/// Enumerating may take so many times the time for one unit.
const LOADING: u32 = 6;
/// More processes than this beside the workers, and those that started them are killed.
const MOST_PROCESSES: usize = 256;
/// So often are the processes of a fork bomb counted and killed before the evaluation is given up.
const MOST_ROUNDS: usize = 40;
/// More modules than this that do not load, and something is wrong with all of them.
const MOST_BROKEN: usize = 20_000;
/// Longest name, cause or message that is kept of an error, in bytes.
const LONGEST_MESSAGE: usize = 16 << 10;
/// Fewer units than this for each worker are not worth forking one.
const WORTH_A_WORKER: usize = 40;

/// What to evaluate, and with what.
#[derive(Debug)]
pub struct Request {
    /// System root that has Guile and Guix: `/`, or a directory.
    pub root: PathBuf,
    /// How Guile finds the modules of the revision.
    pub environment: Environment,
    /// Which jobs.
    pub build: Build,
    /// For which system.
    pub system: System,
    /// Directories of the channels as the sandbox shows them.
    pub channels: Vec<String>,
    /// Jobs that are likely to have changed: they come first. This is about order only.
    pub likely: HashSet<String>,
    /// Whether the contents of store items are passed on.
    pub keep_contents: bool,
    /// What it may use.
    pub limits: Limits,
}

/// What an evaluation may use.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Processes that lower packages side by side.
    pub workers: usize,
    /// Memory of all processes together, in bytes.
    pub memory: u64,
    /// Time for one unit.
    pub package_time: Duration,
    /// Time for everything.
    pub evaluation_time: Duration,
}

/// What happens during an evaluation, in order.
#[derive(Debug)]
pub enum Event {
    /// The units of work are known.
    Enumerated {
        /// How many there are.
        units: usize,
    },
    /// Results. The derivations of its jobs are among the items of this batch or an earlier one.
    Batch(Batch),
}

/// Some results.
#[derive(Debug, Default)]
pub struct Batch {
    /// What was added to the store, inputs first.
    pub items: Vec<Recorded>,
    /// What became of units.
    pub outcomes: Vec<Outcome>,
    /// Units that have a result now; units without a job count too.
    pub done: usize,
}

/// What became of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A job.
    Job {
        /// Its name, as `(gnu ci)` has it.
        name: String,
        /// Its derivation.
        derivation: StorePath,
        /// Name and path of each output.
        outputs: Vec<(String, StorePath)>,
    },
    /// It could not be evaluated.
    Error {
        /// The job's name, or the module's or manifest's.
        name: String,
        /// A word: `exception`, `unbound-variable`, `memory`, `time`, `module`, …
        cause: String,
        /// What was said.
        message: String,
    },
}

/// The end of an evaluation that went through.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Summary {
    /// Units of work that there were.
    pub units: usize,
    /// Jobs found.
    pub jobs: usize,
    /// Errors, those of modules included.
    pub errors: usize,
    /// Modules or manifests that did not load: absent jobs may be theirs.
    pub broken_modules: usize,
    /// Version of the Guix that evaluated.
    pub guix_version: String,
    /// Milliseconds until everything was enumerated.
    pub load_ms: u64,
    /// Milliseconds of lowering before the workers were forked.
    pub warm_ms: u64,
    /// Milliseconds of everything.
    pub total_ms: u64,
    /// Largest memory of all processes together that was seen, in bytes.
    pub peak_memory: u64,
    /// Milliseconds of CPU that the evaluating processes used, as far as it was seen.
    pub cpu_ms: u64,
    /// Requests that the evaluation store answered.
    pub store_requests: u64,
    /// Store items that were added.
    pub store_items: usize,
    /// Their bytes.
    pub store_bytes: usize,
    /// Workers that died.
    pub deaths: usize,
}

/// Why there is no result at all.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The sandbox could not be set up.
    #[error("cannot start the evaluation: {0}")]
    Start(#[from] std::io::Error),
    /// Guix itself does not load, or nothing can be enumerated.
    #[error("the revision cannot be evaluated ({cause}): {message}")]
    Revision {
        /// A word, as in [`Outcome::Error`].
        cause: String,
        /// What was said.
        message: String,
    },
    /// The parent process ended before everything was done.
    #[error("the evaluating process ended early: {0}")]
    Died(String),
    /// A limit of the whole evaluation was reached.
    #[error("{what} of {limit} reached")]
    Limit {
        /// `time limit`, `memory limit`.
        what: &'static str,
        /// The limit, readable.
        limit: String,
    },
    /// The receiver of events has gone.
    #[error("nobody takes the results any more")]
    Abandoned,
}

impl Failure {
    /// Whether the revision is to blame, so that trying again is of no use.
    pub fn is_of_revision(&self) -> bool {
        !matches!(self, Self::Start(_) | Self::Abandoned)
    }
}

/// Evaluates; sends what happens to `events` until it returns.
pub async fn run(request: Request, events: &mpsc::Sender<Event>) -> Result<Summary, Failure> {
    let limit = request.limits.evaluation_time;
    let mut supervisor = Supervisor::start(request, events)?;
    let result = tokio::time::timeout(limit, supervisor.evaluate()).await;
    match result {
        Ok(result) => result.map(|()| supervisor.summary()),
        Err(_) => Err(Failure::Limit { what: "time limit", limit: format!("{limit:?}") }),
    }
}

struct Supervisor<'a> {
    request: Request,
    events: &'a mpsc::Sender<Event>,
    crew: Crew,
    labels: Vec<String>,
    book: Book,
    batch: Batch,
    summary: Summary,
    workers: BTreeMap<usize, Worker>,
    next_id: usize,
    /// Workers that died, one after the other, before they had begun anything.
    stillborn: usize,
    /// When memory was last measured exactly.
    measured: Option<Instant>,
    /// When results were last passed on.
    flushed: Instant,
    started: Instant,
}

/// A worker as the supervisor sees it.
#[derive(Debug, Default)]
struct Worker {
    /// Its process id inside the sandbox, for the parent to reap.
    inner_pid: usize,
    /// When it has to be there: after that it is taken for dead.
    expected: Option<Instant>,
    /// How far it is on its way out.
    end: End,
    /// Has not been given anything yet.
    fresh: bool,
    /// Has begun a unit.
    begun: bool,
    /// Since when its unit is in flight.
    since: Option<Instant>,
    /// Why it was killed, if it was.
    killed: Option<&'static str>,
}

/// The end of a worker.
#[derive(Debug, Default, PartialEq, Eq)]
enum End {
    /// It lives, for all that is known.
    #[default]
    Open,
    /// It has gone; the parent is to say how, when it has said which process that is.
    Gone,
    /// The parent has been asked.
    Asked,
}

impl<'a> Supervisor<'a> {
    fn start(request: Request, events: &'a mpsc::Sender<Event>) -> Result<Self, Failure> {
        let crew = Crew::start(&request)?;
        Ok(Self {
            request,
            events,
            crew,
            labels: Vec::new(),
            book: Book::new(0, 1, |_| false),
            batch: Batch::default(),
            summary: Summary::default(),
            workers: BTreeMap::new(),
            next_id: 0,
            stillborn: 0,
            measured: None,
            flushed: Instant::now(),
            started: Instant::now(),
        })
    }

    async fn evaluate(&mut self) -> Result<(), Failure> {
        self.enumerate().await?;
        if !self.warm().await? {
            // A unit that does not end, or kills, must not be lowered in the parent: begin again,
            // without lowering anything there.
            self.restart().await?;
        }
        self.lower().await?;
        self.flush().await
    }

    async fn enumerate(&mut self) -> Result<(), Failure> {
        let started = Instant::now();
        loop {
            let (from, message) = self.hear(started).await?;
            match message {
                Message::Parent { guix, .. } => {
                    self.summary.guix_version = guix;
                    let Request { build, system, channels, .. } = &self.request;
                    let line = protocol::evaluate(build, system.as_str(), channels);
                    self.crew.tell(from, &line).await;
                }
                Message::ModuleError { name, cause, message } => {
                    self.summary.broken_modules += 1;
                    self.fail(name, cause, message);
                    if self.summary.broken_modules > MOST_BROKEN {
                        let message = format!("more than {MOST_BROKEN} modules do not load");
                        return Err(Failure::Revision { cause: "module".to_owned(), message });
                    }
                }
                Message::Fatal { cause, message } => return Err(Failure::Revision { cause, message }),
                Message::Enumerated { labels } => {
                    self.labels = labels;
                    break;
                }
                _ => {}
            }
        }
        let (units, likely) = (self.labels.len(), &self.request.likely);
        let lanes = self.request.limits.workers.min(units.div_ceil(WORTH_A_WORKER)).max(1);
        self.book = Book::new(units, lanes, |unit| likely.contains(&self.labels[unit]));
        self.request.limits.workers = lanes;
        self.summary.units = units;
        self.summary.load_ms = milliseconds(self.started);
        self.events.send(Event::Enumerated { units }).await.map_err(|_| Failure::Abandoned)
    }

    /// Lowers in the parent what is likely to have changed and a sample; false when it has to be
    /// killed.
    async fn warm(&mut self) -> Result<bool, Failure> {
        let started = Instant::now();
        let units = self.labels.len();
        if units < WARM_UNITS * 10 {
            return Ok(true);
        }
        let likely = (0..units).filter(|unit| self.request.likely.contains(&self.labels[*unit]));
        let sample = (0..WARM_UNITS).map(|index| index * units / WARM_UNITS);
        let list: Vec<usize> = likely.take(MOST_LIKELY).chain(sample).collect();
        self.crew.tell(PARENT, &protocol::with_indexes("warm", &list)).await;
        let mut heard = Instant::now();
        loop {
            match tokio::time::timeout(TICK, self.crew.heard()).await {
                Ok(Heard::Said(_, Message::Idle)) => break,
                Ok(Heard::Said(_, message)) => {
                    heard = Instant::now();
                    self.result_of_parent(message);
                    if self.flushed.elapsed() < TICK {
                        continue;
                    }
                }
                Ok(Heard::Left(PARENT)) => return Ok(false),
                Err(_) if heard.elapsed() > self.request.limits.package_time => return Ok(false),
                Ok(Heard::Left(_)) | Err(_) => {}
            }
            if self.check_memory().is_err() {
                return Ok(false);
            }
            self.flush().await?;
        }
        self.summary.warm_ms = milliseconds(started);
        Ok(true)
    }

    fn result_of_parent(&mut self, message: Message) {
        match message {
            Message::Job { unit, name, derivation } if self.book.close(unit) => {
                self.job(unit, name, &derivation);
            }
            Message::Nothing { unit } if self.book.close(unit) => self.batch.done += 1,
            Message::Error { unit, cause, message } if self.book.close(unit) => {
                self.unit_failed(unit, cause, message);
            }
            _ => {}
        }
    }

    /// Begins again with a new parent, keeping what is known already.
    async fn restart(&mut self) -> Result<(), Failure> {
        self.summary.deaths += 1;
        let old = std::mem::take(&mut self.labels);
        self.crew = self.crew.restart(&self.request)?;
        let book = std::mem::replace(&mut self.book, Book::new(0, 1, |_| false));
        let broken = self.summary.broken_modules;
        let started = Instant::now();
        loop {
            let (from, message) = self.hear(started).await?;
            match message {
                Message::Parent { .. } => {
                    let Request { build, system, channels, .. } = &self.request;
                    let line = protocol::evaluate(build, system.as_str(), channels);
                    self.crew.tell(from, &line).await;
                }
                Message::Fatal { cause, message } => return Err(Failure::Revision { cause, message }),
                Message::Enumerated { labels } if labels == old => break,
                Message::Enumerated { .. } => {
                    let message = "two enumerations of it differ".to_owned();
                    return Err(Failure::Revision { cause: "unstable".to_owned(), message });
                }
                _ => {}
            }
        }
        self.summary.broken_modules = broken;
        self.labels = old;
        self.book = book;
        Ok(())
    }

    async fn lower(&mut self) -> Result<(), Failure> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while self.book.open() > 0 {
            self.fork_missing().await;
            tokio::select! {
                heard = self.crew.heard() => self.handle(heard).await?,
                _ = tick.tick() => {
                    self.check_limits().await?;
                    self.flush().await?;
                }
            }
            if self.batch.outcomes.len() > 500 || self.crew.store().pending_bytes() > 8 << 20 {
                self.flush().await?;
            }
        }
        self.check_memory()?;
        self.crew.tell(PARENT, "(quit)").await;
        Ok(())
    }

    async fn fork_missing(&mut self) {
        while self.workers.len() < self.request.limits.workers && self.book.has_work() {
            let id = self.next_id;
            self.next_id += 1;
            self.workers.insert(
                id,
                Worker { fresh: true, expected: Some(Instant::now() + PATIENCE), ..Worker::default() },
            );
            self.crew.fork(id).await;
        }
    }

    async fn handle(&mut self, heard: Heard) -> Result<(), Failure> {
        match heard {
            Heard::Left(PARENT) => Err(Failure::Died(self.crew.last_words().await)),
            Heard::Left(id) => {
                self.reap(id).await;
                Ok(())
            }
            Heard::Said(from, message) => self.said(from, message).await,
        }
    }

    /// Has the parent say how a worker ended, once it has said which process that is.
    async fn reap(&mut self, id: usize) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.expected = None;
        if worker.inner_pid == 0 {
            worker.end = End::Gone;
        } else if worker.end != End::Asked {
            worker.end = End::Asked;
            self.crew.ask_parent(format!("(reap {})", worker.inner_pid)).await;
        }
    }

    async fn said(&mut self, from: usize, message: Message) -> Result<(), Failure> {
        if self.workers.get(&from).is_some_and(|worker| worker.killed == Some("protocol")) {
            return Ok(());
        }
        match message {
            Message::Forked { id, pid } if from == PARENT => {
                self.crew.parent_answered().await;
                if let Some(worker) = self.workers.get_mut(&id) {
                    worker.inner_pid = pid;
                    if worker.end == End::Gone {
                        self.reap(id).await;
                    }
                }
            }
            Message::Reaped { pid, code, signal } if from == PARENT => {
                self.crew.parent_answered().await;
                self.buried(pid, code, signal);
                if self.stillborn > MOST_STILLBORN {
                    return Err(Failure::Died(self.crew.last_words().await));
                }
            }
            Message::Worker { .. } if self.is_expected(from) => self.give_work(from).await,
            Message::Idle if self.book.is_idle(from) => self.give_work(from).await,
            Message::Begin { unit } if self.book.begin(from, unit) => {
                if let Some(worker) = self.workers.get_mut(&from) {
                    worker.since = Some(Instant::now());
                    worker.begun = true;
                }
            }
            Message::Job { unit, name, derivation } if self.book.finish(from, unit) => {
                self.at_rest(from);
                self.job(unit, name, &derivation);
            }
            Message::Nothing { unit } if self.book.finish(from, unit) => {
                self.at_rest(from);
                self.batch.done += 1;
            }
            Message::Error { unit, cause, message } if self.book.finish(from, unit) => {
                self.at_rest(from);
                self.unit_failed(unit, cause, message);
            }
            Message::Fatal { cause, message } if from == PARENT => {
                return Err(Failure::Revision { cause, message });
            }
            // A message out of turn: whoever sends it is not what it pretends to be.
            _ if from != PARENT => self.dismiss(from, "protocol").await,
            _ => {}
        }
        Ok(())
    }

    /// Whether this is the first that is heard of a worker.
    fn is_expected(&mut self, id: usize) -> bool {
        self.workers.get_mut(&id).is_some_and(|worker| worker.expected.take().is_some())
    }

    fn at_rest(&mut self, worker: usize) {
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.since = None;
        }
    }

    async fn give_work(&mut self, id: usize) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let units = self.book.next(id, worker.fresh);
        worker.fresh = false;
        let line =
            if units.is_empty() { "(quit)".to_owned() } else { protocol::with_indexes("units", &units) };
        self.crew.tell(id, &line).await;
    }

    /// A worker has gone: blames a unit, if one was in flight.
    fn buried(&mut self, pid: usize, code: i64, signal: i64) {
        let Some(id) = self.workers.iter().find(|(_, w)| w.inner_pid == pid).map(|(id, _)| *id) else {
            return;
        };
        let Some(worker) = self.workers.remove(&id) else { return };
        let killed = worker.killed;
        self.stillborn = if worker.begun { 0 } else { self.stillborn + 1 };
        self.crew.forget(id);
        match self.book.died(id) {
            Blame::Nobody => {}
            Blame::Suspect(_) => self.summary.deaths += 1,
            Blame::Culprit(unit) => {
                self.summary.deaths += 1;
                let (cause, message) = self.cause_of_death(killed, code, signal);
                self.unit_failed(unit, cause.to_owned(), message);
            }
        }
    }

    fn cause_of_death(&self, killed: Option<&'static str>, code: i64, signal: i64) -> (&'static str, String) {
        let limits = &self.request.limits;
        match killed {
            Some("time") => ("time", format!("not done after {:?}", limits.package_time)),
            Some("memory") => {
                ("memory", format!("the evaluation needs more than its {} MiB", limits.memory >> 20))
            }
            Some("processes") => ("processes", format!("it started more than {MOST_PROCESSES} processes")),
            Some("protocol") => ("protocol", "it sent messages in the place of the evaluator".to_owned()),
            _ if signal != 0 => ("signal", format!("the process was killed by signal {signal}")),
            _ => ("exit", format!("the process ended with exit code {code}")),
        }
    }

    fn kill(&mut self, victim: Victim, why: &'static str) {
        if let Victim::Worker(id) = victim
            && let Some(worker) = self.workers.get_mut(&id)
        {
            worker.killed.get_or_insert(why);
        }
        self.crew.kill(victim);
    }

    /// Kills a worker and buries it, whoever else holds on to its connection.
    async fn dismiss(&mut self, id: usize, why: &'static str) {
        self.kill(Victim::Worker(id), why);
        self.reap(id).await;
    }

    async fn check_limits(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        let late = self.request.limits.package_time;
        let of = |is: &dyn Fn(&Worker) -> bool| -> Vec<usize> {
            self.workers.iter().filter(|(_, worker)| is(worker)).map(|(id, _)| *id).collect()
        };
        let overdue = of(&|worker| worker.since.is_some_and(|since| now - since > late));
        let missing = of(&|worker| worker.expected.is_some_and(|expected| now > expected));
        for id in overdue {
            self.dismiss(id, "time").await;
        }
        for id in missing {
            self.reap(id).await;
        }
        self.check_processes().await?;
        self.check_memory()
    }

    /// Ends fork bombs: with the worker that has too many processes, all that is below it and all
    /// that was left behind.
    async fn check_processes(&mut self) -> Result<(), Failure> {
        let mut culprits = BTreeSet::new();
        for _ in 0..MOST_ROUNDS {
            let crowd = self.crew.crowd();
            let below: usize = crowd.of_workers.values().map(Vec::len).sum();
            if below + crowd.strays.len() + crowd.of_parent.len() <= MOST_PROCESSES {
                for id in culprits {
                    self.dismiss(id, "processes").await;
                }
                return Ok(());
            }
            let most = MOST_PROCESSES / 4;
            let bombs = crowd.of_workers.into_iter().filter(|(_, below)| below.len() > most);
            let mut victims = crowd.strays;
            for (id, below) in bombs {
                culprits.insert(id);
                self.kill(Victim::Worker(id), "processes");
                victims.extend(below);
            }
            if crowd.of_parent.len() > most {
                victims.extend(crowd.of_parent);
            }
            for pid in victims {
                self.crew.kill(Victim::Stray(pid));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(Failure::Limit { what: "process limit", limit: MOST_PROCESSES.to_string() })
    }

    fn check_memory(&mut self) -> Result<(), Failure> {
        let allowed = self.request.limits.memory;
        let due = self.measured.is_none_or(|last| last.elapsed() > EXACTLY);
        let (upper, _) = self.crew.measure(false);
        if upper <= allowed && !due {
            return Ok(());
        }
        let (used, largest) = self.crew.measure(true);
        self.measured = Some(Instant::now());
        self.summary.peak_memory = self.summary.peak_memory.max(used);
        if used <= allowed {
            return Ok(());
        }
        let victim = largest.ok_or_else(|| Failure::Limit {
            what: "memory limit",
            limit: format!("{} MiB", allowed >> 20),
        })?;
        self.kill(victim, "memory");
        Ok(())
    }

    fn job(&mut self, unit: usize, name: String, derivation: &str) {
        let known = StorePath::parse(derivation.as_bytes())
            .ok()
            .zip(self.crew.store().outputs(derivation.as_bytes()));
        let Some((derivation, outputs)) = known else {
            let message = format!("it names a derivation that it did not add: {derivation}");
            return self.unit_failed(unit, "protocol".to_owned(), message);
        };
        self.summary.jobs += 1;
        self.batch.done += 1;
        self.batch.outcomes.push(Outcome::Job { name, derivation, outputs });
    }

    fn unit_failed(&mut self, unit: usize, cause: String, message: String) {
        self.batch.done += 1;
        let name = self.labels.get(unit).cloned().unwrap_or_default();
        self.fail(name, cause, message);
    }

    fn fail(&mut self, name: String, cause: String, message: String) {
        self.summary.errors += 1;
        let [name, cause, message] = [name, cause, message].map(shortened);
        self.batch.outcomes.push(Outcome::Error { name, cause, message });
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        self.flushed = Instant::now();
        let mut batch = std::mem::take(&mut self.batch);
        // Taken after the outcomes: whatever these name has been added before.
        batch.items = self.crew.store().drain();
        if batch.items.is_empty() && batch.outcomes.is_empty() && batch.done == 0 {
            return Ok(());
        }
        if !self.request.keep_contents {
            batch.items.clear();
        }
        self.events.send(Event::Batch(batch)).await.map_err(|_| Failure::Abandoned)
    }

    /// Waits for a message while the parent loads modules, which it began to do at `started`.
    async fn hear(&mut self, started: Instant) -> Result<(usize, Message), Failure> {
        let limit = self.request.limits.package_time * LOADING;
        loop {
            match tokio::time::timeout(TICK, self.crew.heard()).await {
                Ok(Heard::Said(from, message)) => return Ok((from, message)),
                Ok(Heard::Left(_)) => return Err(Failure::Died(self.crew.last_words().await)),
                Err(_) if started.elapsed() > limit => {
                    return Err(Failure::Limit {
                        what: "time limit for loading modules",
                        limit: format!("{limit:?}"),
                    });
                }
                Err(_) => {
                    self.check_processes().await?;
                    self.check_memory()?;
                }
            }
        }
    }

    fn summary(&mut self) -> Summary {
        let (requests, items, bytes) = self.crew.store().totals();
        Summary {
            total_ms: milliseconds(self.started),
            cpu_ms: self.crew.cpu_ms(),
            store_requests: requests,
            store_items: items,
            store_bytes: bytes,
            ..self.summary.clone()
        }
    }
}

/// The beginning of a stranger's text.
fn shortened(mut text: String) -> String {
    if text.len() > LONGEST_MESSAGE {
        text.truncate(text.floor_char_boundary(LONGEST_MESSAGE));
        text.push('…');
    }
    text
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
