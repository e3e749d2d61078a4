//! Turns jobs into builds, and decides which builds are still wanted and in which order.
//!
//! # Guarantees
//!
//! * Builds are canceled and ordered for what all live evaluations want, never for what one branch
//!   did.
//! * The table `plan` records the input of the last plan. When that differs from the present one,
//!   the step plans again, whatever bell was missed in between.
//! * A build over its spec's budget never appears in the queue: each transaction that queues builds
//!   checks the budget.
//!
//! # Design
//!
//! *Live* are the jobs of the newest complete evaluation of each system of each active spec (of all
//! evaluations if every commit counts), and those that a newer evaluation has found so far. A job
//! that the newest evaluation could not evaluate is also live, in its last known form. The step
//! plans when the set of those evaluations, or what their specs say, differs from the one in
//! `plan`, and at most once a minute while evaluations find more.
//!
//! Planning reads the builds that have not ended, with all that they need and that does not exist
//! yet. The pure functions of `domain::plan` decide which job claims what: a job claims its build,
//! and a build claims what it needs, also through derivations that belong to no job. A build that
//! nothing claims is canceled: at once, or by way of `canceling` if the coordinator has it or may
//! have it.
//!
//! A job that was just found has an urgency of the first round until it is planned. A job that
//! failed, or that was canceled for other reasons, is queued again only for a complete evaluation
//! that is newer than the one that wanted it, as its spec says.
//!
//! # Races
//!
//! * A build that is claimed again before it was canceled returns to the queue.
//! * A build that was being submitted when it was canceled is canceled at the coordinator as soon
//!   as it is known to have arrived.

use std::time::Duration;

use crate::clock::{Clock, Seconds};
use crate::db::{BuildState, Changes, Db, Live, OpenBuild, PlanInput, Snapshot, SpecId, Task};
use crate::domain::plan::order::{Rank, ranks};
use crate::domain::plan::{NewBuilds, new_builds};
use crate::farm::bell::Bells;
use crate::farm::context::Context;
use crate::farm::reconciler::{Reconciler, StepOutcome};

/// How often builds are reordered while evaluations find more, in seconds.
const AGAIN: Seconds = 60;

/// The reconciler that schedules.
#[derive(Debug, Clone)]
pub struct Schedule {
    db: Db,
    clock: Clock,
    bells: Bells,
    look_up: bool,
}

impl Reconciler for Schedule {
    const NAME: &'static str = "schedule";
    const PERIOD: Duration = Duration::from_secs(15);

    async fn step(&mut self) -> anyhow::Result<StepOutcome> {
        if let Some(task) = self.db.unscheduled_evaluation().await? {
            self.queue(&task).await?;
            return Ok(StepOutcome::Worked);
        }
        if self.db.cancel_late_submissions().await? > 0 {
            self.bells.submit.ring();
            return Ok(StepOutcome::Worked);
        }
        if self.queue_inputs().await? {
            return Ok(StepOutcome::Worked);
        }
        let input = self.db.plan_input().await?;
        let planned = self.db.planned().await?;
        let now = self.clock.now();
        let is_due = planned.as_ref().is_none_or(|planned| {
            planned.input.live != input.live
                || planned.input.seen != input.seen && (now - planned.at >= AGAIN || now < planned.at)
        });
        if !is_due {
            // A staged build may be due now.
            let released = self.db.guard().await?;
            if released > 0 {
                self.bells.submit.ring();
            }
            return Ok(if released > 0 { StepOutcome::Worked } else { StepOutcome::Idle });
        }
        self.plan(&input, now).await?;
        Ok(StepOutcome::Worked)
    }
}

impl Schedule {
    /// `look_up` says whether substitute servers are asked before a build is queued.
    pub fn new(context: &Context, look_up: bool) -> Self {
        let Context { db, clock, bells, .. } = context.clone();
        Self { db, clock, bells, look_up }
    }

    /// The state of newly queued builds.
    fn queued(&self) -> BuildState {
        if self.look_up { BuildState::Pending } else { BuildState::Queued }
    }

    fn ring(&self) {
        if self.look_up {
            self.bells.substitute.ring();
        }
        self.bells.submit.ring();
    }

    /// Queues the builds that an evaluation has found since the last time.
    async fn queue(&self, task: &Task) -> anyhow::Result<()> {
        let state = match new_builds(task.spec.first, task.previous.is_some()) {
            NewBuilds::Queue => self.queued(),
            NewBuilds::Record => BuildState::Known,
        };
        let builds = self.db.queue_builds(task.id, state, self.clock.now()).await?;
        tracing::debug!(
            spec.name = task.spec.name,
            system = %task.system,
            revision = task.revision.short(),
            builds,
            "new builds are {}",
            if state == BuildState::Known { "recorded" } else { "queued" }
        );
        self.ring();
        Ok(())
    }

    /// The specs that ask for the inputs of queued builds.
    async fn asking(&self) -> anyhow::Result<Vec<SpecId>> {
        let specs = self.db.specs().await?.into_iter();
        let asking = specs.filter(|stored| stored.present && stored.spec.queue_inputs);
        Ok(asking.map(|stored| stored.id).collect())
    }

    /// Queues the inputs of queued builds, for specs that ask for it.
    async fn queue_inputs(&self) -> anyhow::Result<bool> {
        let asking = self.asking().await?;
        if asking.is_empty() {
            return Ok(false);
        }
        let looked_at = self.db.queue_inputs(&asking, self.queued(), self.clock.now()).await?;
        if looked_at > 0 {
            self.ring();
        }
        Ok(looked_at > 0)
    }

    /// Cancels, queues and orders builds according to the live evaluations.
    async fn plan(&self, input: &PlanInput, now: Seconds) -> anyhow::Result<()> {
        let again = self.db.queue_again(&input.live, self.queued(), now).await?;
        let others = self.db.queue_other_inputs(&self.asking().await?, self.queued(), now).await?;
        let snapshot = self.db.snapshot(&input.live).await?;
        let changes = changes(&snapshot, &ranks(&snapshot.graph, &snapshot.claims), &input.live);
        self.db.apply_changes(&changes, input, now).await?;
        tracing::debug!(
            again,
            others,
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

/// Why a build is no longer wanted.
fn unwanted(build: &OpenBuild, live: &[Live]) -> String {
    let OpenBuild { spec, system, .. } = build;
    let of_spec = live.iter().find(|live| (live.spec, live.system.as_str()) == (build.spec_id, system));
    match of_spec.and_then(|live| live.evaluation) {
        Some(evaluation) => {
            format!("evaluation {evaluation} of {spec} no longer has it, and no other job wants it")
        }
        None => format!("{spec} is no longer evaluated for {system}, and no other job wants it"),
    }
}
