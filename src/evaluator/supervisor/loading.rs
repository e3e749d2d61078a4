//! Before workers are forked: the loader loads modules, the parent enumerates the units and lowers some.

use std::time::Instant;

use super::super::outcome::{Event, Failure, milliseconds};
use super::super::partition::assign_lanes;
use super::super::process::{LOADER, PARENT, Received};
use super::super::protocol::{self, Message, Uses};
use super::super::warm::Loaded;
use super::super::work_queue::WorkQueue;
use super::names::Names;
use super::parent::Units;
use super::{MOST_BROKEN, MOST_GIVEN_UP, Supervisor, TICK};

/// With fewer units than this, nothing is lowered before forking.
const WORTH_WARMING: usize = 480;
/// Most popular units that are lowered before forking.
const MOST_POPULAR: usize = 200;
/// How many of the likely changed units are lowered before forking as well. Most commits change
/// few, and those should not wait for the others.
const MOST_LIKELY: usize = 200;
/// Fewest units for which one more worker is worth forking.
const WORTH_A_WORKER: usize = 40;
/// Loading, and enumerating, may each take this many times the time for one unit.
const LOADING: u32 = 6;
/// Most bytes of messages about modules that do not load.
const MOST_OF_BROKEN: usize = 32 << 20;
/// Most packages, and most uses of all packages. Beyond either limit the uses are forgotten, and
/// units are dealt in order.
const MOST_USES: (usize, usize) = (600_000, 6_000_000);

impl Supervisor<'_> {
    /// Loads the modules unless they are loaded. A module that does not load is missing for every
    /// system.
    pub(super) async fn load(&mut self) -> Result<(), Failure> {
        let started = Instant::now();
        let is_first = self.warm.loaded.is_none();
        let loaded = self.loaded().await?;
        if is_first {
            self.summary.load_ms = Some(milliseconds(started.elapsed()));
        }
        self.summary.guix_version = loaded.guix_version;
        self.summary.faster_derivations = loaded.faster_derivations;
        for [name, cause, message] in loaded.broken {
            self.broken_module(name, cause, message)?;
        }
        for [name, cause, message] in loaded.warnings {
            self.warn(name, cause, message);
        }
        Ok(())
    }

    /// The result of loading the modules, now or before. A revision that does not load for one
    /// system does not load for any.
    pub(super) async fn loaded(&mut self) -> Result<Loaded, Failure> {
        while self.warm.loaded.is_none() {
            let request = &self.warm.request;
            if std::mem::replace(&mut self.warm.begun, true) {
                self.warm.processes = self.warm.processes.restart(request)?;
            }
            match self.load_modules().await {
                Err(Failure::Idle { .. }) if self.given_up < MOST_GIVEN_UP => self.given_up += 1,
                Err(failure) if !failure.is_of_revision() => return Err(failure),
                result => self.warm.loaded = Some(result),
            }
        }
        match &self.warm.loaded {
            Some(result) => result.clone(),
            None => Err(Failure::Abandoned),
        }
    }

    async fn load_modules(&mut self) -> Result<Loaded, Failure> {
        let started = Instant::now();
        let mut loaded = Loaded::default();
        let (mut uses, mut mentioned, mut broken_bytes) = (Vec::new(), 0, 0);
        loop {
            match self.hear(started).await?.1 {
                Message::Loader { guix, .. } => {
                    loaded.guix_version = guix;
                    let request = &self.warm.request;
                    let line = protocol::load(&request.build, &request.channels);
                    self.warm.processes.send(LOADER, &line).await;
                }
                Message::Uses(some) if mentioned <= MOST_USES.1 => {
                    mentioned += some.iter().map(|package: &Uses| package.used.len()).sum::<usize>();
                    uses.extend(some);
                    if uses.len() > MOST_USES.0 || mentioned > MOST_USES.1 {
                        (uses, mentioned) = (Vec::new(), usize::MAX);
                    }
                }
                Message::Derivations { faster } => loaded.faster_derivations = faster,
                Message::ModuleError { name, cause, message } => {
                    broken_bytes += name.len() + cause.len() + message.len();
                    loaded.broken.push([name, cause, message]);
                    if loaded.broken.len() > MOST_BROKEN || broken_bytes > MOST_OF_BROKEN {
                        return Err(too_many_broken());
                    }
                }
                Message::ModuleWarning { name, cause, message } => {
                    broken_bytes += name.len() + cause.len() + message.len();
                    loaded.warnings.push([name, cause, message]);
                    if loaded.warnings.len() > MOST_BROKEN || broken_bytes > MOST_OF_BROKEN {
                        return Err(too_many_broken());
                    }
                }
                Message::Fatal { cause, message } => return Err(Failure::Revision { cause, message }),
                Message::Loaded => return Ok(Loaded { uses: uses.into(), ..loaded }),
                _ => {}
            }
        }
    }

    pub(super) fn broken_module(
        &mut self,
        name: String,
        cause: String,
        message: String,
    ) -> Result<(), Failure> {
        self.summary.broken_modules += 1;
        self.fail(name, cause, message);
        if self.summary.broken_modules > MOST_BROKEN { Err(too_many_broken()) } else { Ok(()) }
    }

    pub(super) async fn enumerate(&mut self) -> Result<(), Failure> {
        let started = Instant::now();
        let Units { labels, popular, mut packages } = self.new_parent(true).await?;
        let units = labels.len();
        self.popular = popular.into_iter().filter(|unit| *unit < units).collect();
        self.labels = labels;
        self.names = Names::new(&self.warm.request.build.subset, &self.labels);
        self.lanes = self.lanes.min(units.div_ceil(WORTH_A_WORKER)).max(1);
        packages.resize(units, usize::MAX);
        let (uses, lanes) = (self.loaded().await?.uses, self.lanes);
        let popular = self.popular.clone();
        let shared =
            tokio::task::spawn_blocking(move || assign_lanes(&uses, &packages, &popular, lanes)).await;
        let shared = shared.map_err(|_| Failure::Abandoned)?;
        let likely = &self.wanted.likely;
        self.queue = WorkQueue::new(&shared, lanes, |unit| likely.contains(&self.labels[unit]));
        self.summary.units = units;
        self.summary.enumerate_ms = milliseconds(started.elapsed());
        self.events.send(Event::Enumerated { units }).await.map_err(|_| Failure::Abandoned)
    }

    /// Lowers units in the parent, so that no two workers lower them: those that have likely
    /// changed, and those that most packages need. False when the parent must be killed.
    pub(super) async fn warm_up(&mut self) -> Result<bool, Failure> {
        let started = Instant::now();
        if self.labels.len() < WORTH_WARMING {
            return Ok(true);
        }
        let list = self.worth_warming();
        self.warm.processes.send(PARENT, &protocol::with_indexes("warm", &list)).await;
        let late = self.warm.request.limits.package_time;
        let mut heard = Instant::now();
        loop {
            match tokio::time::timeout(TICK, self.warm.processes.next_event()).await {
                Ok(Received::Message(_, Message::Idle)) => break,
                Ok(Received::Message(PARENT, message)) => {
                    let done = self.batch.done;
                    if !self.result_of_parent(message)? {
                        return Ok(false);
                    }
                    if self.batch.done > done {
                        heard = Instant::now();
                    }
                    if self.flushed.elapsed() < TICK && !self.is_full() {
                        continue;
                    }
                }
                Ok(Received::Disconnected(id @ (LOADER | PARENT), fault)) => {
                    self.death_of(id, fault).await;
                    return Ok(false);
                }
                Err(_) if self.warm.processes.store().building().is_some() => heard = Instant::now(),
                Ok(_) | Err(_) => {}
            }
            if heard.elapsed() > late || self.check_memory().is_err() {
                return Ok(false);
            }
            self.flush().await?;
        }
        self.summary.warm_ms = milliseconds(started.elapsed());
        Ok(true)
    }

    /// The units that the parent lowers.
    fn worth_warming(&self) -> Vec<usize> {
        let likely = (0..self.labels.len()).filter(|unit| self.wanted.likely.contains(&self.labels[*unit]));
        let popular = self.popular.iter().copied().take(MOST_POPULAR);
        likely.take(MOST_LIKELY).chain(popular).collect()
    }

    /// Takes the result of a unit that the parent lowers; false when it has too many jobs.
    fn result_of_parent(&mut self, message: Message) -> Result<bool, Failure> {
        match message {
            Message::Job(job) if !job.last && !self.queue.is_closed(job.unit) => {
                return self.unfinished_job(PARENT, *job);
            }
            Message::Job(job) if job.last && self.queue.close(job.unit) => {
                self.batch.done += 1;
                self.jobs(PARENT, *job)?;
            }
            Message::Nothing { unit } if self.queue.close(unit) => self.batch.done += 1,
            Message::Error { unit, cause, message } if self.queue.close(unit) => {
                self.jobs_before_error(PARENT, unit)?;
                self.unit_failed(unit, &cause, message);
            }
            _ => {}
        }
        Ok(true)
    }

    /// Waits for a message while the loader or the parent computes, which it began at `started`.
    pub(super) async fn hear(&mut self, started: Instant) -> Result<(usize, Message), Failure> {
        let limit = self.warm.request.limits.package_time * LOADING;
        let mut active = (self.warm.processes.cpu_ms(), Instant::now());
        loop {
            // The limits also hold for a process that sends messages without end.
            if self.checked.elapsed() >= TICK {
                self.checked = Instant::now();
                if started.elapsed() > limit + self.warm.processes.store().build_time() {
                    return Err(Failure::limit("time limit for loading modules", format!("{limit:?}")));
                }
                self.check_processes().await?;
                self.check_memory()?;
            }
            match tokio::time::timeout(TICK, self.warm.processes.next_event()).await {
                Ok(Received::Message(from, message)) => return Ok((from, message)),
                Ok(Received::Disconnected(id @ (LOADER | PARENT), fault)) => {
                    return Err(self.death_of(id, fault).await);
                }
                Ok(Received::Disconnected(..)) => {}
                Err(_) => {
                    let cpu = self.warm.processes.cpu_ms();
                    if cpu != active.0 || self.warm.processes.store().building().is_some() {
                        active = (cpu, Instant::now());
                    } else if active.1.elapsed() > self.idle_timeout() {
                        return Err(self.idle_failure());
                    }
                }
            }
        }
    }
}

fn too_many_broken() -> Failure {
    let message = format!(
        "more than {MOST_BROKEN} modules do not load, or their messages take more than {} MiB",
        MOST_OF_BROKEN >> 20
    );
    Failure::Revision { cause: "module".to_owned(), message }
}
