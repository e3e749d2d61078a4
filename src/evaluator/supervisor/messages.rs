//! Handles the messages of processes.

use std::time::Instant;

use super::super::outcome::Failure;
use super::super::process::{LOADER, PARENT, Received};
use super::super::protocol::{self, Message};
use super::super::work_queue::Death;
use super::{End, MOST_DIED_BEFORE_WORK, Supervisor, Worker};

impl Supervisor<'_> {
    pub(super) async fn handle(&mut self, event: Received) -> Result<(), Failure> {
        match event {
            Received::Disconnected(id @ (LOADER | PARENT), fault) => {
                let failure = self.death_of(id, fault).await;
                self.replace_parent(failure).await
            }
            Received::Disconnected(id, Some(_)) => {
                self.kill_and_reap(id, "protocol").await;
                Ok(())
            }
            Received::Disconnected(id, None) => {
                self.reap(id).await;
                Ok(())
            }
            Received::Message(from, message) => self.said(from, message).await,
        }
    }

    /// Asks the parent how a worker ended, once the parent has said which process the worker is.
    pub(super) async fn reap(&mut self, id: usize) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.expected = None;
        if worker.inner_pid == 0 {
            worker.end = End::Disconnected;
        } else if worker.end != End::Asked {
            worker.end = End::Asked;
            self.warm.processes.ask_parent(format!("(reap {})", worker.inner_pid)).await;
        }
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each message")]
    pub(super) async fn said(&mut self, from: usize, message: Message) -> Result<(), Failure> {
        let is_cut_off = |worker: &Worker| matches!(worker.killed, Some("protocol" | "jobs"));
        if self.workers.get(&from).is_some_and(is_cut_off) {
            return Ok(());
        }
        match message {
            Message::Forked { id, pid } if from == PARENT => {
                self.warm.processes.parent_answered().await;
                if let Some(worker) = self.workers.get_mut(&id) {
                    worker.inner_pid = pid;
                    if worker.end == End::Disconnected {
                        self.reap(id).await;
                    }
                }
            }
            Message::Reaped { pid, code, signal } if from == PARENT => {
                self.warm.processes.parent_answered().await;
                self.worker_ended(pid, code, signal);
                if self.died_before_work > MOST_DIED_BEFORE_WORK {
                    return Err(self.death_of(LOADER, None).await);
                }
            }
            Message::Worker { .. } if self.is_expected(from) => self.send_units(from).await,
            Message::Idle if self.queue.is_idle(from) => self.send_units(from).await,
            Message::Begin { unit } if self.queue.begin(from, unit) => self.heard_of(from),
            Message::Job(job) if !job.last && self.queue.has_begun(from, job.unit) => {
                let matches_pattern = self.unfinished_job(from, *job)?;
                if !matches_pattern {
                    self.kill_and_reap(from, "jobs").await;
                }
            }
            Message::Job(job) if job.last && self.queue.finish(from, job.unit) => {
                self.heard_of(from);
                self.batch.done += 1;
                self.jobs(from, *job)?;
            }
            Message::Nothing { unit } if self.queue.finish(from, unit) => {
                self.heard_of(from);
                self.batch.done += 1;
            }
            Message::Error { unit, cause, message } if self.queue.finish(from, unit) => {
                self.heard_of(from);
                self.jobs_before_error(from, unit)?;
                self.unit_failed(unit, &cause, message);
            }
            Message::Fatal { cause, message } if from == PARENT => {
                return Err(Failure::Revision { cause, message });
            }
            // A message out of turn: the sender is not what it claims to be.
            _ if from < LOADER => self.kill_and_reap(from, "protocol").await,
            _ => {}
        }
        Ok(())
    }

    /// Whether this is the first message of a worker.
    pub(super) fn is_expected(&mut self, id: usize) -> bool {
        self.workers.get_mut(&id).is_some_and(|worker| worker.expected.take().is_some())
    }

    pub(super) fn heard_of(&mut self, worker: usize) {
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.since = Some(Instant::now());
            worker.begun = true;
        }
    }

    pub(super) async fn send_units(&mut self, id: usize) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let leaves = !worker.fresh && (worker.retires || self.alone);
        let units = if leaves { Vec::new() } else { self.queue.next(id, worker.fresh) };
        worker.fresh = false;
        worker.since = Some(Instant::now());
        let line =
            if units.is_empty() { "(quit)".to_owned() } else { protocol::with_indexes("units", &units) };
        self.warm.processes.send(id, &line).await;
    }

    /// Handles the end of a worker; blames the unit that was in flight, if any.
    pub(super) fn worker_ended(&mut self, pid: usize, code: i64, signal: i64) {
        let Some(id) = self.workers.iter().find(|(_, w)| w.inner_pid == pid).map(|(id, _)| *id) else {
            return;
        };
        let Some(worker) = self.workers.remove(&id) else { return };
        let was_retried_alone = self.queue.is_retried_alone(id);
        let killed = worker.killed.or_else(|| self.killed_by_kernel(signal));
        if worker.retires && killed.is_none() {
            self.summary.retired += 1;
        }
        self.died_before_work = if worker.begun { 0 } else { self.died_before_work + 1 };
        let process = self.warm.processes.pid(id);
        self.warm.processes.forget(id);
        // All processes share the memory, so a worker is surely to blame only if it was alone.
        let conclusive = match killed {
            Some("memory") => self.workers.is_empty(),
            // The files may be another worker's, even one's that has ended.
            Some("files") => self.alone && self.workers.is_empty(),
            _ => true,
        };
        let cause = self.cause_of_death(killed, code, signal);
        if matches!(self.blame_lost_unit(id, process, conclusive, cause), Death::Retry(_)) {
            self.alone |= was_retried_alone && !conclusive;
        }
    }

    /// Handles the loss of a worker, for this cause: blames the unit that it had in flight. Jobs of
    /// that unit that it had reported will be reported again.
    pub(super) fn blame_lost_unit(
        &mut self,
        id: usize,
        process: Option<u32>,
        conclusive: bool,
        (cause, message): (&'static str, String),
    ) -> Death {
        self.unfinished.remove(&id);
        let death = self.queue.died(id, conclusive);
        let (Death::Retry(unit) | Death::GiveUp(unit)) = death else { return death };
        self.summary.deaths += 1;
        let label = self.labels.get(unit);
        tracing::info!(unit = ?label, process, "worker lost ({cause}): {message}");
        if matches!(death, Death::GiveUp(_)) {
            self.unit_failed(unit, cause, message);
        }
        death
    }
}
