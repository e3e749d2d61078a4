//! Evaluates a revision for one system after the other, and records the results.
//!
//! The step claims an evaluation, checks the channels out, has a Guix prepared, and records
//! batches while the supervisor runs. Only a write under the newest term of the evaluation's lease
//! succeeds; a host whose lease is lost drops the evaluation.
//!
//! Before an evaluation fails for a cause that could be a fault of the machine, the machine is
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
use crate::farm::reconciler::{Progress, Reconciler};
use crate::git::{Checkouts, Mirrors};
use crate::sandbox::{forget_own_peak, own_peak};

/// Does something with the database, as soon as that is there and has room for it.
macro_rules! persist {
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

/// The reconciler that evaluates, one evaluation at a time.
#[derive(Debug)]
pub struct Evaluate {
    db: Db,
    clock: Clock,
    bells: Bells,
    mode: Mode,
    host: String,
    settings: EvaluateSettings,
    /// What the last evaluation left for the next system of its revision.
    warm_start: Option<WarmStart>,
    /// Why this host does not evaluate now.
    pause: Option<Pause>,
    /// How many faults of the machine there were since an evaluation ended.
    faults: u32,
}

/// What this host evaluates, and with what.
#[derive(Debug)]
pub struct EvaluateSettings {
    /// The systems that this host evaluates; none: all of them.
    pub systems: Vec<System>,
    /// The mirrors of repositories.
    pub mirrors: Mirrors,
    /// The checkouts of commits.
    pub checkouts: Checkouts,
    /// The Guixes that evaluate.
    pub runtimes: Runtimes,
    /// What an evaluation may use.
    pub limits: Limits,
    /// What store items of one spec may take in the database, in bytes.
    pub stored: u64,
    /// The daemon that makes builds for evaluations of specs that permit them.
    pub daemon: Daemon,
    /// Where evaluations write: all that Gorget keeps, and temporary files.
    pub directories: Vec<PathBuf>,
}

/// What was measured of an evaluation.
#[derive(Debug, serde::Serialize)]
struct Metrics {
    #[serde(flatten)]
    summary: Summary,
    /// Milliseconds of checking out and compiling; nothing when that was done for another system.
    prepare_ms: Option<u64>,
    /// Milliseconds of recording, while others evaluated.
    record_ms: u64,
    /// Largest memory of this program meanwhile, in bytes.
    own_peak_memory: u64,
}

impl Reconciler for Evaluate {
    const NAME: &'static str = "evaluate";
    const PERIOD: Duration = Duration::from_secs(15);
    // Building an older Guix may take as long; evaluating itself says that it makes progress.
    const LONGEST: Duration = Duration::from_hours(6);

    async fn step(&mut self) -> anyhow::Result<Progress> {
        if !self.is_able().await? {
            return Ok(Progress::Idle);
        }
        let Some(task) = self.claim().await? else {
            self.warm_start = None;
            return Ok(Progress::Idle);
        };
        let revision = task.revision.short();
        if !is_vouched_for(&task) {
            // It was asked for when the spec did not say so yet, and is asked for again.
            tracing::warn!(spec.name = task.spec.name, revision, "not evaluated: it was never authenticated");
            self.db.drop_evaluation(&task).await?;
            self.bells.fetch.ring();
            return Ok(Progress::Worked);
        }
        tracing::info!(spec.name = task.spec.name, system = %task.system, revision, "evaluating");
        let result = self.evaluate(&task).await;
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
                Ok(Progress::Worked)
            }
            Err(error) => self.failed(&task, error).await,
        }
    }
}

/// Whether all channels that the spec wants authenticated were, by what it says now.
fn is_vouched_for(task: &Task) -> bool {
    task.spec.channels.iter().filter(|channel| channel.introduction.is_some()).all(|channel| {
        task.revision.channels().iter().any(|found| {
            let Origin { introduction, signer, .. } = &found.origin;
            found.name == channel.name && signer.is_some() && *introduction == channel.introduction
        })
    })
}

impl Evaluate {
    /// Evaluates what these settings say.
    pub fn new(context: &Context, settings: EvaluateSettings) -> Self {
        let Context { db, clock, bells, mode, host } = context.clone();
        Self { db, clock, bells, mode, host, settings, warm_start: None, pause: None, faults: 0 }
    }

    /// Leases the next evaluation, after those with expired leases were taken back.
    async fn claim(&self) -> anyhow::Result<Option<Task>> {
        let now = self.clock.now();
        for Interrupted { id, host, failed } in self.db.reclaim_expired(&self.host, now).await? {
            let what = if failed { "has failed: that was too often" } else { "begins again" };
            tracing::warn!(evaluation = %id, host, "an evaluation was interrupted and {what}");
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
        // One batch waits while another is recorded.
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
                persist!(self, self.db.note_metrics(task, &metrics));
                return Err(failure.into());
            }
        };
        let is_partial = summary.broken_modules > 0;
        persist!(self, recorder.finish(&self.db, is_partial, &metrics, self.clock.now()));
        Ok(summary)
    }

    /// Takes events until there are no more; gives the time that recording them took.
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
                    persist!(self, self.db.set_total(task, units));
                    continue;
                }
                Event::Batch(batch) => batch,
            };
            done += i64::try_from(batch.done)?;
            let hashes: Vec<String> = batch.items.iter().map(|item| item.path.hash_text()).collect();
            let known = persist!(self, self.db.known_items(&hashes));
            let mut rows = db::Batch { done, ..db::Batch::default() };
            let items = batch.items;
            (rows.derivations, rows.packs) = tokio::task::spawn_blocking(move || {
                let packs = record::packs(&items, |hash| known.contains(hash))?;
                anyhow::Ok((record::derivations(&items), packs))
            })
            .await??;
            record::outcomes(batch.outcomes, &mut rows);
            let has_jobs = !rows.jobs.is_empty();
            persist!(self, recorder.record(&self.db, &rows));
            if has_jobs {
                self.bells.schedule.ring();
            }
            busy += started.elapsed();
        }
        Ok(busy)
    }
}
