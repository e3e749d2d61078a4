use std::time::Duration;

use super::GuixBuildCoordinator;
use super::guix_build_coordinator::{BuildStateEvent, Events};
use crate::clock::Clock;
use crate::db::{BuildRef, Db, NewEvent};
use crate::domain::attempt::Attempt;
use crate::farm::context::Context;
use crate::farm::reconciler::{Reconciler, StepOutcome};
use crate::guix::store_path::StorePath;

/// The reconciler that follows the event stream of a coordinator. Polling finds the events that it
/// misses.
#[derive(Debug)]
pub struct FollowEvents {
    db: Db,
    clock: Clock,
    name: String,
    coordinator: GuixBuildCoordinator,
    subscription: Subscription,
}

/// The connection to the event stream, and the position in it.
#[derive(Debug, Default)]
struct Subscription {
    events: Option<Events>,
    /// The id of the last event that was read.
    last: Option<String>,
    /// Whether it has been logged that there is no event stream.
    complained: bool,
}

impl Reconciler for FollowEvents {
    const NAME: &'static str = "follow";
    const PERIOD: Duration = Duration::from_mins(1);

    async fn step(&mut self) -> anyhow::Result<StepOutcome> {
        let news = match self.subscription.next(&self.coordinator).await {
            Ok(news) => news,
            Err(reason) => {
                if !std::mem::replace(&mut self.subscription.complained, true) {
                    tracing::info!(
                        coordinator = self.name,
                        "no events from the coordinator; polling it instead: {reason}"
                    );
                }
                return Ok(StepOutcome::Idle);
            }
        };
        let mut events: Vec<NewEvent> = news.into_iter().filter_map(new_event).collect();
        self.judge(&mut events).await;
        if !events.is_empty() {
            let noted = self.db.record_events(&self.name, &events, self.clock.now()).await?;
            tracing::debug!(
                coordinator = self.name,
                events = events.len(),
                new = noted.new,
                builds = noted.changed,
                "build states updated"
            );
        }
        // A new connection need not repeat events that are recorded.
        self.subscription.last = self.subscription.events.as_ref().and_then(Events::last).map(str::to_owned);
        Ok(StepOutcome::Worked)
    }
}

impl FollowEvents {
    /// Follows `coordinator`, whose name in the farm is `name`.
    pub fn new(context: &Context, name: String, coordinator: GuixBuildCoordinator) -> Self {
        Self {
            db: context.db.clone(),
            clock: context.clock.clone(),
            name,
            coordinator,
            subscription: Subscription::default(),
        }
    }

    /// Asks for details of failures if it matters which agent had them. A failure whose details
    /// cannot be read is skipped; polling reads it later.
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
    async fn next(
        &mut self,
        coordinator: &GuixBuildCoordinator,
    ) -> Result<Vec<BuildStateEvent>, super::Unavailable> {
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

fn new_event(news: BuildStateEvent) -> Option<NewEvent> {
    let build = match news.derivation {
        Some(path) => BuildRef::Derivation(StorePath::parse(path.as_bytes()).ok()?.hash_text()),
        None => BuildRef::Attempt,
    };
    Some(NewEvent { build, reference: news.reference, attempt: news.attempt, happened_at: None })
}
