//! Asks the coordinator for the states of builds.
//!
//! Build states arrive by webhook, event stream and this poll; any one suffices. Each build is
//! polled every half an hour, and by each `gorget run --once`. A build that the coordinator has
//! lost is submitted again.

use std::time::Duration;

use tokio::task::JoinSet;

use super::{GuixBuildCoordinator, Report, Unavailable};
use crate::clock::{Clock, Seconds};
use crate::db::{Build, BuildId, Db, NewEvent};
use crate::farm::context::Context;
use crate::farm::reconciler::{Reconciler, StepOutcome};

/// The number of concurrent requests.
const AT_ONCE: usize = 8;
/// The most builds that one step asks about.
const BATCH: i64 = 64;
/// How often the coordinator is asked about each build, in seconds.
const EVERY: Seconds = 1800;
/// How soon the coordinator is asked again about a build for which it did not answer, in seconds.
const POLL_INTERVAL: Seconds = 120;

/// The reconciler that asks the coordinator for the states of builds. It finds what no event
/// reported.
#[derive(Debug)]
pub struct PollBuilds {
    db: Db,
    clock: Clock,
    name: String,
    coordinator: GuixBuildCoordinator,
    /// With `run --once`, when the run started: each build is asked about once.
    since: Option<Seconds>,
}

impl Reconciler for PollBuilds {
    const NAME: &'static str = "poll builds";
    const PERIOD: Duration = Duration::from_secs(30);

    async fn step(&mut self) -> anyhow::Result<StepOutcome> {
        let now = self.clock.now();
        let then = self.since.unwrap_or(now - EVERY);
        let builds = self.db.next_polled(&self.name, then, BATCH).await?;
        if builds.is_empty() {
            return Ok(StepOutcome::Idle);
        }
        let answers = self.ask_all(builds).await?;
        self.record(&answers.events, &answers.lost).await?;
        self.db.record_references(&answers.going_on).await?;
        self.db.clear_in_doubt(&answers.listed).await?;
        self.db.record_polled(&answers.read, now).await?;
        // If the coordinator fails for one build only, the other builds are read before that one is
        // read again.
        self.db.record_polled(&answers.silent, now - EVERY + POLL_INTERVAL).await?;
        let Some(reason) = answers.away else { return Ok(StepOutcome::Worked) };
        tracing::warn!(coordinator = self.name, "cannot poll builds: {reason}");
        Ok(StepOutcome::Idle)
    }
}

/// The answers of the coordinator.
#[derive(Default)]
struct Answers {
    events: Vec<NewEvent>,
    /// The builds that it answered for, each with its note, if any.
    read: Vec<(BuildId, Option<String>)>,
    /// The builds that it does not know.
    lost: Vec<Build>,
    /// The builds for which it did not answer.
    silent: Vec<(BuildId, Option<String>)>,
    /// The builds with a running attempt whose name was unknown.
    going_on: Vec<(BuildId, String)>,
    /// The builds whose attempts are all known now.
    listed: Vec<BuildId>,
    /// Why the coordinator is unavailable.
    away: Option<String>,
}

impl Answers {
    fn add(&mut self, build: Build, reports: &[Report]) {
        self.read.push((build.id, reports.iter().rev().find_map(|report| report.note.clone())));
        let attempt = reports.iter().rev().find(|report| !report.is_over());
        let unnamed = attempt.filter(|_| build.reference.is_none() || build.in_doubt);
        self.listed.extend(build.in_doubt.then_some(build.id));
        self.going_on.extend(unnamed.map(|attempt| (build.id, attempt.reference.clone())));
        self.events.extend(reports.iter().flat_map(|report| report.events(build.id)));
        self.lost.extend(reports.is_empty().then_some(build));
    }
}

impl PollBuilds {
    /// Asks for all builds, until the coordinator is unavailable.
    async fn ask_all(&self, builds: Vec<Build>) -> anyhow::Result<Answers> {
        let mut under_way = JoinSet::new();
        let mut waiting = builds.into_iter();
        let mut answers = Answers::default();
        loop {
            while under_way.len() < AT_ONCE
                && answers.away.is_none()
                && let Some(build) = waiting.next()
            {
                let output = self.db.an_output(&build).await?;
                let coordinator = self.coordinator.clone();
                under_way.spawn(async move { (ask(&coordinator, &build, &output).await, build) });
            }
            let Some(next) = under_way.join_next().await else { return Ok(answers) };
            match next? {
                (Ok(reports), build) => answers.add(build, &reports),
                (Err(Unavailable(reason)), build) => {
                    answers.silent.push((build.id, None));
                    answers.away = Some(reason);
                }
            }
        }
    }

    /// Asks `coordinator`, whose name in the farm is `name`.
    pub fn new(context: &Context, name: String, coordinator: GuixBuildCoordinator) -> Self {
        let Context { db, clock, mode, .. } = context.clone();
        let since = mode.is_once().then(|| clock.now());
        Self { db, clock, name, coordinator, since }
    }

    async fn record(&self, events: &[NewEvent], lost: &[Build]) -> anyhow::Result<()> {
        let noted = self.db.record_events(&self.name, events, self.clock.now()).await?;
        if noted.changed > 0 {
            tracing::info!(
                coordinator = self.name,
                builds = noted.changed,
                "build states updated by polling"
            );
        }
        if !lost.is_empty() {
            tracing::warn!(coordinator = self.name, builds = lost.len(), "builds lost by the coordinator");
            self.db.record_loss(lost, self.clock.now()).await?;
        }
        Ok(())
    }
}

/// All attempts that the coordinator knows.
async fn ask(
    coordinator: &GuixBuildCoordinator,
    build: &Build,
    output: &str,
) -> Result<Vec<Report>, Unavailable> {
    if let Some(reference) = build.reference.as_ref().filter(|_| !build.in_doubt) {
        return Ok(coordinator.read(reference).await?.into_iter().collect());
    }
    let mut reports = coordinator.attempts_at(output).await?;
    // Lists leave out some facts, such as the agent.
    let in_full = |report: &&mut Report| !report.is_over() || coordinator.has_emulating_agents();
    for report in reports.iter_mut().filter(in_full) {
        if let Some(more) = coordinator.read(&report.reference).await? {
            *report = more;
        }
    }
    Ok(reports)
}
