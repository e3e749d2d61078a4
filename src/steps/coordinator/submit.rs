//! Submits queued builds, cancels builds, and tells the coordinator their urgencies.
//!
//! # Guarantees
//!
//! * Each build is submitted at least once, and the coordinator ignores a build that it already
//!   has.
//! * Nothing is submitted while a cancellation is due. So a build that is wanted again is never
//!   canceled by an earlier request.
//! * A build that failed is submitted again only after the coordinator was asked which attempts it
//!   has.
//!
//! # Design
//!
//! The table `build` is the outbox: a build leaves it when the coordinator has answered. A step
//! first cancels, then submits, then updates urgencies. When the coordinator is unreachable, all
//! builds wait together; no build has a retry time of its own.
//!
//! # Races
//!
//! * A submission without an answer may have arrived. The build is looked up at the coordinator, by
//!   an output, before it is submitted again.
//! * A host that loses the scheduling lease stops its steps. The next host sends again what was
//!   being sent at that moment, which the coordinator has to tolerate anyway.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::JoinSet;

use super::request::{CoordinatorRequest, Outcome, SPEC_TAG};
use super::{Answer, GuixBuildCoordinator, Report, Submission, Unavailable};
use crate::clock::{Clock, Seconds};
use crate::db::{Build, BuildId, BuildRef, Db, NewEvent};
use crate::domain::attempt::Attempt;
use crate::domain::plan::route::Routes;
use crate::farm::context::{Context, Mode};
use crate::farm::reconciler::{Reconciler, StepOutcome, retry_delay};
use crate::telemetry::counters;

/// The number of concurrent requests.
const AT_ONCE: usize = 8;
/// The most builds that one step handles.
const BATCH: i64 = 64;
/// When to retry a cancellation of what the coordinator still needs, in seconds.
const STILL_NEEDED: Seconds = 3600;

/// The reconciler that submits builds.
#[derive(Debug)]
pub struct Submit {
    db: Db,
    clock: Clock,
    mode: Mode,
    name: String,
    coordinator: GuixBuildCoordinator,
    routes: Routes,
    substitute_urls: Vec<String>,
    retry_tags: BTreeMap<String, String>,
}

impl Reconciler for Submit {
    const NAME: &'static str = "submit";
    const PERIOD: Duration = Duration::from_secs(10);

    async fn step(&mut self) -> anyhow::Result<StepOutcome> {
        self.db.route(&self.routes).await?;
        let mut requests = self.cancellations().await?;
        if requests.is_empty() {
            requests = self.submissions().await?;
        }
        if requests.is_empty() {
            requests = self.urgencies().await?;
        }
        if requests.is_empty() {
            return Ok(StepOutcome::Idle);
        }
        let mut under_way = JoinSet::new();
        let mut waiting = requests.into_iter();
        let mut lost = Vec::new();
        let mut done = 0;
        loop {
            while under_way.len() < AT_ONCE
                && lost.is_empty()
                && let Some((build, request)) = waiting.next()
            {
                let coordinator = self.coordinator.clone();
                under_way.spawn(async move { (build, request.send_request(&coordinator).await) });
            }
            let Some(next) = under_way.join_next().await else { break };
            match next? {
                (build, Ok(outcome)) => done += usize::from(self.record(&build, outcome).await?),
                (build, Err(Unavailable(reason))) => lost.push((build, reason)),
            }
        }
        if !lost.is_empty() {
            self.wait_for_coordinator(&lost, waiting.map(|(build, _)| build).collect()).await?;
        } else if done > 0 {
            return Ok(StepOutcome::Worked);
        }
        Ok(StepOutcome::Idle)
    }
}

impl Submit {
    /// Postpones all builds of the step, because the coordinator is unavailable and all builds wait
    /// for it together: those whose requests were `lost`, each with the reason, and those that are
    /// `unsent`.
    async fn wait_for_coordinator(&self, lost: &[(Build, String)], unsent: Vec<Build>) -> anyhow::Result<()> {
        let Some((first, reason)) = lost.first() else { return Ok(()) };
        let again = self.clock.now() + retry_delay(first.attempts, Self::NAME);
        tracing::warn!(
            coordinator = self.name,
            builds = lost.len(),
            "cannot reach the coordinator: {reason}"
        );
        let ids: Vec<_> = lost.iter().map(|(build, _)| build.id).chain(unsent.iter().map(|b| b.id)).collect();
        self.db.postpone(&ids, reason, again).await?;
        counters::submission(&self.name, "unavailable");
        let new: Vec<_> = unsent.iter().filter(|build| !build.sent).map(|build| build.id).collect();
        self.db.unmark_sent(&new).await?;
        Ok(())
    }

    /// Submits the builds that `routes` give to `coordinator`, whose name in the farm is `name`.
    pub fn new(context: &Context, name: String, coordinator: GuixBuildCoordinator, routes: Routes) -> Self {
        let Context { db, clock, mode, .. } = context.clone();
        let (substitute_urls, retry_tags) = (Vec::new(), BTreeMap::new());
        Self { db, clock, mode, name, coordinator, routes, substitute_urls, retry_tags }
    }

    /// Sets the servers that the coordinator may fetch derivations from.
    #[must_use]
    pub fn with_substitute_urls(self, substitute_urls: Vec<String>) -> Self {
        Self { substitute_urls, ..self }
    }

    /// Sets tags that a build gets in addition when it is retried.
    #[must_use]
    pub fn with_retry_tags(self, retry_tags: BTreeMap<String, String>) -> Self {
        Self { retry_tags, ..self }
    }

    async fn cancellations(&self) -> anyhow::Result<Vec<(Build, CoordinatorRequest)>> {
        let mut requests = Vec::new();
        // `run --once` does not repeat the cancellation of a build that is still needed, but does
        // repeat one that failed.
        let due = self.clock.now() + if self.mode.is_once() { STILL_NEEDED - 1 } else { 0 };
        for build in self.db.begin_cancellations(&self.name, due, BATCH).await? {
            let request = match &build.reference {
                Some(reference) if !build.in_doubt => CoordinatorRequest::Cancel(reference.clone()),
                _ => CoordinatorRequest::CancelUnnamed(self.db.an_output(&build).await?),
            };
            requests.push((build, request));
        }
        Ok(requests)
    }

    async fn submissions(&self) -> anyhow::Result<Vec<(Build, CoordinatorRequest)>> {
        let due = if self.mode.is_once() { Seconds::MAX } else { self.clock.now() };
        let builds = self.db.next_submissions(&self.name, due, BATCH).await?;
        let ids: Vec<BuildId> = builds.iter().map(|build| build.id).collect();
        let new = builds.iter().filter(|build| !(build.sent && build.in_doubt)).map(|build| build.id);
        let new: Vec<BuildId> = new.collect();
        if !new.is_empty() {
            self.db.mark_sent(&new).await?;
        }
        let failed = self.db.failed_before(&ids).await?;
        let mut requests = Vec::new();
        for build in builds {
            let mut submission = self.submission(&build);
            submission.again = failed.contains(&build.id);
            submission.tags.extend(if submission.again {
                self.retry_tags.clone()
            } else {
                // Agents that emulate take only builds with their tags.
                self.coordinator.emulating_agents().clone()
            });
            let request = if submission.again || build.in_doubt {
                let attempts = self.db.attempts(build.id).await?.into_iter();
                let past = attempts.filter(|(_, attempt)| attempt.is_over()).map(|(name, _)| name).collect();
                CoordinatorRequest::BuildAgain(submission, self.db.an_output(&build).await?, past)
            } else {
                CoordinatorRequest::Build(submission)
            };
            requests.push((build, request));
        }
        Ok(requests)
    }

    async fn urgencies(&self) -> anyhow::Result<Vec<(Build, CoordinatorRequest)>> {
        let builds = self.db.unsent_urgencies(&self.name, BATCH).await?;
        let request = |build: Build| {
            let reference = build.reference.clone()?;
            let urgency = build.urgency;
            Some((build, CoordinatorRequest::SetUrgency(reference, urgency)))
        };
        Ok(builds.into_iter().filter_map(request).collect())
    }

    fn submission(&self, build: &Build) -> Submission {
        let mut tags = vec![
            (SPEC_TAG.to_owned(), build.spec.clone()),
            ("gorget-job".to_owned(), build.job.clone()),
            ("system".to_owned(), build.system.to_string()),
        ];
        for channel in build.revision.channels() {
            tags.push((format!("channel-{}", channel.name), channel.commit.clone()));
            if !channel.origin.branch.is_empty() {
                tags.push((format!("branch-{}", channel.name), channel.origin.branch.clone()));
            }
        }
        Submission {
            derivation: build.derivation.clone(),
            priority: build.urgency,
            tags,
            substitute_urls: self.substitute_urls.clone(),
            again: false,
        }
    }

    /// Records the outcome of a request; returns whether the build is done with.
    #[expect(clippy::too_many_lines, reason = "one arm for each outcome")]
    async fn record(&self, build: &Build, outcome: Outcome) -> anyhow::Result<bool> {
        let now = self.clock.now();
        match outcome {
            Outcome::Answered(Answer::Accepted { reference }) => {
                self.db.record_submission(build, Some(&reference), "accepted", now).await?;
                counters::submission(&self.name, "accepted");
                counters::queued(build.system.as_str(), now - build.created_at);
            }
            Outcome::Answered(Answer::AlreadyThere { reason }) => {
                self.db.record_submission(build, None, &reason, now).await?;
                counters::submission(&self.name, "known");
            }
            Outcome::Answered(Answer::Refused { reason }) => {
                tracing::warn!(
                    coordinator = self.name,
                    job = build.job,
                    derivation = build.derivation,
                    "build rejected: {reason}"
                );
                self.db.record_refusal(build, &reason, now).await?;
                counters::submission(&self.name, "rejected");
            }
            Outcome::Found(reports) => {
                let events = events(build.id, &reports);
                let noted = self.db.record_events(&self.name, &events, now).await?;
                self.db.clear_in_doubt(&[build.id]).await?;
                let Some(attempt) = reports.iter().find(|report| !report.is_over()) else {
                    // If all events were known, the build is submitted again: those attempts are
                    // known now.
                    return Ok(noted.new > 0);
                };
                self.db.mark_still_submitted(build, &attempt.reference, now).await?;
            }
            Outcome::FoundCanceled(reports) => {
                self.db.note_attempts(build.id, &self.name, &events(build.id, &reports), now).await?;
            }
            Outcome::Canceled(reference) => {
                let id = build.id;
                self.db.record_cancel_request(id, &reference).await?;
                let build = BuildRef::Asked(id);
                let event = NewEvent { build, reference, attempt: Attempt::Canceled, happened_at: Some(now) };
                self.db.record_events(&self.name, &[event], now).await?;
                self.db.record_nothing_to_cancel(id).await?;
            }
            Outcome::NothingToCancel => self.db.record_nothing_to_cancel(build.id).await?,
            Outcome::Needed => {
                let reason = "another build at the coordinator needs it";
                self.db.postpone(&[build.id], reason, now + STILL_NEEDED).await?;
                return Ok(false);
            }
            Outcome::UrgencySet => self.db.record_urgency(build).await?,
        }
        Ok(true)
    }
}

fn events(build: BuildId, reports: &[Report]) -> Vec<NewEvent> {
    reports.iter().flat_map(|report| report.events(build)).collect()
}
