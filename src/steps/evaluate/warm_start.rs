//! Prepares the warm start of an evaluation: files, a Guix, and a process that has loaded the
//! modules.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::Evaluate;
use crate::db::{SpecId, Task};
use crate::domain::revision::Revision;
use crate::domain::spec::{Build, Runtime};
use crate::evaluator::runtime::Source;
use crate::evaluator::{Channel, EvaluatorProcess, Failure, Request};
use crate::git::{Checkout, checkout_channel};

/// What was interrupted when time runs out.
const PREPARING: &str = "reading and compiling the modules of the revision";

/// How often the progress of compiling is recorded.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// A warm start, and what it was made from.
#[derive(Debug)]
pub(super) struct WarmStart {
    pub(super) spec: SpecId,
    pub(super) revision: Revision,
    build: Build,
    pub(super) warm: EvaluatorProcess,
    /// Keeps the files from being removed.
    _checkouts: Vec<Checkout>,
}

impl WarmStart {
    /// Whether the evaluation of `task` can use it.
    pub(super) fn serves(&self, task: &Task) -> bool {
        (self.spec, &self.revision, &self.build) == (task.spec_id, &task.revision, &task.spec.build)
    }
}

impl Evaluate {
    /// Prepares a warm start. The time for this counts towards the time limit of the evaluation.
    pub(super) async fn prepare(&self, task: &Task) -> anyhow::Result<WarmStart> {
        let (channels, checkouts) = self.check_out(task).await?;
        let (runtime, mut limits, started) =
            (task.spec.runtime, self.settings.limits.clone(), Instant::now());
        let prepare = self.settings.runtimes.prepare(&task.spec.name, runtime, &task.spec.build, &channels);
        let prepare = async {
            tokio::select! {
                prepared = prepare => prepared,
                never = self.record_preparation(task) => match never {},
            }
        };
        let prepared = if runtime == Runtime::TimeMachine {
            // Building Guix has a limit of its own.
            prepare.await?
        } else {
            let limit = limits.evaluation_time;
            let prepared = tokio::time::timeout(limit, prepare).await;
            let late = Failure::limit("time limit", format!("{limit:?}"));
            let prepared = prepared.map_err(|_| late).context(PREPARING)??;
            limits.evaluation_time = limit.saturating_sub(started.elapsed());
            prepared
        };
        let request = Request {
            root: self.settings.runtimes.root().to_owned(),
            channels: Channel::list(&prepared.channels, &task.revision),
            environment: prepared.environment,
            build: task.spec.build.clone(),
            keep_contents: true,
            limits: self.settings.limits.clone(),
            daemon: task.spec.build.builds_while_evaluating.then(|| self.settings.daemon.clone()),
        };
        // The sandbox outlives this evaluation. Only this evaluation has less time.
        let mut warm = EvaluatorProcess::new(request);
        warm.set_limits(limits);
        Ok(WarmStart {
            spec: task.spec_id,
            revision: task.revision.clone(),
            build: task.spec.build.clone(),
            warm,
            _checkouts: checkouts,
        })
    }

    /// Records how many modules are compiled, until it is dropped. If the database is unavailable,
    /// the next round records it.
    async fn record_preparation(&self, task: &Task) -> Infallible {
        let mut recorded = None;
        loop {
            tokio::time::sleep(PROGRESS_INTERVAL).await;
            let counts = self.settings.runtimes.progress().counts();
            let Some((done, total)) = counts.filter(|_| counts != recorded) else { continue };
            let [done, total] = [done, total].map(|count| i64::try_from(count).unwrap_or(i64::MAX));
            match self.db.set_preparation(task, done, total).await {
                Ok(()) => recorded = counts,
                Err(error) => tracing::debug!("the progress of compiling is not recorded: {error}"),
            }
        }
    }

    /// The files of every channel.
    async fn check_out(&self, task: &Task) -> anyhow::Result<(Vec<Source>, Vec<Checkout>)> {
        let (mut sources, mut checkouts) = (Vec::new(), Vec::new());
        for channel in task.revision.channels() {
            let checkout = checkout_channel(
                &self.settings.mirrors.of(task.revision.channels(), channel),
                &self.settings.checkouts,
                channel,
            )
            .await
            .with_context(|| format!("checking out channel {}", channel.name))?;
            sources.push(Source::new(channel, &checkout));
            checkouts.push(checkout);
        }
        Ok((sources, checkouts))
    }
}
