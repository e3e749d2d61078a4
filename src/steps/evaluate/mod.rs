//! Evaluates revisions, one system at a time, and records the results.
//!
//! The step claims an evaluation, checks the channels out, prepares a Guix, and records batches
//! while the supervisor runs. Only a write under the newest term of the evaluation's lease
//! succeeds; a host that has lost the lease drops the evaluation.
//!
//! Before an evaluation fails for a reason that could be a fault of the machine, the machine is
//! checked.

mod changed_packages;
mod machine;
mod pause;
mod record;
mod warm_start;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::mpsc;

pub use machine::{check_directory, check_guix};
use pause::Pause;
use warm_start::WarmStart;

use crate::clock::Clock;
use crate::db::{self, Claimant, Db, EvaluationWriter, Interrupted, Task};
use crate::domain::revision::Origin;
use crate::domain::spec::System;
use crate::evaluator::runtime::Runtimes;
use crate::evaluator::{Daemon, EvaluatorProcess, Event, Limits, Summary, Target, milliseconds};
use crate::farm::bell::Bells;
use crate::farm::context::{Context, Mode};
use crate::farm::reconciler::{Reconciler, StepOutcome};
use crate::git::{Checkouts, Mirrors};
use crate::sandbox::{forget_own_peak, own_peak};
use crate::telemetry::counters;

/// Retries a database operation until the database is reachable and has space for it.
macro_rules! retry_write {
    ($evaluate:expr, $work:expr) => {{
        let mut since = None;
        loop {
            match $work.await {
                Ok(done) => {
                    $evaluate.recording_again(since).await?;
                    break done;
                }
                Err(error) => $evaluate.wait_out(error, &mut since).await?,
            }
        }
    }};
}

/// The reconciler that evaluates. It runs one evaluation at a time.
#[derive(Debug)]
pub struct Evaluate {
    db: Db,
    clock: Clock,
    bells: Bells,
    mode: Mode,
    host: String,
    settings: EvaluateSettings,
    /// The warm start that the last evaluation left for the next system of its revision.
    warm_start: Option<WarmStart>,
    /// The pause of this host, if it has one.
    pause: Option<Pause>,
    /// How many faults of the machine have occurred since the last evaluation that ended.
    faults: u32,
}

/// The settings of evaluations on this host.
#[derive(Debug)]
pub struct EvaluateSettings {
    /// The systems that this host evaluates; empty means all.
    pub systems: Vec<System>,
    /// The mirrors of repositories.
    pub mirrors: Mirrors,
    /// The checkouts of commits.
    pub checkouts: Checkouts,
    /// The Guixes that evaluate.
    pub runtimes: Runtimes,
    /// The limits of an evaluation.
    pub limits: Limits,
    /// How much database space the store items of one spec may take, in bytes.
    pub stored: u64,
    /// The daemon that makes builds for evaluations of specs that permit them.
    pub daemon: Daemon,
    /// The directories that evaluations write to: the state directory, and temporary files.
    pub directories: Vec<PathBuf>,
}

/// The measurements of an evaluation.
#[derive(Debug, serde::Serialize)]
struct Metrics {
    #[serde(flatten)]
    summary: Summary,
    /// Milliseconds of checking out and compiling; `None` when that was done for another system.
    prepare_ms: Option<u64>,
    /// Milliseconds of recording, which happens during the evaluation.
    record_ms: u64,
    /// The peak memory of this program during the evaluation, in bytes.
    own_peak_memory: u64,
}

impl Reconciler for Evaluate {
    const NAME: &'static str = "evaluate";
    const PERIOD: Duration = Duration::from_secs(15);
    // Building an older Guix may take this long; evaluating itself reports progress.
    const LONGEST: Duration = Duration::from_hours(6);

    async fn step(&mut self) -> anyhow::Result<StepOutcome> {
        if !self.is_able().await? {
            return Ok(StepOutcome::Idle);
        }
        let Some(task) = self.claim().await? else {
            self.warm_start = None;
            return Ok(StepOutcome::Idle);
        };
        let revision = task.revision.short();
        if !is_authenticated(&task) {
            // The evaluation was requested before the spec had this introduction. It is requested
            // again.
            tracing::warn!(spec.name = task.spec.name, revision, "not evaluated: it was never authenticated");
            self.db.drop_evaluation(&task).await?;
            self.bells.fetch.ring();
            return Ok(StepOutcome::Worked);
        }
        tracing::info!(spec.name = task.spec.name, system = %task.system, revision, "evaluating");
        let begun = Instant::now();
        let result = self.evaluate(&task).await;
        let outcome = if result.is_ok() { "complete" } else { "failed" };
        counters::evaluation(task.system.as_str(), outcome, begun.elapsed());
        self.bells.schedule.ring();
        match result {
            Ok(summary) => {
                self.worked();
                tracing::info!(
                    spec.name = task.spec.name,
                    system = %task.system,
                    jobs = summary.jobs,
                    errors = summary.errors,
                    faster_derivations = summary.faster_derivations,
                    duration_ms = summary.total_ms,
                    "evaluated"
                );
                Ok(StepOutcome::Worked)
            }
            Err(error) => self.failed(&task, error).await,
        }
    }
}

/// Whether all channels that the spec now wants authenticated have been authenticated by its
/// current introductions.
fn is_authenticated(task: &Task) -> bool {
    task.spec.channels.iter().filter(|channel| channel.introduction.is_some()).all(|channel| {
        task.revision.channels().iter().any(|found| {
            let Origin { introduction, signer, .. } = &found.origin;
            found.name == channel.name && signer.is_some() && *introduction == channel.introduction
        })
    })
}

impl Evaluate {
    /// Evaluates with these settings.
    pub fn new(context: &Context, settings: EvaluateSettings) -> Self {
        let Context { db, clock, bells, mode, host } = context.clone();
        Self { db, clock, bells, mode, host, settings, warm_start: None, pause: None, faults: 0 }
    }

    /// Claims the next evaluation. Before that, takes back evaluations with expired leases.
    async fn claim(&self) -> anyhow::Result<Option<Task>> {
        let now = self.clock.now();
        for Interrupted { id, host, failed } in self.db.reclaim_expired(&self.host, now).await? {
            let what = if failed { "failed, because that was too often" } else { "starts again" };
            tracing::warn!(evaluation = %id, host, "an evaluation was interrupted, and {what}");
        }
        let warm = self.warm_start.as_ref().map(|start| (start.spec, start.revision.clone()));
        let claimant = Claimant { host: self.host.clone(), systems: self.settings.systems.clone(), warm };
        Ok(self.db.claim_evaluation(&claimant, now).await?)
    }

    async fn evaluate(&mut self, task: &Task) -> anyhow::Result<Summary> {
        forget_own_peak();
        let started = Instant::now();
        let (mut start, prepare_ms) = match self.warm_start.take() {
            Some(mut start) if start.serves(task) => {
                start.warm.set_limits(self.settings.limits.clone());
                (start, None)
            }
            former => {
                drop(former);
                (self.prepare(task).await?, Some(milliseconds(started.elapsed())))
            }
        };
        let result = self.evaluate_with(&mut start.warm, task, prepare_ms).await;
        self.warm_start = Some(start);
        result
    }

    async fn evaluate_with(
        &self,
        warm: &mut EvaluatorProcess,
        task: &Task,
        prepare_ms: Option<u64>,
    ) -> anyhow::Result<Summary> {
        let wanted = Target { system: task.system.clone(), likely: self.likely(task).await };
        let mut recorder = EvaluationWriter::new(task.clone()).with_quota(self.settings.stored);
        // One batch waits while another is being recorded.
        let (events, received) = mpsc::channel(1);
        let (summary, busy) = tokio::join!(
            async {
                let result = warm.evaluate(wanted, &events).await;
                drop(events);
                result
            },
            self.record(task, &mut recorder, received),
        );
        let busy = busy.context("recording the evaluation")?;
        let metrics = Metrics {
            summary: warm.measured().clone(),
            prepare_ms,
            record_ms: milliseconds(busy),
            own_peak_memory: own_peak(),
        };
        let metrics = serde_json::to_value(metrics)?;
        let summary = match summary {
            Ok(summary) => summary,
            Err(failure) => {
                retry_write!(self, self.db.note_metrics(task, &metrics));
                return Err(failure.into());
            }
        };
        let is_partial = summary.broken_modules > 0;
        retry_write!(self, recorder.finish(&self.db, is_partial, &metrics, self.clock.now()));
        Ok(summary)
    }

    /// Records events until there are no more; returns the time that recording took.
    async fn record(
        &self,
        task: &Task,
        recorder: &mut EvaluationWriter,
        mut events: mpsc::Receiver<Event>,
    ) -> anyhow::Result<Duration> {
        // Dropping the receiver on an error ends the evaluation.
        let mut done = 0;
        let mut busy = Duration::ZERO;
        while let Some(event) = events.recv().await {
            let started = Instant::now();
            let batch = match event {
                Event::Enumerated { units } => {
                    let units = i64::try_from(units)?;
                    retry_write!(self, self.db.set_unit_count(task, units));
                    continue;
                }
                Event::Batch(batch) => batch,
            };
            done += i64::try_from(batch.done)?;
            let hashes: Vec<String> = batch.items.iter().map(|item| item.path.hash_text()).collect();
            let known = retry_write!(self, self.db.known_items(&hashes));
            let mut rows = db::Batch { done, ..db::Batch::default() };
            let items = batch.items;
            (rows.derivations, rows.packs) = tokio::task::spawn_blocking(move || {
                let packs = record::packs(&items, |hash| known.contains(hash))?;
                anyhow::Ok((record::derivations(&items), packs))
            })
            .await??;
            record::outcomes(batch.outcomes, &mut rows);
            let has_jobs = !rows.jobs.is_empty();
            retry_write!(self, recorder.record(&self.db, &rows));
            if has_jobs {
                self.bells.schedule.ring();
            }
            busy += started.elapsed();
        }
        Ok(busy)
    }
}
