use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::ask::{Again, Asker};
use super::{Availability, Server, availability};
use crate::clock::{Clock, Seconds};
use crate::db::{BuildId, Db, WantedBuild};
use crate::farm::bell::Bells;
use crate::farm::context::{Context, Mode};
use crate::farm::reconciler::{Reconciler, StepOutcome};

/// The most builds that one step settles.
const PIECE: i64 = 4096;
/// How long a build waits for failing servers before it is queued without their answers, in
/// seconds.
const QUERY_TIMEOUT: Seconds = 1800;

/// The reconciler that asks substitute servers. A build becomes `substituted` if they have all of
/// its outputs, and is queued otherwise.
#[derive(Debug)]
pub struct QuerySubstitutes {
    db: Db,
    clock: Clock,
    bells: Bells,
    mode: Mode,
    servers: Vec<Server>,
    asker: Asker,
}

/// What is known about store items, by base name.
#[derive(Default)]
struct ItemAvailability {
    /// The index of the server that has the item.
    present: HashMap<String, usize>,
    /// Items for which some server did not answer.
    unknown: BTreeSet<String>,
    /// When failing servers may be asked again.
    again: Again,
}

impl Reconciler for QuerySubstitutes {
    const NAME: &'static str = "substitute";
    const PERIOD: Duration = Duration::from_secs(10);

    async fn step(&mut self) -> anyhow::Result<StepOutcome> {
        let now = self.clock.now();
        let due = if self.mode.is_once() { Seconds::MAX } else { now };
        let builds = self.db.wanted_builds(due, PIECE).await?;
        if builds.is_empty() {
            self.db.forget_lookups(now).await?;
            return Ok(StepOutcome::Idle);
        }
        let availability = self.find(&builds, now).await?;
        let settled = self.settle(&builds, &availability, now).await?;
        if settled > 0 {
            self.bells.submit.ring();
            self.bells.schedule.ring();
        }
        Ok(if settled > 0 || !self.mode.is_once() { StepOutcome::Worked } else { StepOutcome::Idle })
    }
}

impl QuerySubstitutes {
    /// Asks `servers` in their order.
    pub fn new(context: &Context, servers: Vec<Server>) -> Self {
        let Context { db, clock, bells, mode, .. } = context.clone();
        Self { asker: Asker::new(context), db, clock, bells, mode, servers }
    }

    /// Asks each server, in order, for the items that the servers before it do not have.
    async fn find(&self, builds: &[WantedBuild], now: Seconds) -> anyhow::Result<ItemAvailability> {
        let mut availability = ItemAvailability::default();
        let mut open: BTreeSet<String> =
            builds.iter().flat_map(|build| build.outputs.iter().cloned()).collect();
        for (place, server) in self.servers.iter().enumerate() {
            let answers = self.asker.answers(server, &open, now, &mut availability.again).await?;
            for (base_name, present) in answers {
                match present {
                    Some(true) => {
                        open.remove(&base_name);
                        availability.unknown.remove(&base_name);
                        availability.present.insert(base_name, place);
                    }
                    Some(false) => {}
                    None => {
                        availability.unknown.insert(base_name);
                    }
                }
            }
        }
        Ok(availability)
    }

    /// Updates the builds; returns how many do not have to wait.
    async fn settle(
        &self,
        builds: &[WantedBuild],
        availability: &ItemAvailability,
        now: Seconds,
    ) -> anyhow::Result<usize> {
        let mut settled: Vec<(BuildId, bool, String)> = Vec::new();
        let mut waiting = Vec::new();
        for build in builds {
            match availability.of(build) {
                Availability::Present => settled.push((build.id, true, self.holders(build, availability))),
                Availability::Absent => {
                    settled.push((build.id, false, "no substitute server has it".to_owned()));
                }
                Availability::Unknown if now - build.created_at >= QUERY_TIMEOUT => {
                    settled.push((
                        build.id,
                        false,
                        format!("queued without an answer from {}", availability.again.reason()),
                    ));
                }
                Availability::Unknown => waiting.push(build.id),
            }
        }
        if !settled.is_empty() {
            self.db.apply_lookups(&settled, now).await?;
        }
        if let (false, Some(again)) = (waiting.is_empty(), availability.again.at()) {
            self.db.postpone(&waiting, &availability.again.reason(), again).await?;
        }
        Ok(settled.len())
    }

    /// The names of the servers that have a build's outputs.
    fn holders(&self, build: &WantedBuild, availability: &ItemAvailability) -> String {
        let places = build.outputs.iter().filter_map(|output| availability.present.get(output));
        let places: BTreeSet<&usize> = places.collect();
        let names: Vec<&str> = places.into_iter().map(|place| self.servers[*place].name.as_str()).collect();
        names.join(", ")
    }
}

impl ItemAvailability {
    fn of(&self, build: &WantedBuild) -> Availability {
        availability(build.outputs.iter().map(|output| match self.present.contains_key(output) {
            true => Some(true),
            false if self.unknown.contains(output) => None,
            false => Some(false),
        }))
    }
}
