//! Turns the jobs of evaluations into builds that are wanted: those whose outputs nobody wanted
//! before. When what evaluations want has changed, gives up what nobody wants any more, and puts the
//! rest in order.

use std::time::Duration;

use crate::clock::{Clock, Seconds};
use crate::daemon::{Bells, Keeper, Progress};
use crate::db::{BuildState, Changes, Db, Live, OpenBuild, Outlook, Snapshot, SpecId, Task};
use crate::plan::order::{Rank, ranks};
use crate::plan::{Fate, fate};

/// How often, in seconds, builds are put in order while evaluations find more.
const AGAIN: Seconds = 60;

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
        if let Some(task) = self.db.unscheduled_evaluation().await? {
            self.queue(&task).await?;
            return Ok(Progress::Worked);
        }
        if self.db.give_up_late().await? > 0 {
            self.bells.submit.ring();
            return Ok(Progress::Worked);
        }
        if self.queue_inputs().await? {
            return Ok(Progress::Worked);
        }
        let outlook = self.db.outlook().await?;
        let planned = self.db.planned().await?;
        let now = self.clock.now();
        let is_due = planned.as_ref().is_none_or(|planned| {
            planned.outlook.live != outlook.live
                || planned.outlook.seen != outlook.seen && (now - planned.at >= AGAIN || now < planned.at)
        });
        if !is_due {
            // What was staged may have its turn now.
            let released = self.db.guard().await?;
            if released > 0 {
                self.bells.submit.ring();
            }
            return Ok(if released > 0 { Progress::Worked } else { Progress::Idle });
        }
        self.plan(&outlook, now).await?;
        Ok(Progress::Worked)
    }
}

impl Schedule {
    /// The state of what is queued.
    fn queued(&self) -> BuildState {
        if self.look_up { BuildState::Wanted } else { BuildState::Queued }
    }

    fn ring(&self) {
        if self.look_up {
            self.bells.substitute.ring();
        }
        self.bells.submit.ring();
    }

    /// Wants what an evaluation found since the last time.
    async fn queue(&self, task: &Task) -> anyhow::Result<()> {
        let state = match fate(task.spec.first, task.previous.is_some()) {
            Fate::Queue => self.queued(),
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
        self.ring();
        Ok(())
    }

    /// Wants what queued builds need, for specs that ask for it.
    async fn queue_inputs(&self) -> anyhow::Result<bool> {
        let specs = self.db.specs().await?.into_iter();
        let asking: Vec<SpecId> = specs
            .filter(|stored| stored.present && stored.spec.queue_inputs)
            .map(|stored| stored.id)
            .collect();
        if asking.is_empty() {
            return Ok(false);
        }
        let looked_at = self.db.queue_inputs(&asking, self.queued(), self.clock.now()).await?;
        if looked_at > 0 {
            self.ring();
        }
        Ok(looked_at > 0)
    }

    /// Makes builds be what they should be, given who wants jobs.
    async fn plan(&self, outlook: &Outlook, now: Seconds) -> anyhow::Result<()> {
        let again = self.db.queue_again(&outlook.live, self.queued(), now).await?;
        let snapshot = self.db.snapshot(&outlook.live).await?;
        let changes = changes(&snapshot, &ranks(&snapshot.graph, &snapshot.claims), &outlook.live);
        self.db.change(&changes, outlook, now).await?;
        tracing::debug!(
            again,
            unwanted = changes.unwanted.len(),
            needed_again = changes.needed_again.len(),
            reordered = changes.urgencies.len(),
            "planned {} builds",
            snapshot.builds.len()
        );
        self.ring();
        Ok(())
    }
}

fn changes(snapshot: &Snapshot, ranks: &[Option<Rank>], live: &[Live]) -> Changes {
    let mut changes = Changes::default();
    for (build, rank) in snapshot.builds.iter().zip(ranks) {
        match (rank, build.state) {
            (None, BuildState::Canceling) => {}
            (None, _) => changes.unwanted.push((build.id, unwanted(build, live))),
            (Some(_), BuildState::Canceling) => changes.needed_again.push(build.id),
            (Some(_), _) => {}
        }
        if let Some(rank) = rank.filter(|rank| rank.urgency != build.urgency) {
            changes.urgencies.push((build.id, rank.urgency));
        }
    }
    changes
}

/// Why nobody wants a build any more.
fn unwanted(build: &OpenBuild, live: &[Live]) -> String {
    let OpenBuild { spec, system, .. } = build;
    let of_spec = live.iter().find(|live| (live.spec, live.system.as_str()) == (build.spec_id, system));
    match of_spec.and_then(|live| live.evaluation) {
        Some(evaluation) => {
            format!("evaluation {evaluation} of {spec} has it no more, and nobody else wants it")
        }
        None => format!("{spec} is no more evaluated for {system}, and nobody else wants it"),
    }
}
