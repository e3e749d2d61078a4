use std::time::Duration;

use super::GuixBuildCoordinator;
use super::guix_build_coordinator::{Events, News};
use crate::clock::Clock;
use crate::db::{BuildRef, Db, NewEvent};
use crate::domain::attempt::Attempt;
use crate::farm::reconciler::{Progress, Reconciler};
use crate::guix::store_path::StorePath;

/// The keeper that listens to what the coordinator tells by itself. What it misses while nobody
/// listens is found out by asking.
#[derive(Debug)]
pub struct FollowEvents {
    /// Where builds stand.
    pub db: Db,
    /// What time it is.
    pub clock: Clock,
    /// The name of the coordinator.
    pub name: String,
    /// Whom to listen to.
    pub coordinator: GuixBuildCoordinator,
    /// What is listened to, and how far it was heard.
    pub hearing: Subscription,
}

/// What is listened to.
#[derive(Debug, Default)]
pub struct Subscription {
    events: Option<Events>,
    /// The name of the last event that was heard.
    last: Option<String>,
    /// Whether it was said that nothing is to be heard.
    complained: bool,
}

impl Reconciler for FollowEvents {
    const NAME: &'static str = "follow";
    const PERIOD: Duration = Duration::from_mins(1);

    async fn step(&mut self) -> anyhow::Result<Progress> {
        let news = match self.hearing.hear(&self.coordinator).await {
            Ok(news) => news,
            Err(reason) => {
                if !std::mem::replace(&mut self.hearing.complained, true) {
                    tracing::info!(
                        coordinator = self.name,
                        "the coordinator tells nothing by itself, so it is asked: {reason}"
                    );
                }
                return Ok(Progress::Idle);
            }
        };
        let mut events: Vec<NewEvent> = news.into_iter().filter_map(event).collect();
        self.judge(&mut events).await;
        if !events.is_empty() {
            let noted = self.db.record_events(&self.name, &events, self.clock.now()).await?;
            tracing::debug!(
                coordinator = self.name,
                events = events.len(),
                new = noted.new,
                builds = noted.changed,
                "builds moved on"
            );
        }
        // Whatever was recorded need not be heard again.
        self.hearing.last = self.hearing.events.as_ref().and_then(Events::last).map(str::to_owned);
        Ok(Progress::Worked)
    }
}

impl FollowEvents {
    /// Asks about what failed, where it matters which agent it was. What is not answered is passed over:
    /// it is asked about later.
    async fn judge(&self, events: &mut [NewEvent]) {
        if !self.coordinator.has_emulating_agents() {
            return;
        }
        for event in events.iter_mut().filter(|event| event.attempt == Attempt::Failed) {
            let report = self.coordinator.read(&event.reference).await.ok().flatten();
            let ends = report.and_then(|report| report.steps.into_iter().rfind(|(step, _)| step.is_over()));
            event.attempt = ends.map_or(Attempt::Started, |(step, _)| step);
        }
    }
}

impl Subscription {
    async fn hear(&mut self, coordinator: &GuixBuildCoordinator) -> Result<Vec<News>, super::Unavailable> {
        let mut events = match self.events.take() {
            Some(events) => events,
            None => coordinator.follow(self.last.as_deref()).await?,
        };
        let news = events.next().await?;
        self.complained = false;
        self.events = Some(events);
        Ok(news)
    }
}

fn event(news: News) -> Option<NewEvent> {
    let build = match news.derivation {
        Some(path) => BuildRef::Derivation(StorePath::parse(path.as_bytes()).ok()?.hash_text()),
        None => BuildRef::Attempt,
    };
    Some(NewEvent { build, reference: news.reference, attempt: news.attempt, happened_at: None })
}
