//! Turns the jobs of an evaluation into builds that are wanted: those whose outputs nobody wanted
//! before.

use std::time::Duration;

use crate::clock::Clock;
use crate::daemon::{Bells, Keeper, Progress};
use crate::db::{BuildState, Db};
use crate::plan::{Fate, fate};

/// The keeper that schedules.
#[derive(Debug)]
pub struct Schedule {
    /// Where jobs and builds stand.
    pub db: Db,
    /// What time it is.
    pub clock: Clock,
    /// Whom to wake.
    pub bells: Bells,
    /// Whether substitute servers are asked before anything is queued.
    pub look_up: bool,
}

impl Keeper for Schedule {
    const NAME: &'static str = "schedule";
    const PERIOD: Duration = Duration::from_secs(15);

    async fn step(&mut self) -> anyhow::Result<Progress> {
        let Some(task) = self.db.unscheduled_evaluation().await? else { return Ok(Progress::Idle) };
        let state = match fate(task.spec.first, task.previous.is_some()) {
            Fate::Queue if self.look_up => BuildState::Wanted,
            Fate::Queue => BuildState::Queued,
            Fate::Record => BuildState::Recorded,
        };
        let builds = self.db.queue_builds(task.id, state, self.clock.now()).await?;
        tracing::debug!(
            spec.name = task.spec.name,
            system = %task.system,
            revision = task.revision.short(),
            builds,
            "new builds are {}",
            if state == BuildState::Recorded { "recorded" } else { "queued" }
        );
        if self.look_up { &self.bells.substitute } else { &self.bells.submit }.ring();
        Ok(Progress::Worked)
    }
}
