use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::{Failure, Server, Verdict, verdict};
use crate::clock::{Clock, Seconds};
use crate::db::{Answered, BuildId, Db, WantedBuild};
use crate::farm::bell::Bells;
use crate::farm::context::{Context, Mode};
use crate::farm::reconciler::{Progress, Reconciler, back_off};

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
}

/// What is known about store items, by base name.
#[derive(Default)]
struct ItemAvailability {
    /// The index of the server that has the item.
    present: HashMap<String, usize>,
    /// Items for which some server did not answer.
    unknown: BTreeSet<String>,
    /// When to ask again, and why.
    again: Option<(Seconds, String)>,
}

impl Reconciler for QuerySubstitutes {
    const NAME: &'static str = "substitute";
    const PERIOD: Duration = Duration::from_secs(10);

    async fn step(&mut self) -> anyhow::Result<Progress> {
        let now = self.clock.now();
        let due = if self.mode.is_once() { Seconds::MAX } else { now };
        let builds = self.db.wanted_builds(due, PIECE).await?;
        if builds.is_empty() {
            self.db.forget_lookups(now).await?;
            return Ok(Progress::Idle);
        }
        let availability = self.find(&builds, now).await?;
        let settled = self.settle(&builds, &availability, now).await?;
        if settled > 0 {
            self.bells.submit.ring();
            self.bells.schedule.ring();
        }
        Ok(if settled > 0 || !self.mode.is_once() { Progress::Worked } else { Progress::Idle })
    }
}

impl QuerySubstitutes {
    /// Asks `servers` in their order.
    pub fn new(context: &Context, servers: Vec<Server>) -> Self {
        let Context { db, clock, bells, mode, .. } = context.clone();
        Self { db, clock, bells, mode, servers }
    }

    /// Asks each server, in order, for the items that the servers before it do not have.
    async fn find(&self, builds: &[WantedBuild], now: Seconds) -> anyhow::Result<ItemAvailability> {
        let mut availability = ItemAvailability::default();
        let mut open: BTreeSet<String> =
            builds.iter().flat_map(|build| build.outputs.iter().cloned()).collect();
        for (place, server) in self.servers.iter().enumerate() {
            let answers = self.answers(server, &open, now, &mut availability).await?;
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

    /// The answers of a server, new or cached; `None` for an item without an answer.
    async fn answers(
        &self,
        server: &Server,
        open: &BTreeSet<String>,
        now: Seconds,
        availability: &mut ItemAvailability,
    ) -> anyhow::Result<Vec<(String, Option<bool>)>> {
        let hashes: Vec<&str> = open.iter().map(|base_name| hash(base_name)).collect();
        let cached = self.db.lookups(&server.name, &hashes, now).await?;
        let missing = open.iter().filter(|base_name| !cached.contains_key(hash(base_name)));
        let missing: Vec<String> = missing.cloned().collect();
        let asked = self.ask(server, missing, now, availability).await?;
        let answer = |base_name: &String| {
            let known = cached.get(hash(base_name)).or_else(|| asked.get(base_name)).copied();
            (base_name.clone(), known)
        };
        Ok(open.iter().map(answer).collect())
    }

    /// Asks a server, unless it is to be left alone, and caches its answers.
    async fn ask(
        &self,
        server: &Server,
        base_names: Vec<String>,
        now: Seconds,
        availability: &mut ItemAvailability,
    ) -> anyhow::Result<HashMap<String, bool>> {
        if base_names.is_empty() {
            return Ok(HashMap::new());
        }
        let failing = self.db.failing_servers().await?;
        let failing = failing.into_iter().find(|failing| failing.url == server.name);
        if let Some(failing) =
            failing.as_ref().filter(|failing| failing.next_attempt > now && !self.mode.is_once())
        {
            availability.wait(failing.next_attempt, &server.name, &failing.reason);
            return Ok(HashMap::new());
        }
        let answers = server.ask(base_names).await;
        let kept: Vec<Answered> = answers
            .known
            .iter()
            .map(|(name, (present, time))| Answered {
                hash: hash(name).to_owned(),
                present: *present,
                expires_at: now + time,
            })
            .collect();
        self.db.store_lookups(&server.name, &kept).await?;
        let failures = failing.as_ref().map_or(0, |failing| failing.failures);
        self.note_failure(server, answers.failure, failures, now, availability).await?;
        Ok(answers.known.into_iter().map(|(name, (present, _))| (name, present)).collect())
    }

    /// Records a failure. A server that is down is left alone for a while; one that fails for some
    /// items is asked for those again.
    async fn note_failure(
        &self,
        server: &Server,
        failure: Option<Failure>,
        failures: i64,
        now: Seconds,
        availability: &mut ItemAvailability,
    ) -> anyhow::Result<()> {
        if let Some(Failure { reason, pause, is_down }) = failure {
            tracing::warn!(server = server.name, "a substitute server fails: {reason}");
            let again = now + back_off(failures, &server.name).max(pause);
            availability.wait(again, &server.name, &reason);
            if is_down {
                return Ok(self.db.record_server_failure(&server.name, &reason, again).await?);
            }
        }
        if failures > 0 {
            self.db.forget_server_failures(&server.name).await?;
        }
        Ok(())
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
            match availability.verdict(build) {
                Verdict::Present => settled.push((build.id, true, self.holders(build, availability))),
                Verdict::Absent => settled.push((build.id, false, "no substitute server has it".to_owned())),
                Verdict::Unknown if now - build.created_at >= QUERY_TIMEOUT => {
                    settled.push((
                        build.id,
                        false,
                        format!("queued without an answer of {}", availability.reason()),
                    ));
                }
                Verdict::Unknown => waiting.push(build.id),
            }
        }
        if !settled.is_empty() {
            self.db.apply_lookups(&settled, now).await?;
        }
        if let (false, Some((again, _))) = (waiting.is_empty(), &availability.again) {
            self.db.postpone(&waiting, &availability.reason(), *again).await?;
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
    fn verdict(&self, build: &WantedBuild) -> Verdict {
        verdict(build.outputs.iter().map(|output| match self.present.contains_key(output) {
            true => Some(true),
            false if self.unknown.contains(output) => None,
            false => Some(false),
        }))
    }

    fn wait(&mut self, again: Seconds, server: &str, reason: &str) {
        let reason = format!("{server}: {reason}");
        self.again = Some(match self.again.take() {
            Some((before, told)) if before <= again => (before, told),
            _ => (again, reason),
        });
    }

    fn reason(&self) -> String {
        self.again.as_ref().map_or_else(String::new, |(_, reason)| reason.clone())
    }
}

/// The hash part of a base name.
fn hash(base_name: &str) -> &str {
    base_name.split_once('-').map_or(base_name, |(hash, _)| hash)
}
