use std::time::Duration;

use tokio::task::JoinSet;

use super::{Answer, GuixBuildCoordinator, Submission};
use crate::clock::{Clock, Seconds};
use crate::daemon::{Keeper, Progress, back_off};
use crate::db::{Build, Db};

/// How many builds are submitted at the same time.
const AT_ONCE: usize = 8;
/// How many builds one step submits at most.
const PIECE: i64 = 64;

/// The keeper that submits: the outbox is the `build` table, and a build leaves it when the
/// coordinator has answered. One whose answer was lost is submitted again, which the coordinator's
/// "ignore if there is a build" turns into nothing.
#[derive(Debug)]
pub struct Submit {
    /// Where builds stand.
    pub db: Db,
    /// What time it is.
    pub clock: Clock,
    /// Whom to hand them to; without one, the queue is the result.
    pub coordinator: Option<GuixBuildCoordinator>,
    /// Where the coordinator may fetch derivations from.
    pub substitute_urls: Vec<String>,
    /// Whether to submit also what is not due: used by `run --once`.
    pub once: bool,
}

impl Keeper for Submit {
    const NAME: &'static str = "submit";
    const PERIOD: Duration = Duration::from_secs(10);

    async fn step(&mut self) -> anyhow::Result<Progress> {
        let Some(coordinator) = self.coordinator.clone() else { return Ok(Progress::Idle) };
        let due = if self.once { Seconds::MAX } else { self.clock.now() };
        let builds = self.db.next_submissions(due, PIECE).await?;
        if builds.is_empty() {
            return Ok(Progress::Idle);
        }
        let mut under_way = JoinSet::new();
        let mut waiting = builds.into_iter();
        let mut lost = Vec::new();
        loop {
            while under_way.len() < AT_ONCE
                && lost.is_empty()
                && let Some(build) = waiting.next()
            {
                let (coordinator, submission) = (coordinator.clone(), self.submission(&build));
                under_way.spawn(async move { (build, coordinator.submit(&submission).await) });
            }
            let Some(done) = under_way.join_next().await else { break };
            let (build, answer) = done?;
            if let Some(reason) = self.record(&build, answer).await? {
                lost.push((build, reason));
            }
        }
        let Some((first, reason)) = lost.first() else { return Ok(Progress::Worked) };
        // The coordinator is away: everything waits for it, not each build for itself.
        let again = self.clock.now() + back_off(first.attempts, Self::NAME);
        tracing::warn!(builds = lost.len(), "the coordinator cannot be asked: {reason}");
        let mut ids: Vec<_> = lost.iter().map(|(build, _)| build.id).collect();
        ids.extend(waiting.map(|build| build.id));
        self.db.postpone(&ids, reason, again).await?;
        Ok(Progress::Idle)
    }
}

impl Submit {
    fn submission(&self, build: &Build) -> Submission {
        let mut tags = vec![
            ("gorget-spec".to_owned(), build.spec.clone()),
            ("gorget-job".to_owned(), build.job.clone()),
            ("system".to_owned(), build.system.to_string()),
        ];
        let commits = build.revision.channels().iter();
        tags.extend(commits.map(|channel| (format!("channel-{}", channel.name), channel.commit.clone())));
        Submission {
            derivation: build.derivation.clone(),
            priority: build.urgency,
            tags,
            substitute_urls: self.substitute_urls.clone(),
        }
    }

    /// Writes down what the coordinator said; gives the reason when it could not be asked.
    async fn record(&self, build: &Build, answer: Answer) -> anyhow::Result<Option<String>> {
        let now = self.clock.now();
        match answer {
            Answer::Accepted { reference } => {
                self.db.record_submission(build, Some(&reference), "accepted", now).await?;
            }
            Answer::AlreadyThere { reason } => {
                self.db.record_submission(build, None, &reason, now).await?;
            }
            Answer::Refused { reason } => {
                tracing::warn!(
                    job = build.job,
                    derivation = build.derivation,
                    "a build is refused: {reason}"
                );
                self.db.record_refusal(build.id, &reason, now).await?;
            }
            Answer::Unavailable { reason } => return Ok(Some(reason)),
        }
        Ok(None)
    }
}
