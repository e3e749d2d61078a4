//! Builds with this machine's guix-daemon: the coordinator of a farm of one machine.
//!
//! Builds run in the order of the queue, with two exceptions. A build whose inputs are still to be
//! built waits for them. A build whose inputs failed waits until they have succeeded.

mod attempt;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use tokio::task::JoinSet;

use crate::clock::{Clock, Seconds};
use crate::db::{Build, BuildId, BuildRef, BuildState, Db, NewEvent, QueueFilter};
use crate::domain::attempt::Attempt;
use crate::domain::plan::route::Routes;
use crate::farm::bell::Bell;
use crate::farm::context::{Context, Mode};
use crate::farm::reconciler::{Reconciler, StepOutcome};
use crate::guix::daemon::Daemon;
use attempt::{Stop, Work};

/// How many builds at the front of the queue are first checked for one that can run.
const FRONT: i64 = 64;
/// The most builds of the queue that are ever checked for this.
const WHOLE_QUEUE: i64 = 1 << 20;

/// The reconciler that builds on this machine.
#[derive(Debug)]
pub struct LocalBuilder {
    db: Db,
    clock: Clock,
    mode: Mode,
    bell: Bell,
    name: String,
    routes: Routes,
    settings: LocalBuilderSettings,
    builds: RunningBuilds,
}

/// The settings of builds on this machine.
#[derive(Debug)]
pub struct LocalBuilderSettings {
    /// The socket of the daemon.
    pub socket: PathBuf,
    /// The directory of the logs.
    pub logs: PathBuf,
    /// The directory with links to outputs, named `BUILD-OUTPUT`.
    pub roots: PathBuf,
    /// How much of one log is kept, in bytes.
    pub log_size: u64,
    /// The number of concurrent builds.
    pub at_once: usize,
}

/// The running builds.
#[derive(Debug, Default)]
struct RunningBuilds {
    /// Whether builds that were running when Gorget last ended have been recorded as lost.
    is_clear: bool,
    running: HashMap<BuildId, Running>,
    tasks: JoinSet<(BuildId, (Attempt, Option<String>))>,
}

#[derive(Debug)]
struct Running {
    reference: String,
    stop: Stop,
}

impl Drop for RunningBuilds {
    fn drop(&mut self) {
        self.running.values().for_each(|running| running.stop.now());
    }
}

impl Reconciler for LocalBuilder {
    const NAME: &'static str = "build locally";
    const PERIOD: Duration = Duration::from_secs(10);

    async fn step(&mut self) -> anyhow::Result<StepOutcome> {
        self.clear().await?;
        self.cancel().await?;
        self.db.route(&self.routes).await?;
        if let Some(ended) = self.builds.tasks.try_join_next() {
            let (id, (attempt, note)) = ended?;
            self.record_end(id, attempt, note).await?;
            return Ok(StepOutcome::Worked);
        }
        if self.builds.running.len() < self.settings.at_once
            && let Some(build) = self.next().await?
        {
            return self.begin(build).await;
        }
        if self.mode.is_once()
            && let Some(ended) = self.builds.tasks.join_next().await
        {
            let (id, (attempt, note)) = ended?;
            self.record_end(id, attempt, note).await?;
            return Ok(StepOutcome::Worked);
        }
        Ok(StepOutcome::Idle)
    }
}

impl LocalBuilder {
    /// A coordinator called `name`, for the builds that `routes` give it.
    pub fn new(context: &Context, name: String, routes: Routes, settings: LocalBuilderSettings) -> Self {
        Self {
            db: context.db.clone(),
            clock: context.clock.clone(),
            mode: context.mode,
            bell: context.bells.submit.echo(),
            name,
            routes,
            settings,
            builds: RunningBuilds::default(),
        }
    }

    /// The bell that wakes it. The end of a build rings it too.
    pub fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// Builds that were running when Gorget ended, or at another coordinator of this name, are
    /// started again here.
    async fn clear(&mut self) -> anyhow::Result<()> {
        if !self.builds.is_clear {
            let builds = self.db.next_polled(&self.name, Seconds::MAX, i64::MAX).await?;
            self.db.record_loss(&builds, self.clock.now()).await?;
            self.builds.is_clear = true;
        }
        Ok(())
    }

    /// Stops builds that are no longer wanted.
    async fn cancel(&self) -> anyhow::Result<()> {
        let filter = QueueFilter {
            state: Some(BuildState::Canceling),
            coordinator: Some(self.name.clone()),
            ..QueueFilter::default()
        };
        for build in self.db.queue(&filter, i64::MAX).await? {
            match self.builds.running.get(&build.id) {
                Some(running) => {
                    self.db.record_cancel_request(build.id, &running.reference).await?;
                    running.stop.now();
                }
                None => self.db.record_nothing_to_cancel(build.id).await?,
            }
        }
        Ok(())
    }

    /// The first build of the queue that does not wait for another build.
    async fn next(&self) -> anyhow::Result<Option<Build>> {
        let mut looked_at = 0;
        let mut limit = FRONT;
        loop {
            let builds = self.db.next_submissions(&self.name, self.clock.now(), limit).await?;
            let all = builds.len();
            let mut fresh: Vec<Build> = builds.into_iter().skip(looked_at).collect();
            fresh.retain(|build| !self.builds.running.contains_key(&build.id));
            let waiting = self.db.needing_others(&fresh).await?;
            if let Some(ready) = fresh.into_iter().find(|build| !waiting.contains(&build.id)) {
                return Ok(Some(ready));
            }
            if i64::try_from(all)? < limit || limit >= WHOLE_QUEUE {
                return Ok(None);
            }
            looked_at = all;
            limit *= 16;
        }
    }

    async fn begin(&mut self, build: Build) -> anyhow::Result<StepOutcome> {
        let socket = self.settings.socket.clone();
        let daemon = match tokio::task::spawn_blocking(move || Daemon::connect(&socket)).await? {
            Ok((daemon, closer)) => (daemon, closer),
            Err(error) => return self.record_unreachable(&build, &error).await,
        };
        let number = self.db.attempts(build.id).await?.len() + 1;
        let reference = format!("here-{}-{number}", build.id);
        tokio::fs::create_dir_all(&self.settings.logs).await?;
        tokio::fs::create_dir_all(&self.settings.roots).await?;
        let outputs = self.db.outputs(build.id).await?.into_iter();
        let root = |(name, base_name): (String, String)| {
            (self.settings.roots.join(format!("{}-{name}", build.id)), format!("/gnu/store/{base_name}"))
        };
        let work = Work {
            db: self.db.clone(),
            derivation: build.derivation.clone(),
            times: self.db.times(build.derivation_id).await?,
            log: self.settings.logs.join(format!("{reference}.log")),
            log_size: self.settings.log_size,
            roots: outputs.map(root).collect(),
        };
        self.db.mark_sent(&[build.id]).await?;
        let about = BuildRef::AskedOf(build.id, build.hash().to_owned());
        self.record_attempts(&about, &reference, &[Attempt::Scheduled, Attempt::Started]).await?;
        tracing::info!(job = build.job, derivation = build.derivation, "build started");
        let (stop, bell) = (Stop::default(), self.bell.clone());
        stop.watch(daemon.1);
        self.builds.running.insert(build.id, Running { reference, stop: stop.clone() });
        self.builds.tasks.spawn_blocking(move || {
            let ended = attempt::build(&work, daemon.0, &stop);
            bell.ring();
            (build.id, ended)
        });
        Ok(StepOutcome::Worked)
    }

    /// Records for this build that the daemon is unreachable. The build is tried again.
    async fn record_unreachable(&self, build: &Build, error: &std::io::Error) -> anyhow::Result<StepOutcome> {
        let reason = format!("the daemon at {} cannot be reached: {error}", self.settings.socket.display());
        self.db.record_polled(&[(build.id, Some(reason.clone()))], self.clock.now()).await?;
        bail!(
            "{reason}\nhint: start guix-daemon, or say in gorget.toml where it is: `daemon-socket` in [evaluate]"
        )
    }

    async fn record_end(
        &mut self,
        id: BuildId,
        attempt: Attempt,
        note: Option<String>,
    ) -> anyhow::Result<()> {
        let Some(running) = self.builds.running.remove(&id) else { return Ok(()) };
        tracing::info!(build = id.0, how = attempt.word(), note, "build ended");
        self.record_attempts(&BuildRef::Asked(id), &running.reference, &[attempt]).await?;
        let note = note.unwrap_or_else(|| "built by this machine".to_owned());
        Ok(self.db.record_polled(&[(id, Some(note))], self.clock.now()).await?)
    }

    async fn record_attempts(
        &self,
        about: &BuildRef,
        reference: &str,
        attempts: &[Attempt],
    ) -> anyhow::Result<()> {
        let now = self.clock.now();
        let event = |&attempt: &Attempt| NewEvent {
            build: about.clone(),
            reference: reference.to_owned(),
            attempt,
            happened_at: Some(now),
        };
        let events: Vec<NewEvent> = attempts.iter().map(event).collect();
        self.db.record_events(&self.name, &events, now).await?;
        Ok(())
    }
}
