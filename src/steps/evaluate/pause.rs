//! Pauses this host while its machine has a fault.
//!
//! The host gives its evaluation back, so that other hosts can claim it, and checks the machine
//! until the fault is gone.

use std::time::{Duration, Instant};

use super::Evaluate;
use super::machine::examine;
use crate::db::{self, Task};
use crate::evaluator::Failure;
use crate::evaluator::runtime::RuntimeError;
use crate::farm::fault::MachineFault;
use crate::farm::reconciler::StepOutcome;
use crate::git::ObtainError;

/// How often an evaluation is attempted if it fails for reasons outside of the revision.
const ATTEMPTS: i64 = 3;
/// The shortest and the longest pause. Each pause is longer than the one before, until an
/// evaluation ends.
const SHORTEST: Duration = Duration::from_secs(15);
const LONGEST: Duration = Duration::from_mins(4);
/// How often recording a batch is retried while the database is unavailable.
const RECORD_AGAIN: Duration = Duration::from_secs(2);
/// How long that is retried with `run --once`.
const RECORD_ONCE: Duration = Duration::from_mins(1);

/// The pause of a host.
#[derive(Debug)]
pub(super) struct Pause {
    /// The fault that caused it.
    fault: MachineFault,
    /// When the machine is checked next.
    until: Instant,
    /// The interrupted evaluation, until it has been given back.
    interrupted: Option<Task>,
}

impl Evaluate {
    /// Whether this machine can evaluate. After a fault, checks the machine when a check is due.
    pub(super) async fn is_able(&mut self) -> anyhow::Result<bool> {
        let Some(pause) = &mut self.pause else { return Ok(true) };
        if pause.until > Instant::now() {
            return Ok(false);
        }
        if let Some(task) = pause.interrupted.take()
            && let Err(error) = self.give_back(task).await
        {
            self.extend_pause(error);
            return Ok(false);
        }
        if let Err(fault) = examine(self.settings.runtimes.root(), &self.settings.directories).await {
            self.extend_pause(fault);
            self.record_pause().await;
            return Ok(false);
        }
        match self.db.resume_host(&self.host).await {
            Err(error) if error.is_passing() => {
                self.extend_pause(MachineFault::new(error.to_string(), None));
                return Ok(false);
            }
            resumed => resumed?,
        }
        self.pause = None;
        tracing::info!(host = self.host, "the host resumes: the fault is gone");
        Ok(true)
    }

    /// Records that an evaluation ended without a fault of the machine.
    pub(super) fn worked(&mut self) {
        self.faults = 0;
    }

    /// Handles an error of an evaluation. A fault of the revision becomes its result. A fault of
    /// the machine pauses the host. Any other error is retried a few times.
    pub(super) async fn failed(&mut self, task: &Task, error: anyhow::Error) -> anyhow::Result<StepOutcome> {
        if let Some(db::Error::LeaseLost(_)) = error.downcast_ref() {
            tracing::warn!(spec.name = task.spec.name, system = %task.system, "evaluation dropped: {error:#}");
            return Ok(StepOutcome::Worked);
        }
        if let Some(fault) = self.fault_behind(&error).await {
            return self.interrupted(task, fault).await;
        }
        self.worked();
        let failure = error.downcast_ref::<Failure>();
        let of_revision = failure.is_some_and(Failure::is_of_revision)
            || error.downcast_ref::<RuntimeError>().is_some_and(RuntimeError::is_of_revision)
            || error.downcast_ref::<ObtainError>().is_some_and(ObtainError::is_of_revision)
            || matches!(error.downcast_ref(), Some(db::Error::OverQuota { .. }));
        if !of_revision && task.attempts < ATTEMPTS {
            self.db.reset_to_pending(task).await?;
            if !matches!(failure, Some(Failure::Idle { .. })) {
                return Err(error);
            }
            // The other systems are evaluated first.
            tracing::warn!(spec.name = task.spec.name, system = %task.system, "evaluation starts again later: {error:#}");
            return Ok(StepOutcome::Worked);
        }
        tracing::warn!(spec.name = task.spec.name, system = %task.system, "the evaluation failed: {error:#}");
        let reason = format!("{error:#}").replace('\0', "␀");
        self.db.fail_evaluation(task, &reason, self.clock.now()).await?;
        Ok(StepOutcome::Worked)
    }

    /// The fault of the machine behind an error, if there is one. The error itself may tell. But a
    /// missing program, or a sandbox that cannot be created, looks like a Guix that ended early, so
    /// the machine is checked before anything else is blamed.
    async fn fault_behind(&self, error: &anyhow::Error) -> Option<MachineFault> {
        let fault = match error.downcast_ref() {
            Some(Failure::Start(error)) => MachineFault::of_io(error),
            _ => MachineFault::of(error),
        };
        match fault.filter(|fault| !fault.is_scarcity()) {
            None => examine(self.settings.runtimes.root(), &self.settings.directories).await.err(),
            fault => fault,
        }
    }

    async fn interrupted(&mut self, task: &Task, fault: MachineFault) -> anyhow::Result<StepOutcome> {
        self.warm_start = None;
        self.settings.runtimes.forget_host();
        tracing::error!(host = self.host, spec.name = task.spec.name, system = %task.system, "the host pauses: {fault}");
        let pause = (SHORTEST * (1 << self.faults.min(8))).min(LONGEST);
        self.faults += 1;
        let until = Instant::now() + pause;
        self.pause = Some(Pause { fault: fault.clone(), until, interrupted: None });
        if let Err(error) = self.give_back(task.clone()).await {
            tracing::warn!(host = self.host, "cannot reset the interrupted evaluation yet: {error}");
        }
        self.record_pause().await;
        if self.mode.is_once() { Err(fault.into()) } else { Ok(StepOutcome::Idle) }
    }

    /// Lets other hosts claim the interrupted evaluation. If the database is unavailable, this is
    /// retried.
    async fn give_back(&mut self, task: Task) -> Result<(), MachineFault> {
        match self.db.reset_after_fault(&task).await {
            Ok(()) | Err(db::Error::LeaseLost(_)) => Ok(()),
            Err(error) => {
                if let Some(pause) = &mut self.pause {
                    pause.interrupted = Some(task);
                }
                Err(MachineFault::new(error.to_string(), None))
            }
        }
    }

    /// Prolongs the pause: the fault is not gone, or there is another one.
    fn extend_pause(&mut self, fault: MachineFault) {
        let Some(pause) = &mut self.pause else { return };
        if pause.fault != fault {
            tracing::error!(host = self.host, "the host stays paused: {fault}");
            pause.fault = fault;
        }
        pause.until = Instant::now() + SHORTEST;
    }

    async fn record_pause(&self) {
        let Some(pause) = &self.pause else { return };
        let said = self.db.pause_host(&self.host, &pause.fault.to_string(), self.clock.now()).await;
        if let Err(error) = said {
            tracing::debug!("cannot record that the host is paused: {error}");
        }
    }

    /// Waits a little if the database is unavailable or has no space. The evaluation then continues
    /// where it was, unless another host has leased it by then. Any other error is returned.
    pub(super) async fn wait_out(&self, error: db::Error, since: &mut Option<Instant>) -> db::Result<()> {
        let waited = since.map_or(Duration::ZERO, |since| since.elapsed());
        if !error.is_passing() || self.mode.is_once() && waited > RECORD_ONCE {
            return Err(error);
        }
        if since.is_none() {
            tracing::warn!("cannot record results yet: {error}");
        }
        since.get_or_insert_with(Instant::now);
        // Try to record the pause: a full disk often has room for a few bytes.
        let _ = self.db.pause_host(&self.host, &error.to_string(), self.clock.now()).await;
        tokio::time::sleep(RECORD_AGAIN).await;
        Ok(())
    }

    /// Ends the wait for the database that began at `since`.
    pub(super) async fn recording_again(&self, since: Option<Instant>) -> db::Result<()> {
        if since.is_none() {
            return Ok(());
        }
        tracing::info!(host = self.host, "recording continues: the fault is gone");
        let mut again = since;
        while let Err(error) = self.db.resume_host(&self.host).await {
            self.wait_out(error, &mut again).await?;
        }
        Ok(())
    }
}
