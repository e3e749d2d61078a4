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

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::mpsc;

use changed_packages::ChangedPackages;
pub use machine::check_guix;
use pause::Pause;

use crate::clock::Clock;
use crate::db::{self, Claimant, Db, EvaluationWriter, Interrupted, SpecId, Task};
use crate::domain::revision::{Origin, Revision};
use crate::domain::spec::{Build, Runtime, System};
use crate::evaluator::runtime::{Runtimes, Source};
use crate::evaluator::{
    Channel, Daemon, Event, Failure, Limits, Request, Summary, Target, Warm, milliseconds,
};
use crate::farm::reconciler::{Bells, Progress, Reconciler};
use crate::git::{Checkout, Checkouts, Mirrors, checkout_channel, fold_changes};
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

/// What was under way when there was no time left.
const PREPARING: &str = "reading and compiling the modules of the revision";

/// The keeper that evaluates, one evaluation at a time.
#[derive(Debug)]
pub struct Evaluate {
    /// What this machine is called in the farm.
    pub host: String,
    /// The systems that it evaluates; none: all of them.
    pub systems: Vec<System>,
    /// Where evaluations stand.
    pub db: Db,
    /// Where commits are.
    pub mirrors: Mirrors,
    /// Where their files are.
    pub checkouts: Checkouts,
    /// Which Guix runs.
    pub runtimes: Runtimes,
    /// What an evaluation may use.
    pub limits: Limits,
    /// What store items of one spec may take in the database, in bytes.
    pub stored: u64,
    /// Who makes the builds that evaluations of some specs may ask for.
    pub daemon: Daemon,
    /// What time it is.
    pub clock: Clock,
    /// Whom to wake.
    pub bells: Bells,
    /// Where evaluations write: all that Gorget keeps, and temporary files.
    pub directories: Vec<PathBuf>,
    /// Whether a fault of the machine is an error, because nobody waits until it is gone.
    pub once: bool,
    /// Nothing at first: what the last evaluation left for the next system of its revision.
    pub kept: Option<WarmStart>,
    /// Nothing at first: why nothing is evaluated here.
    pub pause: Option<Pause>,
    /// How many faults of the machine there were since an evaluation came to an end.
    pub faults: u32,
}

/// A warm start, and what it was made of.
#[derive(Debug)]
pub struct WarmStart {
    spec: SpecId,
    revision: Revision,
    build: Build,
    warm: Warm,
    /// As long as they are held, nobody removes the files.
    _checkouts: Vec<Checkout>,
}

impl WarmStart {
    fn serves(&self, task: &Task) -> bool {
        (self.spec, &self.revision, &self.build) == (task.spec_id, &task.revision, &task.spec.build)
    }
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
            self.kept = None;
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
    /// Leases what is next, after what nobody works at any more was taken back.
    async fn claim(&self) -> anyhow::Result<Option<Task>> {
        let now = self.clock.now();
        for Interrupted { id, host, failed } in self.db.reclaim_expired(&self.host, now).await? {
            let what = if failed { "has failed: that was too often" } else { "begins again" };
            tracing::warn!(evaluation = %id, host, "an evaluation was interrupted and {what}");
        }
        let warm = self.kept.as_ref().map(|kept| (kept.spec, kept.revision.clone()));
        let claimant = Claimant { host: self.host.clone(), systems: self.systems.clone(), warm };
        Ok(self.db.claim_evaluation(&claimant, now).await?)
    }

    async fn evaluate(&mut self, task: &Task) -> anyhow::Result<Summary> {
        forget_own_peak();
        let started = Instant::now();
        let (mut kept, prepare_ms) = match self.kept.take() {
            Some(mut kept) if kept.serves(task) => {
                kept.warm.set_limits(self.limits.clone());
                (kept, None)
            }
            former => {
                drop(former);
                (self.prepare(task).await?, Some(milliseconds(started.elapsed())))
            }
        };
        let result = self.evaluate_with(&mut kept.warm, task, prepare_ms).await;
        self.kept = Some(kept);
        result
    }

    /// Makes a warm start. The time that this takes is not left for the evaluation.
    async fn prepare(&self, task: &Task) -> anyhow::Result<WarmStart> {
        let (channels, checkouts) = self.check_out(task).await?;
        let (runtime, mut limits, started) = (task.spec.runtime, self.limits.clone(), Instant::now());
        let prepare = self.runtimes.prepare(&task.spec.name, runtime, &channels);
        let prepared = if runtime == Runtime::TimeMachine {
            // Building Guix has a limit of its own.
            prepare.await?
        } else {
            let limit = limits.evaluation_time;
            let prepared = tokio::time::timeout(limit, prepare).await;
            let late = Failure::Limit { what: "time limit", limit: format!("{limit:?}") };
            let prepared = prepared.map_err(|_| late).context(PREPARING)??;
            limits.evaluation_time = limit.saturating_sub(started.elapsed());
            prepared
        };
        let request = Request {
            root: self.runtimes.root().to_owned(),
            channels: Channel::list(&prepared.channels, &task.revision),
            environment: prepared.environment,
            build: task.spec.build.clone(),
            keep_contents: true,
            limits,
            daemon: task.spec.build.builds_while_evaluating.then(|| self.daemon.clone()),
        };
        Ok(WarmStart {
            spec: task.spec_id,
            revision: task.revision.clone(),
            build: task.spec.build.clone(),
            warm: Warm::start(request)?,
            _checkouts: checkouts,
        })
    }

    async fn evaluate_with(
        &self,
        warm: &mut Warm,
        task: &Task,
        prepare_ms: Option<u64>,
    ) -> anyhow::Result<Summary> {
        let wanted = Target { system: task.system.clone(), likely: self.likely(task).await };
        let mut recorder = EvaluationWriter::new(task.clone()).with_quota(self.stored);
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

    /// The files of every channel.
    async fn check_out(&self, task: &Task) -> anyhow::Result<(Vec<Source>, Vec<Checkout>)> {
        let (mut sources, mut checkouts) = (Vec::new(), Vec::new());
        for channel in task.revision.channels() {
            let checkout = checkout_channel(
                &self.mirrors.of(task.revision.channels(), channel),
                &self.checkouts,
                channel,
            )
            .await
            .with_context(|| format!("checking out channel {}", channel.name))?;
            sources.push(Source::new(channel, &checkout));
            checkouts.push(checkout);
        }
        Ok((sources, checkouts))
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

    /// Jobs that are likely to have changed since the last complete evaluation. A guess, for the
    /// order only: a wrong one costs time, so its failure is no failure.
    async fn likely(&self, task: &Task) -> HashSet<String> {
        self.guess(task).await.unwrap_or_else(|error| {
            tracing::debug!("no guess at what has changed: {error:#}");
            HashSet::new()
        })
    }

    async fn guess(&self, task: &Task) -> anyhow::Result<HashSet<String>> {
        let Some(previous) = task.previous else { return Ok(HashSet::new()) };
        let Some(previous) = self.db.evaluation(previous).await? else { return Ok(HashSet::new()) };
        let mut likely = ChangedPackages::default();
        for channel in task.revision.channels() {
            let before = previous.revision.channels().iter().find(|other| other.name == channel.name);
            let Some(before) = before.filter(|before| before.commit != channel.commit) else { continue };
            let mirror = self.mirrors.of(task.revision.channels(), channel).path(&channel.url);
            let commits = [before.commit.as_str(), &channel.commit];
            likely = fold_changes(&mirror, commits, "scm", likely, ChangedPackages::compare).await?;
        }
        let jobs: Vec<String> =
            likely.packages().iter().map(|name| format!("{name}.{}", task.system)).collect();
        let dependents = self.db.dependents_among_jobs(previous.id, &jobs).await?;
        Ok(jobs.into_iter().chain(dependents).collect())
    }
}
